package budget_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetpost/jetpost/internal/stream/budget"
)

// take acquires, and must not have to wait.
func take(t *testing.T, s *budget.Share, each int64, most int) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err := s.Ask(ctx, each, most)
	if err != nil {
		return 0
	}
	for range n {
		s.Arrived(each)
	}
	return n
}

func TestOneShareLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	b := budget.New(1000)
	slow, other := b.Share(0), b.Share(0)
	if got, want := take(t, slow, 10, 100), 25; got != want {
		t.Errorf("one share alone got %d things of 10 bytes, want %d", got, want)
	}
	for take(t, slow, 10, 1) > 0 { // all that it can get
	}
	if got := take(t, other, 10, 100); got < 10 {
		t.Errorf("beside one that gives nothing back another got %d things, want at least 10", got)
	}
	if b.Used() > 500 {
		t.Errorf("%d bytes are used, want at most 500: the rest is for those who have nothing", b.Used())
	}
}

// A share that has nothing in hand gets one thing, whatever the others hold, until
// the first things of all of them are the whole budget.
func TestEachShareHasOne(t *testing.T) {
	t.Parallel()
	b := budget.New(1000)
	for range 3 {
		s := b.Share(0)
		for take(t, s, 25, 4) > 0 {
		}
	}
	full := 0
	for b.Used() < 1000 {
		if take(t, b.Share(0), 25, 4) != 1 {
			t.Fatalf("with %d of 1,000 bytes used a share that has nothing did not get exactly one thing", b.Used())
		}
		full++
	}
	if full < 10 {
		t.Errorf("%d shares got their first thing when the fair part was used up, want at least 10", full)
	}
	if take(t, b.Share(0), 25, 4) != 0 {
		t.Error("a share got something although all bytes are used")
	}
}

func TestLargerThanTheBudget(t *testing.T) {
	t.Parallel()
	b := budget.New(100)
	s, other := b.Share(0), b.Share(0)
	if take(t, s, 1000, 2) != 1 {
		t.Fatal("what is larger than the budget must pass on its own")
	}
	if take(t, other, 1, 1) != 0 {
		t.Error("another got something beside it")
	}
	s.Done(1000)
	if take(t, other, 1, 1) != 1 {
		t.Error("nothing to be had after all was given back")
	}
}

// What can come at most is charged, and not what was asked for: who is at its limit
// may ask for what will take the place of what it has in hand.
func TestMostThings(t *testing.T) {
	t.Parallel()
	b := budget.New(1000)
	s := b.Share(3)
	if n, err := s.Ask(t.Context(), 10, 100); n != 100 || err != nil {
		t.Fatalf("granted are %d (%v), want 100: no more than 3 can come", n, err)
	}
	if got := b.Used(); got != 30 {
		t.Errorf("%d bytes are used, want 30 for the 3 that can come", got)
	}
	for range 3 {
		s.Arrived(10)
	}
	if got := b.Used(); got != 30 {
		t.Errorf("%d bytes are used, want 30 for the 3 that have come", got)
	}
	s.Done(10)
	if got := b.Used(); got != 30 {
		t.Errorf("%d bytes are used, want 30: another can come", got)
	}
	s.Forgo(97)
	if got := b.Used(); got != 20 {
		t.Errorf("%d bytes are used, want 20 for the 2 in hand", got)
	}
	var none *budget.Budget
	if got := take(t, none.Share(0), 1<<40, 100); got != 100 {
		t.Errorf("without a limit got %d things, want 100", got)
	}
	if err := none.Take(t.Context(), 1<<40); err != nil {
		t.Error(err)
	}
}

// While a budget is held each share has one thing at a time, whatever the others have in
// hand or have asked for; and who has no share waits until nothing else is in hand. No
// more waits for long when it is over.
func TestHold(t *testing.T) {
	t.Parallel()
	b := budget.New(1000)
	b.Hold(true)
	one, other := b.Share(0), b.Share(0)
	if got := take(t, one, 10, 5); got != 1 {
		t.Errorf("got %d things of a budget that is held, want 1", got)
	}
	if got := take(t, one, 10, 5); got != 0 {
		t.Errorf("got %d more while that is in hand, want none", got)
	}
	if granted, err := b.Share(0).Ask(t.Context(), 10, 5); err != nil || granted != 1 { // and it never comes
		t.Errorf("got %d things for another share, %v, want 1", granted, err)
	}
	if got := take(t, other, 10, 5); got != 1 {
		t.Errorf("got %d things beside them, want 1", got)
	}
	limited, cancel := context.WithCancel(t.Context())
	single := make(chan error, 1)
	go func() { single <- b.Take(limited, 10) }()
	one.Done(10)
	if got := take(t, one, 10, 5); got != 1 {
		t.Errorf("got %d after it, want 1", got)
	}
	select {
	case err := <-single:
		t.Errorf("who has no share got something beside others: %v", err)
	default:
	}
	cancel()
	if err := <-single; err == nil {
		t.Error("who has no share got something beside others")
	}
	done := make(chan int, 1)
	go func() {
		n, _ := one.Ask(t.Context(), 10, 5)
		done <- n
	}()
	for !one.Short() {
		runtime.Gosched()
	}
	b.Hold(false)
	if got := <-done; got != 5 {
		t.Errorf("who has waited got %d, want 5", got)
	}
}

// A budget that pauses while it is held gives one thing at a time, however soon it is given
// back, the next after the pause, and to those who wait in turn. What was held back comes
// at once when it is over.
func TestPauseHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const pause = 250 * time.Millisecond
		b := budget.New(1000).PauseHeld(pause)
		b.Hold(true)
		began := time.Now()
		if take(t, b.Share(0), 10, 1) != 1 {
			t.Error("got nothing at first")
		}
		var mu sync.Mutex
		var all sync.WaitGroup
		var order []int
		var at []time.Duration
		for user := range 2 {
			s := b.Share(0)
			all.Go(func() {
				for range 3 {
					if err := s.Take(t.Context(), 10); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					order, at = append(order, user), append(at, time.Since(began))
					mu.Unlock()
					s.Done(10)
				}
			})
			synctest.Wait() // the first one asks first
		}
		all.Wait()
		if want := []int{0, 1, 0, 1, 0, 1}; !slices.Equal(order, want) {
			t.Errorf("served were %v, want %v", order, want)
		}
		for n := range at {
			if want := time.Duration(n+1) * pause; at[n] != want {
				t.Errorf("grant %d came after %s, want %s", n, at[n], want)
			}
		}
		s := b.Share(0)
		began = time.Now()
		all.Go(func() {
			if n, err := s.Ask(t.Context(), 10, 5); n != 5 || err != nil {
				t.Errorf("got %d, %v, want 5", n, err)
			}
		})
		synctest.Wait()
		b.Hold(false)
		all.Wait()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it came %s after the budget was not held any more, want at once", waited)
		}
	})
}

// Those who hold nothing are served before those who hold something, and who gives
// up waiting takes nothing with it.
func TestWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(100)
		holder, second, first := b.Share(0), b.Share(0), b.Share(0)
		holder.Came(85)
		holder.Came(5)
		second.Came(5)
		var order []string
		var mu sync.Mutex
		var all sync.WaitGroup
		wait := func(name string, s *budget.Share) {
			all.Go(func() {
				if _, err := s.Ask(t.Context(), 10, 1); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
			synctest.Wait()
		}
		wait("second", second)
		wait("first", first)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Take(ctx, 10); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that time is up", err)
		}
		holder.Done(5) // room for one, of a share that has nothing
		synctest.Wait()
		holder.Done(85)
		all.Wait()
		if len(order) != 2 || order[0] != "first" {
			t.Errorf("served were %v, want first the share that held nothing", order)
		}
		if got, want := b.Used(), int64(5+10+10); got != want {
			t.Errorf("%d bytes are used, want %d", got, want)
		}
	})
}

// Whatever is asked for and given back at the same time, the sum is right in the end
// and never above the budget.
func TestSum(t *testing.T) {
	t.Parallel()
	b := budget.New(10_000)
	var all sync.WaitGroup
	for user := range 16 {
		all.Go(func() {
			s := b.Share(user % 4 * 5)
			for round := range 500 {
				each := int64(1 + (user*31+round*17)%700)
				n, err := s.Ask(t.Context(), each, 1+round%9)
				if err != nil {
					t.Error(err)
					return
				}
				if used := b.Used(); used > b.Size() {
					t.Errorf("%d of %d bytes are used", used, b.Size())
				}
				come := min(n, 1+round%3)
				if most := user % 4 * 5; most > 0 {
					come = min(come, most)
				}
				for range come {
					s.Arrived(each)
				}
				s.Forgo(n - come)
				for range come {
					s.Done(each)
				}
				if round%5 == 0 {
					if err := b.Take(t.Context(), each); err != nil {
						t.Error(err)
						return
					}
					b.Give(each)
				}
			}
		})
	}
	all.Wait()
	if got := b.Used(); got != 0 {
		t.Errorf("in the end %d bytes are used, want none", got)
	}
}
