package router

import (
	"sync"
	"time"

	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
)

// maxSlow bounds how many events of a domain wait for filters that take long. At that number
// no more events are taken from the log until one is decided.
const maxSlow = 256

// A slowMatcher decides, one after the other, whether subscriptions want an event whose
// filters take long for it. The deliveries to all other subscriptions are on their way by
// then, and the events behind it do not wait for it:
//
//	handle ─► quickly decided ─► publish ───────────────────────► settle
//	   └────► the rest, event by event ─► decide ─► publish ────────┘
//
// The work of one decision is bounded, so it always makes progress: see package subscription.
type slowMatcher struct {
	settler *settler
	order   *order
	decided chan<- batch
	room    chan struct{} // has an element for each event that waits
	events  chan *slowEvent
	working sync.WaitGroup
}

// A slowEvent is an event with the subscriptions that are not decided.
type slowEvent struct {
	routed   *routed
	snapshot *subscription.Snapshot
	subs     []*subscription.Subscription
	release  func() // ends holding the event
}

// newSlowMatcher returns a slowMatcher that passes events on to decided, or to order.
func newSlowMatcher(settler *settler, order *order, decided chan<- batch) *slowMatcher {
	s := &slowMatcher{settler: settler, order: order, decided: decided, room: make(chan struct{}, maxSlow), events: make(chan *slowEvent, maxSlow)}
	s.working.Go(func() {
		for e := range s.events {
			s.decide(e)
			<-s.room
		}
	})
	return s
}

// add adds an event, and waits while there is no room.
func (s *slowMatcher) add(e *slowEvent) {
	e.release = consume.KeepHolding(e.routed.msg)
	s.room <- struct{}{}
	s.events <- e
}

// close returns when all events are decided, or handed back because time is up.
func (s *slowMatcher) close() {
	close(s.events)
	s.working.Wait()
}

func (s *slowMatcher) decide(e *slowEvent) {
	r := e.routed
	if s.settler.ctx.Err() != nil {
		e.release()
		s.settler.nak(r.msg, time.Millisecond)
		return
	}
	var matches subscription.Matches
	e.snapshot.JudgeSlow(r.event, e.subs, &matches)
	r.targets = append(r.targets, s.settler.publisher.publish(r, &matches)...)
	if r.isOrdered() {
		s.order.add(r)
		e.release()
		return
	}
	s.decided <- batch{[]routed{*r}, e.release}
}
