package budget_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jetpost/jetpost/internal/stream/budget"
)

// One user takes all that it can get; another finds room beside it, and all is given back.
func TestUserLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	b := budget.New(1000)
	users := budget.NewUsers(b)
	ended, cancel := context.WithCancel(t.Context())
	cancel() // there is room now, or it is refused
	var given []func()
	for {
		give, err := users.Take(ended, "slow", 10)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		given = append(given, give)
	}
	if used := b.Used(); used == 0 || used > b.Size()/2 {
		t.Errorf("one user has %d bytes in hand, want at most half of %d", used, b.Size())
	}
	give, err := users.Take(ended, "other", 10)
	if err != nil {
		t.Fatalf("another user finds no room: %v", err)
	}
	for _, give := range append(given, give) {
		give()
	}
	if used := b.Used(); used != 0 {
		t.Errorf("%d bytes are in hand in the end, want none", used)
	}
}

func TestUsersWithoutBudget(t *testing.T) {
	t.Parallel()
	give, err := budget.NewUsers(nil).Take(t.Context(), "any", 1<<50)
	if err != nil {
		t.Fatal(err)
	}
	give()
}
