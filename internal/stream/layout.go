// Package stream owns everything that jetpost keeps in NATS JetStream: the name
// of every stream, subject, consumer, bucket and header, their configuration,
// the form of a CloudEvent as a NATS message, and reading history.
//
// No other package spells a name out (docs/invariants.md, 8).
package stream

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Consumer names are fixed, so that permissions can be written for streams that
// do not exist yet.
const (
	RouterConsumer = "router" // on every event log, shared by all routers
	SenderConsumer = "sender" // on every queue and retry shard, shared by all senders
)

// AckWait is after what time the server hands a message out again, of all consumers
// that jetpost has.
const AckWait = 8 * time.Second

// MessageOverhead is more than the server counts of a message beside its headers and data,
// in bytes.
const MessageOverhead = 512

// Limits of what travels through jetpost, in bytes.
const (
	MaxEventSize = 256 << 10             // one event, attributes and data
	maxQueued    = MaxEventSize + 44<<10 // and the headers a delivery carries
	MaxKept      = MaxEventSize + 64<<10 // and what a retry or a dead letter adds
)

// Dedupe is how long a stream remembers the ids of what was published to it.
const Dedupe = 5 * time.Minute

// InvalidLetters is the token under which the dead letter stream keeps what no
// router could read. It cannot be a subscription id: those start with a letter.
const InvalidLetters = "_invalid"

var tokenPattern = regexp.MustCompile(`^[a-z]([a-z0-9_-]{0,61}[a-z0-9])?$`)

// A Layout says how jetpost's streams are named and stored in one installation.
// The zero value is not usable: make one with NewLayout.
type Layout struct {
	prefix      string
	replicas    int
	retryShards int
}

// LayoutConfig are the choices an installation has.
type LayoutConfig struct {
	// Prefix goes before every name, so that two installations can share a NATS
	// account. Lower-case letters, digits, dashes and underscores. Default: none.
	Prefix string
	// Replicas of every stream and bucket: 1 on a single server, 3 on a cluster.
	// Default: 1.
	Replicas int
	// RetryShards is the number of streams that hold retry timers, 1 to 32. It
	// may be raised later, never lowered. Default: 8.
	RetryShards int
}

// NewLayout checks cfg and fills in its defaults.
func NewLayout(cfg LayoutConfig) (Layout, error) {
	l := Layout{prefix: cfg.Prefix, replicas: cfg.Replicas, retryShards: cfg.RetryShards}
	if l.replicas == 0 {
		l.replicas = 1
	}
	if l.retryShards == 0 {
		l.retryShards = 8
	}
	if l.prefix != "" && !tokenPattern.MatchString(l.prefix) {
		return Layout{}, fmt.Errorf("name prefix %q: use 1 to 63 lower-case letters, digits, dashes and underscores, a letter first", l.prefix)
	}
	if l.replicas < 1 || l.replicas > 5 {
		return Layout{}, fmt.Errorf("replicas %d: use 1 to 5", l.replicas)
	}
	if l.retryShards < 1 || l.retryShards > 32 {
		return Layout{}, fmt.Errorf("retry shards %d: use 1 to 32", l.retryShards)
	}
	return l, nil
}

// Prefix is what goes before every name; empty: nothing.
func (l Layout) Prefix() string { return l.prefix }

func (l Layout) stream(name string) string {
	if l.prefix == "" {
		return name
	}
	return l.prefix + "_" + name
}

func (l Layout) subject(tokens ...string) string {
	s := strings.Join(tokens, ".")
	if l.prefix == "" {
		return s
	}
	return l.prefix + "." + s
}

// ValidDomain reports whether name can be a domain: it becomes part of a stream
// name and a subject token as it is.
func ValidDomain(name string) bool { return tokenPattern.MatchString(name) }

// EventLog is the name of the stream that keeps a domain's events.
func (l Layout) EventLog(domain string) string { return l.stream("EVENTS_" + domain) }

// EventSubject is where an event of a domain is published. event may have
// several tokens, separated by dots.
func (l Layout) EventSubject(domain, event string) string {
	return l.subject("events", domain, event)
}

// EventLogConfig is the event log of a domain.
func (l Layout) EventLogConfig(domain string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: l.EventLog(domain), Subjects: []string{l.subject("events", domain, ">")},
		Description: "jetpost: event log of " + domain,
		Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		Replicas: l.replicas, MaxAge: 30 * 24 * time.Hour, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: MaxEventSize,
		Duplicates: Dedupe, Compression: jetstream.S2Compression, AllowDirect: true, MaxConsumers: 200,
		Metadata: map[string]string{"jetpost.domain": domain},
	}
}

// RouterMaxPending is how many events routers may have in hand of one event log, over all
// of them.
const RouterMaxPending = 8192

// RouterConsumerConfig is the durable consumer that all routers share on an
// event log.
func (l Layout) RouterConsumerConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: RouterConsumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: AckWait,
		MaxDeliver: -1, MaxAckPending: RouterMaxPending, MaxWaiting: 512,
	}
}

// A Queue says where the deliveries of one subscription wait. It is stored with
// the subscription, and routers and senders use only these fields, so that a
// queue can be moved.
type Queue struct {
	Stream     string `json:"stream"`
	Subject    string `json:"subject"`
	Consumer   string `json:"consumer"`
	RetryShard string `json:"retry_shard"` // token of the stream that holds its retry timers
}

// QueueFor is the place of a new subscription's queue.
func (l Layout) QueueFor(subscription string) Queue {
	h := fnv.New32a()
	_, _ = h.Write([]byte(subscription)) // never fails
	return Queue{
		Stream:     l.stream("DELIVERIES_" + subscription),
		Subject:    l.subject("deliveries", subscription),
		Consumer:   SenderConsumer,
		RetryShard: shardToken(int(h.Sum32() % uint32(l.retryShards))), //nolint:gosec // 1 to 32
	}
}

// QueueConfig is the work queue of one subscription. Its quota is a number of
// messages: bytes would be reserved up front (jetstream.md, fact 9). It is written as
// that of the one subject, which comes to the same: the server gives a stream with a
// limit for all subjects together blocks of 8 MiB, and this one blocks of 4 MiB, of
// which it has up to three in memory while a queue is busy.
func (l Layout) QueueConfig(subscription string, q Queue) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: q.Stream, Subjects: []string{q.Subject}, // one literal subject
		Description: "jetpost: deliveries of " + subscription,
		Retention:   jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		Replicas: l.replicas, MaxMsgs: -1, MaxMsgsPerSubject: MaxQueued, DiscardNewPerSubject: true, MaxBytes: -1, MaxMsgSize: maxQueued,
		Duplicates: Dedupe, MaxConsumers: 2,
		Metadata: map[string]string{"jetpost.subscription": subscription},
	}
}

// MaxQueued is how many deliveries of one subscription may wait.
const MaxQueued = 200_000

// SenderConsumerConfig is the durable consumer that all senders share on a
// queue. inFlight bounds the requests under way to the endpoint, over all
// senders together.
func (l Layout) SenderConsumerConfig(inFlight int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: SenderConsumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: AckWait,
		MaxDeliver: -1, MaxAckPending: inFlight, MaxWaiting: 64, // never BackOff: jetstream.md, fact 5
	}
}

func shardToken(n int) string { return fmt.Sprintf("%02d", n) }

// RetryShards are the tokens of all streams that hold retry timers.
func (l Layout) RetryShards() []string {
	shards := make([]string, l.retryShards)
	for n := range shards {
		shards[n] = shardToken(n)
	}
	return shards
}

// RetryStream is the stream that holds the retry timers of a shard.
func (l Layout) RetryStream(shard string) string { return l.stream("RETRIES_" + shard) }

// RetryAt is the subject that holds one delivery's retry timer. key must be the
// same for every retry of the delivery: a new timer replaces the old one.
func (l Layout) RetryAt(shard, subscription, key string) string {
	return l.subject("retries", shard, "at", subscription, key)
}

// RetryDue is the subject to which a subscription's timers fire.
func (l Layout) RetryDue(shard, subscription string) string {
	return l.subject("retries", shard, "due", subscription)
}

// RetrySubscription is the inverse of RetryDue: the last token.
func (l Layout) RetrySubscription(due string) string {
	return due[strings.LastIndexByte(due, '.')+1:]
}

// RetryStreamConfig is one shard of the retry timers. DiscardOld and the missing
// limits are not a choice: schedules exclude DiscardNew, and a limit would
// delete timers silently (jetstream.md, facts 3 and section 5).
func (l Layout) RetryStreamConfig(shard string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: l.RetryStream(shard), Subjects: []string{l.subject("retries", shard, ">")},
		Description: "jetpost: retry timers, shard " + shard,
		Retention:   jetstream.WorkQueuePolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		Replicas: l.replicas, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: MaxKept, Duplicates: Dedupe,
		AllowMsgSchedules: true, AllowMsgTTL: true, AllowRollup: true, MaxConsumers: 4,
	}
}

// RetryMaxPending is how many fired timers senders may have in hand of one shard, over all
// of them.
const RetryMaxPending = 5000

// RetryConsumerConfig is the durable consumer that takes what has fired. It must
// not cover the timers themselves.
func (l Layout) RetryConsumerConfig(shard string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: SenderConsumer, FilterSubject: l.subject("retries", shard, "due", ">"),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: AckWait, MaxDeliver: -1, MaxAckPending: RetryMaxPending,
	}
}

// MaxRecorded is how many messages of the attempt log are kept for one subscription.
// Each has one record or several.
const MaxRecorded = 50_000

// Attempts is the stream that records every request.
func (l Layout) Attempts() string { return l.stream("ATTEMPTS") }

// AttemptSubject is where the attempts of one subscription are recorded.
func (l Layout) AttemptSubject(subscription string) string {
	return l.subject("attempts", subscription)
}

// AttemptSubscription is the inverse of AttemptSubject: the last token.
func (l Layout) AttemptSubscription(subject string) string {
	return subject[strings.LastIndexByte(subject, '.')+1:]
}

// DeadLetters is the stream that keeps the deliveries jetpost gave up.
func (l Layout) DeadLetters() string { return l.stream("DEADLETTERS") }

// DeadLetterSubject is where the dead letters of one subscription are kept, or
// with InvalidLetters what no router could read.
func (l Layout) DeadLetterSubject(subscription string) string {
	return l.subject("deadletters", subscription)
}

// DeadLetterSubscription is the inverse of DeadLetterSubject: the last token.
func (l Layout) DeadLetterSubscription(subject string) string {
	return subject[strings.LastIndexByte(subject, '.')+1:]
}

// SubscriptionsBucket is the key-value bucket that holds the subscriptions.
func (l Layout) SubscriptionsBucket() string { return l.stream("subscriptions") }

// SubscriptionsStream is the stream under the subscriptions bucket.
func (l Layout) SubscriptionsStream() string { return "KV_" + l.SubscriptionsBucket() }

// MaxDomain is how large the record of a registered domain may be, in bytes. It
// travels in one message, and servers take 1 MiB unless configured otherwise.
const MaxDomain = 512 << 10

// CatalogBucket is the key-value bucket that holds the domains that were registered
// at run time.
func (l Layout) CatalogBucket() string { return l.stream("catalog") }

// CatalogStream is the stream under the catalog bucket.
func (l Layout) CatalogStream() string { return "KV_" + l.CatalogBucket() }

// CatalogKey is the subject of a domain's key in the catalog bucket. Domains are
// single tokens.
func (l Layout) CatalogKey(domain string) string { return "$KV." + l.CatalogBucket() + "." + domain }

// TokensBucket is the key-value bucket that holds the tokens of the API, by id.
func (l Layout) TokensBucket() string { return l.stream("tokens") }

// TokensStream is the stream under the tokens bucket.
func (l Layout) TokensStream() string { return "KV_" + l.TokensBucket() }

// TokenKey is the subject of a token's key in the tokens bucket. Ids are single
// tokens of a subject.
func (l Layout) TokenKey(id string) string { return "$KV." + l.TokensBucket() + "." + id }

// StateBucket is the key-value bucket that holds what the processes of one kind
// have to agree on while they work: senders by StateRate, StateBreaker, StateLagging,
// StateOrder, StateMade and StateClock, admins by StateRedrive and StateRouted, those with
// an API by StateUsed.
func (l Layout) StateBucket() string { return l.stream("state") }

// StateStream is the stream under the state bucket.
func (l Layout) StateStream() string { return "KV_" + l.StateBucket() }

// StateRate is the key in the state bucket under which the senders keep when the
// next request of a subscription may be made.
func StateRate(subscription string) string { return "rate." + subscription }

// StateRateSubject is the subject of that key.
func (l Layout) StateRateSubject(subscription string) string {
	return l.stateKey(StateRate(subscription))
}

// StateBreaker is the key in the state bucket under which the senders keep where the
// circuit breaker of a subscription stands; with * that of all of them.
func StateBreaker(subscription string) string { return "breaker." + subscription }

// StateBreakerSubscription is the inverse of StateBreaker: the last token.
func StateBreakerSubscription(key string) string {
	return key[strings.LastIndexByte(key, '.')+1:]
}

// StateBreakerSubject is the subject of that key.
func (l Layout) StateBreakerSubject(subscription string) string {
	return l.stateKey(StateBreaker(subscription))
}

// StateLagging is the key in the state bucket under which the senders keep that the
// deliveries of a subscription have waited for too long.
func StateLagging(subscription string) string { return "lagging." + subscription }

// StateLaggingSubject is the subject of that key.
func (l Layout) StateLaggingSubject(subscription string) string {
	return l.stateKey(StateLagging(subscription))
}

// StateOrder is the key in the state bucket under which the senders keep how often
// the delivery was attempted that an ordered subscription waits for.
func StateOrder(subscription string) string { return "order." + subscription }

// StateOrderSubject is the subject of that key.
func (l Layout) StateOrderSubject(subscription string) string {
	return l.stateKey(StateOrder(subscription))
}

// StateMade is the key in the state bucket under which the senders keep which deliveries
// of a subscription were made by manual attempts.
func StateMade(subscription string) string { return "made." + subscription }

// StateMadeSubscription is the inverse of StateMade.
func StateMadeSubscription(key string) string { return StateBreakerSubscription(key) }

// StateMadeSubject is the subject of that key.
func (l Layout) StateMadeSubject(subscription string) string {
	return l.stateKey(StateMade(subscription))
}

// StateClock is the key in the state bucket under which the senders keep by how much the
// clock of the NATS server was set.
const StateClock = "clock.server"

// StateRedrive is the key in the state bucket under which admins keep a redrive job.
func StateRedrive(job string) string { return "redrive." + job }

// StateRedriveSubject is the subject of that key; with * that of all of them.
func (l Layout) StateRedriveSubject(job string) string {
	return l.stateKey(StateRedrive(job))
}

// StateRouted is the key in the state bucket under which admins keep how far the event
// log of a domain was routed: see Routed.
func StateRouted(domain string) string { return "routed." + domain }

// StateRoutedSubject is the subject of that key; with * that of all of them.
func (l Layout) StateRoutedSubject(domain string) string { return l.stateKey(StateRouted(domain)) }

// StateUsed is the key in the state bucket under which processes with an API keep
// when a token was last used.
func StateUsed(token string) string { return "used." + token }

// StateUsedSubject is the subject of that key; with * that of all of them.
func (l Layout) StateUsedSubject(token string) string { return l.stateKey(StateUsed(token)) }

// StateUsedToken is the inverse of StateUsedSubject: the last part.
func (l Layout) StateUsedToken(subject string) string {
	return subject[strings.LastIndexByte(subject, '.')+1:]
}

// StateProbe is the key in the state bucket with which processes find out whether
// anything can be stored: one for each role of connection.
func StateProbe(role Role) string { return "probe." + string(role) }

// StateProbeSubject is the subject of that key.
func (l Layout) StateProbeSubject(role Role) string { return l.stateKey(StateProbe(role)) }

// TokenSize is how large the record of a token may be, in bytes.
const TokenSize = 16 << 10

// StateValueSize is how large a value in the state bucket may be, in bytes.
const StateValueSize = 4 << 10

// stateKey is the subject of a key of the state bucket.
func (l Layout) stateKey(key string) string { return "$KV." + l.StateBucket() + "." + key }

// IdempotencyTTL is for how long an answer to a request with a key is kept.
const IdempotencyTTL = 24 * time.Hour

// MaxIdempotent is how large what is kept of such an answer may be, in bytes. It
// travels in one message, and servers take 1 MiB unless configured otherwise.
const MaxIdempotent = 512 << 10

// IdempotencyBucket is the key-value bucket that holds the answers to requests that
// clients may repeat, by hashes of who asked and the key of the request.
func (l Layout) IdempotencyBucket() string { return l.stream("idempotency") }

// IdempotencyStream is the stream under the idempotency bucket.
func (l Layout) IdempotencyStream() string { return "KV_" + l.IdempotencyBucket() }

// IdempotencyKey is the subject of a key of the idempotency bucket; with * that of all
// of them.
func (l Layout) IdempotencyKey(key string) string {
	return "$KV." + l.IdempotencyBucket() + "." + key
}

// MembersTTL is how long a sender is taken for alive after it has last said so: less than
// AckWait, so that others pull when what it had in hand comes back.
const MembersTTL = 5 * time.Second

// MembersBucket is the key-value bucket that holds the senders which are alive, by id.
func (l Layout) MembersBucket() string { return l.stream("members") }

// MembersStream is the stream under the members bucket.
func (l Layout) MembersStream() string { return "KV_" + l.MembersBucket() }

// MemberKey is the subject of a key of the members bucket; with * that of all of them.
func (l Layout) MemberKey(id string) string { return "$KV." + l.MembersBucket() + "." + id }

// membersConfig is the members bucket. It is in memory: what is older than MembersTTL is
// worth nothing. LimitMarkerTTL has the server announce what goes away by its age.
func (l Layout) membersConfig() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: l.MembersBucket(), Description: "jetpost: senders that are alive", History: 1, Replicas: l.replicas,
		Storage: jetstream.MemoryStorage, TTL: MembersTTL, LimitMarkerTTL: 3 * MembersTTL, MaxValueSize: StateValueSize,
	}
}

// platformStreams are those that exist once.
func (l Layout) platformStreams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name: l.DeadLetters(), Subjects: []string{l.subject("deadletters", "*")},
			Description: "jetpost: deliveries given up",
			Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
			Replicas: l.replicas, MaxAge: 90 * 24 * time.Hour, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 100_000,
			MaxMsgSize: MaxKept, Duplicates: Dedupe, Compression: jetstream.S2Compression, AllowDirect: true, MaxConsumers: 1000,
		},
		{
			Name: l.Attempts(), Subjects: []string{l.subject("attempts", "*")},
			Description: "jetpost: every request made",
			Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
			Replicas: l.replicas, MaxAge: 30 * 24 * time.Hour, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: MaxRecorded,
			MaxMsgSize: 64 << 10, Duplicates: Dedupe, Compression: jetstream.S2Compression, AllowDirect: true, MaxConsumers: 1000,
		},
		{
			Name: l.Audit(), Subjects: []string{l.AuditSubject(">")},
			Description: "jetpost: who changed what",
			Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
			Replicas: l.replicas, MaxAge: AuditAge, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: MaxKept,
			Duplicates: Dedupe, Compression: jetstream.S2Compression, AllowDirect: true, MaxConsumers: 100,
			DenyDelete: true, DenyPurge: true,
		},
	}
}
