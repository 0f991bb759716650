package jobs

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// parallel is how many jobs one process works on at a time.
const parallel = 4

// RunnerConfig is what a Runner is made with. All fields are required.
type RunnerConfig struct {
	// Lease is for how long a process may write nothing to a job before another one takes
	// it over.
	Lease time.Duration
	// Timeout bounds looking for jobs.
	Timeout time.Duration
	// Work works on a claimed job until it is done, which is nil, or ctx ends.
	Work func(ctx context.Context, job *Claim) error
}

// A Runner works on the jobs of a Store.
type Runner struct {
	cfg   RunnerConfig
	store *Store
	log   *zap.Logger
	woken chan struct{} // there is a new job
}

// NewRunner returns a Runner.
func NewRunner(cfg RunnerConfig, store *Store, log *zap.Logger) *Runner {
	return &Runner{cfg: cfg, store: store, log: log, woken: make(chan struct{}, 1)}
}

// Wake has the Runner look for a new job at once.
func (r *Runner) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// Run works on jobs until ctx ends, and then hands them over. It is for one goroutine.
//
// A job belongs to the process that has written its name into it last. While it
// works, it writes the job every second, each time over the revision that it knows.
// A job that was not written for RunnerConfig.Lease, by the clock of the process that
// looks, is taken over in the same way: of all that try one succeeds, and the one that
// held it before cannot write any more, and stops.
func (r *Runner) Run(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	w := &watch{seen: make(map[string]sighting), active: make(map[string]bool)}
	tick := time.NewTicker(max(r.cfg.Lease/5, 10*time.Millisecond))
	defer tick.Stop()
	for {
		if records, due := r.look(ctx, w); due {
			for _, record := range w.orphans(records, r.cfg.Lease) {
				record.Holder = r.store.holder
				record.Claims++
				if err := r.store.Update(ctx, record); err != nil {
					continue // another process was faster, or it is found again at the next look
				}
				w.begin(record.ID)
				working.Go(func() {
					defer w.end(record.ID)
					r.workOn(ctx, record)
				})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.woken:
			w.looked = time.Time{}
		}
	}
}

// look reads all jobs. Where none is running it does so less often.
func (r *Runner) look(ctx context.Context, w *watch) (records []*Record, due bool) {
	if !w.running && time.Since(w.looked) < r.cfg.Lease {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	records, err := r.store.All(ctx)
	if err == nil {
		err = r.store.forget(ctx, records)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.log.Warn("cannot look for redrive jobs, will try again", zap.Error(err))
		}
		return nil, false
	}
	w.looked = time.Now()
	return records, true
}

// A watch is what a process knows of the jobs of all.
type watch struct {
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

func (w *watch) begin(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active[id] = true
}

func (w *watch) end(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.active, id)
}

// orphans are the running jobs that no process works on, as many as there is room for,
// the oldest first.
func (w *watch) orphans(newestFirst []*Record, lease time.Duration) []*Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	seen := make(map[string]sighting)
	var found []*Record
	for i := range newestFirst {
		record := newestFirst[len(newestFirst)-1-i]
		if record.State != Running {
			continue
		}
		w.running = true
		last, known := w.seen[record.ID]
		if !known || last.revision != record.revision {
			last = sighting{record.revision, time.Now()}
		}
		seen[record.ID] = last
		free := record.Holder == "" || time.Since(last.since) > lease
		if free && !w.active[record.ID] && len(w.active)+len(found) < parallel {
			found = append(found, record)
		}
	}
	w.seen = seen
	return found
}

// workOn works on a claimed job, and writes how that ended.
func (r *Runner) workOn(ctx context.Context, record *Record) {
	log := r.log.With(zap.String("job", record.ID))
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &Claim{store: r.store, lease: r.cfg.Lease, cancel: cancel, saved: time.Now(), record: record}
	var beating sync.WaitGroup
	beating.Go(func() { c.beat(work) })
	log.Info("redrive job begun", zap.Int("claim", record.Claims))
	err := r.cfg.Work(work, c)
	cancel()
	beating.Wait()
	c.finish(ctx, err)
	log.Info("redrive job left", zap.String("state", record.State), zap.Int("done", record.Done), zap.Int("failed", record.Failed),
		zap.Bool("lost", c.lost), zap.Error(err))
}
