package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
)

// A Live has the tokens as they are now, on every process with an API. While the
// bucket cannot be read, the last ones stay. Use NewLive.
//
// An id that is not known may be one that another process has made a moment ago, so
// the bucket's leader is asked. Wrong tokens cannot make much of that: ids are
// random and never made again, so one that was not there once, or is not there any
// more, is remembered; and all others together are looked up a few times a second.
type Live struct {
	js       jetstream.JetStream
	layout   stream.Layout
	follower *follow.Follower
	log      *zap.Logger

	known   atomic.Pointer[map[string]*known]
	lookups *rate.Limiter
	used    chan *known

	mu      sync.Mutex
	missing map[string]struct{} // ids that are not there, and never will be
	changed chan struct{}       // closed when there are newer tokens
}

// A known token, and what this process remembers of its use.
type known struct {
	Token

	stored time.Time // its record: a bucket that has lost changes uses revisions again

	limit  atomic.Pointer[rate.Limiter]
	usedAt atomic.Int64 // when its use was last noted, in Unix seconds
}

const (
	lookupRate    = 10 // unknown ids per second that the bucket's leader is asked for
	lookupBurst   = 50
	lookupTimeout = 2 * time.Second
	maxMissing    = 10_000
	usedEvery     = time.Minute // the use of one token is noted no more often
	usedTimeout   = 5 * time.Second
)

// Reasons why it is not known whether there is such a token.
var (
	errManyLookups = errors.New("too many unknown tokens are looked up")
	errLookup      = errors.New("tokens cannot be looked up")
)

// NewLive makes a Live, which knows no tokens until Run has read the bucket. The
// connection of js needs the permissions of stream.RoleView.
func NewLive(js jetstream.JetStream, layout stream.Layout, log *zap.Logger) *Live {
	l := &Live{
		js: js, layout: layout, log: log.Named("access"),
		lookups: rate.NewLimiter(lookupRate, lookupBurst), used: make(chan *known, 256),
		missing: map[string]struct{}{}, changed: make(chan struct{}),
	}
	l.known.Store(&map[string]*known{})
	l.follower = follow.New(follow.Config{Bucket: layout.TokensBucket(), Apply: l.apply}, js, l.log)
	return l
}

// Run keeps the tokens up to date, and writes down their use, until ctx ends. It
// returns an error only when the connection was closed for good. It can be called
// once.
func (l *Live) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.follower.Run(ctx) })
	g.Go(func() error { l.noteUses(ctx); return nil })
	return g.Wait()
}

// Sync returns when every change is known here that was acknowledged before the call.
// While NATS does not answer it waits, until ctx ends or Run does.
func (l *Live) Sync(ctx context.Context) error { return l.follower.Sync(ctx) }

// apply takes over what is in the bucket.
func (l *Live) apply(entries map[string]follow.Entry, _ uint64) {
	before := *l.known.Load()
	next := make(map[string]*known, len(entries))
	for id, e := range entries {
		old := before[id]
		if old != nil && old.revision == e.Revision && old.stored.Equal(e.Stored) {
			next[id] = old
			continue
		}
		t, err := decode(id, e)
		if err != nil {
			l.log.Error("token cannot be used", zap.Uint64("revision", e.Revision), zap.Error(err))
			continue
		}
		k := &known{Token: *t, stored: e.Stored}
		if old != nil && old.Rate == t.Rate { // a new name is no new budget
			k.limit.Store(old.limit.Load())
			k.usedAt.Store(old.usedAt.Load())
		}
		next[id] = k
	}
	l.known.Store(&next)
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range before {
		if next[id] == nil {
			l.forget(id)
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// forget remembers that an id is not there. The caller holds the lock.
func (l *Live) forget(id string) {
	if len(l.missing) >= maxMissing { // it costs a few lookups
		clear(l.missing)
	}
	l.missing[id] = struct{}{}
}

// find returns the token of that id; nil when there is none. It asks the bucket's
// leader for an unknown id: errManyLookups, errLookup.
func (l *Live) find(ctx context.Context, id string) (*known, error) {
	if k := l.current(id); k != nil {
		return k, nil
	}
	l.mu.Lock()
	_, missing := l.missing[id]
	l.mu.Unlock()
	if missing {
		return l.current(id), nil
	}
	if !l.lookups.Allow() {
		return nil, errManyLookups
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if err := l.follower.Sync(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errLookup, err)
	}
	k := l.current(id)
	if k == nil {
		l.mu.Lock()
		l.forget(id)
		l.mu.Unlock()
	}
	return k, nil
}

func (l *Live) current(id string) *known { return (*l.known.Load())[id] }

// sync returns all tokens, with every change that was acknowledged before the call.
func (l *Live) sync(ctx context.Context) (map[string]*known, error) {
	if err := l.follower.Sync(ctx); err != nil {
		return nil, err
	}
	return *l.known.Load(), nil
}

func (l *Live) changes() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// limiter is what bounds the requests of the token in this process: its own rate or
// usual, that of all tokens. nil: nothing does.
func (k *known) limiter(usual float64) *rate.Limiter {
	perSecond := k.Rate
	if perSecond == 0 {
		perSecond = usual
	}
	if perSecond == 0 {
		return nil
	}
	if l := k.limit.Load(); l != nil {
		return l
	}
	k.limit.CompareAndSwap(nil, newLimiter(perSecond))
	return k.limit.Load()
}

// newLimiter allows as many requests at once as arrive in two seconds.
func newLimiter(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(2*perSecond)))
}

// note has the use of a token written down, in its own time: who waits for an
// answer does not wait for that.
func (l *Live) note(k *known, now time.Time) {
	last := k.usedAt.Load()
	if now.Unix()-last < int64(usedEvery/time.Second) || !k.usedAt.CompareAndSwap(last, now.Unix()) {
		return
	}
	select {
	case l.used <- k:
	default: // NATS is away, or slow: the next use may be noted
		k.usedAt.Store(last)
	}
}

func (l *Live) noteUses(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-l.used:
			limited, cancel := context.WithTimeout(ctx, usedTimeout)
			_, err := l.js.Publish(limited, l.layout.StateUsedSubject(k.ID), []byte(time.Unix(k.usedAt.Load(), 0).UTC().Format(time.RFC3339)))
			cancel()
			if err != nil && ctx.Err() == nil {
				l.log.Debug("could not note that a token was used", zap.String("actor", k.ID), zap.Error(err))
			}
		}
	}
}
