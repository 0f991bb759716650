package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/jetpost/jetpost/client/api"
)

// The time between two tries of a call whose answer does not name one: twice the one
// before, up to a half less at random.
const (
	firstWait = 200 * time.Millisecond
	lastWait  = 5 * time.Second
)

// repeat makes a call, again where it failed and may be repeated.
func repeat[T any](ctx context.Context, s *server, r *request, try func(context.Context) (T, error)) (T, error) {
	for failures := 0; ; failures++ {
		out, err := try(ctx)
		if err == nil || failures >= s.cfg.Retries || !r.repeatable {
			return out, err
		}
		wait, again := waitAfter(err, failures, r.header.Get(headerKey) != "")
		if !again || wait > s.cfg.MaxRetryAfter {
			return out, err
		}
		if end, bounded := ctx.Deadline(); bounded && time.Until(end) < wait {
			return out, err // the problem says more than that the time is over
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return out, err
		case <-timer.C:
		}
	}
}

// waitAfter says whether a call that failed like this may succeed later, and when.
func waitAfter(err error, failures int, keyed bool) (wait time.Duration, again bool) {
	backoff := min(firstWait<<min(failures, 10), lastWait)
	backoff -= rand.N(backoff / 2)
	if p, ok := errors.AsType[*api.Problem](err); ok {
		again = p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable
		if keyed && p.Status == http.StatusConflict { // the same request is under way where the server says when to ask again
			again = p.RetryAfter > 0
		}
		return max(p.RetryAfter, backoff), again
	}
	_, lost := errors.AsType[*ConnectionError](err)
	return backoff, lost && !errors.Is(err, context.DeadlineExceeded)
}
