package delivery

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetpost/jetpost/event"
)

// An Attempt records one HTTP request and how it was judged. It holds no secret:
// the URL is without its query, the headers are not kept.
type Attempt struct {
	DeliveryID     string    `json:"delivery_id"`
	SubscriptionID string    `json:"subscription_id"`
	Event          EventRef  `json:"event"`
	Attempt        int       `json:"attempt"` // from 1
	At             time.Time `json:"at"`      // when the request began
	Duration       Millis    `json:"duration_ms"`
	Outcome        Outcome   `json:"outcome"`
	// Method and URL of the request; a query is shown as "?…".
	Method string `json:"method"`
	URL    string `json:"url"`
	// Status is the receiver's answer, 0 when there was none.
	Status int `json:"status,omitempty"`
	// Error says why there was no answer, or what was wrong with it.
	Error string `json:"error,omitempty"`
	// ResponseBody is the beginning of the answer, at most 4 KiB, as text.
	ResponseBody string `json:"response_body,omitempty"`
	// RequestBytes is the size of the body sent.
	RequestBytes int `json:"request_bytes"`
	// NextAttempt is when the next attempt is due; absent when there is none.
	NextAttempt *time.Time `json:"next_attempt,omitempty"`
	// Redelivered marks a request that a crash may have repeated: the stream had
	// handed out the delivery before.
	Redelivered bool `json:"redelivered,omitempty"`
	// Manual marks a request that was made on demand, beside those of the
	// schedule: its number counts only the requests made for this one wish.
	Manual bool `json:"manual,omitempty"`
	// Sequence is the place of the record in the attempt log: later ones have
	// higher numbers, not all numbers are used. Not part of the record.
	Sequence uint64 `json:"sequence,omitempty"`
}

// An EventRef says which event a record is about and where it is kept.
type EventRef struct {
	ID       string `json:"id"`
	Source   string `json:"source"`
	Type     string `json:"type"`
	Subject  string `json:"subject,omitempty"`
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
	// Stored is when the stream stored the event. A stream that has lost its end gives
	// the same sequences again: only both together name an event. Missing from records
	// of earlier versions.
	Stored time.Time `json:"stored_at,omitzero"`
}

// RefOf is the reference to the event of a delivery.
func RefOf(d *Delivery) EventRef {
	ref := EventRef{ID: d.Event.ID, Source: d.Event.Source, Type: d.Event.Type, Subject: d.Event.Subject}
	if from, err := ParseOrigin(d.Origin); err == nil {
		ref.Stream, ref.Sequence, ref.Stored = from.EventLog, from.Sequence, from.Stored.UTC()
		if from.Stored.IsZero() {
			ref.Stored = time.Time{}
			if !d.Accepted.IsZero() {
				ref.Stored = d.Accepted.UTC()
			}
		}
	}
	return ref
}

// Is reports whether r is the event at a place of a stream, which was stored there
// at a time.
func (r *EventRef) Is(name string, sequence uint64, stored time.Time) bool {
	return r.Stream == name && r.Sequence == sequence && (r.Stored.IsZero() || r.Stored.Equal(stored))
}

// Millis is a duration that JSON shows as milliseconds with three decimals.
type Millis time.Duration

// MarshalJSON writes milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) { return m.append(nil), nil }

func (m Millis) append(b []byte) []byte {
	return strconv.AppendFloat(b, float64(time.Duration(m).Microseconds())/1000, 'f', -1, 64)
}

// UnmarshalJSON reads milliseconds.
func (m *Millis) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("%q is not a number of milliseconds", b)
	}
	*m = Millis(f * float64(time.Millisecond))
	return nil
}

// MaxStoredBody is how much of an answer a record keeps, in bytes.
const MaxStoredBody = 4 << 10

// StoredBody is what a record keeps of an answer: its beginning, as text. Bytes
// that are not UTF-8 become U+FFFD.
func StoredBody(body []byte) string {
	text := string(beginning(body, MaxStoredBody))
	if utf8.ValidString(text) {
		return text
	}
	return beginning(strings.ToValidUTF8(text, "\ufffd"), MaxStoredBody) // the replacements made it longer
}

// beginning is s, cut to n bytes at most and not inside a rune.
func beginning[T string | []byte](s T, n int) T {
	if len(s) <= n {
		return s
	}
	for at := n; at > n-utf8.UTFMax; at-- {
		if utf8.RuneStart(s[at]) {
			return s[:at]
		}
	}
	return s[:n]
}

// What a record keeps, at most, of texts that others choose. A record that the
// stream would refuse for its size could never be stored, and its delivery never
// be settled.
const (
	maxRefText   = 512
	maxErrorText = 1 << 10
)

// clip cuts s to n bytes, and shows that it did.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return beginning(s, n-len("…")) + "…"
}

// fit makes a small enough to be stored, whatever is in it.
func (a *Attempt) fit() {
	for _, text := range []*string{&a.Event.ID, &a.Event.Source, &a.Event.Type, &a.Event.Subject} {
		*text = clip(*text, maxRefText)
	}
	a.Error = clip(a.Error, maxErrorText)
	a.ResponseBody = beginning(a.ResponseBody, MaxStoredBody)
}

// append writes the record as encoding/json would, without its reflection: there
// is one for every request. A test compares the two.
func (a *Attempt) append(b []byte) []byte {
	text := func(name, value string) {
		b = append(append(append(b, ',', '"'), name...), `":`...)
		b = event.AppendJSONString(b, value)
	}
	optional := func(name, value string) {
		if value != "" {
			text(name, value)
		}
	}
	b = event.AppendJSONString(append(b, `{"delivery_id":`...), a.DeliveryID)
	text("subscription_id", a.SubscriptionID)
	b = event.AppendJSONString(append(b, `,"event":{"id":`...), a.Event.ID)
	text("source", a.Event.Source)
	text("type", a.Event.Type)
	optional("subject", a.Event.Subject)
	text("stream", a.Event.Stream)
	b = strconv.AppendUint(append(b, `,"sequence":`...), a.Event.Sequence, 10)
	if !a.Event.Stored.IsZero() {
		b = append(a.Event.Stored.AppendFormat(append(b, `,"stored_at":"`...), time.RFC3339Nano), '"')
	}
	b = strconv.AppendInt(append(b, `},"attempt":`...), int64(a.Attempt), 10)
	b = append(a.At.AppendFormat(append(b, `,"at":"`...), time.RFC3339Nano), '"')
	b = a.Duration.append(append(b, `,"duration_ms":`...))
	text("outcome", a.Outcome.String())
	text("method", a.Method)
	text("url", a.URL)
	if a.Status != 0 {
		b = strconv.AppendInt(append(b, `,"status":`...), int64(a.Status), 10)
	}
	optional("error", a.Error)
	optional("response_body", a.ResponseBody)
	b = strconv.AppendInt(append(b, `,"request_bytes":`...), int64(a.RequestBytes), 10)
	if a.NextAttempt != nil {
		b = append(a.NextAttempt.AppendFormat(append(b, `,"next_attempt":"`...), time.RFC3339Nano), '"')
	}
	if a.Redelivered {
		b = append(b, `,"redelivered":true`...)
	}
	if a.Manual {
		b = append(b, `,"manual":true`...)
	}
	return append(b, '}')
}
