package input

import (
	"errors"
	"fmt"
	"time"

	"github.com/jetpost/jetpost/internal/timestamp"
)

// Time reads a time, or how long ago it was.
func Time(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	ago, err := timestamp.ParseDuration(text)
	first := time.Unix(0, 0).UTC() // the first time that the server knows
	switch {
	case errors.Is(err, timestamp.ErrTooLong) && text[0] != '-':
		return first, nil
	case err == nil && ago >= 0:
		if at := now.Add(-ago).UTC(); at.After(first) {
			return at, nil
		}
		return first, nil
	case err == nil || errors.Is(err, timestamp.ErrTooLong):
		return time.Time{}, fmt.Errorf("%s %q is in the future: give how long ago it was, such as 2h, or a time such as %s", flag, text, timestamp.Example)
	}
	at, err := timestamp.Parse(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s %q: give a duration such as 2h, or a time such as %s (%w)", flag, text, timestamp.Example, err)
	}
	return at.UTC(), nil
}
