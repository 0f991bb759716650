package consume

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// pulseEvery is how often a pulse beats.
	pulseEvery = 500 * time.Millisecond
	// longStall is after what time without a beat the process is taken to have stood
	// still. What the server has handed out meanwhile is as old as that at most, which
	// leaves time to hold it.
	longStall = 3 * time.Second
)

// A Pulse notices that the process has stood still: that it was stopped and continued, or
// that its machine slept. The server went on handing out messages meanwhile, to requests
// that it made before, and when it saw none of them settled handed them to others. How
// old those are that are read afterwards cannot be derived from the messages.
//
// One is enough for a service. The nil Pulse notices nothing.
type Pulse struct {
	// OnStall is called with how long the process has stood still, once each time. Optional.
	OnStall func(time.Duration)

	last    atomic.Int64 // beat, since started; 0: it does not run
	stalled atomic.Int64 // when the process was last found to have stood still
}

// Run beats until ctx ends.
func (p *Pulse) Run(ctx context.Context) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	p.last.Store(int64(time.Since(started)))
	for {
		select {
		case <-ctx.Done():
			p.last.Store(0)
			return
		case <-tick.C:
		}
		p.look()
		p.last.Store(int64(time.Since(started)))
	}
}

// look takes note of a stall that is over.
func (p *Pulse) look() {
	last, now := p.last.Load(), int64(time.Since(started))
	if last == 0 || time.Duration(now-last) <= longStall {
		return
	}
	p.stalled.Store(now)
	if p.last.CompareAndSwap(last, now) && p.OnStall != nil {
		p.OnStall(time.Duration(now - last))
	}
}

// StalledSince reports whether the process has stood still since a time.
func (p *Pulse) StalledSince(t time.Time) bool {
	if p == nil {
		return false
	}
	p.look() // the beat may come later
	stalled := p.stalled.Load()
	return stalled != 0 && time.Duration(stalled) > t.Sub(started)
}
