package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// A Key is what a bucket has under a key.
type Key struct {
	Value    []byte
	Revision uint64
}

// ReadKey asks the leader of a bucket's stream for what it has under the subject of a
// key; jetstream.ErrKeyNotFound when that is nothing. Every write that was answered
// before is in it, where the library's Get may ask a replica that lags behind.
func ReadKey(ctx context.Context, js jetstream.JetStream, name, subject string) (Key, error) {
	r, err := NewestFromLeader(ctx, js, name, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Key{}, jetstream.ErrKeyNotFound
	case err != nil:
		return Key{}, fmt.Errorf("read stream %s: %w", name, err)
	case r.Header.Get(headerKVOperation) != "" || r.Header.Get(jetstream.MarkerReasonHeader) != "": // deleted, or expired
		return Key{}, jetstream.ErrKeyNotFound
	}
	return Key{Value: r.Data, Revision: r.Sequence}, nil
}

// headerKVOperation is set on what deletes a key.
const headerKVOperation = "KV-Operation"
