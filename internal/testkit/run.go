package testkit

import (
	"context"
	"sync"
	"testing"
)

// Run runs a service until the test ends or stop is called. The test fails when the
// service ends with an error, or does not end.
func Run(tb testing.TB, what string, run func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		tb.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tb.Errorf("%s: %v", what, err)
			}
		case <-Timeout():
			tb.Errorf("%s does not stop within %s", what, Patience)
		}
	})
	tb.Cleanup(stop)
	return stop
}
