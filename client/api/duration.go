package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Duration is a time.Duration that reads and prints as "15s", "5m" or "120h".
type Duration time.Duration

// String leaves out units that are zero: 5m instead of 5m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf(`%q is not a duration: write a number and its unit, such as "15s", "5m" or "2h"`, text)
	}
	*d = Duration(parsed)
	return nil
}

// UnmarshalJSON takes a string and says so when it gets anything else.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) != nil {
		return errors.New(`must be a string with a unit, such as "15s", "5m" or "2h"`)
	}
	return d.UnmarshalText([]byte(text))
}
