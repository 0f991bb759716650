// Package timers stores the retry timers of deliveries, and puts deliveries whose timers have
// fired back on their queues.
//
// A timer is a scheduled message in RETRIES_<nn>: it holds no place in flight, and fires into
// the same stream. The Pump of the shard publishes the delivery to its queue.
package timers

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/sender/clock"
)

const (
	// lookTimeout bounds looking a timer up or cancelling it, which delays a settlement.
	lookTimeout = 5 * time.Second
	// mostHolders is how many senders that had a delivery before are assumed, at most, when
	// their timers are looked up.
	mostHolders = 4
)

// Timers are the retry timers of all deliveries.
type Timers struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	layout stream.Layout
	clock  *clock.Clock
	log    *zap.Logger
}

// New returns the timers of an installation.
func New(nc *nats.Conn, js jetstream.JetStream, layout stream.Layout, clock *clock.Clock, log *zap.Logger) *Timers {
	return &Timers{nc: nc, js: js, layout: layout, clock: clock, log: log}
}

// Stream is the stream in which a shard has its timers.
func (t *Timers) Stream(shard string) string { return t.layout.RetryStream(shard) }

// Store stores a timer for d, by the current setting of the server's clock.
func (t *Timers) Store(ctx context.Context, shard string, d *delivery.Delivery, at time.Time) error {
	due, mark := t.clock.Server(ctx, at)
	_, err := t.js.PublishMsg(ctx, t.message(shard, d, due, mark))
	return err
}

func (t *Timers) message(shard string, d *delivery.Delivery, due time.Time, mark stream.Mark) *nats.Msg {
	m := d.Timer(t.layout.RetryAt(shard, d.SubscriptionID, d.TimerKey()), t.layout.RetryDue(shard, d.SubscriptionID), due)
	mark.SetTimer(m.Header, due)
	return m
}

// IsPlanned reports whether the next attempt of a delivery that was handed out several times
// is planned: another sender has stored its timer, and could not settle the delivery. The
// retry of that timer is the delivery now; this is an outdated copy. Where the timer cannot
// be looked up the delivery is attempted.
func (t *Timers) IsPlanned(ctx context.Context, shard string, d *delivery.Delivery, handedOut int) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	// Each sender that had it before has made an attempt, and perhaps all of them.
	for n := d.Attempt + 1; n <= d.Attempt+min(handedOut-1, mostHolders); n++ {
		had, err := t.layout.HadTimer(ctx, t.js, shard, d.SubscriptionID, d.TimerKey(), d.TimerID(n))
		if err != nil {
			t.log.Debug("failed to look up the retry timer of a delivery, it is attempted",
				zap.String("subscription_id", d.SubscriptionID), zap.String("delivery_id", d.ID), zap.Error(err))
			return false
		}
		if had {
			t.log.Info("another sender has planned the next attempt",
				zap.String("subscription_id", d.SubscriptionID), zap.String("delivery_id", d.ID), zap.Int("attempt", n))
			return true
		}
	}
	return false
}

// Next is the sequence that the next timer of a shard will have; 0: not known. A dead letter
// may be redriven as soon as it is stored, and cancelling then must not meet the timer of an
// attempt after that.
func (t *Timers) Next(ctx context.Context, shard string) uint64 {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	head, err := stream.ReadHead(ctx, t.js, t.layout.RetryStream(shard))
	if err != nil {
		return 0
	}
	return head.Last + 1
}

// Cancel deletes the timer of a delivery, if its sequence is below a bound (0: none), and
// reports whether there was one. When it cannot, the receiver gets the delivery once more,
// under the same id.
func (t *Timers) Cancel(ctx context.Context, shard string, of *delivery.Delivery, below uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	d, keys := *of, []string{of.TimerKey()}
	if d.Manual != "" { // a manual attempt has no timer: this is the one of the schedule
		d.Manual = ""
		keys = d.TimerKeys()
	}
	cancelled, err := false, error(nil)
	for i := 0; i < len(keys) && err == nil; i++ {
		var one bool
		one, err = t.layout.CancelTimer(ctx, t.nc, shard, d.SubscriptionID, keys[i], below)
		cancelled = cancelled || one
	}
	switch {
	case err != nil:
		t.log.Warn("failed to cancel the retry timer of a delivery that was made, it may be made again",
			zap.String("subscription_id", d.SubscriptionID), zap.String("delivery_id", d.ID), zap.Error(err))
	case cancelled:
		t.log.Info("retry timer cancelled", zap.String("subscription_id", d.SubscriptionID), zap.String("delivery_id", d.ID), zap.Bool("manual", of.Manual != ""))
	}
	return cancelled
}
