package stream

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// clockTick is how often the own clock is looked at, which costs nothing, and
	// clockEvery how often the server's is.
	clockTick  = time.Second
	clockEvery = 15 * time.Second
	// LeastSet is by how much a clock must have been set to be corrected for. What is
	// wrong by less stays as it is.
	LeastSet = 5 * time.Second
)

// ServerTime is what the clock of the NATS server shows that leads a stream, and what it
// showed when the stream has last stored something.
func ServerTime(ctx context.Context, js jetstream.JetStream, name string) (now, last time.Time, err error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	return s.CachedInfo().TimeStamp, s.CachedInfo().State.LastTime, nil
}

// Step is by how much a clock was set between two of its readings, of which this
// machine's monotonic clock says how far they are apart.
func Step(from, to time.Time) time.Duration { return to.Round(0).Sub(from.Round(0)) - to.Sub(from) }

// WatchClock calls set whenever the server's clock was set by LeastSet or more, until ctx
// ends. What cannot be read is read again later.
func WatchClock(ctx context.Context, read func(context.Context) (time.Time, error), set func(by time.Duration)) {
	var local, server time.Time
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for {
		asked := time.Now()
		if local.IsZero() || asked.Sub(local) >= clockEvery || Step(local, asked).Abs() >= time.Second {
			if shown, err := read(ctx); err == nil {
				half := time.Since(asked) / 2
				at := asked.Add(half)
				if by := shown.Sub(server) - at.Sub(local); !local.IsZero() && by.Abs() > LeastSet+2*half {
					set(by)
				}
				local, server = at, shown
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
