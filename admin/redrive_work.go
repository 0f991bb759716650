package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	// redriveJobs is how many jobs one process works on at a time.
	redriveJobs = 4
	// redriveProgress is how often the progress of a job is written at most.
	redriveProgress = time.Second
	// redriveTimeout bounds one redrive.
	redriveTimeout = 10 * time.Second
	// redrivePatience is how long a job waits for room on a queue.
	redrivePatience = time.Minute
	// redriveTries is how often a redrive that fails for another reason is tried,
	// some seconds in all.
	redriveTries = 8
)

// Run works on redrive jobs until ctx ends, and then hands them over. It also looks
// after the queues and consumers, see sweepQueues and positions. It is for one goroutine.
//
// A job belongs to the process that has written its name into it last. While it
// works, it writes the job every second, each time over the revision that it knows.
// A job that was not written for Config.RedriveLease, by the clock of the one who
// looks, is taken over in the same way: of all who try one succeeds, and who held it
// before cannot write any more, and stops.
func (a *Admin) Run(ctx context.Context) error {
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { a.sweeper.Run(ctx) })
	working.Go(func() { a.positions.run(ctx) })
	w := &redriveWatch{seen: make(map[string]sighting), active: make(map[string]bool)}
	tick := time.NewTicker(max(a.cfg.RedriveLease/5, 10*time.Millisecond))
	defer tick.Stop()
	for {
		if records, due := a.lookForJobs(ctx, w); due {
			for _, record := range w.orphans(records, a.cfg.RedriveLease) {
				record.Holder = a.redrives.holder
				record.Claims++
				if err := a.redrives.update(ctx, record); err != nil {
					continue // somebody was faster, or it is seen again at the next look
				}
				w.begin(record.ID)
				working.Go(func() {
					defer w.end(record.ID)
					a.workOn(ctx, record)
				})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-a.redrives.woken:
			w.looked = time.Time{}
		}
	}
}

// lookForJobs reads all jobs. Where none is running it does so less often.
func (a *Admin) lookForJobs(ctx context.Context, w *redriveWatch) (records []*redriveRecord, due bool) {
	if !w.running && time.Since(w.looked) < a.cfg.RedriveLease {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	records, err := a.redrives.all(ctx)
	if err == nil {
		err = a.redrives.forget(ctx, records)
	}
	if err != nil {
		if ctx.Err() == nil {
			a.log.Warn("cannot look for redrive jobs, will try again", zap.Error(err))
		}
		return nil, false
	}
	w.looked = time.Now()
	return records, true
}

// redriveWatch is what a process knows of the jobs of all.
type redriveWatch struct {
	looked  time.Time
	running bool
	seen    map[string]sighting

	mu     sync.Mutex
	active map[string]bool // jobs that this process works on
}

// A sighting is since when a job is not written.
type sighting struct {
	revision uint64
	since    time.Time
}

func (w *redriveWatch) begin(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active[id] = true
}

func (w *redriveWatch) end(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.active, id)
}

// orphans are the running jobs that nobody works on, as many as there is room for,
// the oldest first.
func (w *redriveWatch) orphans(newestFirst []*redriveRecord, lease time.Duration) []*redriveRecord {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	seen := make(map[string]sighting)
	var found []*redriveRecord
	for i := range newestFirst {
		record := newestFirst[len(newestFirst)-1-i]
		if record.State != jobRunning {
			continue
		}
		w.running = true
		last, known := w.seen[record.ID]
		if !known || last.revision != record.revision {
			last = sighting{record.revision, time.Now()}
		}
		seen[record.ID] = last
		free := record.Holder == "" || time.Since(last.since) > lease
		if free && !w.active[record.ID] && len(w.active)+len(found) < redriveJobs {
			found = append(found, record)
		}
	}
	w.seen = seen
	return found
}

// redriveWork is the work of this process on one job.
type redriveWork struct {
	*Admin

	selected *delivery.Selection
	cancel   context.CancelFunc // ends the work
	saved    time.Time          // when the job was written last

	subs   *subscription.Snapshot
	synced time.Time
	rooms  map[string]*room

	mu     sync.Mutex
	record *redriveRecord
	lost   bool // it belongs to somebody else, or nobody knows
}

// A room is what is known of a queue.
type room struct {
	looked time.Time
	full   bool
	// hopeless: it was waited for in vain.
	hopeless bool
}

// workOn redrives what is left of a job.
//
//	letters ─► batch ─► each: rate ─► queue ─► delete      progress ─► job
//	                    └──────── one goroutine ──────┘    └─ every second ─┘
func (a *Admin) workOn(ctx context.Context, record *redriveRecord) {
	log := a.log.With(zap.String("job", record.ID))
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &redriveWork{Admin: a, selected: selected(&record.Selection), cancel: cancel, saved: time.Now(), rooms: make(map[string]*room), record: record}
	var beating sync.WaitGroup
	beating.Go(func() { w.beat(work) })
	log.Info("redrive job begun", zap.Int("claim", record.Claims))
	err := w.run(work)
	cancel()
	beating.Wait()
	w.finish(ctx, err)
	log.Info("redrive job left", zap.String("state", record.State), zap.Int("done", record.Done), zap.Int("failed", record.Failed),
		zap.Bool("lost", w.lost), zap.Error(err))
}

// errHopeless ends a job of one subscription that takes no deliveries any more.
var errHopeless = errors.New("the job cannot go on")

// run returns nil when the job is done, errHopeless, or the end of ctx.
func (w *redriveWork) run(ctx context.Context) error {
	limiter := rate.NewLimiter(rate.Limit(w.record.Rate), max(1, int(w.record.Rate/100)))
	for counted := w.record.Claims == 1; ; {
		if !counted && w.recount(ctx) == nil {
			counted = true
		}
		batch, err := w.letterBatch(ctx, w.selected, w.record.Next, w.record.Last)
		if err != nil || !counted {
			if !wait(ctx, time.Second) {
				return ctx.Err()
			}
			continue
		}
		for i := range batch {
			if err := limiter.Wait(ctx); err != nil {
				return err
			}
			err := w.redriveOne(ctx, &batch[i])
			if errors.Is(err, context.Canceled) { // while it was waited for
				return err
			}
			w.count(&batch[i], err)
			if w.selected.Subscription != "" && (errors.Is(err, subscription.ErrNotFound) || errors.Is(err, subscriptions.ErrDisabled) || errors.Is(err, subscriptions.ErrNoQueue)) {
				return fmt.Errorf("%w: %w", errHopeless, err)
			}
		}
		if len(batch) < letterBatch {
			return nil
		}
	}
}

// recount finds out what was done after the job was written last, by one that was
// killed: those letters are gone.
func (w *redriveWork) recount(ctx context.Context) error {
	left := 0
	for _, err := range w.letters.Select(ctx, w.selected, w.record.Next, w.record.Last) {
		if err != nil {
			return err
		}
		left++
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record
	r.Done = max(r.Done, r.Total-r.Failed-r.Gone-left)
	return nil
}

func (w *redriveWork) count(letter *delivery.DeadLetter, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record
	r.Next = letter.Sequence + 1
	switch {
	case err == nil:
		r.Done++
	case errors.Is(err, delivery.ErrNoLetter):
		r.Gone++
	default:
		r.Failed++
		if len(r.Failures) < maxFailures {
			r.Failures = append(r.Failures, v1.RedriveFailure{Sequence: letter.Sequence, Error: shorten(err.Error(), maxFailure)})
		}
	}
}

// shorten cuts a text to n bytes, and not inside a rune.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}

// redriveOne redrives a letter, and waits while its queue has no room or NATS does
// not answer. A queue that was waited for in vain is not waited for again before it
// has room.
func (w *redriveWork) redriveOne(ctx context.Context, letter *delivery.DeadLetter) error {
	patience := time.Now().Add(redrivePatience)
	for try := 1; ; {
		err := w.tryRedrive(ctx, letter.Sequence)
		switch {
		case err == nil, errors.Is(err, delivery.ErrNoLetter), errors.Is(err, subscription.ErrNotFound),
			errors.Is(err, subscriptions.ErrDisabled), errors.Is(err, errUnreadable), errors.Is(err, subscriptions.ErrNoQueue):
			return err
		case errors.Is(err, subscriptions.ErrQueueFull):
			if r := w.room(letter.SubscriptionID); r.hopeless || time.Now().After(patience) {
				r.hopeless = true
				return err
			}
		default:
			if try++; try > redriveTries {
				return err
			}
		}
		if !wait(ctx, min(time.Duration(try)*250*time.Millisecond, time.Second)) {
			return ctx.Err()
		}
	}
}

// tryRedrive is not broken off: a letter that is on its queue should be deleted.
func (w *redriveWork) tryRedrive(ctx context.Context, sequence uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redriveTimeout)
	defer cancel()
	letter, err := w.letters.Get(ctx, sequence)
	if err != nil {
		return err
	}
	if w.subs == nil || time.Since(w.synced) > time.Second {
		if w.subs, err = w.view.Sync(ctx); err != nil {
			return err
		}
		w.synced = time.Now()
	}
	if letter.Delivery == nil {
		return errUnreadable
	}
	sub, ok := w.subs.Get(letter.SubscriptionID)
	if !ok {
		return fmt.Errorf("subscription %s: %w", letter.SubscriptionID, subscription.ErrNotFound)
	}
	if err := w.checkRoom(ctx, sub); err != nil {
		return err
	}
	return w.redrive(ctx, letter, sub)
}

// checkRoom looks, once per second, whether a queue is half full: new events need
// the rest, or would become dead letters themselves.
func (w *redriveWork) checkRoom(ctx context.Context, sub *subscription.Subscription) error {
	r := w.room(sub.ID)
	if time.Since(r.looked) > time.Second {
		s, err := w.js.Stream(ctx, sub.Queue.Stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrNoQueue)
		}
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", sub.Queue.Stream, err)
		}
		info := s.CachedInfo()
		most := info.Config.MaxMsgsPerSubject
		if all := info.Config.MaxMsgs; all > 0 && (most <= 0 || all < most) { // made by an earlier version, or by an operator
			most = all
		}
		if most <= 0 {
			most = stream.MaxQueued
		}
		r.looked, r.full = time.Now(), info.State.Msgs > uint64(most)/2
		r.hopeless = r.hopeless && r.full
	}
	if r.full {
		return fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrQueueFull)
	}
	return nil
}

func (w *redriveWork) room(id string) *room {
	r := w.rooms[id]
	if r == nil {
		r = &room{}
		w.rooms[id] = r
	}
	return r
}

// beat writes the job every second, until ctx ends.
func (w *redriveWork) beat(ctx context.Context) {
	tick := time.NewTicker(min(redriveProgress, w.cfg.RedriveLease/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.save(ctx)
		}
	}
}

// save writes the job, and reports whether it did. When it belongs to somebody else
// by now, was cancelled, or nobody can say, the work is ended.
func (w *redriveWork) save(ctx context.Context) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, max(w.cfg.RedriveLease/3, 50*time.Millisecond))
	defer cancel()
	err := w.redrives.update(ctx, w.record)
	written := err == nil
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		err = w.reload(ctx)
	}
	switch {
	case err == nil:
		w.saved = time.Now()
	case errors.Is(err, errNoJob), time.Since(w.saved) > w.cfg.RedriveLease*2/3:
		w.lost = true
		w.cancel()
	}
	return written
}

// reload finds out why the job has another revision.
func (w *redriveWork) reload(ctx context.Context) error {
	stored, err := w.redrives.get(ctx, w.record.ID)
	if err != nil {
		return err
	}
	switch {
	case stored.Holder != w.redrives.holder || stored.Claims != w.record.Claims:
		w.lost = true
		w.cancel()
	case stored.State != jobRunning:
		w.record.State, w.record.EndedAt = stored.State, stored.EndedAt
		w.cancel()
	}
	w.record.revision = stored.revision // or it was a write of our own whose answer was lost
	return nil
}

// finish writes how the work has ended: done, failed, cancelled meanwhile, or not
// at all, for another process to go on.
func (w *redriveWork) finish(ctx context.Context, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if r := w.record; r.State == jobRunning {
		switch {
		case err == nil:
			r.Gone = max(r.Gone, r.Total-r.Done-r.Failed)
			r.end(jobDone)
		case errors.Is(err, errHopeless):
			r.Error = shorten(err.Error(), maxFailure)
			r.end(jobFailed)
		default:
			r.Holder = "" // nobody has to wait until the lease is over
		}
	}
	for !w.lost && !w.save(ctx) && wait(ctx, 100*time.Millisecond) {
	}
}

// wait reports whether ctx is still alive after a time.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
