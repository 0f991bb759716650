package sender

import (
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/transport"
)

func retrying(jitter float64, delays ...time.Duration) *subscription.Delivery {
	d := &subscription.Delivery{Retrying: subscription.Retrying{Jitter: jitter}}
	for _, delay := range delays {
		d.Retry = append(d.Retry, subscription.Duration(delay))
	}
	return d
}

// However often it is drawn, a delay stays inside its jitter, and uses it.
func TestNextDelayJitter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		jitter         float64
		delay          time.Duration
		shortest, most time.Duration
	}{
		{0, time.Minute, time.Minute, time.Minute},
		{0.2, time.Minute, 48 * time.Second, 72 * time.Second},
		{1, time.Minute, 0, 2 * time.Minute},
		{0.5, 0, 0, 0},
		{0.2, 24 * time.Hour, 24 * time.Hour * 8 / 10, 24 * time.Hour * 12 / 10},
		{0.2, 1, 1, 1}, // too short to be spread
	} {
		d := retrying(tt.jitter, 0, tt.delay)
		lowest, highest := tt.most, tt.shortest
		for range 20_000 {
			got, more := nextDelay(d, 1, 0)
			if !more || got < tt.shortest || got > tt.most {
				t.Fatalf("%s with jitter %v: got %s, more: %t, want %s to %s", tt.delay, tt.jitter, got, more, tt.shortest, tt.most)
			}
			lowest, highest = min(lowest, got), max(highest, got)
		}
		if edge := (tt.most - tt.shortest) / 100; lowest > tt.shortest+edge || highest < tt.most-edge {
			t.Errorf("%s with jitter %v: 20,000 draws were from %s to %s, want all of %s to %s", tt.delay, tt.jitter, lowest, highest, tt.shortest, tt.most)
		}
	}
}

func TestNextDelaySchedule(t *testing.T) {
	t.Parallel()
	d := retrying(0, 0, 5*time.Second, 5*time.Minute)
	for _, tt := range []struct {
		name       string
		failed     int
		retryAfter time.Duration
		want       time.Duration
		more       bool
	}{
		{"the first has failed", 1, 0, 5 * time.Second, true},
		{"the second has failed", 2, 0, 5 * time.Minute, true},
		{"the last has failed", 3, 0, 0, false},
		{"one more than there are", 4, 0, 0, false},
		{"the receiver wants longer", 1, time.Hour, time.Hour, true},
		{"the receiver wants less", 2, time.Second, 5 * time.Minute, true},
		{"the receiver wants too long", 1, 1000 * time.Hour, 24 * time.Hour, true},
		{"the receiver wants another after the last", 3, time.Second, 0, false},
	} {
		got, more := nextDelay(d, tt.failed, tt.retryAfter)
		if got != tt.want || more != tt.more {
			t.Errorf("%s: got %s, more: %t, want %s, %t", tt.name, got, more, tt.want, tt.more)
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
