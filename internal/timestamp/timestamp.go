// Package timestamp reads the times that others write: RFC 3339 times, HTTP dates, and
// Retry-After. What Go's time package takes beside RFC 3339 is refused (a comma, hours of
// one digit, offsets of a day and more), and what it does not take is read (t and z in lower
// case, leap seconds).
package timestamp

import (
	"errors"
	"time"
)

// Example is a time as errors show it.
const Example = "2026-01-31T12:00:00Z"

// Why a text is not a time. Errors of Parse say nothing else, so that they can be shown.
var (
	errDate     = errors.New("its date is not a year, month and day such as 2026-01-31")
	errDay      = errors.New("there is no such day")
	errT        = errors.New("there is no T between its date and its time")
	errClock    = errors.New("its time of day is not hours, minutes and seconds such as 12:00:00")
	errFraction = errors.New("its fraction of a second has no digits behind the point")
	errNoZone   = errors.New("it has no zone: end it with Z, or with an offset such as +01:00")
	errZone     = errors.New("its zone is neither Z nor an offset from -23:59 to +23:59")
	errLeap     = errors.New("a leap second is at 23:59:60 UTC of the last day of a month")
)

// Valid reports whether text is a date-time of RFC 3339, section 5.6.
func Valid(text string) bool {
	_, err := Parse(text)
	return err == nil
}

// Parse reads a date-time of RFC 3339, section 5.6. A leap second is read as the second
// after it, as POSIX counts, and digits behind the nanoseconds are left out. The error says
// what is wrong, without the text.
func Parse(text string) (time.Time, error) {
	const date, clock = len("2026-01-31"), len("12:00:00")
	year, month, day, ok := three(text, [3]int{4, 2, 2}, '-')
	switch {
	case !ok:
		return time.Time{}, errDate
	case month < 1 || month > 12 || day < 1 || day > daysOf(year, month):
		return time.Time{}, errDay
	case len(text) == date || text[date] != 'T' && text[date] != 't':
		return time.Time{}, errT
	}
	rest := text[date+1:]
	hour, minute, second, ok := three(rest, [3]int{2, 2, 2}, ':')
	if !ok || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, errClock
	}
	nanoseconds, rest, err := fraction(rest[clock:])
	if err != nil {
		return time.Time{}, err
	}
	zone, err := zoneOf(rest)
	if err != nil {
		return time.Time{}, err
	}
	at := time.Date(year, time.Month(month), day, hour, minute, second, nanoseconds, zone)
	if second == 60 {
		// The second after it is the first one of a month.
		if next := at.UTC(); next.Day() != 1 || next.Hour() != 0 || next.Minute() != 0 || next.Second() != 0 {
			return time.Time{}, errLeap
		}
	}
	return at, nil
}

// three reads the beginning of text: three numbers of so many digits, and what is between
// them.
func three(text string, digits [3]int, between byte) (a, b, c int, ok bool) {
	var numbers [3]int
	for i, n := range digits {
		if i > 0 {
			if text == "" || text[0] != between {
				return 0, 0, 0, false
			}
			text = text[1:]
		}
		if numbers[i], ok = number(text, n); !ok {
			return 0, 0, 0, false
		}
		text = text[n:]
	}
	return numbers[0], numbers[1], numbers[2], true
}

// number reads n digits at the beginning of text.
func number(text string, n int) (value int, ok bool) {
	if len(text) < n {
		return 0, false
	}
	for i := range n {
		if !isDigit(text[i]) {
			return 0, false
		}
		value = value*10 + int(text[i]-'0')
	}
	return value, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func daysOf(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// fraction reads the part of a second, where there is one, and returns what is behind it.
func fraction(text string) (nanoseconds int, rest string, err error) {
	if text == "" || text[0] != '.' {
		return 0, text, nil
	}
	text = text[1:]
	digits, unit := 0, int(time.Second)
	for digits < len(text) && isDigit(text[digits]) {
		unit /= 10
		nanoseconds += int(text[digits]-'0') * unit
		digits++
	}
	if digits == 0 {
		return 0, "", errFraction
	}
	return nanoseconds, text[digits:], nil
}

func zoneOf(text string) (*time.Location, error) {
	switch {
	case text == "":
		return nil, errNoZone
	case text == "Z" || text == "z":
		return time.UTC, nil
	case len(text) != len("+01:00") || text[0] != '+' && text[0] != '-' || text[3] != ':':
		return nil, errZone
	}
	hours, ok := number(text[1:], 2)
	minutes, also := number(text[4:], 2)
	if !ok || !also || hours > 23 || minutes > 59 {
		return nil, errZone
	}
	offset := (hours*60 + minutes) * 60
	if text[0] == '-' {
		offset = -offset
	}
	return time.FixedZone("", offset), nil
}
