package sender

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/sender/clock"
)

// noteFailing says that a delivery is failing, after the attempt at which that is to be
// said. The number of an attempt may turn out to be higher than expected, after a
// crash: whoever goes past that attempt says so, and the event log keeps it once.
func (l *lane) noteFailing(u *underway, a *delivery.Attempt) {
	at := operational.FailingAt(u.e.Subscription)
	if !u.brokenOff && u.d.Scheduled(u.d.Attempt) <= at && at <= u.d.Scheduled(a.Attempt) {
		l.cfg.Events.Publish(operational.Failing(u.e.Subscription, u.d, a))
	}
}

// noteClosed says that a breaker has closed, where it has.
func (l *lane) noteClosed(sub *subscription.Subscription, was, r *breaker.Record) {
	if r.State == breaker.Closed {
		l.cfg.Events.Publish(operational.Closed(sub, was, r, operational.Itself))
	}
}

const (
	// lookTimeout bounds one look at a queue.
	lookTimeout = 5 * time.Second
	// sameEpisode is for how long all who notice an episode publish the event, so that
	// it is published although the first of them dies. The event log keeps one.
	sameEpisode = stream.Dedupe / 2
)

// backlogs are the lanes whose queues are watched.
type backlogs struct {
	mu    sync.Mutex
	lanes map[*lane]struct{}
}

func newBacklogs() *backlogs { return &backlogs{lanes: make(map[*lane]struct{})} }

// add has the queue of l watched until ctx ends: longer than l takes deliveries, which
// it does not while there is no consent.
func (b *backlogs) add(ctx context.Context, l *lane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lanes[l] = struct{}{}
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.lanes, l)
	})
}

// all are the lanes, in any order.
func (b *backlogs) all() []*lane {
	b.mu.Lock()
	defer b.mu.Unlock()
	lanes := make([]*lane, 0, len(b.lanes))
	for l := range b.lanes {
		lanes = append(lanes, l)
	}
	return lanes
}

// A backlog is what a lane knows of what waits in its queue. All but used and
// waits is for watchBacklogs only.
type backlog struct {
	used    atomic.Bool   // deliveries have come since it was looked at
	waits   atomic.Bool   // some waited when it was last looked at
	age     time.Duration // of the oldest that waits, as of the last look
	lagging uint64        // revision of the record of the episode; 0: it does not lag
}

// watchBacklogs looks at queues now and then until ctx ends: at those from which
// deliveries have come, in which some have waited, or whose deliveries are held back.
// Nobody asks about the others.
func (s *Sender) watchBacklogs(ctx context.Context) {
	failed := false
	for {
		every := s.cfg.LookEvery
		if !clock.Pause(ctx, every*2/3+rand.N(every*2/3+1)) { //nolint:gosec // jitter
			return
		}
		var oldest time.Duration
		var err error
		for _, l := range s.backlogs.all() {
			if err == nil { // or the next round
				err = l.watchBacklog(ctx)
			}
			oldest = max(oldest, l.backlog.age)
		}
		s.metrics.oldest.Set(oldest.Seconds())
		if err != nil && !failed && ctx.Err() == nil {
			s.log.Warn("cannot find out how long deliveries have waited, will keep trying", zap.Error(err))
		}
		failed = err != nil
	}
}

// watchBacklog looks at the queue, if there is a reason to.
func (l *lane) watchBacklog(ctx context.Context) error {
	b := &l.backlog
	if !b.used.Swap(false) && b.age == 0 && b.lagging == 0 && !l.terms.blocked && l.admits() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	queue, err := l.js.Stream(ctx, l.terms.queue.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) { // it is being deleted
		b.age = 0
		b.waits.Store(false)
		return nil
	}
	if err != nil {
		b.used.Store(true)
		return fmt.Errorf("look at stream %s: %w", l.terms.queue.Stream, err)
	}
	info := queue.CachedInfo()
	b.age = 0
	if info.State.Msgs > 0 {
		b.age = max(info.TimeStamp.Sub(info.State.FirstTime), 1) // both by the server's clock
	}
	b.waits.Store(b.age > 0)
	return l.judgeBacklog(ctx, info)
}

// judgeBacklog begins and ends episodes of lagging, which are records in the bucket
// state so that all senders agree on them, and those to come know of them.
func (l *lane) judgeBacklog(ctx context.Context, info *jetstream.StreamInfo) error {
	b, limit := &l.backlog, l.cfg.LaggingAfter
	sub, ok := l.view.Snapshot().Get(l.id)
	if limit < 0 || l.cfg.Events == nil || !ok || operational.Observes(sub) {
		return nil
	}
	switch {
	case b.lagging == 0 && b.age > limit:
		episode, name, isNew, err := l.beginLagging(ctx, info)
		if err != nil {
			return fmt.Errorf("note that subscription %s lags: %w", l.id, err)
		}
		b.lagging = episode
		if isNew {
			l.log.Warn("deliveries wait for too long", zap.String("subscription_id", l.id), zap.Duration("age", b.age), zap.Uint64("waiting", info.State.Msgs))
			l.cfg.Events.Publish(operational.Lagging(sub, operational.Backlog{
				Episode: name, Waiting: info.State.Msgs, Oldest: info.State.FirstTime, Age: b.age, Limit: limit, Breaker: l.breakerState(),
			}))
		}
	case b.lagging != 0 && b.age < limit/2:
		if err := l.endLagging(ctx); err != nil {
			return fmt.Errorf("note that subscription %s does not lag any more: %w", l.id, err)
		}
		b.lagging = 0
		l.log.Info("deliveries do not wait for long any more", zap.String("subscription_id", l.id))
	}
	return nil
}

// beginLagging returns the revision of the episode's record, a name of the episode that
// is the same for all senders, and whether the episode is new. A record that was there before the oldest delivery that waits is taken for
// one of another episode, whose end nobody has seen.
func (l *lane) beginLagging(ctx context.Context, info *jetstream.StreamInfo) (episode uint64, name string, isNew bool, err error) {
	kv, err := l.state.Open(ctx)
	if err != nil {
		return 0, "", false, err
	}
	key, value := stream.StateLagging(l.id), []byte(info.State.FirstTime.UTC().Format(time.RFC3339Nano))
	episode, err = kv.Create(ctx, key, value)
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return episode, episodeName(episode, value), err == nil, err
	}
	e, err := kv.Get(ctx, key)
	if err != nil {
		return 0, "", false, err
	}
	if info.State.FirstTime.After(e.Created()) {
		episode, err = kv.Update(ctx, key, value, e.Revision())
		return episode, episodeName(episode, value), err == nil, err
	}
	return e.Revision(), episodeName(e.Revision(), e.Value()), info.TimeStamp.Sub(e.Created()) < sameEpisode, nil
}

// episodeName has the value of the record in it: a bucket that has lost changes in a
// crash uses revisions again.
func episodeName(revision uint64, value []byte) string {
	return strconv.FormatUint(revision, 10) + "@" + string(value)
}

// endLagging deletes the record, unless somebody has by now.
func (l *lane) endLagging(ctx context.Context) error {
	kv, err := l.state.Open(ctx)
	if err != nil {
		return err
	}
	err = kv.Delete(ctx, stream.StateLagging(l.id), jetstream.LastRevision(l.backlog.lagging))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || isWrongSequence(err) {
		return nil
	}
	return err
}

// isWrongSequence reports a condition that does not hold any more.
func isWrongSequence(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// breakerState is where the breaker stands, in the words of the API.
func (l *lane) breakerState() string {
	r, _, _ := l.breaker.get()
	switch {
	case l.terms.breaker.Mode != subscription.BreakerOn:
		return subscription.BreakerOff
	case l.closed(&r):
		return string(breaker.Closed)
	}
	return string(r.State)
}
