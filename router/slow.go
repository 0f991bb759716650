package router

import (
	"sync"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// maxSlow bounds how many events of a domain wait for filters that take long. When there
// are as many, no more events are taken from the log until one is decided.
const maxSlow = 256

// A slowLane decides, one after the other, whether subscriptions want an event whose
// filters take long for it. The deliveries to all other subscriptions are on their way by
// then, and the events behind it do not wait for it:
//
//	handle ─► quickly decided ─► publish ───────────────────────► settle
//	   └────► the rest, event by event ─► decide ─► publish ────────┘
//
// What one decision takes is bounded, so the lane always moves: see package subscription.
type slowLane struct {
	*domainRoute
	room    chan struct{} // has an element for each event that waits
	events  chan *slowEvent
	working sync.WaitGroup
}

// A slowEvent is an event with the subscriptions that are not decided about.
type slowEvent struct {
	routed   *routed
	snapshot *subscription.Snapshot
	subs     []*subscription.Subscription
	release  func() // the server is told that it is in work until then
}

func newSlowLane(d *domainRoute) *slowLane {
	l := &slowLane{domainRoute: d, room: make(chan struct{}, maxSlow), events: make(chan *slowEvent, maxSlow)}
	l.working.Go(func() {
		for e := range l.events {
			l.decide(e)
			<-l.room
		}
	})
	return l
}

// add has an event wait, and waits itself while there is no room.
func (l *slowLane) add(e *slowEvent) {
	e.release = stream.KeepHolding(e.routed.msg)
	l.room <- struct{}{}
	l.events <- e
}

// close returns when all that waits is decided, or handed back because time is up.
func (l *slowLane) close() {
	close(l.events)
	l.working.Wait()
}

func (l *slowLane) decide(e *slowEvent) {
	r := e.routed
	if l.settleCtx.Err() != nil {
		e.release()
		l.nak(r.msg, time.Millisecond)
		return
	}
	var matches subscription.Matches
	e.snapshot.JudgeSlow(r.event, e.subs, &matches)
	r.targets = append(r.targets, l.sendAll(r, &matches)...)
	if r.isOrdered() {
		l.order.add(r)
		e.release()
		return
	}
	l.batches <- batch{[]routed{*r}, e.release}
}
