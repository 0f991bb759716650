// Package audit is the trail of everything that was changed, and of every read of a
// secret: who, when, from where, what it was before and what it is after.
//
//	admin, sender ──► Trail.Around ──► AUDIT ──► then the change itself
//
// A record is stored before what it is about takes effect: what cannot be recorded is
// not done. When it then fails, one more record says so. Each record carries the hash
// of the one before it, so that a reader of the records can verify whether one
// is missing, was altered, put in or moved: see Verifier. Secrets are not in records.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Itself is the actor of what jetpost does on its own account.
const Itself = "jetpost"

// A Record says what was done, or was about to be. Its JSON is the form in which it is
// stored and exported; it does not hold secrets.
type Record struct {
	// Sequence is the place of the record on the trail: 1, 2, 3 and so on without gaps.
	Sequence uint64 `json:"sequence"`
	// At is when it was written, by the writer's clock. UTC, microseconds.
	At time.Time `json:"at"`
	// Action is what is done: the kind of thing and a verb, subscription.create.
	Action string `json:"action"`
	// Target is what it is done to, as a path: subscriptions/ci.
	Target string `json:"target"`
	// Actor is the id of the token, or Itself.
	Actor string `json:"actor"`
	// ActorName is what people call the token, or of jetpost the part that has done it:
	// admin, sender.
	ActorName string `json:"actor_name,omitempty"`
	// Role is what the token allows.
	Role string `json:"role,omitempty"`
	// Address is that of the client, without port.
	Address string `json:"address,omitempty"`
	// RequestID is the X-Request-Id of the request.
	RequestID string `json:"request_id,omitempty"`
	// Reason is why, where a reason was given.
	Reason string `json:"reason,omitempty"`
	// Changed are the names of the fields that become others. Of a secret it is all
	// there is to see.
	Changed []string `json:"changed,omitempty"`
	// Before and After are the target as the API shows it, with placeholders for
	// secrets. Append replaces what is larger than MaxState.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	// Failed says why what another record has announced was not done, or why it is not
	// known whether it was.
	Failed string `json:"failed,omitempty"`
	// Of is the sequence of that other record.
	Of uint64 `json:"of,omitempty"`
	// Previous is the hash of the record before this one: see Hash. Empty in the first
	// record of all, and in one that found none before it because they had aged out.
	Previous string `json:"previous"`
}

// Limits of a record, in bytes. Two states and all texts fit a message of the stream.
const (
	MaxState  = 128 << 10 // of Before, and of After
	maxText   = 1 << 10
	maxFields = 200 // of Changed; a number, not bytes
)

var (
	actionPattern = regexp.MustCompile(`^[a-z][a-z_]*(\.[a-z][a-z_]*)+$`)
	hashPattern   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Hash is the hash of a record, in the form in which the next one has it: hexadecimal
// SHA-256 of the bytes as they are stored, which have no line feed at the end.
func Hash(stored []byte) string {
	sum := sha256.Sum256(stored)
	return hex.EncodeToString(sum[:])
}

// Encode returns the bytes to store: JSON on one line, the members in the order of the
// fields of Record, without white space between them. The same record gives the same
// bytes.
func (r *Record) Encode() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return nil, fmt.Errorf("encode audit record of %s: %w", r.Action, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Decode reads what Encode has written. Members that it does not know are skipped:
// later versions may have more.
func Decode(stored []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(stored, &r); err != nil {
		return Record{}, fmt.Errorf("it is not an audit record: %w", err)
	}
	switch {
	case r.Sequence == 0:
		return Record{}, errors.New("it is not an audit record: it has no sequence")
	case !actionPattern.MatchString(r.Action):
		return Record{}, errors.New("it is not an audit record: it has no action")
	case r.Previous != "" && !hashPattern.MatchString(r.Previous):
		return Record{}, errors.New("it is not an audit record: previous is not a hash")
	case bytes.ContainsAny(stored, "\r\n"):
		return Record{}, errors.New("it is not an audit record: it has more than one line")
	}
	return r, nil
}

// fit makes r small enough to be stored, whatever is in it, and plain UTF-8.
func (r *Record) fit() {
	for _, text := range []*string{&r.Target, &r.Actor, &r.ActorName, &r.Role, &r.Address, &r.RequestID, &r.Reason, &r.Failed} {
		*text = clip(*text)
	}
	if len(r.Changed) > maxFields {
		r.Changed = append(r.Changed[:maxFields:maxFields], "…")
	}
	for i := range r.Changed {
		r.Changed[i] = clip(r.Changed[i])
	}
	r.Before, r.After = fitState(r.Before), fitState(r.After)
}

func clip(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// fitState replaces what is too large by its size and hash, so that a copy from
// elsewhere can be compared with it. There is no secret in it that could be
// guessed from that.
func fitState(state json.RawMessage) json.RawMessage {
	if len(state) <= MaxState {
		return state
	}
	short, _ := json.Marshal(struct { // always can
		Omitted string `json:"omitted"`
		Bytes   int    `json:"bytes"`
		SHA256  string `json:"sha256"`
	}{"it is too large for a record", len(state), Hash(state)})
	return short
}

// State is v as Before or After has it: its JSON. What v shows is recorded, so its
// secrets must be of a type that does not.
func State(v any) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return json.RawMessage(`{"omitted":"it cannot be encoded"}`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
