package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
)

// A Reason says why a delivery was given up.
type Reason string

// The reasons.
const (
	ReasonExhausted  Reason = "exhausted"  // the last attempt of the schedule failed
	ReasonRejected   Reason = "rejected"   // the receiver's status is final for the profile
	ReasonGone       Reason = "gone"       // the receiver answered 410
	ReasonExpired    Reason = "expired"    // it waited longer than the subscription's max_age
	ReasonOverflow   Reason = "overflow"   // the subscription's queue was full
	ReasonUnreadable Reason = "unreadable" // it is not an event, or not a delivery
	// ReasonMatchBudget: the subscription's filters need more steps for the event than one
	// event may take, so it is not known whether it is wanted.
	ReasonMatchBudget Reason = "match_budget"
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{ReasonExhausted, ReasonRejected, ReasonGone, ReasonExpired, ReasonOverflow, ReasonUnreadable, ReasonMatchBudget}
}

// A DeadLetter is a delivery that jetpost gave up, kept with its event and the
// reason, until a person looks at it.
type DeadLetter struct {
	DeliveryID     string   `json:"delivery_id,omitempty"` // empty when unreadable
	SubscriptionID string   `json:"subscription_id,omitempty"`
	Event          EventRef `json:"event"`
	Reason         Reason   `json:"reason"`
	Attempts       int      `json:"attempts"`         // requests made
	Status         int      `json:"status,omitempty"` // of the last answer
	Error          string   `json:"error,omitempty"`
	// ResponseBody is the beginning of the last answer, at most 1 KiB, as text.
	ResponseBody string    `json:"response_body,omitempty"`
	At           time.Time `json:"at"` // when it was given up
	// Sequence in the dead letter stream; the id of the dead letter.
	Sequence uint64 `json:"sequence"`
}

// verdict is what the header of a dead letter keeps beside the event.
type verdict struct {
	Reason   Reason    `json:"reason"`
	Attempts int       `json:"attempts"`
	Status   int       `json:"status,omitempty"`
	Error    string    `json:"error,omitempty"`
	Response string    `json:"response,omitempty"`
	At       time.Time `json:"at"`
	Stream   string    `json:"stream,omitempty"` // unreadable: where it came from
	Sequence uint64    `json:"sequence,omitempty"`
	Stored   time.Time `json:"stored_at,omitzero"`
}

// maxDeadLetterBody is how much of the last answer a dead letter keeps, in bytes. It is in
// a header, whose size is limited, and may be written with six bytes for one.
const maxDeadLetterBody = 1 << 10

// DeadLetters is the stream of deliveries given up.
type DeadLetters struct {
	js     jetstream.JetStream
	layout stream.Layout

	mu     sync.Mutex
	stream jetstream.Stream // looked up when it is first needed
}

// NewDeadLetters returns the dead letters of an installation.
func NewDeadLetters(js jetstream.JetStream, layout stream.Layout) *DeadLetters {
	return &DeadLetters{js: js, layout: layout}
}

// GiveUp stores d with the reason, and returns when it is stored: only then may
// the delivery be settled. attempts is the number of requests made, last the
// latest of them or nil.
func (l *DeadLetters) GiveUp(ctx context.Context, d *Delivery, reason Reason, attempts int, last *Attempt) error {
	v := verdict{Reason: reason, Attempts: attempts, At: time.Now().UTC()}
	if last != nil {
		v.Status, v.Error, v.Response = last.Status, last.Error, clip(last.ResponseBody, maxDeadLetterBody)
	}
	h := make(nats.Header, 16)
	d.setHeader(h)
	id := d.Origin + ":dead:" + strconv.Itoa(attempts)
	if !d.Redrive.At.IsZero() { // without another attempt it would be the id of that dead letter, which is gone
		id += ":" + d.Redrive.Name()
	}
	return l.store(ctx, d.SubscriptionID, id, h, d.Event.Data, v)
}

// KeepUnreadable stores a message that is not an event or not a delivery, as it
// was found at sequence of a stream, under deadletters._invalid.
func (l *DeadLetters) KeepUnreadable(ctx context.Context, m *consume.Message, cause error) error {
	h := make(nats.Header, len(m.Header)+2)
	for name, values := range m.Header {
		if !strings.HasPrefix(strings.ToLower(name), "nats-") {
			h[name] = values
		}
	}
	id := m.Stream + ":" + placeName(m.Sequence, m.Stored) + ":unreadable"
	return l.store(ctx, stream.InvalidLetters, id, h, m.Data, verdict{
		Reason: ReasonUnreadable, Error: cause.Error(), At: time.Now().UTC(), Stream: m.Stream, Sequence: m.Sequence, Stored: m.Stored.UTC(),
	})
}

func (l *DeadLetters) store(ctx context.Context, subscription, id string, h nats.Header, data []byte, v verdict) error {
	v.Error = clip(v.Error, maxErrorText)
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode dead letter %s: %w", id, err)
	}
	h[stream.HeaderDeadLetter] = []string{string(text)}
	h[stream.HeaderMessageID] = []string{id}
	h[stream.HeaderExpectedStream] = []string{l.layout.DeadLetters()}
	msg := &nats.Msg{Subject: l.layout.DeadLetterSubject(subscription), Header: h, Data: data}
	if _, err := l.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("store dead letter %s: %w", id, err)
	}
	return nil
}

// Latest returns up to limit dead letters of a subscription (or of
// stream.InvalidLetters), newest first, older than the one at sequence before
// (0: from the newest).
func (l *DeadLetters) Latest(ctx context.Context, subscription string, before uint64, limit int) ([]DeadLetter, error) {
	records, err := stream.LatestHeaders(ctx, l.js, l.layout.DeadLetters(), l.layout.DeadLetterSubject(subscription), before, limit)
	if err != nil {
		return nil, err
	}
	deadLetters := make([]DeadLetter, 0, len(records))
	for i := range records {
		deadLetters = append(deadLetters, decodeDeadLetter(subscription, &records[i]))
	}
	return deadLetters, nil
}

// decodeDeadLetter never fails: a dead letter that cannot be read in full is shown as
// far as it can be.
func decodeDeadLetter(subscription string, r *stream.Record) DeadLetter {
	var v verdict
	if err := json.Unmarshal([]byte(header(r.Header, stream.HeaderDeadLetter)), &v); err != nil {
		v = verdict{Reason: ReasonUnreadable, Error: "the dead letter's own header cannot be read", At: r.Time}
	}
	deadLetter := DeadLetter{
		Reason: v.Reason, Attempts: v.Attempts, Status: v.Status, Error: v.Error, ResponseBody: v.Response, At: v.At, Sequence: r.Sequence,
		Event: EventRef{Stream: v.Stream, Sequence: v.Sequence, Stored: v.Stored},
	}
	if subscription == stream.InvalidLetters {
		return deadLetter
	}
	deadLetter.SubscriptionID = subscription
	if d, err := FromMessage(subscription, r.Header, r.Data); err == nil {
		deadLetter.DeliveryID, deadLetter.Event = d.ID, RefOf(d)
	}
	return deadLetter
}
