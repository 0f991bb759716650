package subscriptions

import (
	"context"
	"fmt"
	"hash/maphash"
)

// locks let one goroutine of this process at a time change the subscription of an
// id. Changes are safe without them, by revisions, but creating and deleting take
// several steps.
type locks struct {
	seed  maphash.Seed
	slots []chan struct{}
}

func newLocks() locks {
	l := locks{seed: maphash.MakeSeed(), slots: make([]chan struct{}, 64)}
	for i := range l.slots {
		l.slots[i] = make(chan struct{}, 1)
	}
	return l
}

// lock waits until it holds the lock, or until ctx ends.
func (l locks) lock(ctx context.Context, id string) (unlock func(), err error) {
	slot := l.slots[maphash.String(l.seed, id)%uint64(len(l.slots))]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another change of subscription %s: %w", id, ctx.Err())
	}
}
