// Package backlog watches what waits in the queues of a sender: how long the oldest delivery
// has waited, and whether a consumer has stopped handing messages out again.
package backlog

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
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
)

const (
	// lookTimeout bounds one look at a queue.
	lookTimeout = 5 * time.Second
	// sameEpisode is for how long all senders that notice an episode publish the event, so
	// that it is published although the first of them dies. The event log keeps one.
	sameEpisode = stream.Dedupe / 2
)

// Config of a Watcher.
type Config struct {
	// LookEvery is how often queues in which deliveries wait are looked at, give or take a
	// third. Required.
	LookEvery time.Duration
	// LaggingAfter is how long the oldest delivery of a queue may wait before an event is
	// published. Negative: none is.
	LaggingAfter time.Duration
	// Events is where operational events are published. Default: nowhere.
	Events *operational.Publisher
	// Oldest shows how long the oldest delivery has waited, over all queues. Required.
	Oldest prometheus.Gauge
}

// A Watcher watches the queues of the workers of a sender.
type Watcher struct {
	cfg    Config
	js     jetstream.JetStream
	layout stream.Layout
	state  *stream.Bucket
	view   *subscription.View
	log    *zap.Logger

	mu     sync.Mutex
	queues map[*Queue]struct{}
}

// New returns a watcher. state is the bucket on which senders agree about episodes.
func New(cfg Config, js jetstream.JetStream, layout stream.Layout, state *stream.Bucket, view *subscription.View, log *zap.Logger) *Watcher {
	return &Watcher{cfg: cfg, js: js, layout: layout, state: state, view: view, log: log, queues: make(map[*Queue]struct{})}
}

// A Source is the queue of a subscription, as its worker sees it.
type Source struct {
	Queue stream.Queue
	// Held reports whether deliveries are held back now.
	Held func() bool
	// BreakerState is the state of the breaker, in the words of the API.
	BreakerState func() string
}

// A Queue is what is known of the backlog of one queue. All but Used and waits is for Run
// only.
type Queue struct {
	// Used is to be set when deliveries were handed out.
	Used atomic.Bool

	id      string
	source  Source
	waits   atomic.Bool   // some waited at the last look
	age     time.Duration // of the oldest that waits, as of the last look
	lagging uint64        // revision of the record of the episode; 0: it does not lag
}

// Add watches a queue until ctx ends.
func (w *Watcher) Add(ctx context.Context, id string, source Source) *Queue {
	q := &Queue{id: id, source: source}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queues[q] = struct{}{}
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.queues, q)
	})
	return q
}

// all are the queues, in any order.
func (w *Watcher) all() []*Queue {
	w.mu.Lock()
	defer w.mu.Unlock()
	queues := make([]*Queue, 0, len(w.queues))
	for q := range w.queues {
		queues = append(queues, q)
	}
	return queues
}

// Run looks at queues now and then until ctx ends: at those that were used, in which
// deliveries waited, or whose deliveries are held back. The others cost nothing.
func (w *Watcher) Run(ctx context.Context) {
	var pending sync.WaitGroup
	defer pending.Wait()
	pending.Go(func() { w.watchPending(ctx) })
	failed := false
	for {
		every := w.cfg.LookEvery
		if !clock.Pause(ctx, every*2/3+rand.N(every*2/3+1)) { //nolint:gosec // jitter
			return
		}
		var oldest time.Duration
		var err error
		for _, q := range w.all() {
			if err == nil { // or the next round
				err = w.look(ctx, q)
			}
			oldest = max(oldest, q.age)
		}
		w.cfg.Oldest.Set(oldest.Seconds())
		if err != nil && !failed && ctx.Err() == nil {
			w.log.Warn("failed to read how long deliveries have waited, will retry", zap.Error(err))
		}
		failed = err != nil
	}
}

// look looks at a queue, if there is a reason to.
func (w *Watcher) look(ctx context.Context, q *Queue) error {
	if !q.Used.Swap(false) && q.age == 0 && q.lagging == 0 && !q.source.Held() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	queue, err := w.js.Stream(ctx, q.source.Queue.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) { // it is being deleted
		q.age = 0
		q.waits.Store(false)
		return nil
	}
	if err != nil {
		q.Used.Store(true)
		return fmt.Errorf("look at stream %s: %w", q.source.Queue.Stream, err)
	}
	info := queue.CachedInfo()
	q.age = 0
	if info.State.Msgs > 0 {
		q.age = max(info.TimeStamp.Sub(info.State.FirstTime), 1) // both by the server's clock
	}
	q.waits.Store(q.age > 0)
	return w.judge(ctx, q, info)
}

// IsEmpty reports whether a queue is certainly empty. Deliveries under way, or handed back
// with a delay, are in it; timers are not: they may wait for hours.
func (w *Watcher) IsEmpty(ctx context.Context, queue stream.Queue) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := w.js.Stream(ctx, queue.Stream)
	return err == nil && found.CachedInfo().State.Msgs == 0
}

// judge begins and ends episodes of lagging, which are records in the bucket state so that
// all senders agree on them, also those that start later.
func (w *Watcher) judge(ctx context.Context, q *Queue, info *jetstream.StreamInfo) error {
	limit := w.cfg.LaggingAfter
	sub, ok := w.view.Snapshot().Get(q.id)
	if limit < 0 || w.cfg.Events == nil || !ok || operational.Observes(sub) {
		return nil
	}
	switch {
	case q.lagging == 0 && q.age > limit:
		episode, name, isNew, err := w.beginLagging(ctx, q.id, info)
		if err != nil {
			return fmt.Errorf("record that subscription %s lags: %w", q.id, err)
		}
		q.lagging = episode
		if isNew {
			w.log.Warn("deliveries wait too long", zap.String("subscription_id", q.id), zap.Duration("age", q.age), zap.Uint64("waiting", info.State.Msgs))
			w.cfg.Events.Publish(operational.Lagging(sub, operational.Backlog{
				Episode: name, Waiting: info.State.Msgs, Oldest: info.State.FirstTime, Age: q.age, Limit: limit, Breaker: q.source.BreakerState(),
			}))
		}
	case q.lagging != 0 && q.age < limit/2:
		if err := w.endLagging(ctx, q); err != nil {
			return fmt.Errorf("record that subscription %s no longer lags: %w", q.id, err)
		}
		q.lagging = 0
		w.log.Info("deliveries no longer wait too long", zap.String("subscription_id", q.id))
	}
	return nil
}

// beginLagging returns the revision of the episode's record, a name of the episode that is
// the same for all senders, and whether the episode is new. A record older than the oldest
// delivery that waits belongs to an earlier episode, whose end no sender has recorded.
func (w *Watcher) beginLagging(ctx context.Context, id string, info *jetstream.StreamInfo) (episode uint64, name string, isNew bool, err error) {
	kv, err := w.state.Open(ctx)
	if err != nil {
		return 0, "", false, err
	}
	key, value := stream.StateLagging(id), []byte(info.State.FirstTime.UTC().Format(time.RFC3339Nano))
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

// episodeName contains the value of the record: a bucket that has lost changes in a crash
// uses revisions again.
func episodeName(revision uint64, value []byte) string {
	return strconv.FormatUint(revision, 10) + "@" + string(value)
}

// endLagging deletes the record, unless another sender has deleted it.
func (w *Watcher) endLagging(ctx context.Context, q *Queue) error {
	kv, err := w.state.Open(ctx)
	if err != nil {
		return err
	}
	err = kv.Delete(ctx, stream.StateLagging(q.id), jetstream.LastRevision(q.lagging))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || isWrongSequence(err) {
		return nil
	}
	return err
}

// isWrongSequence reports a condition that no longer holds.
func isWrongSequence(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
