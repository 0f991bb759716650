package folder

import (
	"time"

	"go.uber.org/zap"
)

// refusedWait is how long a change that was refused is not offered again, unless
// the file changes. A restart offers it again as well.
const refusedWait = time.Hour

// A phase is where a path is on its way from being seen to being announced.
type phase int

const (
	settling   phase = iota // waiting to see whether it changes again
	hashing                 // to be read, or being read
	announcing              // to be published, or being published
)

// A path that something has happened to, until that is announced or proves to
// be nothing. There is at most one for each path, which is what keeps the events
// of a path in order.
type pending struct {
	phase   phase
	stamp   stamp     // as last seen; zero if the file is not there
	due     time.Time // settling: when it has not changed for long enough
	changed time.Time // when stamp was seen first
	again   bool      // later phases: something has happened since
}

// A tracker decides what is announced. All of it runs in one goroutine, which
// passes it what was seen and takes from its lists what is to be done.
type tracker struct {
	w       *Watcher
	journal *journal
	device  uint64 // of the watched folder

	work    map[string]*pending
	queue   []due         // of the settling paths, soonest first
	toHash  []hashRequest // of the hashing ones
	toOffer []*change     // of the announcing ones, unless they are being offered

	refused map[string]refusal // what was refused, by path
	scan    uint32             // number of the scan that runs
	// Absent is set while the folder itself is not there: what was in it is not
	// gone then, but out of sight.
	absent bool
	failed map[string]bool // files that cannot be read, so that it is logged once
	counts struct{ announced, refused uint64 }
}

type due struct {
	path string
	at   time.Time
}

type refusal struct {
	file    file
	deleted bool
	until   time.Time
}

// covers reports whether the file still looks like what was refused.
func (r refusal) covers(s stamp) bool {
	if r.deleted {
		return s == stamp{}
	}
	return r.file.stamp.same(s)
}

func newTracker(w *Watcher, j *journal, device uint64) *tracker {
	t := &tracker{
		w: w, journal: j, device: device,
		work: map[string]*pending{}, refused: map[string]refusal{}, failed: map[string]bool{},
	}
	// What a crash has left goes first, as it was. Afterwards the file is looked
	// at again: it may have changed since.
	for _, c := range j.unfinished() {
		t.work[c.path] = &pending{phase: announcing, again: true}
		t.toOffer = append(t.toOffer, c)
	}
	return t
}

// observe takes note that something has happened to a path. It looks the same
// until Settle has passed, or it is observed again.
func (t *tracker) observe(path string, now time.Time) {
	s, _, err := t.w.look(path)
	if err != nil {
		t.fail(path, err)
		return
	}
	t.saw(path, s, now)
}

// saw is observe with a stamp that was read already. A zero stamp means that
// there is no file.
func (t *tracker) saw(path string, s stamp, now time.Time) {
	p := t.work[path]
	known := t.journal.files[path]
	switch {
	case p == nil && known == nil && s == (stamp{}):
		return // came and went
	case p == nil && known != nil && known.stamp.same(s):
		known.scan = t.scan
		return
	case p == nil:
		if r, is := t.refused[path]; is && now.Before(r.until) && r.covers(s) {
			return
		}
		p = &pending{stamp: s, changed: now}
		t.work[path] = p
	case p.phase != settling:
		p.again = true
		return
	}
	if !p.stamp.same(s) {
		p.stamp, p.changed = s, now
	}
	p.due = now.Add(t.w.cfg.Settle)
	t.queue = append(t.queue, due{path, p.due})
}

// settle handles the paths that are due, and returns when the next one is; the zero
// time if there is none.
func (t *tracker) settle(now time.Time) time.Time {
	for len(t.queue) > 0 {
		next := t.queue[0]
		if next.at.After(now) {
			return next.at
		}
		t.queue = t.queue[1:]
		// A path that was observed again is further back in the queue as well.
		if p := t.work[next.path]; p != nil && p.phase == settling && p.due.Equal(next.at) {
			t.decide(next.path, p, now)
		}
	}
	t.queue = nil
	return time.Time{}
}

// decide says what to do about a path that nothing has happened to for a while.
func (t *tracker) decide(path string, p *pending, now time.Time) {
	s, there, err := t.w.look(path)
	if err != nil {
		delete(t.work, path)
		t.fail(path, err)
		return
	}
	if !s.same(p.stamp) {
		// Changed without a notification, or that is still to come.
		t.saw(path, s, now)
		return
	}
	known := t.journal.files[path]
	switch {
	case !there && known == nil:
		delete(t.work, path)
	case !there && !t.w.present(t.device):
		delete(t.work, path)
		t.lost()
	case !there:
		t.announce(path, p, &change{at: now, path: path, deleted: true, file: *known})
	case known != nil && known.stamp.same(s):
		delete(t.work, path)
	default:
		if r, is := t.refused[path]; is && !r.deleted && r.file.stamp.same(s) {
			t.announce(path, p, &change{at: now, path: path, file: r.file})
			return
		}
		p.phase = hashing
		grace := t.w.cfg.WriteGrace
		t.toHash = append(t.toHash, hashRequest{path: path, stamp: s, anyway: grace < 0 || now.Sub(p.changed) >= grace})
	}
}

// hashed takes note of what was read.
func (t *tracker) hashed(h hashed, now time.Time) {
	p := t.work[h.path]
	switch {
	case h.state == unreadable && !p.again:
		delete(t.work, h.path)
		t.fail(h.path, h.err)
		return
	case h.state != complete || p.again:
		p.phase, p.again = settling, false
		t.observe(h.path, now)
		return
	}
	delete(t.failed, h.path)
	known := t.journal.files[h.path]
	f := file{stamp: h.stamp, sum: h.sum, scan: t.scan}
	if known != nil && known.sum == h.sum {
		delete(t.work, h.path)
		t.note(t.journal.touched(h.path, f))
		return
	}
	t.announce(h.path, p, &change{at: now, path: h.path, file: f})
}

func (t *tracker) announce(path string, p *pending, c *change) {
	delete(t.refused, path)
	p.phase, p.again = announcing, false
	t.toOffer = append(t.toOffer, c)
}

// next takes a batch from what is to be offered, puts it into the journal and
// makes its events. It returns nothing if there is nothing, or if the journal
// cannot be written; then it is worth trying again later.
func (t *tracker) next() (batch, error) {
	changes := t.toOffer[:min(len(t.toOffer), maxBatch)]
	fresh := make([]*change, 0, len(changes))
	for _, c := range changes {
		if c.seq == 0 {
			fresh = append(fresh, c)
		}
	}
	if len(fresh) > 0 {
		if err := t.journal.begin(fresh); err != nil {
			return batch{}, err
		}
	}
	b := batch{changes: changes}
	for _, c := range changes {
		e, err := t.w.event(t.journal.id, c)
		if err != nil {
			return batch{}, err
		}
		b.events = append(b.events, e)
	}
	t.toOffer = t.toOffer[len(changes):]
	return b, nil
}

// offered takes note of what became of a batch.
func (t *tracker) offered(o offered, now time.Time) {
	t.note(t.journal.done(o.accepted))
	t.note(t.journal.refused(o.refused))
	t.counts.announced += uint64(len(o.accepted))
	t.counts.refused += uint64(len(o.refused))
	for _, c := range o.refused {
		t.refused[c.path] = refusal{file: c.file, deleted: c.deleted, until: now.Add(refusedWait)}
		t.release(c.path, now)
	}
	for _, c := range o.accepted {
		t.release(c.path, now)
	}
	if t.journal.garbage() {
		t.note(t.journal.rewrite())
	}
}

// release ends the way of a path, or begins it again.
func (t *tracker) release(path string, now time.Time) {
	p := t.work[path]
	if p == nil {
		return
	}
	delete(t.work, path)
	if p.again {
		t.observe(path, now)
	}
}

// scanned takes note of a part of a scan.
func (t *tracker) scanned(f found, now time.Time) {
	for _, s := range f.files {
		t.saw(s.path, s.stamp, now)
	}
	if !f.last || !f.full {
		return
	}
	if !t.w.present(t.device) {
		t.lost()
		return
	}
	if t.absent {
		t.absent = false
		t.w.log.Info("the folder is available again")
	}
	for path, known := range t.journal.files {
		if known.scan != t.scan && t.work[path] == nil {
			t.observe(path, now)
		}
	}
}

// lost takes note that the folder itself is not there.
func (t *tracker) lost() {
	if !t.absent {
		t.absent = true
		t.w.log.Warn("the folder is missing or another disk is in its place; nothing is announced as deleted until it is available again")
	}
}

// fail logs once that a file cannot be read. The next scan tries again.
func (t *tracker) fail(path string, err error) {
	if !t.failed[path] {
		t.failed[path] = true
		t.w.log.Warn("failed to read file, it is not announced", zap.String("path", path), zap.Error(err))
	}
}

// note logs that the journal does not know what has happened. The price is an
// event that is repeated after a restart.
func (t *tracker) note(err error) {
	if err != nil {
		t.w.log.Error("failed to write the journal", zap.Error(err))
	}
}
