package sender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// A manual attempt that succeeds ends the schedule of its delivery (ADR 21). A retry that
// waits for its time is a timer, and is deleted. One that is back on its queue, or has
// never left it, cannot be taken out of it: the key made.<subscription> of the bucket
// state names the deliveries that were made, and a retry of one of them is dropped instead
// of attempted. Senders have live copies of these keys.

// maxManual is how many deliveries of a subscription are named, the newest: so many fit into
// a value. The retry of an older one is made, under the same delivery id.
const maxManual = 64

// manualTries is how often the key is written while other senders write it too.
const manualTries = 10

// A manualSuccess is one of them.
type manualSuccess struct {
	Key string    `json:"key"` // of its timer
	At  time.Time `json:"at"`
}

// noteManual writes down that the schedule of a delivery has come to its end. When it cannot,
// the receiver gets the delivery once more, under the same id.
func (l *lane) noteManual(ctx context.Context, d *delivery.Delivery) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	schedule := *d
	schedule.Manual = ""
	one := manualSuccess{Key: schedule.TimerKey(), At: time.Now().UTC()}
	err := l.changeManual(ctx, func(all []manualSuccess) []manualSuccess {
		all = append(slices.DeleteFunc(all, func(other manualSuccess) bool { return other.Key == one.Key }), one)
		return all[max(0, len(all)-maxManual):]
	})
	if err != nil {
		l.log.Warn("failed to note that a delivery was made, a retry of it may follow",
			zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Error(err))
	}
}

func (l *lane) changeManual(ctx context.Context, change func([]manualSuccess) []manualSuccess) error {
	kv, err := l.state.Open(ctx)
	if err != nil {
		return err
	}
	key := stream.StateMade(l.id)
	for range manualTries {
		all, revision, err := l.readManual(ctx)
		if err != nil {
			return err
		}
		all = change(all)
		value, err := json.Marshal(all)
		if err != nil {
			return err
		}
		if revision == 0 {
			revision, err = kv.Create(ctx, key, value)
		} else {
			revision, err = kv.Update(ctx, key, value, revision)
		}
		switch {
		case err == nil:
			l.manual.set(l.id, all, revision)
			return nil
		case !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch):
			return fmt.Errorf("write key %s: %w", key, err)
		}
	}
	return fmt.Errorf("write key %s: it was changed %d times meanwhile", key, manualTries)
}

func (l *lane) readManual(ctx context.Context) (all []manualSuccess, revision uint64, err error) {
	kv, err := l.state.Open(ctx)
	if err != nil {
		return nil, 0, err
	}
	e, err := kv.Get(ctx, stream.StateMade(l.id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("read key %s: %w", stream.StateMade(l.id), err)
	}
	return parseManual(e.Value()), e.Revision(), nil
}

// madeByHand reports whether u is a retry of a delivery that a manual attempt has made since
// its schedule began. Where that cannot be found out it is attempted: a repeat can be
// recognised, a loss cannot.
func (l *lane) madeByHand(ctx context.Context, u *underway) bool {
	d := u.d
	if d.Manual != "" || u.m.Delivered == 1 && d.Attempt == 1 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	all, known := l.manual.get(l.id)
	var err error
	if !known {
		all, _, err = l.readManual(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			l.log.Warn("failed to look up whether a delivery was made by a manual attempt, its retry is made",
				zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Error(err))
		}
		return false
	}
	keys := d.TimerKeys()
	return slices.ContainsFunc(all, func(one manualSuccess) bool { return slices.Contains(keys, one.Key) && one.At.After(d.Redrive.At) })
}

// drop settles a retry of a delivery that was made.
func (l *lane) drop(ctx context.Context, u *underway) {
	l.log.Info("retry dropped: a manual attempt has made the delivery", zap.String("subscription_id", l.id),
		zap.String("delivery_id", u.d.ID), zap.String("event_id", u.d.Event.ID), zap.String("event_type", u.d.Event.Type))
	l.forgetTimer(ctx, u)
	l.ack(u.m, u.d)
}
