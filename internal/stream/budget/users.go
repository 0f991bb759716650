package budget

import (
	"context"
	"sync"
)

// Users are the shares of a budget by the names of those who have something in hand: one
// that takes much, or is slow to give back, leaves room for the others. It is safe for
// concurrent use.
type Users struct {
	budget *Budget

	mu     sync.Mutex
	shares map[string]*user // of those with something in hand, or waiting for it
}

type user struct {
	share *Share
	takes int
}

// NewUsers returns the users of a budget, which may be nil: then there is room for all.
func NewUsers(b *Budget) *Users { return &Users{budget: b, shares: make(map[string]*user)} }

// Take waits until there is room for a user's number of bytes, and takes them in hand.
// give gives them back, and is called once. The error is that of ctx.
func (u *Users) Take(ctx context.Context, name string, bytes int64) (give func(), err error) {
	if u.budget == nil {
		return func() {}, nil
	}
	u.mu.Lock()
	own := u.shares[name]
	if own == nil {
		own = &user{share: u.budget.Share(0)}
		u.shares[name] = own
	}
	own.takes++
	u.mu.Unlock()

	if err := own.share.Take(ctx, bytes); err != nil {
		u.forget(name, own)
		return nil, err
	}
	return func() {
		own.share.Done(bytes)
		u.forget(name, own)
	}, nil
}

func (u *Users) forget(name string, own *user) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if own.takes--; own.takes == 0 {
		delete(u.shares, name)
	}
}
