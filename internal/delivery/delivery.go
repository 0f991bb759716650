// Package delivery is one event on its way to one subscription: its id, its form
// on a queue, the record of every attempt, and the dead letter that is left when
// jetpost gives up.
//
// The package reads and writes the messages of the queues, of the attempt log and
// of the dead letter stream, so that no other package knows their form.
package delivery

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
)

// A Delivery is one event for one subscription.
type Delivery struct {
	ID             string // webhook-id: the same on every attempt and replay
	SubscriptionID string
	Event          *event.Event
	// Origin is the id of the first publish to the queue, see Origin.
	Origin string
	// Accepted is when the event log stored the event.
	Accepted time.Time
	// Attempt is the number of the next attempt, from 1.
	Attempt int
	// FirstAttempt is when attempt 1 began; zero before.
	FirstAttempt time.Time
	// Redrive is of a delivery that was a dead letter; zero otherwise.
	Redrive Redrive
	// Again says that it may have been put on its queue, and delivered, before a NATS
	// server crashed that does not know any more. See Made.
	Again bool
	// Manual names an attempt that was made on demand, one beside those of the
	// schedule; empty otherwise. See ManualRetry.
	Manual string
}

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// ID is the delivery id of an event for a subscription: "dlv_" and the first 26
// characters of lower-case base32hex of SHA-256 over subscription, source and id,
// separated by NUL (design, section 7). A retry, a crash and a replay all yield
// the same, so receivers can recognise repeats by it.
func ID(subscription, source, id string) string {
	b := make([]byte, 0, 256)
	b = append(append(b, subscription...), 0)
	b = append(append(b, source...), 0)
	b = append(b, id...)
	return "dlv_" + digest(b)
}

// TimerKey names the retry timer of a delivery: one delivery has one. It is made
// of the origin, since a producer that reuses an id makes several deliveries with
// the same one, and a timer replaces that of the same key.
func (d *Delivery) TimerKey() string { return digest([]byte(d.Chain())) }

// TimerKeys are all names that the retry timer of a delivery can have, that of
// TimerKey first: an earlier version, which left the time out of ids, may have set it, or
// have queued the delivery.
func (d *Delivery) TimerKeys() []string {
	keys := []string{d.TimerKey()}
	from, err := ParseOrigin(d.Origin)
	if from.Stored.IsZero() {
		from.Stored = d.Accepted
	}
	if err != nil || from.Stored.IsZero() {
		return keys
	}
	for _, origin := range Origins(from.EventLog, from.Sequence, from.Stored, from.Subscription) {
		if key := (&Delivery{Origin: origin, Manual: d.Manual}).TimerKey(); key != keys[0] {
			keys = append(keys, key)
		}
	}
	return keys
}

// digest is the first 26 characters of lower-case base32hex of SHA-256.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	var text [52]byte
	idEncoding.Encode(text[:], sum[:])
	return strings.ToLower(string(text[:26]))
}

// Origin is the message id under which a router publishes an event to a
// subscription's queue: <event log>:<sequence>@<when it was stored>:<subscription>. It
// is not made of the event's id, because producers reuse ids (jetstream.md, section 4).
// Nor is the sequence enough: a log that has lost its end in a power loss gives the
// same sequences to other events, and a queue that remembers them would take those
// for duplicates. When the log stored an event, in nanoseconds, tells the two apart.
func Origin(eventLog string, sequence uint64, stored time.Time, subscription string) string {
	b := make([]byte, 0, len(eventLog)+len(subscription)+42)
	b = append(append(b, eventLog...), ':')
	b = append(appendPlace(b, sequence, stored), ':')
	return string(append(b, subscription...))
}

// appendPlace names a message of a stream: its sequence, and when it was stored.
func appendPlace(b []byte, sequence uint64, stored time.Time) []byte {
	b = append(strconv.AppendUint(b, sequence, 10), '@')
	return strconv.AppendInt(b, stored.UnixNano(), 10)
}

// placeName is appendPlace as a string.
func placeName(sequence uint64, stored time.Time) string {
	return string(appendPlace(nil, sequence, stored))
}

// A Source is what an origin is made of.
type Source struct {
	EventLog     string
	Sequence     uint64
	Stored       time.Time // zero: the origin was made by a version that left it out
	Subscription string
}

// ParseOrigin is the inverse of Origin. It also reads <event log>:<sequence>:<subscription>,
// which earlier versions made.
func ParseOrigin(origin string) (Source, error) {
	bad := fmt.Errorf("%q is not the origin of a delivery", origin)
	parts := strings.Split(origin, ":")
	if len(parts) != 3 {
		return Source{}, bad
	}
	s := Source{EventLog: parts[0], Subscription: parts[2]}
	sequence, stored, hasTime := strings.Cut(parts[1], "@")
	var err error
	if s.Sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil {
		return Source{}, bad
	}
	if hasTime {
		ns, err := strconv.ParseInt(stored, 10, 64)
		if err != nil {
			return Source{}, bad
		}
		s.Stored = time.Unix(0, ns)
	}
	return s, nil
}

// Origins are all ids that the delivery of an event to a subscription can have on its
// queue, the present one first: what earlier versions have queued is still handled.
func Origins(eventLog string, sequence uint64, stored time.Time, subscription string) []string {
	return []string{
		Origin(eventLog, sequence, stored, subscription),
		eventLog + ":" + strconv.FormatUint(sequence, 10) + ":" + subscription,
	}
}

// ErrUnreadable is wrapped by errors about messages on a queue that are not
// deliveries. They become dead letters.
var ErrUnreadable = errors.New("not a readable delivery")

// Queued is the message of a delivery on its queue, before its first attempt.
// origin names it, expected is the stream it must reach.
func Queued(e *event.Event, subject, expected, origin string, accepted time.Time) *nats.Msg {
	return NewCopies(e, accepted).To(subject, expected, origin)
}

// Copies make the deliveries of one event: what they have in common is written
// once.
type Copies struct {
	header nats.Header
	data   []byte
}

// NewCopies prepares the deliveries of e, which its event log stored at accepted.
func NewCopies(e *event.Event, accepted time.Time) *Copies {
	h := make(nats.Header, 16)
	e.SetHeader(h)
	h[stream.HeaderAccepted] = []string{strconv.FormatInt(accepted.UnixNano(), 10)}
	return &Copies{header: h, data: e.Data}
}

// Again has all deliveries made from now on say that they may have been queued before.
func (c *Copies) Again() *Copies {
	c.header[stream.HeaderAgain] = []string{"1"}
	return c
}

// To is Queued for one queue. The message shares its header with the next one:
// it has to be published before To is called again.
func (c *Copies) To(subject, expected, origin string) *nats.Msg {
	values := []string{origin, expected}
	c.header[stream.HeaderMessageID] = values[0:1:1]
	c.header[stream.HeaderOrigin] = values[0:1:1]
	c.header[stream.HeaderExpectedStream] = values[1:2:2]
	return &nats.Msg{Subject: subject, Header: c.header, Data: c.data}
}

// FromMessage reads a delivery of a subscription off its queue.
func FromMessage(subscription string, h nats.Header, data []byte) (*Delivery, error) {
	e, err := event.FromCheckedMessage(h, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	d := &Delivery{
		ID: ID(subscription, e.Source, e.ID), SubscriptionID: subscription, Event: e,
		Origin: header(h, stream.HeaderOrigin), Attempt: 1,
	}
	if d.Origin == "" {
		return nil, fmt.Errorf("%w: header %s is missing", ErrUnreadable, stream.HeaderOrigin)
	}
	if d.Accepted, err = timeHeader(h, stream.HeaderAccepted); err != nil {
		return nil, err
	}
	if d.FirstAttempt, err = timeHeader(h, stream.HeaderFirstAttempt); err != nil {
		return nil, err
	}
	if text := header(h, stream.HeaderAttempt); text != "" {
		if d.Attempt, err = strconv.Atoi(text); err != nil || d.Attempt < 1 {
			return nil, fmt.Errorf("%w: header %s is %q", ErrUnreadable, stream.HeaderAttempt, text)
		}
	}
	d.Manual, d.Again = header(h, stream.HeaderManual), MayBeMade(h)
	if text := header(h, stream.HeaderRedrive); text != "" {
		if d.Redrive, err = parseRedrive(text); err != nil {
			return nil, fmt.Errorf("%w: header %s is %q", ErrUnreadable, stream.HeaderRedrive, text)
		}
	}
	return d, nil
}

// setHeader writes the event and what is known of the delivery into h.
func (d *Delivery) setHeader(h nats.Header) {
	d.Event.SetHeader(h)
	h[stream.HeaderOrigin] = []string{d.Origin}
	h[stream.HeaderAttempt] = []string{strconv.Itoa(d.Attempt)}
	if !d.Accepted.IsZero() {
		h[stream.HeaderAccepted] = []string{strconv.FormatInt(d.Accepted.UnixNano(), 10)}
	}
	if !d.FirstAttempt.IsZero() {
		h[stream.HeaderFirstAttempt] = []string{strconv.FormatInt(d.FirstAttempt.UnixNano(), 10)}
	}
	if d.Redrive != (Redrive{}) {
		h[stream.HeaderRedrive] = []string{d.Redrive.String()}
	}
	if d.Again {
		h[stream.HeaderAgain] = []string{"1"}
	}
	if d.Manual != "" {
		h[stream.HeaderManual] = []string{d.Manual}
	}
}

// Timer is the message that makes d come back at a time: published to at, it
// fires to due. The header names are the server's message schedules; the time is
// written with nanoseconds, because the client library would cut it to seconds.
func (d *Delivery) Timer(at, due string, when time.Time) *nats.Msg {
	h := make(nats.Header, 16)
	d.setHeader(h)
	h[stream.HeaderMessageID] = []string{d.TimerID(d.Attempt)}
	h[stream.HeaderSchedule] = []string{"@at " + when.UTC().Format(time.RFC3339Nano)}
	h[stream.HeaderScheduleTarget] = []string{due}
	return &nats.Msg{Subject: at, Header: h, Data: d.Event.Data}
}

// TimerID is the id of the timer's message for the attempt with a number. There is one:
// a second one is recognised as a duplicate, or has an id of its own.
func (d *Delivery) TimerID(attempt int) string { return d.Chain() + ":a" + strconv.Itoa(attempt) }

// Requeued is the message that puts d back on its queue, once for each attempt.
func (d *Delivery) Requeued(subject, expected string) *nats.Msg {
	m := d.message(subject, expected, d.Chain()+":a"+strconv.Itoa(d.Attempt))
	if d.Again {
		m.Header[stream.HeaderAgain] = []string{"1"}
	}
	return m
}

func header(h nats.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func timeHeader(h nats.Header, name string) (time.Time, error) {
	text := header(h, name)
	if text == "" {
		return time.Time{}, nil
	}
	ns, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: header %s is %q", ErrUnreadable, name, text)
	}
	return time.Unix(0, ns), nil
}

// Chain names the attempts of d that are numbered together: all those of its schedule, before
// and after a redrive, or the manual one.
func (d *Delivery) Chain() string {
	if d.Manual == "" {
		return d.Origin
	}
	return d.Origin + ":manual:" + d.Manual
}

// Waiting is since when d waits to be delivered: when its event was stored, or it was
// redriven.
func (d *Delivery) Waiting() time.Time {
	if !d.Redrive.At.IsZero() {
		return d.Redrive.At
	}
	return d.Accepted
}

// Scheduled is the place in the schedule of the attempt with a number, from 1.
func (d *Delivery) Scheduled(attempt int) int { return max(attempt-d.Redrive.Before, 1) }

// MayBeMade reports whether a message of a queue says that its delivery may have been
// made: see Delivery.Again.
func MayBeMade(h nats.Header) bool { return header(h, stream.HeaderAgain) != "" }
