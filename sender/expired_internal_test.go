package sender

import (
	"context"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/endpoint"
)

// skewed is the clock of a server that shows another time than this machine's.
func skewed(server time.Time) *clock.Clock {
	return clock.New(func(context.Context) (time.Time, error) { return server, nil })
}

// A sender whose clock is an hour wrong plans its timers by the server's, gives up
// what is old by the server's, and not by its own.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-time.Hour, 0, time.Hour} {
		server := time.Now().Add(off)
		c := skewed(server)
		due := time.Now().Add(5 * time.Minute)
		if wait := planned(t, c, due).Sub(server); wait < 4*time.Minute || wait > 6*time.Minute {
			t.Errorf("off by %s: a timer of five minutes fires after %s", off, wait)
		}
		e := &endpoint.Endpoint{Subscription: &subscription.Subscription{Delivery: subscription.Delivery{MaxAge: subscription.Duration(30 * time.Minute)}}}
		for age, want := range map[time.Duration]bool{time.Minute: false, 29 * time.Minute: false, 32 * time.Minute: true} {
			d := &delivery.Delivery{Accepted: server.Add(-age)}
			if got := expired(t.Context(), c, e.Subscription, d); got != want {
				t.Errorf("off by %s: what has waited for %s is given up: %t, want %t", off, age, got, want)
			}
		}
	}
}

// What cannot be found out is not given up.
func TestUnknownClock(t *testing.T) {
	t.Parallel()
	c := clock.New(func(context.Context) (time.Time, error) { return time.Time{}, context.DeadlineExceeded })
	e := &endpoint.Endpoint{Subscription: &subscription.Subscription{Delivery: subscription.Delivery{MaxAge: subscription.Duration(time.Minute)}}}
	if expired(t.Context(), c, e.Subscription, &delivery.Delivery{Accepted: time.Now().Add(-time.Hour)}) {
		t.Error("a delivery of unknown age is given up")
	}
	if due := time.Now().Add(time.Minute); !planned(t, c, due).Equal(due) {
		t.Error("without the server's clock a timer is not of this machine's")
	}
}

func planned(t *testing.T, c *clock.Clock, at time.Time) time.Time {
	t.Helper()
	due, _ := c.Server(t.Context(), at)
	return due
}
