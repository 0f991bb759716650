package subscriptions

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// Errors of operations on a subscription.
var (
	ErrPrecondition = errors.New("the subscription has another revision than was read")
	ErrDisabled     = errors.New("the subscription is disabled, so nothing is delivered")
	ErrQueueFull    = errors.New("the subscription's queue is full")
	ErrNoQueue      = errors.New("the subscription has no queue")
)

// Enqueue publishes a delivery to its queue and returns when it is stored. The error wraps
// ErrQueueFull or ErrNoQueue where it is refused.
func Enqueue(ctx context.Context, js jetstream.JetStream, msg *nats.Msg) error {
	_, err := js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err == nil {
		return nil
	}
	switch stream.ClassifyPublish(err) {
	case stream.Full:
		return fmt.Errorf("%w (%w)", ErrQueueFull, err)
	case stream.Missing:
		if js.Conn().IsConnected() {
			return fmt.Errorf("%w (%w)", ErrNoQueue, err)
		}
	case stream.Unknown:
	}
	return fmt.Errorf("queue delivery: %w", err)
}

// NewID is a unique name.
func NewID() string { return strings.ToLower(rand.Text()) }
