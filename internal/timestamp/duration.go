package timestamp

import (
	"errors"
	"regexp"
	"time"
)

// Why a text is not a duration.
var (
	ErrDuration = errors.New(`it is not a number and its unit, such as "15s", "5m" or "2h"`)
	// ErrTooLong is a duration that is written as one, and longer than can be counted.
	ErrTooLong = errors.New("it is longer than 292 years")
)

var durationForm = regexp.MustCompile(`^[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`)

// ParseDuration is time.ParseDuration, whose error does not distinguish ErrDuration from
// ErrTooLong.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err == nil:
		return d, nil
	case durationForm.MatchString(text):
		return 0, ErrTooLong
	default:
		return 0, ErrDuration
	}
}
