package connect

import (
	"context"
	"errors"
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
)

// RetryWait spaces out tries of something that fails.
type RetryWait struct {
	failures int
}

const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Pause waits after a failure: as long as the server asks for, or twice as long
// as before. It reports whether ctx is still alive.
func (r *RetryWait) Pause(ctx context.Context, err error) bool {
	delay := min(firstRetry<<min(r.failures, 10), lastRetry)
	if asked := askedWait(err); asked > 0 {
		delay = asked
	}
	r.failures++
	return WaitFor(ctx, delay)
}

// askedWait is how long a server asks to wait, up to a minute. 0: it does not say.
func askedWait(err error) time.Duration {
	if refused, ok := errors.AsType[*v1.Problem](err); ok {
		return min(refused.RetryAfter, mostRetryAfter)
	}
	return 0
}

// WaitFor reports whether d passed before ctx ended.
func WaitFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
