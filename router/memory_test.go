package router_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

// large is the note number n with a size.
func large(n, size int) *event.Event {
	e := note(n)
	e.Data = fmt.Appendf(nil, `{"n" : %d.0,"text":"%s"}`, n, bytes.Repeat([]byte("x"), size))
	return e
}

// Large events for many subscriptions: their deliveries are many times what there is
// memory for, and all are queued, with no more on its way at a time than that.
func TestLargeEventsToMany(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.memory, r.publishing = budget.New(2<<20), budget.New(2<<20)
	subs := make([]*subscription.Subscription, 40)
	for i := range subs {
		subs[i] = r.subscribe(wants(fmt.Sprintf("sub-%d", i), []string{"notes.*"}))
	}
	const events = 8
	for n := range events {
		r.publish(large(n, 240_000))
	}
	running := r.route()
	most := int64(0)
	for _, sub := range subs {
		testkit.Until(t, func() (bool, string) {
			most = max(most, r.publishing.Used())
			have := r.state(sub.Queue.Stream).Msgs
			return have >= events, fmt.Sprintf("queue of %s has %d deliveries, want %d", sub.ID, have, events)
		})
	}
	r.awaitRouted()
	if limit := r.publishing.Size(); most > limit {
		t.Errorf("%d bytes were on their way at a time, want at most %d", most, limit)
	}
	for _, sub := range subs {
		if have := r.state(sub.Queue.Stream).Msgs; have != events {
			t.Errorf("queue of %s has %d deliveries, want %d", sub.ID, have, events)
		}
	}
	running.stop()
	if used := r.memory.Used() + r.publishing.Used(); used != 0 {
		t.Errorf("%d bytes are in use in the end, want none", used)
	}
}

// Events that wait for one before them, which another router has taken and does
// nothing with, do not keep it from coming back: when it is handed out again there is
// memory for it, and the order is kept.
func TestOrderedWithinMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.memory = budget.New(2 << 20)
	r.setAckWait(4 * time.Second)
	sub := r.subscribe(ordered(wants("one", []string{"notes.*"})))
	const events = 60
	for n := range events {
		r.publish(large(n, 50_000))
	}
	r.handOut(1)
	running := r.route()
	r.awaitQueued(sub, events)
	r.awaitRouted()
	r.wantInOrder(sub, from(1, events))
	running.stop()
	if used := r.memory.Used(); used != 0 {
		t.Errorf("%d bytes are in use in the end, want none", used)
	}
}
