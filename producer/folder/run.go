package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// ahead is how many files may be waiting on either side of the hashers, so that
// they continue while the journal is written and fill the next batch.
const ahead = 2 * maxBatch

// Intervals of periodic work.
const (
	absentWait   = time.Second     // between scans while the folder is missing
	journalWait  = time.Second     // after the journal could not be written
	progressTime = 5 * time.Second // between two lines about the first scan
)

// Run watches until ctx ends, and then returns nil when the publish under way
// has been answered, or Grace has passed.
//
//	          requests              results
//	tracker ───────────► scanner ──────────┐
//	   ▲ │  ───────────► hashers ──────────┤
//	   │ └─ ───────────► offer   ──────────┤
//	   └────────────────── notifications ◄─┘
//
// The goroutine of Run owns the tracker and the journal; the others only answer.
func (w *Watcher) Run(ctx context.Context) error {
	if err := os.MkdirAll(w.stateDir, 0o700); err != nil {
		return fmt.Errorf("watch folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(w.stateDir, "lock"))
	if err != nil {
		return fmt.Errorf("watch folder %s: %w", w.root, err)
	}
	defer func() { _ = lock.Close() }()
	j, err := openJournal(filepath.Join(w.stateDir, "journal"), w.root)
	if err != nil {
		return fmt.Errorf("watch folder: %w", err)
	}
	err = w.watch(ctx, j)
	if closeErr := j.close(); err == nil && closeErr != nil {
		err = fmt.Errorf("close journal: %w", closeErr)
	}
	return err
}

func (w *Watcher) watch(ctx context.Context, j *journal) error {
	info, err := os.Lstat(w.root)
	if err != nil {
		return fmt.Errorf("watch folder: %w", err)
	}
	notify := w.notify
	if notify == nil {
		if notify, err = newNotifier(); err != nil {
			w.log.Warn("no notifications, changes are found by scanning", zap.Duration("every", w.cfg.Rescan), zap.Error(err))
			notify = &notifier{}
		}
	}
	defer notify.close()

	// Ended when Run ends, for whatever reason; lasting a while after ctx.
	inner, cancel := context.WithCancel(ctx)
	lasting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(inner, func() { time.AfterFunc(w.cfg.Grace, stop) })()

	l := &loop{
		tracker:  newTracker(w, j, stampOf(info).device),
		w:        w,
		notify:   notify,
		requests: make(chan scanRequest),
		found:    make(chan found),
		toHash:   make(chan hashRequest, ahead),
		hashes:   make(chan hashed, ahead),
		batches:  make(chan batch),
		offers:   make(chan offered, 1),
	}
	var goroutines sync.WaitGroup
	goroutines.Go(func() { (&scanner{w: w, notify: notify, out: l.found}).run(inner, l.requests) })
	for range w.cfg.Hashers {
		goroutines.Go(func() { w.hashFiles(inner, l.toHash, l.hashes) })
	}
	goroutines.Go(func() { w.offer(inner, lasting, l.batches, l.offers) })
	err = l.run(ctx)
	cancel()
	if l.offering {
		l.tracker.offered(<-l.offers, time.Now())
	}
	goroutines.Wait()
	return err
}

// A loop is the state of the goroutine of Run beside the tracker.
type loop struct {
	tracker *tracker
	w       *Watcher
	notify  *notifier

	requests chan scanRequest
	found    chan found
	toHash   chan hashRequest
	hashes   chan hashed
	batches  chan batch
	offers   chan offered

	toScan   []scanRequest // waiting; a full one replaces all others
	scanning bool
	scanned  bool   // the first scan is over
	caughtUp bool   // and all that it has found is announced
	batch    *batch // made and not yet taken
	offering bool
	stuck    time.Time // when to try the journal again
}

func (l *loop) run(ctx context.Context) error {
	l.fullScan()
	l.w.log.Info("watching", zap.Int("known", len(l.tracker.journal.files)), zap.Int("unfinished", len(l.tracker.toOffer)))
	timer := time.NewTimer(0)
	defer timer.Stop()
	interval := l.rescanEvery()
	rescan := time.NewTicker(interval)
	defer rescan.Stop()
	progress := time.NewTicker(progressTime)
	defer progress.Stop()
	for {
		now := time.Now()
		timer.Reset(l.settle(now))
		l.exchange(now)
		if every := l.rescanEvery(); every != interval {
			rescan.Reset(every)
			interval = every
		}
		requests, request := l.nextScan()
		toHash, hash := l.nextHash()
		batches, next := l.nextBatch(now)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-rescan.C:
			l.fullScan()
		case <-progress.C:
			l.progress()
		case e, open := <-l.notify.events:
			if !open {
				return errors.New("watch folder: the notifications have ended")
			}
			l.happened(e, time.Now())
		case err, open := <-l.notify.errors:
			if !open {
				return errors.New("watch folder: the notifications have ended")
			}
			l.missed(err)
		case requests <- request:
			l.scanning, l.toScan = true, l.toScan[1:]
			if request.full {
				l.tracker.scan++
			}
		case f := <-l.found:
			l.tracker.scanned(f, time.Now())
			if f.last {
				l.scanning, l.scanned = false, true
			}
		case toHash <- hash:
			l.tracker.toHash = l.tracker.toHash[1:]
		case h := <-l.hashes:
			l.tracker.hashed(h, time.Now())
		case batches <- next:
			l.batch, l.offering = nil, true
		case o := <-l.offers:
			l.offering = false
			l.tracker.offered(o, time.Now())
		}
		l.catchUp()
	}
}

// settle does what is due and returns how long nothing more is.
func (l *loop) settle(now time.Time) time.Duration {
	wait := time.Hour
	if next := l.tracker.settle(now); !next.IsZero() {
		wait = next.Sub(now)
	}
	if !l.stuck.IsZero() {
		wait = min(wait, l.stuck.Sub(now))
	}
	return max(wait, 0)
}

// exchange gives the hashers what they can take and takes what they have, all
// of it, so that a batch is as large as it can be without waiting.
func (l *loop) exchange(now time.Time) {
	for {
		toHash, hash := l.nextHash()
		select {
		case toHash <- hash:
			l.tracker.toHash = l.tracker.toHash[1:]
		case h := <-l.hashes:
			l.tracker.hashed(h, now)
		default:
			return
		}
	}
}

// rescanEvery is the time between two full scans.
func (l *loop) rescanEvery() time.Duration {
	if l.tracker.absent {
		return min(absentWait, l.w.cfg.Rescan)
	}
	return l.w.cfg.Rescan
}

// fullScan asks for a scan of everything, unless one is waiting already. One
// that is under way does not count: it may be past what has changed.
func (l *loop) fullScan() {
	if len(l.toScan) == 0 || !l.toScan[0].full {
		l.toScan = []scanRequest{{dir: ".", full: true}}
	}
}

// happened takes note of a notification.
func (l *loop) happened(e fsnotify.Event, now time.Time) {
	removed := e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)
	if e.Name == l.w.root {
		if removed {
			l.notify.forget(e.Name)
			l.fullScan()
		}
		return
	}
	rel, err := filepath.Rel(l.w.root, e.Name)
	if err != nil || ignored(filepath.ToSlash(rel)) || l.w.ownState(e.Name) {
		return
	}
	// The kernel reports no file of a folder that is moved away.
	if removed && l.notify.forget(e.Name) && e.Has(fsnotify.Rename) {
		l.fullScan()
	}
	if info, err := os.Lstat(e.Name); err == nil && info.IsDir() {
		if e.Has(fsnotify.Create) && (len(l.toScan) == 0 || !l.toScan[0].full) {
			l.toScan = append(l.toScan, scanRequest{dir: filepath.ToSlash(rel)})
		}
		return
	}
	l.tracker.observe(filepath.ToSlash(rel), now)
}

// missed takes note that notifications were lost.
func (l *loop) missed(err error) {
	if errors.Is(err, fsnotify.ErrEventOverflow) {
		l.w.log.Warn("more notifications than the system keeps, scanning the folder instead")
	} else {
		l.w.log.Warn("notifications failed, scanning the folder instead", zap.Error(err))
	}
	l.fullScan()
}

func (l *loop) nextScan() (chan<- scanRequest, scanRequest) {
	if l.scanning || len(l.toScan) == 0 {
		return nil, scanRequest{}
	}
	return l.requests, l.toScan[0]
}

func (l *loop) nextHash() (chan<- hashRequest, hashRequest) {
	if len(l.tracker.toHash) == 0 {
		return nil, hashRequest{}
	}
	return l.toHash, l.tracker.toHash[0]
}

func (l *loop) nextBatch(now time.Time) (chan<- batch, batch) {
	if l.offering {
		return nil, batch{}
	}
	if l.batch == nil && len(l.tracker.toOffer) > 0 && !now.Before(l.stuck) {
		b, err := l.tracker.next()
		switch {
		case err == nil:
			l.batch, l.stuck = &b, time.Time{}
		case l.stuck.IsZero():
			l.w.log.Error("failed to write the journal, nothing is published until that works", zap.Error(err))
			fallthrough
		default:
			l.stuck = now.Add(journalWait)
		}
	}
	if l.batch == nil {
		return nil, batch{}
	}
	return l.batches, *l.batch
}

// progress says how far the first scan is.
func (l *loop) progress() {
	if !l.caughtUp {
		l.w.log.Info("catching up", l.numbers()...)
	}
}

// catchUp notices that what was there at the start has been announced.
func (l *loop) catchUp() {
	if !l.caughtUp && l.scanned && len(l.tracker.work) == 0 {
		l.caughtUp = true
		l.w.log.Info("caught up", l.numbers()...)
	}
}

func (l *loop) numbers() []zap.Field {
	t := l.tracker
	return []zap.Field{
		zap.Int("known", len(t.journal.files)),
		zap.Int("waiting", len(t.work)),
		zap.Int("to_read", len(t.toHash)),
		zap.Int("to_publish", len(t.toOffer)),
		zap.Uint64("announced", t.counts.announced),
		zap.Uint64("refused", t.counts.refused),
	}
}
