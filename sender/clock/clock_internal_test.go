package clock

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// A clock that was not set is read once. (One that was set cannot be made up: a test
// has no hold of monotonic readings.)
func TestClockIsNotSet(t *testing.T) {
	t.Parallel()
	now := time.Now()
	if got := stream.Step(now, time.Now()).Abs(); got > maxStep {
		t.Errorf("a clock that was not set has stepped by %s", got)
	}
	asked := 0
	c := Clock{read: func(context.Context) (time.Time, error) { asked++; return now, nil }}
	for range 3 {
		if _, err := c.At(t.Context()); err != nil || asked != 1 {
			t.Errorf("asked %d times, error %v", asked, err)
		}
	}
}

// A clock that is set, forward or back, is read again, and what its times are meant by is
// agreed on. Until that is done the readings before count.
func TestClockWasSet(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{-2 * time.Hour, 20 * time.Second, 2 * time.Hour, -time.Second} {
		start := time.Now()
		var off, set time.Duration
		asked, away := 0, false
		c := Clock{
			read: func(context.Context) (time.Time, error) { return time.Now().Round(0).Add(off), nil },
			agree: func(_ context.Context, read *Reading, by time.Duration) error {
				if away {
					return context.DeadlineExceeded
				}
				asked++
				set = by
				read.Mark = stream.Mark{Origin: "a", By: read.Mark.By + by}
				read.At, read.Before = read.server, read.server.Add(-by)
				return nil
			},
		}
		if read, err := c.atLeast(t.Context(), 0); err != nil || asked != 1 || set != 0 || read.Mark.By != 0 {
			t.Fatalf("the first reading: asked %d times, set by %s, %+v, %v", asked, set, read, err)
		}
		off, away = by, true
		if read, err := c.atLeast(t.Context(), 0); err != nil || by.Abs() > stream.LeastSet && time.Until(read.Now()).Abs() > stream.LeastSet {
			t.Errorf("set by %s, and not agreed on: got %s, %v, want the time before", by, read.Now(), err)
		}
		away, c.failed = false, time.Time{}
		read, err := c.atLeast(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if by.Abs() < stream.LeastSet {
			if asked != 1 {
				t.Errorf("set by %s: it is said to be set by %s", by, set)
			}
			continue
		}
		if asked != 2 || (set-by).Abs() > time.Second || read.Now().Sub(time.Now().Add(by)).Abs() > time.Second {
			t.Errorf("set by %s: asked %d times, set by %s, it shows %s", by, asked, set, read.Now())
		}
		if age := read.Age(start.Add(-time.Hour)); by > 0 && (age-time.Hour).Abs() > 10*time.Second || age > time.Hour+10*time.Second {
			t.Errorf("set by %s: what is an hour old is %s old", by, age)
		}
	}
}

// What was stored before the clock was set back says nothing about another setting, however
// often it was set since. Taken for one, retries would be moved again at the next start.
func TestStoredBeforeClockWasSet(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var r settingRecord
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

// Senders whose clocks differ agree about the slots, by the server's clock.
func TestClock(t *testing.T) {
	t.Parallel()
	server, fail := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), true
	asked := 0
	c := &Clock{read: func(context.Context) (time.Time, error) {
		asked++
		if fail {
			return time.Time{}, errors.New("away")
		}
		return server, nil
	}}
	if _, err := c.At(t.Context()); err == nil {
		t.Error("a clock that was never read shows a time")
	}
	fail = false
	r, err := c.At(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if off := r.Now().Sub(server); off < 0 || off > time.Minute {
		t.Errorf("the clock is off by %s", off)
	}
	if got := time.Until(r.Here(r.Now().Add(time.Hour))); got < 59*time.Minute || got > 61*time.Minute {
		t.Errorf("an hour from now by the server is %s from now here", got)
	}
	if _, err := c.At(t.Context()); err != nil || asked != 2 {
		t.Errorf("asked %d times, %v, want the reading to be used again", asked, err)
	}
	c.last.local, fail = c.last.local.Add(-2*maxAge), true
	if old, err := c.At(t.Context()); err != nil || asked != 3 || !old.server.Equal(server) {
		t.Errorf("got %v, %v, want the old reading while there is no new one", old, err)
	}
}
