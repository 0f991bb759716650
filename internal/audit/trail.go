package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
)

// ErrNotRecorded is wrapped by the errors of what was not done because it could not be
// recorded.
var ErrNotRecorded = errors.New("nothing was changed, because it cannot be recorded on the audit trail")

const (
	// patience is how long one record may take, waiting for others included.
	patience = 10 * time.Second
	// answerTimeout is how long the server may take to answer once. An answer that was
	// lost with the connection never arrives.
	answerTimeout = 3 * time.Second
	// lastLook is how long it may take to find out what has become of a record when
	// its time is over.
	lastLook = 2 * time.Second
	// firstPause is between two tries, doubling up to longPause.
	firstPause = 5 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// A Trail is the audit trail of an installation, for writing and reading. Those who
// share one write one after the other, without collisions; with those of other
// processes it competes for each place, and continues behind the faster one. It is
// safe for concurrent use.
type Trail struct {
	js        jetstream.JetStream
	layout    stream.Layout
	component string
	log       *zap.Logger
	health    *stream.Health // nil: not reported
	reserve   *stream.Reserve

	writing chan struct{} // full while a goroutine writes, which may use the fields below

	known bool // whether end is where the trail ends, as far as this process knows
	end   Head
	// abandoned is a record of which it was not known whether it is stored when its
	// time was over. What it announces was not done.
	abandoned *pendingRecord
}

// A pendingRecord is a record and its published bytes.
type pendingRecord struct {
	Record

	data []byte
}

// New returns a trail. component says which part of jetpost writes on it, for what
// jetpost does on its own account: admin, sender. js is on a connection with the
// permissions of stream.RoleControl, or of RoleSender if it is for writing only.
func New(js jetstream.JetStream, layout stream.Layout, component string, log *zap.Logger) *Trail {
	return &Trail{js: js, layout: layout, component: component, log: log.Named("audit"), writing: make(chan struct{}, 1)}
}

// Report makes the trail report to h whether it stores what it is given.
func (t *Trail) Report(h *stream.Health) *Trail {
	t.health = h
	return t
}

// Reserve has the trail use room that is kept for it when the store is full.
func (t *Trail) Reserve(r *stream.Reserve) *Trail {
	t.reserve = r
	return t
}

// Around records what change is about to do, and lets it. When it cannot be recorded,
// change is not called and the error wraps ErrNotRecorded. An error of change is
// recorded as well, and returned as it is.
//
// Actor, ActorName, Role, Address and RequestID are those of the principal of ctx.
func (t *Trail) Around(ctx context.Context, r Record, change func() error) error {
	stored, err := t.Append(ctx, r)
	if err != nil {
		return fmt.Errorf("%s %s: %w", r.Action, r.Target, err)
	}
	if err := change(); err != nil {
		t.failed(ctx, &stored, err)
		return err
	}
	return nil
}

// failed records that what r has announced has failed. For that there is time even if
// the request has none left.
func (t *Trail) failed(ctx context.Context, r *Record, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if _, err := t.Append(ctx, r.failure(cause.Error())); err != nil {
		t.log.Error("audit trail does not say that this has failed", zap.Uint64("seq", r.Sequence),
			zap.String("action", r.Action), zap.String("target", r.Target), zap.NamedError("cause", cause), zap.Error(err))
	}
}

// failure is the record that r has failed.
func (r *Record) failure(why string) Record {
	f := *r
	f.Reason, f.Changed, f.Before, f.After = "", nil, nil, nil
	f.Failed, f.Of = why, r.Sequence
	return f
}

// Append stores a record at the end of the trail and returns it as it is stored. It
// sets Sequence, At and Previous and, unless there is an Actor, who it is from the
// principal of ctx. An error means that the record is not there, or that a record
// behind it says that nothing was done; it wraps ErrNotRecorded.
func (t *Trail) Append(ctx context.Context, r Record) (Record, error) {
	if !actionPattern.MatchString(r.Action) || r.Target == "" {
		return Record{}, fmt.Errorf("%w: %q of %q is not an action of something", ErrNotRecorded, r.Action, r.Target)
	}
	t.sign(ctx, &r)
	r.fit()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case t.writing <- struct{}{}:
		defer func() { <-t.writing }()
	case <-ctx.Done():
		return Record{}, fmt.Errorf("%w: wait for other records: %w", ErrNotRecorded, ctx.Err())
	}
	stored, err := t.write(ctx, r)
	if err != nil {
		t.health.Failed(t.layout.Audit(), err)
		return Record{}, fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	t.health.Stored(t.layout.Audit())
	return stored, nil
}

// sign writes who it is into r.
func (t *Trail) sign(ctx context.Context, r *Record) {
	if r.Actor != "" {
		return
	}
	p := access.PrincipalOf(ctx)
	r.Actor, r.ActorName, r.Role, r.Address, r.RequestID = p.ID, p.Name, string(p.Role), p.Address, p.RequestID
	if r.Actor == "" {
		r.Actor, r.ActorName = Itself, t.component
	}
}

// write is Append for the goroutine that holds writing. The record is stored only where the trail ends
// as t knows it, since it is published on that condition:
//
//	know the end ─► publish behind it ─► stored
//	     ▲               ├─ another writer was faster: a new end ─────────┐
//	     └───────────────┼────────────────────────────────────────────────┘
//	                     └─ no answer: look what is stored there; the same bytes again
func (t *Trail) write(ctx context.Context, r Record) (Record, error) {
	pauses := newPauses()
	for {
		if err := t.findEnd(ctx); err != nil {
			if fault := stream.FaultOf(err); fault != stream.FaultSilent && fault != stream.FaultLeaderless || wait(ctx, pauses.NextBackOff()) != nil {
				return Record{}, err
			}
			continue // an election is over in a moment
		}
		r.Sequence, r.Previous = t.end.Sequence+1, t.end.Hash
		r.At = time.Now().UTC().Truncate(time.Microsecond)
		data, err := r.Encode()
		if err != nil {
			return Record{}, err
		}
		stored, err := t.store(ctx, &pendingRecord{r, data})
		if err != nil {
			return Record{}, err
		}
		if stored {
			return r, nil
		}
		if err := wait(ctx, pauses.NextBackOff()); err != nil {
			return Record{}, err
		}
	}
}

// findEnd reads where the trail ends, unless it is known.
func (t *Trail) findEnd(ctx context.Context) error {
	if t.known {
		return nil
	}
	end, err := t.readEnd(ctx)
	if err != nil {
		return err
	}
	t.end, t.known = end, true
	lost := t.abandoned
	if lost == nil || end.Sequence < lost.Sequence { // there is room for it still
		return nil
	}
	t.abandoned = nil
	there, err := t.isStored(ctx, lost, end)
	if err == nil && there {
		_, err = t.write(ctx, lost.failure("it was not known in time that this record is stored, so nothing was done"))
	}
	if err != nil {
		t.abandoned, t.known = lost, false
	}
	return err
}

func (t *Trail) readEnd(ctx context.Context) (Head, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return t.Head(ctx)
}

// isStored reports whether the record at the place of l is l. The trail does not end
// before it.
func (t *Trail) isStored(ctx context.Context, l *pendingRecord, end Head) (bool, error) {
	if end.Sequence == l.Sequence {
		return end.Hash == Hash(l.data), nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	at, err := stream.GetFromLeader(ctx, t.js, t.layout.Audit(), l.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil // erased: unknown for good
	}
	if err != nil {
		return false, err
	}
	return bytes.Equal(at.Data, l.data), nil
}

// store publishes l until it is known whether it has its place (true) or another
// record has it (false). An error means that it does not, or that it is unknown.
func (t *Trail) store(ctx context.Context, l *pendingRecord) (bool, error) {
	pauses := newPauses()
	for {
		err := t.publish(ctx, l)
		if err == nil {
			t.settled(l)
			return true, nil
		}
		stored, decided, lookErr := t.lookFor(ctx, l)
		if decided {
			if stored {
				t.settled(l)
			}
			return stored, nil
		}
		refused := isRefusal(err) || errors.Is(lookErr, jetstream.ErrStreamNotFound)
		if ctx.Err() != nil || refused || stream.FaultOf(err) == stream.FaultDisconnected {
			t.known = false
			if !refused && l.Of == 0 {
				t.abandoned = l
			}
			return false, errors.Join(err, lookErr)
		}
		// The same bytes once more: one that is still on its way takes the place first,
		// and is found there.
		if err := wait(ctx, pauses.NextBackOff()); err != nil {
			t.known = false
			if l.Of == 0 {
				t.abandoned = l
			}
			return false, err
		}
	}
}

// isRefusal reports whether the server has said that it does not store the record.
func isRefusal(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && !stream.IsWrongSequence(api) && stream.FaultOf(api) != stream.FaultLeaderless && stream.FaultOf(api) != stream.FaultSilent
}

// settled takes note that l is where the trail ends.
func (t *Trail) settled(l *pendingRecord) {
	t.end, t.known = Head{Sequence: l.Sequence, Hash: Hash(l.data), At: l.At}, true
	if t.abandoned != nil && t.abandoned.Sequence <= l.Sequence {
		t.abandoned = nil // its place is taken
	}
}

func (t *Trail) publish(ctx context.Context, l *pendingRecord) error {
	return t.reserve.Do(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		_, err := t.js.PublishMsg(ctx, &nats.Msg{Subject: t.layout.AuditSubject(l.Action), Data: l.data},
			jetstream.WithExpectStream(t.layout.Audit()), jetstream.WithExpectLastSequence(l.Sequence-1), jetstream.WithRetryAttempts(0))
		return err
	})
}

// lookFor finds out whether l is stored, by what is stored. It is not decided while
// the trail ends right before l, for l may be on its way.
func (t *Trail) lookFor(ctx context.Context, l *pendingRecord) (stored, decided bool, err error) {
	if ctx.Err() != nil { // to know is worth a moment
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
		defer cancel()
		ctx = last
	}
	end, err := t.readEnd(ctx)
	if err != nil {
		return false, false, err
	}
	if end.Sequence == l.Sequence-1 && end.Hash == l.Previous {
		return false, false, nil
	}
	if end.Sequence >= l.Sequence {
		if stored, err = t.isStored(ctx, l, end); err != nil {
			return false, false, err
		}
	}
	t.end, t.known = end, true
	return stored, true, nil
}

// newPauses are the times between two tries, with jitter.
func newPauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: firstPause, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: longPause}
}

func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
