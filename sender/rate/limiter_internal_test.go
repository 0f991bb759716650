package rate

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
)

func TestBlock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rate          float64
		waiting, want int
	}{
		{0.001, 64, 1}, {0.5, 64, 1}, {5, 64, 1}, {9.9, 64, 1}, {10, 64, 1}, {11, 64, 2}, {50, 64, 9}, {50, 3, 3}, {10_000, 5000, 1960}, {10_000, 1, 1},
	} {
		limiter := NewLimiter(nil, nil, "hook", tt.rate)
		if got := limiter.block(tt.waiting); got != tt.want {
			t.Errorf("%v/s, %d wait: got %d slots, want %d", tt.rate, tt.waiting, got, tt.want)
		}
	}
}

// When the next slot is, from what is stored.
func TestNextSlot(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const interval = time.Second
	for _, tt := range []struct {
		name string
		last time.Duration // from now
		by   time.Duration // the interval then
		want time.Duration
	}{
		{"long ago", -time.Hour, interval, 0},
		{"just over", -interval, interval, 0},
		{"not yet", -interval / 4, interval, 3 * interval / 4},
		{"others wait", 5 * interval, interval, 6 * interval},
		{"by a slower rate, far ahead", time.Hour, 1000 * interval, interval},
		{"by a slower rate, over", -10 * interval, 1000 * interval, 0},
		{"by a faster rate", interval / 10, interval / 10, interval},
		{"by a faster rate, over", -interval / 10, interval / 10, 9 * interval / 10},
		{"by a clock that was wrong", 24 * time.Hour, interval, interval},
	} {
		limiter := &Limiter{interval: interval, revision: 1, known: record{Last: now.Add(tt.last), Interval: subscription.Duration(tt.by)}}
		if got := limiter.next(now).Sub(now); got != tt.want {
			t.Errorf("%s: got the next slot in %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := (&Limiter{interval: interval}).next(now); !got.Equal(now) {
		t.Errorf("the first slot is at %s, want now", got)
	}
}

// No slot is given to two, slots keep their distance, and what is given back is
// given away again.
func TestSlots(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	if err := s.Layout.Ensure(t.Context(), s.JS(), nil); err != nil {
		t.Fatal(err)
	}
	// Each has read the server's clock for itself. It is that of this machine, so that no
	// request is needed whose time is an error of the reading.
	senderWith := func() *Limiter {
		own := clock.New(func(context.Context) (time.Time, error) { return time.Now(), nil })
		return NewLimiter(stream.NewBucket(s.JS(), s.Layout.StateBucket()), own, "hook", 100)
	}
	a, b := senderWith(), senderWith()
	var all []time.Time
	for n := range 20 {
		who := a
		if n%3 == 0 {
			who = b
		}
		got, err := who.reserve(t.Context(), 1+n%4)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, got...)
	}
	for i := 1; i < len(all); i++ {
		// Readings of the server's clock may differ.
		if apart := all[i].Sub(all[i-1]); apart < 9*time.Millisecond/2 {
			t.Errorf("slot %d is %s after the one before, want %s", i, apart, a.interval)
		}
	}
	before := a.known
	if _, err := a.reserve(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	reserved := a.known.Last
	a.giveBack(t.Context(), 3)
	if got := reserved.Sub(a.known.Last); got != 3*a.interval {
		t.Errorf("three slots given back move the last one by %s", got)
	}
	if _, err := b.reserve(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	behind := b.known.Last
	a.giveBack(t.Context(), 1) // b has reserved behind it
	kv, err := s.JS().KeyValue(t.Context(), s.Layout.StateBucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.reserve(t.Context(), 1); err != nil || !a.known.Last.After(behind) || !a.known.Last.After(before.Last) {
		t.Errorf("got a slot at %s, %v, want one after %s", a.known.Last, err, behind)
	}
	// An unreadable value counts as nothing.
	if _, err := kv.Put(t.Context(), stream.StateRate("hook"), []byte("junk")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.reserve(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if err := kv.Purge(t.Context(), stream.StateRate("hook")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.reserve(t.Context(), 1); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.JS().DeleteKeyValue(ctx, s.Layout.StateBucket()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.reserve(ctx, 1); err == nil || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		t.Errorf("got error %v, want that there is no bucket", err)
	}
}
