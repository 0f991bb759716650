package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// waiting is what has still to be done, as the streams say, leaving out the queues
// of some subscriptions. Nothing is an empty text.
func waiting(ctx context.Context, js jetstream.JetStream, but ...string) (string, error) {
	var found []string
	streams := js.ListStreams(ctx)
	for info := range streams.Info() {
		name := info.Config.Name
		switch {
		case strings.HasPrefix(name, "EVENTS_"):
			c, err := js.Consumer(ctx, name, "router")
			if err != nil {
				return "", err
			}
			if i := c.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
				found = append(found, fmt.Sprintf("%s: %d+%d", name, i.NumPending, i.NumAckPending))
			}
		case strings.HasPrefix(name, "DELIVERIES_"), strings.HasPrefix(name, "RETRIES_"):
			if info.State.Msgs == 0 || slices.Contains(but, strings.TrimPrefix(name, "DELIVERIES_")) {
				continue
			}
			left, err := unfinished(ctx, js, name)
			if err != nil {
				return "", err
			}
			if left > 0 {
				found = append(found, fmt.Sprintf("%s: %d", name, left))
			}
		}
	}
	return strings.Join(found, ", "), streams.Err()
}

// settle waits until nothing is waiting any more. It gives up when nothing has
// changed for longer than a process that was killed can hold a message.
func (o *oracle) settle(t *testing.T, js jetstream.JetStream, but ...string) {
	t.Helper()
	const patience = time.Minute
	poll := time.NewTicker(250 * time.Millisecond)
	defer poll.Stop()
	before, changed, printed, nothing := "", time.Now(), time.Now(), 0
	for ; ; <-poll.C {
		left, err := waiting(t.Context(), js, but...)
		switch {
		case err == nil && left == "":
			// A timer may have gone to a queue that had been looked at.
			if nothing++; nothing == 2 {
				return
			}
			continue
		case err == nil && left != before:
			before, changed = left, time.Now()
		case time.Since(changed) > patience:
			o.wrong("work that is left does not change any more: %s (%v)\n%s", left, err, describeLeft(t.Context(), js, left))
			return
		}
		nothing = 0
		if time.Since(printed) > 20*time.Second {
			printed = time.Now()
			o.progress(t, "still to be done: %s (%v)", left, err)
			if time.Since(changed) > settleBreakers {
				o.closeBreakers(t)
			}
		}
	}
}

// settleBreakers is when the test closes breakers that are open although nothing
// is wrong with their endpoints any more.
const settleBreakers = 30 * time.Second

// closeBreakers does what a person would: it closes the breakers that are open. One
// that has opened for a network closes late for a receiver that fails now and then.
func (o *oracle) closeBreakers(t *testing.T) {
	t.Helper()
	for id, s := range o.subs {
		var b struct{ State string }
		path := "/v1/subscriptions/" + id + "/breaker"
		if r := o.apis[0].do(t, http.MethodGet, path, nil); r.status != http.StatusOK || json.Unmarshal(r.body, &b) != nil || b.State == "closed" || b.State == "off" {
			continue
		}
		o.breakersClosed++
		o.progress(t, "closing the breaker of %s, which is %s", s.id, b.State)
		o.change(t.Context(), http.MethodPost, path+"/reset", nil)
	}
}

// unfinished is how many messages of a work queue are not done: those that its
// consumer has still to hand out or to hear of, and timers. A server that was killed
// between taking note of an ack and removing the message keeps the message, and
// never hands it out again; no delivery needs it.
func unfinished(ctx context.Context, js jetstream.JetStream, name string) (uint64, error) {
	c, err := js.Consumer(ctx, name, "sender")
	if err != nil {
		return 0, err
	}
	i := c.CachedInfo()
	left := i.NumPending + uint64(i.NumAckPending) //nolint:gosec // a count
	s, err := js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	timers, err := s.Info(ctx, jetstream.WithSubjectFilter("retries.*.at.>"))
	if err != nil {
		return 0, err
	}
	for _, n := range timers.State.Subjects {
		left += n
	}
	return left, nil
}

// describeLeft says of each stream that left names what is in it, and where it and its
// consumer are.
func describeLeft(ctx context.Context, js jetstream.JetStream, left string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(left, ", ") {
		name, _, _ := strings.Cut(part, ":")
		s, err := js.Stream(ctx, name)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", name, err)
			continue
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", name, err)
			continue
		}
		state, subjects := info.State, info.State.Subjects
		state.Subjects = nil
		fmt.Fprintf(&b, "%s: %+v, cluster %+v\n", name, state, info.Cluster)
		for consumers := s.ListConsumers(ctx); ; {
			c, more := <-consumers.Info()
			if !more {
				break
			}
			fmt.Fprintf(&b, "  consumer %s: delivered %+v, acked %+v, %d pending, %d in flight, %d handed out again, %d requests, cluster %+v\n",
				c.Name, c.Delivered, c.AckFloor, c.NumPending, c.NumAckPending, c.NumRedelivered, c.NumWaiting, c.Cluster)
		}
		for subject, n := range subjects {
			m, err := s.GetLastMsgForSubject(ctx, subject)
			if err != nil {
				fmt.Fprintf(&b, "  %s: %d, %v\n", subject, n, err)
				continue
			}
			fmt.Fprintf(&b, "  %s: %d, the last is %d of %s, %v\n", subject, n, m.Sequence, m.Time.Format(time.RFC3339Nano), m.Header)
		}
	}
	return b.String()
}

// queued is how many deliveries wait in the queue of a subscription.
func queued(t *testing.T, js jetstream.JetStream, id string) uint64 {
	t.Helper()
	left, err := unfinished(t.Context(), js, "DELIVERIES_"+id)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// comeBack resumes a subscription that has left, until what waits for it has been
// delivered. The delivery that was answered with 410 may be in its queue again.
func (o *oracle) comeBack(t *testing.T, js jetstream.JetStream, id string) {
	t.Helper()
	for range 5 {
		if o.apis[0].subscription(t, id).State == "disabled" {
			o.apis[0].call(t, http.MethodPost, "/v1/subscriptions/"+id+"/resume", nil, nil)
		}
		holdsWithin(t.Context(), 5*time.Minute, func() bool {
			return queued(t, js, id) == 0 || o.apis[0].subscription(t, id).State == "disabled"
		})
		if queued(t, js, id) == 0 {
			return
		}
	}
	o.wrong("%s: %d deliveries wait, and resuming does not help", id, queued(t, js, id))
}

// ghosts is how many messages the queues and timers hold that no delivery needs any more:
// see unfinished.
func ghosts(t *testing.T, js jetstream.JetStream) (found uint64) {
	t.Helper()
	streams := js.ListStreams(t.Context())
	for info := range streams.Info() {
		name := info.Config.Name
		if !strings.HasPrefix(name, "DELIVERIES_") && !strings.HasPrefix(name, "RETRIES_") || info.State.Msgs == 0 {
			continue
		}
		left, err := unfinished(t.Context(), js, name)
		if err != nil {
			t.Fatal(err)
		}
		found += info.State.Msgs - min(left, info.State.Msgs)
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}
