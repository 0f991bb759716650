package stream

import "github.com/nats-io/nats.go/jetstream"

// buckets are the key-value buckets that every installation has.
func (l Layout) buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: l.SubscriptionsBucket(), Description: "jetpost: subscriptions", History: 5, Replicas: l.replicas, Storage: jetstream.FileStorage},
		{
			Bucket: l.CatalogBucket(), Description: "jetpost: registered domains", History: 10, Replicas: l.replicas,
			Storage: jetstream.FileStorage, MaxValueSize: MaxDomain + 4<<10, // and the headers
		},
		{Bucket: l.TokensBucket(), Description: "jetpost: tokens of the API, hashed", History: 1, Replicas: l.replicas, Storage: jetstream.FileStorage, MaxValueSize: TokenSize},
		{Bucket: l.StateBucket(), Description: "jetpost: what processes agree on", History: 1, Replicas: l.replicas, Storage: jetstream.FileStorage, MaxValueSize: StateValueSize},
		{
			Bucket: l.IdempotencyBucket(), Description: "jetpost: answers to requests that may be repeated", History: 1, Replicas: l.replicas,
			Storage: jetstream.FileStorage, TTL: IdempotencyTTL, MaxValueSize: MaxIdempotent + 4<<10, // and the headers
		},
		l.repositoriesConfig(),
		l.inventoryConfig(l.InventoryBuckets()[0]),
		l.inventoryConfig(l.InventoryBuckets()[1]),
	}
}
