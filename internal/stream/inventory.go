package stream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxInventory is how large one document of the inventory may be, in bytes. It travels
// in one message, and servers take 1 MiB unless configured otherwise.
const MaxInventory = 900 << 10

// InventoryBuckets are the key-value buckets that hold the list of all streams that an
// installation has: the list, and a copy of it in case just the first one is lost.
func (l Layout) InventoryBuckets() [2]string {
	return [...]string{l.stream("inventory"), l.stream("inventory_copy")}
}

// InventoryStreams are the streams under these buckets.
func (l Layout) InventoryStreams() [2]string {
	buckets := l.InventoryBuckets()
	return [...]string{BucketStream(buckets[0]), BucketStream(buckets[1])}
}

// inventoryKey is the subject of a key of one of the inventory buckets.
func inventoryKey(bucket, key string) string { return "$KV." + bucket + "." + key }

// EnsureInventory creates the buckets of the inventory.
func (l Layout) EnsureInventory(ctx context.Context, js jetstream.JetStream) error {
	for _, bucket := range l.InventoryBuckets() {
		if err := ensureBucket(ctx, js, l.inventoryConfig(bucket)); err != nil {
			return err
		}
	}
	return nil
}

func (l Layout) inventoryConfig(bucket string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: bucket, Description: "jetpost: which streams there are", History: 1, Replicas: l.replicas,
		Storage: jetstream.FileStorage, MaxValueSize: MaxInventory + 4<<10, // and the headers
	}
}

// ReadInventory reads a document of the inventory as the leader has it, from the list
// (0) or its copy (1). jetstream.ErrKeyNotFound, jetstream.ErrStreamNotFound.
func (l Layout) ReadInventory(ctx context.Context, js jetstream.JetStream, which int, key string) (Key, error) {
	bucket := l.InventoryBuckets()[which]
	return ReadKey(ctx, js, BucketStream(bucket), inventoryKey(bucket, key))
}

// WriteInventory stores a document of the inventory, on condition that its revision is
// still the one given (0: there is none), and returns the new one. See IsWrongSequence.
func (l Layout) WriteInventory(ctx context.Context, js jetstream.JetStream, which int, key string, value []byte, revision uint64) (uint64, error) {
	bucket := l.InventoryBuckets()[which]
	ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: inventoryKey(bucket, key), Data: value},
		jetstream.WithExpectStream(BucketStream(bucket)), jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, fmt.Errorf("write %s of bucket %s: %w", key, bucket, err)
	}
	return ack.Sequence, nil
}

// A Kind is what a stream of the layout is for.
type Kind int

// The kinds of streams.
const (
	KindOther    Kind = iota // not of this installation
	KindPlatform             // exists once
	KindEventLog             // of a domain
	KindQueue                // of a subscription
	KindMemory               // has nothing that would be missed
)

var shardPattern = regexp.MustCompile(`^RETRIES_[0-9]{2}$`)

// KindOf says what a stream is by its name and, of event logs and queues, whose it is.
func (l Layout) KindOf(name string) (kind Kind, of string) {
	bare := name
	if l.prefix != "" {
		var ours bool
		kv := strings.HasPrefix(name, "KV_")
		if bare, ours = strings.CutPrefix(strings.TrimPrefix(name, "KV_"), l.prefix+"_"); !ours {
			return KindOther, ""
		}
		if kv {
			bare = "KV_" + bare
		}
	}
	if domain, ok := strings.CutPrefix(bare, "EVENTS_"); ok && ValidDomain(domain) {
		return KindEventLog, domain
	}
	if subscription, ok := strings.CutPrefix(bare, "DELIVERIES_"); ok && subscription != "" {
		return KindQueue, subscription
	}
	if name == l.MembersStream() || name == l.ReserveStream() {
		return KindMemory, ""
	}
	known := []string{l.Attempts(), l.DeadLetters(), l.Audit()}
	for _, b := range l.buckets() {
		known = append(known, BucketStream(b.Bucket))
	}
	if slices.Contains(known, name) || shardPattern.MatchString(bare) {
		return KindPlatform, ""
	}
	return KindOther, ""
}

// IsWorkQueue reports whether a consumer is that of a stream from which what is settled
// is removed: it loses nothing when it begins anew.
func (l Layout) IsWorkQueue(name, consumer string) bool {
	kind, _ := l.KindOf(name)
	retries := slices.ContainsFunc(l.RetryShards(), func(shard string) bool { return l.RetryStream(shard) == name })
	return consumer == SenderConsumer && (kind == KindQueue || retries)
}

// OwnStreams are the names of all streams of this installation that there are, sorted.
func (l Layout) OwnStreams(ctx context.Context, js jetstream.JetStream) ([]string, error) {
	lister := js.StreamNames(ctx)
	var names []string
	for name := range lister.Name() {
		if kind, _ := l.KindOf(name); kind != KindOther {
			names = append(names, name)
		}
	}
	if err := lister.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// NeedsAll reports whether it would do harm to go on with less than all that a stream
// has had: who routes by fewer subscriptions or domains takes events from those that
// are missing.
func (l Layout) NeedsAll(name string) bool {
	return name == l.SubscriptionsStream() || name == l.CatalogStream()
}

// A Shape is what a stream looks like from outside.
type Shape struct {
	Created  time.Time
	First    uint64 // sequence of the first message that there is, or would be
	Last     uint64 // sequence of the last message there ever was
	Messages uint64
	Subjects uint64 // with a message
	Lost     uint64 // messages that the server says it has lost, to damage of its files

	LastStored time.Time // when the last message was stored
	MaxAge     time.Duration
}

// AgedOut reports whether an empty stream may have got so by the age of its messages.
func (s *Shape) AgedOut() bool { return s.MaxAge > 0 && time.Since(s.LastStored) >= s.MaxAge }

// ReadShape asks the leader of a stream for its shape. jetstream.ErrStreamNotFound.
func ReadShape(ctx context.Context, js jetstream.JetStream, name string) (Shape, error) {
	fields, err := ask(ctx, js, "STREAM.INFO."+name, nil, "created", "state.first_seq", "state.last_seq", "state.messages", "state.num_subjects", "state.lost.msgs.#",
		"state.last_ts", "config.max_age")
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeStreamNotFound {
		return Shape{}, fmt.Errorf("look up stream %s: %w", name, jetstream.ErrStreamNotFound)
	}
	if err != nil {
		return Shape{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return Shape{
		Created: fields[0].Time().UTC(), First: fields[1].Uint(), Last: fields[2].Uint(), Messages: fields[3].Uint(),
		Subjects: fields[4].Uint(), Lost: fields[5].Uint(), LastStored: fields[6].Time(), MaxAge: time.Duration(fields[7].Int()),
	}, nil
}

// LastKept is the sequence of the newest message that a stream still has; 0 when it has none.
// It is before the last sequence where what was stored last is deleted, or lost.
func LastKept(ctx context.Context, js jetstream.JetStream, name string) (uint64, error) {
	r, err := askForRecord(ctx, js, name, []byte(`{"last_by_subj":"*.>"}`))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the newest message of stream %s: %w", name, err)
	}
	return r.Sequence, nil
}

// HashAt is the SHA-256 of the data of a message, in hexadecimal; empty when the stream
// does not have it any more.
func HashAt(ctx context.Context, js jetstream.JetStream, name string, sequence uint64) (string, error) {
	if sequence == 0 {
		return "", nil
	}
	r, err := GetFromLeader(ctx, js, name, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(r.Data)
	return hex.EncodeToString(sum[:]), nil
}

// Known is what is known of the streams of an installation before they are ensured.
type Known struct {
	// Lost are streams that should be there. They are not made.
	Lost map[string]bool
	// Last is where streams have ended that may be made anew. Sequences do not come
	// again: a new one begins behind.
	Last map[string]uint64
	// Kept reports whether the messages of a stream that is missing are still where the
	// server finds them when the stream is made anew. One with a given start
	// would drop them. Default: there are none.
	Kept func(name string) bool
	// Restored is called for consumers of event logs that were missing although the log has
	// events, and were made anew. Default: none.
	Restored func(RestoredConsumer)
}

func (k *Known) lost(name string) bool { return k.Lost[name] }

// behind is a configuration of a stream that begins where the one before it has ended.
func (k *Known) behind(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	if last := k.Last[cfg.Name]; last > 0 && (k.Kept == nil || !k.Kept(cfg.Name)) {
		cfg.FirstSeq = last + 1
	}
	return cfg
}
