package sender

import (
	"context"
	"time"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
)

// ownership decides for which subscriptions a sender has lanes. What it gains it starts
// at once. What it loses it goes on with for a while, in case it is gained again, and so
// that the next owner has begun by then: two lanes at a time do no harm, none would.
type ownership struct {
	*Sender
	set      *members.Set
	lost     map[string]time.Time // since when a lane is not owned any more
	others   map[string]struct{}  // active subscriptions that have no lane here
	before   map[string]struct{}  // and those of the round before
	expires  time.Time            // when the next lane is to be stopped; zero: none is
	debounce time.Duration
}

func newOwnership(s *Sender) *ownership {
	return &ownership{Sender: s, lost: make(map[string]time.Time), others: make(map[string]struct{}), before: make(map[string]struct{}), debounce: s.cfg.Debounce}
}

// await returns when it is known who else sends. It reports whether to go on.
func (o *ownership) await(ctx context.Context) bool {
	for {
		set, changed := o.members.get()
		if set != nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// refresh brings the set up to date for another round of decisions, and returns what is
// closed when there is a newer one.
func (o *ownership) refresh(snapshot *subscription.Snapshot) <-chan struct{} {
	set, changed := o.members.get()
	o.set, o.expires = set, time.Time{}
	o.before, o.others = o.others, o.before
	clear(o.others)
	for id := range o.before {
		if _, ok := snapshot.Get(id); !ok {
			o.breakers.forget(id) // where there is a lane, its end does so
			o.manual.Forget(id)
		}
	}
	return changed
}

// starts reports whether a subscription that has no lane is to get one.
func (o *ownership) starts(sub *subscription.Subscription) bool {
	if !o.members.owns(o.set, sub) {
		o.others[sub.ID] = struct{}{}
		return false
	}
	if _, gained := o.before[sub.ID]; gained {
		o.metrics.gained.Inc()
	}
	return true
}

// stops reports whether the lane of a subscription is to be stopped because others own
// it.
func (o *ownership) stops(sub *subscription.Subscription, now time.Time) bool {
	since, lost := o.lost[sub.ID]
	switch {
	case o.members.owns(o.set, sub):
		delete(o.lost, sub.ID)
		return false
	case !lost:
		o.lost[sub.ID] = now
		since = now
	}
	if end := since.Add(o.debounce); end.After(now) {
		if o.expires.IsZero() || end.Before(o.expires) {
			o.expires = end
		}
		return false
	}
	delete(o.lost, sub.ID)
	o.metrics.lost.Inc()
	return true
}

// forget drops what is known of a subscription whose lane was stopped for other reasons.
func (o *ownership) forget(id string) {
	delete(o.lost, id)
}

// next fires when a lane is to be stopped; never when none is. stop it when it is not
// waited for any more.
func (o *ownership) next() (fires <-chan time.Time, stop func()) {
	if o.expires.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(o.expires))
	return timer.C, func() { timer.Stop() }
}
