package follow

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// watchSilence is how long a watch that has not brought everything yet may bring nothing
// before it is asked whether anything is left: see isWatchEnd.
const watchSilence = 2 * time.Second

// maxWatchEnd is how many messages are asked for.
const maxWatchEnd = 1000

// isWatchEnd reports whether a watch of a bucket, that has brought messages up to the
// sequence last, will bring no more up to head. Where a message of the bucket is damaged
// a watch never says that it has brought all: the client library waits for as many as
// the server has counted.
func isWatchEnd(ctx context.Context, js jetstream.JetStream, name string, last, head uint64) bool {
	if head < last || head-last > maxWatchEnd {
		return false
	}
	for sequence := last + 1; sequence <= head; sequence++ {
		if mayCome(ctx, js, name, sequence) {
			return false
		}
	}
	return true
}

// mayCome reports whether a watch may still bring a message: it is there, and is the last
// one of its key.
func mayCome(ctx context.Context, js jetstream.JetStream, name string, sequence uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, watchSilence)
	defer cancel()
	stored, err := stream.GetFromLeader(ctx, js, name, sequence)
	if err != nil {
		return !errors.Is(err, jetstream.ErrMsgNotFound)
	}
	newest, err := stream.NewestFromLeader(ctx, js, name, stored.Subject)
	if err != nil {
		return !errors.Is(err, jetstream.ErrMsgNotFound)
	}
	return newest.Sequence == sequence
}
