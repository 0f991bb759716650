package consume

import (
	"testing"
	"time"
)

func TestPulse(t *testing.T) {
	t.Parallel()
	var none *Pulse
	if none.StalledSince(time.Time{}) {
		t.Error("no pulse has noticed something")
	}
	for _, tt := range []struct {
		name    string
		last    time.Duration // beat, ago; 0: it does not run
		stalled time.Duration // ago; 0: never
		since   time.Duration // ago
		want    bool
	}{
		{"not running", 0, 0, time.Minute, false},
		{"beating", 400 * time.Millisecond, 0, time.Minute, false},
		{"a beat is late", 2 * time.Second, 0, time.Minute, false},
		{"no beat for long: it stood still until now", time.Minute, 0, time.Second, true},
		{"it stood still afterwards", time.Millisecond, time.Second, 2 * time.Second, true},
		{"it stood still before", time.Millisecond, 3 * time.Second, 2 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			p := &Pulse{OnStall: func(time.Duration) { calls++ }}
			at := time.Since(started)
			if tt.last > 0 {
				p.last.Store(int64(at - tt.last))
			}
			if tt.stalled > 0 {
				p.stalled.Store(int64(at - tt.stalled))
			}
			if got := p.StalledSince(time.Now().Add(-tt.since)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			p.look()
			if isNew := tt.last > longStall; (calls == 1) != isNew || calls > 1 {
				t.Errorf("it is called %d times", calls)
			}
		})
	}
}
