package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	// sweepTimeout bounds what is done about one queue.
	sweepTimeout = 30 * time.Second
	// queuesEvery is how often all queues are looked at, unless there are so many that
	// it would cost too much, or Config.SweepEvery is less.
	queuesEvery = time.Minute
	queueCost   = 60 * time.Millisecond
)

// sweepQueues looks at all queues, now and then and after each reconnect, until ctx ends. It is what mends
// them after accidents that neither routers nor senders can see:
//
//   - A NATS server that was killed, or whose disk has failed, may have lost messages
//     of a queue, or that they were taken off it, and not where its consumer stands:
//     see checkWork.
//   - A queue that was deleted by hand holds up the routers of all domains whose
//     events the subscription wants.
//
// Compatible APIs mend what is theirs at the same times: see OnSweep.
//
// Any number of admins may do so at a time.
func (a *Admin) sweepQueues(ctx context.Context) {
	nc := a.js.Conn()
	var repaired time.Time
	for {
		reconnects, queues := nc.Stats().Reconnects, 0
		if time.Since(repaired) >= a.cfg.SweepEvery {
			for _, mend := range a.menders {
				mend(ctx)
			}
			repaired = time.Now()
		}
		if snapshot, err := a.view.Sync(ctx); err == nil {
			for _, sub := range snapshot.All() {
				queues++
				if ctx.Err() == nil && !a.sweepTrial(ctx, sub) {
					a.sweep(ctx, sub)
				}
			}
			a.findUnowned(ctx, snapshot)
		}
		a.reconcileLosses(ctx)
		if err := a.cfg.Reserve.Fill(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("cannot keep room for the audit trail, will try again", zap.Error(err))
		}
		if !a.restUntilSweep(ctx, nc, reconnects, queues) {
			return
		}
	}
}

// restUntilSweep waits until the queues are to be looked at again: soon, when the
// connection was made anew or streams have lost something. It reports whether to go on.
func (a *Admin) restUntilSweep(ctx context.Context, nc *nats.Conn, reconnects uint64, queues int) bool {
	rest := time.NewTimer(min(a.cfg.SweepEvery, max(queuesEvery, time.Duration(queues)*queueCost)))
	defer rest.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for nc.Stats().Reconnects == reconnects {
		select {
		case <-ctx.Done():
			return false
		case <-rest.C:
			return true
		case <-a.damaged:
			return true
		case <-look.C:
		}
	}
	return true
}

// Damaged has the queues looked at soon, because streams have lost something.
func (a *Admin) Damaged() {
	select {
	case a.damaged <- struct{}{}:
	default: // it is asked for already
	}
}

// findUnowned finds the queues of subscriptions that are not there, which is what is
// left when the subscriptions are lost. They are kept, and reported.
func (a *Admin) findUnowned(ctx context.Context, snapshot *subscription.Snapshot) {
	owned := make(map[string]bool)
	for _, sub := range snapshot.All() {
		owned[sub.Queue.Stream] = true
	}
	for _, broken := range snapshot.Broken() {
		owned[a.layout.QueueFor(broken.ID).Stream] = true
	}
	var unowned []inventory.Unowned
	for name, id := range a.cfg.Inventory.Queues() {
		if owned[name] {
			continue
		}
		shape, err := stream.ReadShape(ctx, a.js, name)
		if err != nil || shape.Last == 0 { // of a subscription that was never created
			continue
		}
		unowned = append(unowned, inventory.Unowned{Stream: name, Subscription: id, Messages: shape.Messages})
	}
	slices.SortFunc(unowned, func(a, b inventory.Unowned) int { return strings.Compare(a.Stream, b.Stream) })
	a.cfg.Inventory.SetUnowned(unowned)
}

// sweep mends one queue. What fails is tried again the next time.
func (a *Admin) sweep(ctx context.Context, sub *subscription.Subscription) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	err := a.positions.checkWork(ctx, queueOf(sub))
	if isMissing(err) {
		err = a.restoreQueue(ctx, sub.ID)
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("cannot look after a queue, will try again", zap.String("subscription_id", sub.ID), zap.Error(err))
	}
}

// restoreQueue makes a queue that is missing, unless its subscription is being
// deleted, for which it is disabled first. What was in it is gone.
func (a *Admin) restoreQueue(ctx context.Context, id string) error {
	unlock, err := a.changing.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	sub, err := a.FindSubscription(ctx, id) // as it is after the queue was seen to be missing
	if errors.Is(err, subscription.ErrNotFound) {
		return nil
	}
	if err != nil || sub.State == subscription.Disabled {
		return err
	}
	if err := a.ensureQueue(ctx, sub); err != nil {
		return err
	}
	a.log.Error("the queue of a subscription was missing and has been made again, what was in it is lost",
		zap.String("subscription_id", id), zap.String("stream", sub.Queue.Stream))
	return nil
}
