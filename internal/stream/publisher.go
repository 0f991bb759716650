package stream

import (
	"cmp"
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// PublisherConfig says how patient a Publisher is. The zero value is usable.
type PublisherConfig struct {
	// Stall is how long publishing waits for room while too many messages are not
	// answered. Default: 5s.
	Stall time.Duration
	// LibraryRetries is how often the client library itself publishes again when no stream
	// has answered. Default: 0, never, because Wait does.
	LibraryRetries int
	// Patience is how long an answer is waited for before a message is published again,
	// doubling with each try up to LongPatience. Default 0: until the client library gives
	// up.
	Patience, LongPatience time.Duration
	// Pause is between two tries, from one to the next, doubling up to LongPause: see
	// Pauses. Default: 100ms and 10s.
	Pause, LongPause time.Duration
	// Retry reports whether an error may go away by itself. Default: every one may.
	Retry func(error) bool
	// Reserve is room that is used when the store is full. Nil: none.
	Reserve *Reserve
	// Health receives whether the stream stores what it is given, each time. Optional.
	Health *Health
}

func (c PublisherConfig) withDefaults() PublisherConfig {
	c.Stall = cmp.Or(c.Stall, 5*time.Second)
	c.Pause = cmp.Or(c.Pause, 100*time.Millisecond)
	c.LongPause = cmp.Or(c.LongPause, 10*time.Second)
	c.LongPatience = max(c.LongPatience, c.Patience)
	if c.Retry == nil {
		c.Retry = func(error) bool { return true }
	}
	return c
}

// A Publisher publishes messages at least once: without waiting for the answer to each,
// and again under the same message id as long as it is not known that a message is stored.
//
//	Send ─► Publication ─► Wait ─┬─► stored
//	             ▲               ├─► refused, or out of time
//	             └─ Again ◄──────┘ no answer, or an error that may go away
//
// The stream recognises what it has stored by the message id, within its window of
// deduplication; behind that a repeat is stored twice. It is safe for concurrent use.
type Publisher struct {
	cfg     PublisherConfig
	js      jetstream.JetStream
	options []jetstream.PublishOpt
}

// NewPublisher makes a Publisher.
func NewPublisher(cfg PublisherConfig, js jetstream.JetStream) *Publisher {
	cfg = cfg.withDefaults()
	return &Publisher{cfg: cfg, js: js, options: []jetstream.PublishOpt{
		jetstream.WithStallWait(cfg.Stall), jetstream.WithRetryAttempts(cfg.LibraryRetries),
	}}
}

// A Publication is a message that was published and may not be answered yet. It is for
// one goroutine at a time.
type Publication struct {
	publisher *Publisher
	msg       *nats.Msg
	future    jetstream.PubAckFuture
	earlier   jetstream.PubAckFuture      // of a try that was not answered in time, or nil
	sent      time.Time                   // the last try
	failed    error                       // what the last try has ended with: it has no other answer
	last      error                       // why the last try that is over has not succeeded, or nil
	pauses    *backoff.ExponentialBackOff // made when it is first needed
}

// Send publishes m, which has a message id, and does not wait for the answer. It blocks
// while too many messages are not answered. The result is in Wait or Answer.
func (p *Publisher) Send(m *nats.Msg) Publication {
	u := Publication{publisher: p, msg: m}
	u.publish()
	return u
}

func (u *Publication) publish() {
	u.future, u.failed = u.publisher.js.PublishMsgAsync(u.msg, u.publisher.options...)
	u.sent = time.Now()
}

// Again publishes the message again. An answer to the try before still counts.
func (u *Publication) Again() {
	if u.failed == nil {
		u.earlier = u.future
	}
	u.publish()
}

// Submit publishes again until the client library has taken the message, ctx ends, or the
// error is one that does not go away.
func (u *Publication) Submit(ctx context.Context) error {
	for ; u.failed != nil; u.publish() {
		if !u.publisher.cfg.Retry(u.failed) || !sleepUntil(ctx, u.next()) {
			return u.failed
		}
	}
	return nil
}

// Last is why the last try that is over has not succeeded; nil when it is the first, or
// has.
func (u *Publication) Last() error { return u.last }

// Answer waits for the answer to the last try until done is closed, and then returns
// ErrNoAnswer. An answer that is there counts even if done is closed.
func (u *Publication) Answer(done <-chan struct{}) (*jetstream.PubAck, error) {
	return u.answer(done, nil)
}

func (u *Publication) answer(done <-chan struct{}, late <-chan time.Time) (*jetstream.PubAck, error) {
	if u.failed != nil {
		return nil, u.failed
	}
	select {
	case ack := <-u.future.Ok():
		return ack, nil
	default: // what is stored must not lose against a time that is up
	}
	var earlier <-chan *jetstream.PubAck
	if u.earlier != nil {
		// It does not call the message a duplicate of itself.
		earlier = u.earlier.Ok()
	}
	select {
	case ack := <-u.future.Ok():
		return ack, nil
	case ack := <-earlier:
		return ack, nil
	case u.failed = <-u.future.Err():
		return nil, u.failed
	case <-late:
	case <-done:
	}
	select {
	case u.failed = <-u.future.Err(): // neither must a refusal
		return nil, u.failed
	default:
		return nil, ErrNoAnswer
	}
}

// answerWithin waits for the answer to the last try for some time; 0: without a limit.
func (u *Publication) answerWithin(ctx context.Context, patience time.Duration) (*jetstream.PubAck, error) {
	if patience == 0 {
		return u.answer(ctx.Done(), nil)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	return u.answer(ctx.Done(), timer.C)
}

// Wait returns the answer of the server. As long as there is none, or an error that may go
// away, it publishes the message again: until ctx ends, with the error of ctx, or until a
// time, after which it is not published any more, with the error of the last try. The zero
// time is no limit. It may be called again.
func (u *Publication) Wait(ctx context.Context, until time.Time) (*jetstream.PubAck, error) {
	cfg := &u.publisher.cfg
	patience := cfg.Patience
	for ; ; patience = min(2*patience, cfg.LongPatience) {
		ack, err := u.answerWithin(ctx, patience)
		if cfg.Reserve != nil && FaultOf(err) == FaultStorage {
			err = cfg.Reserve.Settle(ctx, func() error {
				u.Again()
				ack, err = u.answerWithin(ctx, patience)
				return err
			})
		}
		if err == nil {
			cfg.Health.Stored(ack.Stream)
			return ack, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := u.Retry(ctx, until, err); err != nil {
			return nil, err
		}
	}
}

// Retry publishes the message again after a pause, because of cause. It returns cause when
// that does not go away or the time is up, and the error of ctx when ctx ends first.
func (u *Publication) Retry(ctx context.Context, until time.Time, cause error) error {
	cfg := &u.publisher.cfg
	u.last = cause
	cfg.Health.Failed(u.msg.Header.Get(HeaderExpectedStream), cause)
	next := u.next()
	if !cfg.Retry(cause) || !until.IsZero() && (next.After(until) || time.Now().After(until)) {
		return cause
	}
	if !sleepUntil(ctx, next) {
		return ctx.Err()
	}
	u.Again()
	return nil
}

// next is when the message may be published again: paused since it was sent, not from now
// on, so that of a thousand that were lost together those that are waited for last have
// been paused enough.
func (u *Publication) next() time.Time {
	if u.pauses == nil {
		u.pauses = Pauses(u.publisher.cfg.Pause, u.publisher.cfg.LongPause)
	}
	return u.sent.Add(u.pauses.NextBackOff())
}

// sleepUntil returns false when ctx ends first.
func sleepUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
