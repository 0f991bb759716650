package timestamp_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/timestamp"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"0": 0, "0s": 0, "1h30m": 90 * time.Minute, "-2h": -2 * time.Hour, "1.5h": 90 * time.Minute, "2562047h": 2562047 * time.Hour, "1µs": time.Microsecond} {
		if got, err := timestamp.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"2562048h": timestamp.ErrTooLong, "99999999999999999999s": timestamp.ErrTooLong, "1h99999999999.5h": timestamp.ErrTooLong, "-9999999h": timestamp.ErrTooLong,
		"": timestamp.ErrDuration, "15": timestamp.ErrDuration, "5 days": timestamp.ErrDuration, "1d": timestamp.ErrDuration, "soon": timestamp.ErrDuration,
		"PT5M": timestamp.ErrDuration, ".s": timestamp.ErrDuration, "1e3s": timestamp.ErrDuration, "99999999999999999999": timestamp.ErrDuration,
	} {
		if got, err := timestamp.ParseDuration(text); !errors.Is(err, want) {
			t.Errorf("%q: got %s, %v, want %v", text, got, err, want)
		}
	}
}
