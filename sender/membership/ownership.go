package membership

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
)

// Ownership decides for which subscriptions a sender has workers. A worker for a subscription
// that it gains starts at once. One for a subscription that it loses goes on for a while, in
// case it is gained again, and so that the next owner has begun by then: two workers at a time
// do no harm, but without any the deliveries wait.
type Ownership struct {
	members      *Membership
	debounce     time.Duration
	gained, left prometheus.Counter

	set     *members.Set
	lost    map[string]time.Time // since when a worker's subscription is not owned any more
	others  map[string]struct{}  // active subscriptions that have no worker here
	before  map[string]struct{}  // the same, of the round before
	expires time.Time            // when the next worker is to be stopped; zero: none is
}

// NewOwnership returns the decisions by a membership. debounce is how long a worker goes on
// with a subscription that another sender has taken over; gained and lost count.
func NewOwnership(m *Membership, debounce time.Duration, gained, lost prometheus.Counter) *Ownership {
	return &Ownership{
		members: m, debounce: debounce, gained: gained, left: lost,
		lost: make(map[string]time.Time), others: make(map[string]struct{}), before: make(map[string]struct{}),
	}
}

// Await waits until the other senders are known. It reports whether to go on.
func (o *Ownership) Await(ctx context.Context) bool {
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

// Refresh begins another round of decisions. changed is closed when the next one is due;
// deleted are the subscriptions without a worker that no longer exist.
func (o *Ownership) Refresh(snapshot *subscription.Snapshot) (changed <-chan struct{}, deleted []string) {
	o.set, changed = o.members.get()
	o.expires = time.Time{}
	o.before, o.others = o.others, o.before
	clear(o.others)
	for id := range o.before {
		if _, ok := snapshot.Get(id); !ok {
			deleted = append(deleted, id)
		}
	}
	return changed, deleted
}

// Starts reports whether a subscription that has no worker is to get one.
func (o *Ownership) Starts(sub *subscription.Subscription) bool {
	if !o.members.owns(o.set, sub) {
		o.others[sub.ID] = struct{}{}
		return false
	}
	if _, gained := o.before[sub.ID]; gained {
		o.gained.Inc()
	}
	return true
}

// Stops reports whether the worker of a subscription is to be stopped because other senders
// own it.
func (o *Ownership) Stops(sub *subscription.Subscription, now time.Time) bool {
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
	o.left.Inc()
	return true
}

// Forget drops the state of a subscription whose worker was stopped for other reasons.
func (o *Ownership) Forget(id string) { delete(o.lost, id) }

// Next fires when a worker is to be stopped; never when none is. The caller must call stop.
func (o *Ownership) Next() (fires <-chan time.Time, stop func()) {
	if o.expires.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(o.expires))
	return timer.C, func() { timer.Stop() }
}
