package breaker

import (
	"fmt"
	"time"
)

const (
	// slot is one part of the window over which the share of failures is taken.
	slot  = 5 * time.Second
	slots = 6
	// minRequests is how many requests a share needs to mean anything.
	minRequests = 20
	// share is how many in a hundred must have failed.
	share = 80
)

// A Counter counts the requests to one endpoint while its breaker is closed, and
// says when to open it. It is not safe for use by several goroutines.
type Counter struct {
	row   int // failures in a row
	ring  [slots]tally
	begin time.Time // the first slot's beginning
}

type tally struct {
	slot             int64
	requests, failed int
}

// Success counts an answer that shows the endpoint to be up.
func (c *Counter) Success(now time.Time) {
	c.row = 0
	c.at(now).requests++
}

// Failure counts a failure of the endpoint. reason is empty, or says what was too
// much: limit failures in a row, or four fifths of the requests of half a minute,
// where there were 20 of them, or twice limit if that is more.
func (c *Counter) Failure(now time.Time, limit int) (reason string) {
	c.row++
	t := c.at(now)
	t.requests++
	t.failed++
	if c.row >= limit {
		return fmt.Sprintf("%d requests in a row have failed", c.row)
	}
	requests, failed := 0, 0
	for i := range c.ring {
		if c.ring[i].slot > t.slot-slots {
			requests += c.ring[i].requests
			failed += c.ring[i].failed
		}
	}
	if requests >= max(minRequests, 2*limit) && failed*100 >= requests*share {
		return fmt.Sprintf("%d of %d requests within %s have failed", failed, requests, slots*slot)
	}
	return ""
}

// Row is how many failures in a row there are.
func (c *Counter) Row() int { return c.row }

// Reset forgets everything.
func (c *Counter) Reset() { *c = Counter{} }

// at is the tally of now. A clock that has been set back counts in the latest one.
func (c *Counter) at(now time.Time) *tally {
	if c.begin.IsZero() {
		c.begin = now
	}
	n := max(int64(now.Sub(c.begin)/slot), 0)
	t := &c.ring[n%slots]
	if t.slot < n {
		*t = tally{slot: n}
	}
	return t
}
