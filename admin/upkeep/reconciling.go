package upkeep

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// A reconciling compares what the event logs say that a subscription is owed with what
// was made of it:
//
//	event logs, up to what routers have settled ─► wanted? ─► owed
//	retry timers, queue, attempts, dead letters, discarded ones ─► known
//	owed, and not known ─► read all that is known once more ─► missing
//
// A delivery that moves is stored in its next place before it leaves the one before, and
// the places are read in the order in which it moves; what moves on twice meanwhile is
// found when they are read again.
type reconciling struct {
	with     *Reconciler
	sub      *subscription.Subscription
	occasion string // names the messages of deliveries that are made again
	since    time.Time
	next     time.Time // where to go on; zero: all was looked at
	owed     uint64
	missing  []missingDelivery
	made     uint64
}

// A placeOf tells a delivery from all others, also from those of an event that was in
// the same place of a log before it was lost.
type placeOf struct {
	log      string
	sequence uint64
	stored   int64 // Unix nanoseconds; 0: what an earlier version wrote, without it
	delivery string
}

func placedAt(log string, sequence uint64, stored time.Time, delivery string) placeOf {
	place := placeOf{log: log, sequence: sequence, delivery: delivery}
	if !stored.IsZero() {
		place.stored = stored.UnixNano()
	}
	return place
}

// untimed is the place as an earlier version wrote it.
func (p placeOf) untimed() placeOf {
	p.stored = 0
	return p
}

// traces are what is known of the deliveries of a subscription.
type traces struct {
	ended     map[placeOf]bool      // they are made, or were given up
	waiting   map[placeOf]bool      // they are in a queue, or have a timer
	failed    map[placeOf]failedTry // they have failed, and were to be tried again
	discarded map[string]bool       // dead letters, by the ids of their deliveries
}

// A failedTry is the last attempt that is on record.
type failedTry struct {
	attempt int
	first   time.Time
}

// reconcileSlack is by how much the clocks of the servers of a cluster may differ.
const reconcileSlack = time.Minute

// find fills in what is missing.
func (r *reconciling) find(ctx context.Context, since time.Time) error {
	if err := r.begin(ctx, since); err != nil {
		return err
	}
	domains := r.with.eventLogs(r.sub)
	settled := make(map[string]uint64, len(domains)) // before anything else is read: what is behind is on its way
	for _, domain := range domains {
		routing, err := r.with.layout.ReadRouting(ctx, r.with.js, domain)
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && stream.FaultOf(api) == stream.FaultMissing {
			continue // the log is lost, and with it what is owed
		}
		if err != nil {
			return err
		}
		settled[domain] = routing.Settled
	}
	known, err := r.traces(ctx)
	if err != nil {
		return err
	}
	table, err := filter.NewTable(r.sub)
	if err != nil {
		return err
	}
	for _, domain := range domains {
		if err := r.compare(ctx, domain, settled[domain], table, known); err != nil {
			return err
		}
	}
	if len(r.missing) == 0 {
		return nil
	}
	if known, err = r.traces(ctx); err != nil {
		return err
	}
	r.missing = slices.DeleteFunc(r.missing, func(m missingDelivery) bool {
		return known.has(placedAt(r.with.layout.EventLog(m.Domain), m.Sequence, m.Stored, m.DeliveryID))
	})
	return nil
}

// begin finds out how far back it is known what the subscription was owed, and what
// was made for it.
func (r *reconciling) begin(ctx context.Context, since time.Time) error {
	r.since = since
	if since.IsZero() {
		var err error
		if r.since, err = r.with.store.WantsSince(ctx, r.sub.ID); err != nil {
			return err
		}
	}
	recorded, err := r.with.attempts.CompleteSince(ctx, r.sub.ID)
	// An attempt log that has lost all that it had begins at 1 again, as if that were its
	// first message: what was made before is not known.
	for _, lost := range r.with.inventory.LostHeads(r.with.layout.Attempts()) {
		if lost.Kind == inventory.WentBack && lost.Now == 0 && lost.Found.After(recorded) {
			recorded = lost.Found
		}
	}
	if recorded.After(r.since) {
		r.since = recorded
	}
	return err
}

// compare looks at the events of a log.
func (r *reconciling) compare(ctx context.Context, domain string, settled uint64, table *filter.Table[*subscription.Subscription], known *traces) error {
	if settled == 0 {
		return nil
	}
	log := r.with.layout.EventLog(domain)
	for record, err := range stream.Read(ctx, r.with.js, log, stream.Range{FromTime: r.since}) {
		if err != nil {
			return err
		}
		if record.Sequence > settled {
			break
		}
		e, err := event.FromEventLog(record.Header, record.Data)
		if err != nil || len(table.Match(domain, e, nil)) == 0 {
			continue // what is no event is a dead letter
		}
		r.owed++
		place := placedAt(log, record.Sequence, record.Time, delivery.ID(r.sub.ID, e.Source, e.ID))
		if known.has(place) {
			continue
		}
		if len(r.missing) == maxMissing { // those are known in the next round
			r.next = r.since
			return nil
		}
		d := &delivery.Delivery{
			ID: place.delivery, SubscriptionID: r.sub.ID, Event: e, Attempt: 1,
			Origin: delivery.Origin(log, record.Sequence, record.Time, r.sub.ID), Accepted: record.Time,
		}
		last, tried := known.failed[place]
		if !tried {
			last, tried = known.failed[place.untimed()]
		}
		if tried {
			d.Attempt, d.FirstAttempt = last.attempt+1, last.first
		}
		r.missing = append(r.missing, missingDelivery{delivery: d, MissingDelivery: v1.MissingDelivery{
			Domain: domain, Sequence: record.Sequence, Stored: record.Time.UTC(), EventID: e.ID, EventType: e.Type, DeliveryID: d.ID,
			Attempt: d.Attempt,
		}})
	}
	return ctx.Err()
}

func (k *traces) has(place placeOf) bool {
	old := place.untimed()
	return k.ended[place] || k.waiting[place] || k.ended[old] || k.waiting[old] || k.discarded[place.delivery]
}

// traces reads what is known, in the order in which a delivery moves.
func (r *reconciling) traces(ctx context.Context) (*traces, error) {
	known := &traces{map[placeOf]bool{}, map[placeOf]bool{}, map[placeOf]failedTry{}, map[string]bool{}}
	wait := func(h nats.Header) {
		d, err := delivery.FromMessage(r.sub.ID, h, nil)
		if err != nil || d.Manual != "" {
			return
		}
		if from, err := delivery.ParseOrigin(d.Origin); err == nil {
			known.waiting[placedAt(from.EventLog, from.Sequence, from.Stored, d.ID)] = true
		}
	}
	timers := func() error { return r.with.layout.RetryTimers(ctx, r.with.js, r.sub.Queue, r.sub.ID, wait) }
	queue := func() error { return stream.EachWaiting(ctx, r.with.js, r.sub.Queue.Stream, r.sub.Queue.Subject, wait) }
	for _, read := range []func() error{
		timers, queue, timers, // from the queue to a timer, and from a timer to the queue
		func() error { return r.readAttempts(ctx, known) },
		func() error { return r.readDeadLetters(ctx, known) },
		func() error { return r.readDiscarded(ctx, known) },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return known, nil
}

func (r *reconciling) readAttempts(ctx context.Context, known *traces) error {
	return r.with.attempts.Since(ctx, r.sub.ID, r.since.Add(-reconcileSlack), func(a *delivery.Attempt) {
		place := placedAt(a.Event.Stream, a.Event.Sequence, a.Event.Stored, a.DeliveryID)
		switch {
		case a.Outcome == delivery.Delivered, !a.Manual && a.Outcome != delivery.Retry:
			known.ended[place] = true
		case !a.Manual:
			last, again := known.failed[place]
			if !again {
				last.first = a.At
			}
			last.attempt = max(last.attempt, a.Attempt)
			known.failed[place] = last
		}
	})
}

func (r *reconciling) readDeadLetters(ctx context.Context, known *traces) error {
	last, err := r.with.deadLetters.Last(ctx)
	if err != nil {
		return err
	}
	for deadLetter, err := range r.with.deadLetters.Select(ctx, &delivery.Selection{Subscription: r.sub.ID}, 1, last) {
		if err != nil {
			return err
		}
		known.ended[placedAt(deadLetter.Event.Stream, deadLetter.Event.Sequence, deadLetter.Event.Stored, deadLetter.DeliveryID)] = true
	}
	return nil
}

// maxDiscards is how many records of discarded dead letters are read.
const maxDiscards = 10_000

// readDiscarded reads the audit trail: what was discarded is not owed any more.
func (r *reconciling) readDiscarded(ctx context.Context, known *traces) error {
	ids, err := r.with.dead.DiscardedOf(ctx, r.sub.ID, r.since, maxDiscards)
	for _, id := range ids {
		known.discarded[id] = true
	}
	return err
}

// eventLogs are the domains whose event logs have what a subscription wants.
func (c *Reconciler) eventLogs(sub *subscription.Subscription) []string {
	var found []string
	for _, wanted := range sub.Types {
		domain, all := strings.CutSuffix(wanted, ".*")
		if all {
			if _, known := c.catalogue.Domain(domain); !known {
				continue // there is no such domain any more
			}
		} else {
			t, err := c.catalogue.Resolve(wanted)
			if err != nil { // there is no such type any more
				continue
			}
			domain = t.Domain
		}
		if !slices.Contains(found, domain) {
			found = append(found, domain)
		}
	}
	return found
}
