package stream

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A Mark says by which setting of the NATS server's clock a time is meant. Clocks are
// set, by hand or when they find out what time it is, and NATS keeps timers by the time
// of day. So a time of the server's clock is stored with its mark, and a reader knows by how
// much the clock was set since.
//
//	           stored: 12:30, 0s                   read: 10:30, that is in half an hour
//	12:00 ─────────────┬──────────► 12:00 set to 10:00 ┬──────────►
//	                   by 0s                           by -2h
//
// The zero Mark is that of a clock which was never seen to be set.
type Mark struct {
	// Origin names the record in which By is kept: with another one nothing is known
	// about what was between.
	Origin string `json:"origin"`
	// By is the sum of what the clock was set by, until then.
	By time.Duration `json:"by"`
}

// Since is by how much the clock was set from old to m: what has to be added to times
// that were meant by old.
func (m Mark) Since(old Mark) time.Duration {
	if old.Origin != "" && old.Origin != m.Origin {
		return 0
	}
	return m.By - old.By
}

// SetTimer writes down in the headers of a retry timer when it is due, by a setting of
// the clock. The server takes its own header away when the timer fires.
func (m Mark) SetTimer(h nats.Header, due time.Time) {
	h[HeaderTimer] = []string{fmt.Sprintf("%d %d %s", due.UnixNano(), m.By, m.Origin)}
}

// TimerMark is the inverse of SetTimer. known is false where a timer says nothing, as
// those of older versions do.
func TimerMark(h nats.Header) (due time.Time, m Mark, known bool) {
	parts := strings.SplitN(h.Get(HeaderTimer), " ", 3)
	if len(parts) != 3 {
		return time.Time{}, Mark{}, false
	}
	at, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return time.Time{}, Mark{}, false
	}
	by, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return time.Time{}, Mark{}, false
	}
	return time.Unix(0, at), Mark{Origin: parts[2], By: time.Duration(by)}, true
}
