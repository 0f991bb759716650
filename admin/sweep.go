package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/stream/inventory"
	"github.com/jetpost/jetpost/subscription"
)

// sweepTimeout bounds what is done about one queue.
const sweepTimeout = 10 * time.Second

// sweepQueues looks at all queues, now and then, until ctx ends. It is what mends
// them after accidents that neither routers nor senders can see:
//
//   - A NATS server that was killed, or whose disk has failed, may have lost that a
//     message was taken off the queue, and still know that it was acknowledged. Nobody
//     gets it any more, and it counts as waiting.
//   - A queue that was deleted by hand holds up the routers of all domains whose
//     events the subscription wants.
//
// Compatible APIs mend what is theirs at the same times: see OnSweep.
//
// Any number of admins may do so at a time.
func (a *Admin) sweepQueues(ctx context.Context) {
	tick := time.NewTicker(a.cfg.SweepEvery)
	defer tick.Stop()
	for {
		for _, mend := range a.menders {
			mend(ctx)
		}
		if snapshot, err := a.view.Sync(ctx); err == nil {
			for _, sub := range snapshot.All() {
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
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.damaged:
		}
	}
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
	err := a.dropAcknowledged(ctx, sub)
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		err = a.restoreQueue(ctx, sub.ID)
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("cannot look after a queue, will try again", zap.String("subscription_id", sub.ID), zap.Error(err))
	}
}

// dropAcknowledged deletes what is left of deliveries that were settled. All messages
// up to the consumer's ack floor were acknowledged, whatever else happens meanwhile: a
// consumer that is ahead of its stream after a crash is set back by the server.
func (a *Admin) dropAcknowledged(ctx context.Context, sub *subscription.Subscription) error {
	queue, err := a.js.Stream(ctx, sub.Queue.Stream)
	if err != nil {
		return err
	}
	state := queue.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	consumer, err := queue.Consumer(ctx, sub.Queue.Consumer)
	if err != nil {
		return err
	}
	info := consumer.CachedInfo()
	if info.NumPending > 0 || info.NumAckPending > 0 || info.AckFloor.Stream < state.FirstSeq {
		return nil
	}
	// Nor was a message acknowledged that could not be read: it was never made. That is a
	// loss, which is made good by reconciling.
	if err := a.cfg.Inventory.FindDamage(ctx, sub.Queue.Stream); err != nil {
		return err
	}
	if err := queue.Purge(ctx, jetstream.WithPurgeSequence(info.AckFloor.Stream+1)); err != nil {
		return err
	}
	a.log.Warn("dropped what was left of deliveries that had been made", zap.String("subscription_id", sub.ID),
		zap.String("stream", sub.Queue.Stream), zap.Uint64("seq", info.AckFloor.Stream))
	return nil
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
