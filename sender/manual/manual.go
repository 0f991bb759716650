// Package manual records the deliveries that a manual attempt has made, so that their
// retries are not sent.
//
// A manual attempt that succeeds ends the schedule of its delivery (ADR 21). A retry that
// waits for its time is a timer, and is deleted. One that is back on its queue, or has never
// left it, cannot be removed from it: the key made.<subscription> of the bucket state names
// the deliveries that were made, and a retry of one of them is dropped instead of attempted.
// Each sender has live copies of these keys.
package manual

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
	"github.com/jetpost/jetpost/internal/stream/follow"
)

const (
	// MaxNamed is how many deliveries of a subscription are named, the newest: as many as fit
	// into a value of stream.StateValueSize with its headers, at 75 bytes each. The retry of
	// an older one is sent, under the same delivery id.
	MaxNamed = 48
	// maxTries is how often a key is written while other senders write it too.
	maxTries = 10
	// timeout bounds reading or writing a key.
	timeout = 3 * time.Second
)

// Successes are the deliveries that manual attempts have made.
type Successes struct {
	state  *stream.Bucket
	log    *zap.Logger
	copies copies
}

// New returns the successes in the bucket state.
func New(state *stream.Bucket, log *zap.Logger) *Successes { return &Successes{state: state, log: log} }

// A success is one of them.
type success struct {
	Key string    `json:"key"` // of its timer
	At  time.Time `json:"at"`
}

// Record stores that a manual attempt has made d. When it cannot, the receiver gets the
// delivery once more, under the same id.
func (s *Successes) Record(ctx context.Context, d *delivery.Delivery) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	schedule := *d
	schedule.Manual = ""
	one := success{Key: schedule.TimerKey(), At: time.Now().UTC()}
	err := s.change(ctx, d.SubscriptionID, func(all []success) []success {
		all = append(slices.DeleteFunc(all, func(other success) bool { return other.Key == one.Key }), one)
		return all[max(0, len(all)-MaxNamed):]
	})
	if err != nil {
		s.log.Warn("failed to record the success of a manual attempt, a retry may follow",
			zap.String("subscription_id", d.SubscriptionID), zap.String("delivery_id", d.ID), zap.Error(err))
	}
}

func (s *Successes) change(ctx context.Context, id string, change func([]success) []success) error {
	kv, err := s.state.Open(ctx)
	if err != nil {
		return err
	}
	key := stream.StateMade(id)
	for range maxTries {
		all, revision, err := s.read(ctx, id)
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
			s.copies.set(id, all, revision)
			return nil
		case !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch):
			return fmt.Errorf("write key %s: %w", key, err)
		}
	}
	return fmt.Errorf("write key %s: it was changed %d times meanwhile", key, maxTries)
}

func (s *Successes) read(ctx context.Context, id string) (all []success, revision uint64, err error) {
	kv, err := s.state.Open(ctx)
	if err != nil {
		return nil, 0, err
	}
	e, err := kv.Get(ctx, stream.StateMade(id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("read key %s: %w", stream.StateMade(id), err)
	}
	return parse(e.Value()), e.Revision(), nil
}

// Has reports whether a manual attempt has made d since its schedule began. When that
// cannot be read the retry is sent: a repeat can be recognized, a loss cannot.
func (s *Successes) Has(ctx context.Context, d *delivery.Delivery) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	all, known := s.copies.get(d.SubscriptionID)
	var err error
	if !known {
		all, _, err = s.read(ctx, d.SubscriptionID)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("failed to look up whether a manual attempt has made a delivery, its retry is sent",
				zap.String("subscription_id", d.SubscriptionID), zap.String("delivery_id", d.ID), zap.Error(err))
		}
		return false
	}
	keys := d.TimerKeys()
	return slices.ContainsFunc(all, func(one success) bool { return slices.Contains(keys, one.Key) && one.At.After(d.Redrive.At) })
}

// Forget drops the copy of a deleted subscription, whose key is deleted without an update.
func (s *Successes) Forget(id string) { s.copies.forget(id) }

// Follow keeps the copies up to date until ctx ends.
func (s *Successes) Follow(ctx context.Context, js jetstream.JetStream) {
	follower := follow.New(follow.Config{
		Bucket: s.state.Name(), Keys: stream.StateMade("*"),
		Begin: func(bool) { s.copies.reset() },
		Change: func(d follow.Delta) {
			d.Each(func(key string, value []byte, revision uint64) {
				var all []success
				if value != nil {
					all = parse(value)
				}
				s.copies.set(stream.StateMadeSubscription(key), all, revision)
			})
			s.copies.completed()
		},
	}, js, s.log)
	_ = follower.Run(ctx) // it fails only when the connection is closed
}

// parse returns nil for a value that is not valid: it will be overwritten.
func parse(value []byte) (all []success) {
	if json.Unmarshal(value, &all) != nil {
		return nil
	}
	return all
}
