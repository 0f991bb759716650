package router

import (
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

const (
	// eventCopies is how often the bytes of an event lie in memory while it is in work:
	// here, and on their way within an embedded server. Those of its deliveries are
	// counted where they are published.
	eventCopies = 2
	// eventCost is what an event in work takes beside its bytes.
	eventCost = 2 << 10

	// shedAfter is for how long an event waits for its turn before those behind it make
	// room.
	shedAfter = 2 * time.Second
)

// memory is what the events of this domain may take.
func (d *domainRoute) memory() stream.Memory {
	if d.cfg.Memory == nil {
		return stream.Memory{}
	}
	return stream.Memory{Share: d.share, Times: eventCopies, Each: eventCost}
}

// shed hands back the later half of those who wait for their turn, or the only one, if
// no other event can come for want of memory: what they wait for may have to come this
// way.
func (o *order) shed() {
	if !o.share.Short() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		return
	}
	keep := len(o.waiting) / 2
	o.log.Warn("events wait for an earlier one to be settled, the last of them make room in memory for it",
		zap.Int("events", len(o.waiting)-keep))
	for _, r := range o.waiting[keep:] {
		o.nak(r.msg, 0) // at once: what is due by then comes before them, and what is new after
	}
	clear(o.waiting[keep:])
	o.waiting = o.waiting[:keep]
	o.metrics.waiting.WithLabelValues(o.domain).Set(float64(len(o.waiting)))
}
