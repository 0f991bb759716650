package members

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/stream"
)

// Put writes the record of m. It has to be written again before stream.MembersTTL is
// over. kv is the bucket members.
func Put(ctx context.Context, kv jetstream.KeyValue, m *Member) error {
	value, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode member %s: %w", m.ID, err)
	}
	if _, err := kv.Put(ctx, m.ID, value); err != nil {
		return fmt.Errorf("write member %s: %w", m.ID, err)
	}
	return nil
}

// Delete takes the record of a member away.
func Delete(ctx context.Context, kv jetstream.KeyValue, id string) error {
	if err := kv.Delete(ctx, id); err != nil {
		return fmt.Errorf("delete member %s: %w", id, err)
	}
	return nil
}

// Read returns the members as they are now; none where there is no bucket. Who wants to
// stay informed follows the bucket instead: see stream.Follower and FromEntries.
func Read(ctx context.Context, js jetstream.JetStream, layout stream.Layout) (*Set, error) {
	kv, err := js.KeyValue(ctx, layout.MembersBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return NewSet(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", layout.MembersBucket(), err)
	}
	watcher, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("read bucket %s: %w", layout.MembersBucket(), err)
	}
	defer func() {
		_ = watcher.Stop()
		go func() { // what it still has to say must be read, or its goroutine waits for ever
			for range watcher.Updates() { // reading is all there is to do
			}
		}()
	}()
	var all []Member
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("read bucket %s: %w", layout.MembersBucket(), ctx.Err())
		case e, ok := <-watcher.Updates():
			if !ok {
				return nil, fmt.Errorf("read bucket %s: the watch was closed", layout.MembersBucket())
			}
			if e == nil {
				return NewSet(all), nil
			}
			all = append(all, parse(e.Key(), e.Value(), e.Created()))
		}
	}
}
