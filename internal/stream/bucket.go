package stream

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// BucketStream is the name of the stream of a bucket.
func BucketStream(bucket string) string { return "KV_" + bucket }

// A Bucket is a key-value bucket that is looked up when it is first needed: its owner can
// be made before NATS answers. It is safe for concurrent use. Use NewBucket.
type Bucket struct {
	js   jetstream.JetStream
	name string

	mu sync.Mutex
	kv jetstream.KeyValue // once it was found
}

// NewBucket returns the bucket of that name, which Layout.Ensure makes.
func NewBucket(js jetstream.JetStream, name string) *Bucket { return &Bucket{js: js, name: name} }

// Name is the name of the bucket.
func (b *Bucket) Name() string { return b.name }

// Open looks the bucket up, unless that was done before.
func (b *Bucket) Open(ctx context.Context) (jetstream.KeyValue, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kv == nil {
		kv, err := b.js.KeyValue(ctx, b.name)
		if err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", b.name, err)
		}
		b.kv = kv
	}
	return b.kv, nil
}
