package testkit

import (
	"context"
	"testing"
	"time"
)

// Patience is how long a test waits for a fact that should be one at once. It is as long
// as a machine under load may ever need: a test that runs into it has failed.
const Patience = time.Minute

// Eventually waits until fact holds.
func Eventually(tb testing.TB, what string, fact func() bool) {
	tb.Helper()
	EventuallyWithin(tb, Patience, what, fact)
}

// EventuallyWithin is Eventually with a bound of its own.
func EventuallyWithin(tb testing.TB, within time.Duration, what string, fact func() bool) {
	tb.Helper()
	if !HoldsWithin(tb.Context(), within, fact) {
		tb.Fatalf("after %s still not: %s", within, what)
	}
}

// Until is Eventually for a fact that describes the state it waits in.
func Until(tb testing.TB, fact func() (holds bool, state string)) {
	tb.Helper()
	var state string
	if !HoldsWithin(tb.Context(), Patience, func() (holds bool) { holds, state = fact(); return holds }) {
		tb.Fatalf("after %s: %s", Patience, state)
	}
}

// Succeeds repeats try until it returns no error.
func Succeeds(tb testing.TB, what string, try func() error) {
	tb.Helper()
	var err error
	if !HoldsWithin(tb.Context(), Patience, func() bool { err = try(); return err == nil }) {
		tb.Fatalf("after %s, %s: %v", Patience, what, err)
	}
}

// HoldsWithin reports whether fact holds at some time before the bound and the end of ctx.
func HoldsWithin(ctx context.Context, within time.Duration, fact func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		if fact() {
			return true
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return false
		}
	}
}

// Receive waits for a value from a channel, or for its end.
func Receive[T any](tb testing.TB, from <-chan T, what string) T {
	tb.Helper()
	select {
	case value := <-from:
		return value
	case <-Timeout():
		tb.Fatalf("no %s within %s", what, Patience)
		panic("unreachable")
	}
}

// Timeout is for a select that waits for something else: the case fails the test.
func Timeout() <-chan time.Time { return TimeoutAfter(Patience) }

// TimeoutAfter is Timeout with a bound of its own.
func TimeoutAfter(d time.Duration) <-chan time.Time { return time.After(d) }

// Pause lets time pass, for a fixture that is slow. It reports whether ctx has not ended.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
