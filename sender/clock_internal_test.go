package sender

import (
	"context"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/transport"
)

// skewed is the clock of a server that shows another time than this machine's.
func skewed(server time.Time) clock {
	return clock{read: func(context.Context) (time.Time, error) { return server, nil }}
}

// A sender whose clock is an hour wrong plans its timers by the server's, gives up
// what is old by the server's, and not by its own.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-time.Hour, 0, time.Hour} {
		server := time.Now().Add(off)
		s := &Sender{clock: skewed(server)}
		due := time.Now().Add(5 * time.Minute)
		if wait := planned(t, s, due).Sub(server); wait < 4*time.Minute || wait > 6*time.Minute {
			t.Errorf("off by %s: a timer of five minutes fires after %s", off, wait)
		}
		e := &endpoint{sub: &subscription.Subscription{Delivery: subscription.Delivery{MaxAge: subscription.Duration(30 * time.Minute)}}}
		for age, want := range map[time.Duration]bool{time.Minute: false, 29 * time.Minute: false, 32 * time.Minute: true} {
			d := &delivery.Delivery{Accepted: server.Add(-age)}
			if got := s.expired(t.Context(), e, d); got != want {
				t.Errorf("off by %s: what has waited for %s is given up: %t, want %t", off, age, got, want)
			}
		}
	}
}

// What cannot be found out is not given up.
func TestUnknownClock(t *testing.T) {
	t.Parallel()
	s := &Sender{clock: clock{read: func(context.Context) (time.Time, error) { return time.Time{}, context.DeadlineExceeded }}}
	e := &endpoint{sub: &subscription.Subscription{Delivery: subscription.Delivery{MaxAge: subscription.Duration(time.Minute)}}}
	if s.expired(t.Context(), e, &delivery.Delivery{Accepted: time.Now().Add(-time.Hour)}) {
		t.Error("a delivery is given up, and nobody knows how old it is")
	}
	if due := time.Now().Add(time.Minute); !planned(t, s, due).Equal(due) {
		t.Error("without the server's clock a timer is not of this machine's")
	}
}

// A clock that nobody has set is read once. (One that was set cannot be made up: a test
// has no hold of monotonic readings.)
func TestClockIsNotSet(t *testing.T) {
	t.Parallel()
	now := time.Now()
	if got := stream.Step(now, time.Now()).Abs(); got > maxStep {
		t.Errorf("a clock that nobody has set has stepped by %s", got)
	}
	asked := 0
	c := clock{read: func(context.Context) (time.Time, error) { asked++; return now, nil }}
	for range 3 {
		if _, err := c.at(t.Context()); err != nil || asked != 1 {
			t.Errorf("asked %d times, error %v", asked, err)
		}
	}
}

// The delays of a whole day's schedule, each within its jitter, and what a receiver
// asks for between its own delay and a day.
func TestWholeSchedule(t *testing.T) {
	t.Parallel()
	hour := retrying(0.2, 0, 5*time.Second, 5*time.Minute, 15*time.Minute, 40*time.Minute)
	day := retrying(0.1, 0, 5*time.Second, 5*time.Minute, 30*time.Minute, 2*time.Hour, 5*time.Hour, 10*time.Hour, 14*time.Hour, 20*time.Hour, 24*time.Hour)
	for _, d := range []*subscription.Delivery{hour, day} {
		for n := 1; n <= len(d.Retry); n++ {
			for _, asked := range []time.Duration{0, time.Second, 30 * time.Minute, 1000 * time.Hour} {
				got, more := nextDelay(d, n, asked)
				if n == len(d.Retry) {
					if more {
						t.Errorf("attempt %d was the last, and there is another after %s", n, got)
					}
					continue
				}
				planned := time.Duration(d.Retry[n])
				spread := time.Duration(float64(planned) * d.Jitter)
				least, most := max(planned-spread, min(asked, transport.MaxRetryAfter)), max(planned+spread, min(asked, transport.MaxRetryAfter))
				if !more || got < least || got > most {
					t.Errorf("after attempt %d, asked for %s: got %s, more: %t, want %s to %s", n, asked, got, more, least, most)
				}
			}
		}
	}
}

func planned(t *testing.T, s *Sender, at time.Time) time.Time {
	t.Helper()
	due, _ := s.planned(t.Context(), at)
	return due
}

// A clock that is set, forward or back, is read again, and what its times are meant by is
// agreed on. Until that is done the readings before count.
func TestClockWasSet(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{-2 * time.Hour, 20 * time.Second, 2 * time.Hour, -time.Second} {
		start := time.Now()
		var off, told time.Duration
		asked, away := 0, false
		c := clock{
			read: func(context.Context) (time.Time, error) { return time.Now().Round(0).Add(off), nil },
			agree: func(_ context.Context, read *reading, by time.Duration) error {
				if away {
					return context.DeadlineExceeded
				}
				asked++
				told = by
				read.Mark = stream.Mark{Origin: "a", By: read.Mark.By + by}
				read.At, read.Before = read.server, read.server.Add(-by)
				return nil
			},
		}
		if read, err := c.atLeast(t.Context(), 0); err != nil || asked != 1 || told != 0 || read.Mark.By != 0 {
			t.Fatalf("the first reading: asked %d times, told %s, %+v, %v", asked, told, read, err)
		}
		off, away = by, true
		if read, err := c.atLeast(t.Context(), 0); err != nil || by.Abs() > stream.LeastSet && time.Until(read.now()).Abs() > stream.LeastSet {
			t.Errorf("set by %s, and not agreed on: got %s, %v, want the time before", by, read.now(), err)
		}
		away, c.failed = false, time.Time{}
		read, err := c.atLeast(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if by.Abs() < stream.LeastSet {
			if asked != 1 {
				t.Errorf("set by %s: it is said to be set by %s", by, told)
			}
			continue
		}
		if asked != 2 || (told-by).Abs() > time.Second || read.now().Sub(time.Now().Add(by)).Abs() > time.Second {
			t.Errorf("set by %s: asked %d times, told %s, it shows %s", by, asked, told, read.now())
		}
		if age := read.age(start.Add(-time.Hour)); by > 0 && (age-time.Hour).Abs() > 10*time.Second || age > time.Hour+10*time.Second {
			t.Errorf("set by %s: what is an hour old is %s old", by, age)
		}
	}
}

// What was stored before the clock was set back says nothing about another setting, however
// often it was set since. Taken for one, retries would be moved again at the next start.
func TestStoredBeforeClockWasSet(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var r clockRecord
	if r.explains(noon) {
		t.Error("a clock that was never set explains what is stored in the future")
	}
	r.wasSet(noon.Add(-2*time.Hour), -2*time.Hour)
	r.wasSet(noon.Add(-3*time.Hour+time.Minute), -time.Hour)
	for _, tt := range []struct {
		stored time.Time
		want   bool
	}{
		{noon.Add(-2 * time.Hour), true},
		{noon, true}, // before it was set first
		{noon.Add(time.Minute), false},
	} {
		if got := r.explains(tt.stored); got != tt.want {
			t.Errorf("stored at %s: explained %t, want %t", tt.stored, got, tt.want)
		}
	}
}
