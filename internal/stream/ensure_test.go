package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// ensured is a server on which the platform exists, with a domain and a queue.
func ensured(t *testing.T) (*streamtest.Server, stream.Queue) {
	t.Helper()
	s := streamtest.New(t)
	if err := s.Layout.Ensure(t.Context(), s.JS(), []string{"git"}); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	q := s.Layout.QueueFor("ci")
	if err := s.Layout.EnsureQueue(t.Context(), s.JS(), "ci", q, 64); err != nil {
		t.Fatalf("ensure queue: %v", err)
	}
	return s, q
}

func streamConfig(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatalf("look up stream %s: %v", name, err)
	}
	return s.CachedInfo().Config
}

func consumerConfig(t *testing.T, js jetstream.JetStream, name, consumer string) jetstream.ConsumerConfig {
	t.Helper()
	c, err := js.Consumer(t.Context(), name, consumer)
	if err != nil {
		t.Fatalf("look up consumer %s of stream %s: %v", consumer, name, err)
	}
	return c.CachedInfo().Config
}

// The settings that the guarantees rest on, as the server has them.
type streamRules struct {
	Subjects       []string
	Retention      jetstream.RetentionPolicy
	Discard        jetstream.DiscardPolicy
	MaxAge         time.Duration
	MaxMsgs        int64
	PerSubject     int64
	MaxBytes       int64
	MaxMsgSize     int32
	Compression    jetstream.StoreCompression
	Direct         bool
	Schedules      bool
	TTL, Rollup    bool
	DenyDelete     bool
	DenyPurge      bool
	MaxConsumers   int
	FileOneReplica bool
	Dedupe         time.Duration
}

func rulesOf(c jetstream.StreamConfig) streamRules {
	return streamRules{
		c.Subjects, c.Retention, c.Discard, c.MaxAge, c.MaxMsgs, c.MaxMsgsPerSubject, c.MaxBytes, c.MaxMsgSize, c.Compression,
		c.AllowDirect, c.AllowMsgSchedules, c.AllowMsgTTL, c.AllowRollup, c.DenyDelete, c.DenyPurge, c.MaxConsumers,
		c.Storage == jetstream.FileStorage && c.Replicas == 1, c.Duplicates,
	}
}

func TestStreamRules(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	const day = 24 * time.Hour
	limits, work := jetstream.LimitsPolicy, jetstream.WorkQueuePolicy
	refuse, drop := jetstream.DiscardNew, jetstream.DiscardOld
	for name, want := range map[string]streamRules{
		s.Layout.EventLog("git"): { // no Deny: a person's data must be erasable
			Subjects: []string{"events.git.>"}, Retention: limits, Discard: refuse, MaxAge: 30 * day, MaxMsgs: -1, PerSubject: -1, MaxBytes: -1,
			MaxMsgSize: 256 << 10, Compression: jetstream.S2Compression, Direct: true, MaxConsumers: 200, FileOneReplica: true, Dedupe: 5 * time.Minute,
		},
		q.Stream: { // MaxBytes would be reserved
			Subjects: []string{"deliveries.ci"}, Retention: work, Discard: refuse, MaxMsgs: -1, PerSubject: 200_000, MaxBytes: -1,
			MaxMsgSize: 300 << 10, MaxConsumers: 2, FileOneReplica: true, Dedupe: 5 * time.Minute,
		},
		s.Layout.RetryStream("00"): { // any limit would delete timers
			Subjects: []string{"retries.00.>"}, Retention: work, Discard: drop, MaxMsgs: -1, PerSubject: -1, MaxBytes: -1, MaxMsgSize: 320 << 10,
			Schedules: true, TTL: true, Rollup: true, MaxConsumers: 4, FileOneReplica: true, Dedupe: 5 * time.Minute,
		},
		s.Layout.DeadLetters(): {
			Subjects: []string{"deadletters.*"}, Retention: limits, Discard: drop, MaxAge: 90 * day, MaxMsgs: -1, PerSubject: 100_000, MaxBytes: -1,
			MaxMsgSize: 320 << 10, Compression: jetstream.S2Compression, Direct: true, MaxConsumers: 1000, FileOneReplica: true, Dedupe: 5 * time.Minute,
		},
		s.Layout.Attempts(): {
			Subjects: []string{"attempts.*"}, Retention: limits, Discard: drop, MaxAge: 30 * day, MaxMsgs: -1, PerSubject: 50_000, MaxBytes: -1,
			MaxMsgSize: 64 << 10, Compression: jetstream.S2Compression, Direct: true, MaxConsumers: 1000, FileOneReplica: true, Dedupe: 5 * time.Minute,
		},
		"AUDIT": {
			Subjects: []string{"audit.>"}, Retention: limits, Discard: refuse, MaxAge: 400 * day, MaxMsgs: -1, PerSubject: -1, MaxBytes: -1,
			MaxMsgSize: 320 << 10, Compression: jetstream.S2Compression, Direct: true, MaxConsumers: 100, DenyDelete: true, DenyPurge: true,
			FileOneReplica: true, Dedupe: 5 * time.Minute,
		},
	} {
		if diff := cmp.Diff(want, rulesOf(streamConfig(t, s.JS(), name))); diff != "" {
			t.Errorf("stream %s (-want +got):\n%s", name, diff)
		}
	}
	bucket := streamConfig(t, s.JS(), s.Layout.SubscriptionsStream())
	if bucket.MaxMsgsPerSubject != 5 || bucket.Storage != jetstream.FileStorage || bucket.MaxAge != 0 {
		t.Errorf("bucket of subscriptions: got history %d, %v, maximum age %v", bucket.MaxMsgsPerSubject, bucket.Storage, bucket.MaxAge)
	}
}

func TestConsumerRules(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	type rules struct {
		Filter      string
		AckWait     time.Duration
		MaxPending  int
		MaxWaiting  int
		Every       bool // explicit acks, no limit of redeliveries, no schedule of its own, durable, on disk
		FromTheLast bool
	}
	for name, want := range map[string]struct {
		consumer string
		rules    rules
	}{
		s.Layout.EventLog("git"):   {"router", rules{AckWait: stream.AckWait, MaxPending: 8192, MaxWaiting: 512, Every: true}},
		q.Stream:                   {"sender", rules{AckWait: stream.AckWait, MaxPending: 64, MaxWaiting: 64, Every: true}},
		s.Layout.RetryStream("00"): {"sender", rules{Filter: "retries.00.due.>", AckWait: stream.AckWait, MaxPending: 5000, MaxWaiting: 512, Every: true}},
	} {
		c := consumerConfig(t, s.JS(), name, want.consumer)
		got := rules{
			Filter: c.FilterSubject, AckWait: c.AckWait, MaxPending: c.MaxAckPending, MaxWaiting: c.MaxWaiting,
			Every: c.AckPolicy == jetstream.AckExplicitPolicy && c.MaxDeliver == -1 && len(c.BackOff) == 0 &&
				c.InactiveThreshold == 0 && !c.MemoryStorage && c.Durable == want.consumer,
			FromTheLast: c.DeliverPolicy != jetstream.DeliverAllPolicy,
		}
		if diff := cmp.Diff(want.rules, got); diff != "" {
			t.Errorf("consumer %s of stream %s (-want +got):\n%s", want.consumer, name, diff)
		}
	}
}

// everything is what exists on a server, with when it was made: nothing may be
// made anew.
func everything(t *testing.T, js jetstream.JetStream) map[string]time.Time {
	t.Helper()
	found := map[string]time.Time{}
	streams := js.ListStreams(t.Context())
	for info := range streams.Info() {
		found[info.Config.Name] = info.Created
		s, err := js.Stream(t.Context(), info.Config.Name)
		if err != nil {
			t.Fatalf("look up stream: %v", err)
		}
		consumers := s.ListConsumers(t.Context())
		for c := range consumers.Info() {
			found[info.Config.Name+"/"+c.Name] = c.Created
		}
		if err := consumers.Err(); err != nil {
			t.Fatalf("list consumers: %v", err)
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatalf("list streams: %v", err)
	}
	return found
}

func TestEnsureConcurrently(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	domains := []string{"git", "artifact", "docker"}
	var g errgroup.Group
	for range 4 { // four processes that start together
		js, err := jetstream.New(s.Connect())
		if err != nil {
			t.Fatalf("open JetStream: %v", err)
		}
		g.Go(func() error {
			err := s.Layout.Ensure(t.Context(), js, domains)
			return errors.Join(err, s.Layout.EnsureQueue(t.Context(), js, "ci", s.Layout.QueueFor("ci"), 64))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	before := everything(t, s.JS())
	// Three platform streams, nine buckets, two retry shards, three logs and a queue,
	// and the consumers of all but the first twelve.
	if len(before) != 12+2*(2+3+1) {
		t.Errorf("got %d streams and consumers: %v", len(before), before)
	}
	if err := s.Layout.Ensure(t.Context(), s.JS(), domains); err != nil {
		t.Fatalf("ensure again: %v", err)
	}
	s.Restart()
	awaitServer(t, s)
	if err := s.Layout.Ensure(t.Context(), s.JS(), domains); err != nil {
		t.Fatalf("ensure after a restart: %v", err)
	}
	after := everything(t, s.JS())
	if _, ok := after[s.Layout.MembersStream()]; !ok {
		t.Error("the bucket in memory was not made anew")
	}
	delete(before, s.Layout.MembersStream()) // the restart has forgotten it
	delete(after, s.Layout.MembersStream())
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("ensure again made something (-before +after):\n%s", diff)
	}
}

func TestEnsureKeepsLimits(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	js := s.JS()
	change := func(name string, change func(*jetstream.StreamConfig)) {
		t.Helper()
		cfg := streamConfig(t, js, name)
		change(&cfg)
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatalf("update stream %s: %v", name, err)
		}
	}
	change(s.Layout.EventLog("git"), func(c *jetstream.StreamConfig) {
		c.MaxAge, c.MaxBytes, c.MaxMsgSize, c.MaxConsumers = 90*24*time.Hour, 1<<30, 512<<10, 500
	})
	change(q.Stream, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1_000_000 })
	change(s.Layout.Attempts(), func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.Duplicates = 500_000, time.Minute })
	change(s.Layout.DeadLetters(), func(c *jetstream.StreamConfig) { c.MaxAge, c.Description = 0, "without limit" })
	change(s.Layout.SubscriptionsStream(), func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 20 })

	names := []string{s.Layout.EventLog("git"), q.Stream, s.Layout.Attempts(), s.Layout.DeadLetters(), s.Layout.SubscriptionsStream()}
	before := map[string]jetstream.StreamConfig{}
	for _, name := range names {
		before[name] = streamConfig(t, js, name)
	}
	if err := s.Layout.Ensure(t.Context(), js, []string{"git"}); err != nil {
		t.Fatalf("ensure again: %v", err)
	}
	if err := s.Layout.EnsureQueue(t.Context(), js, "ci", q, 64); err != nil {
		t.Fatalf("ensure queue again: %v", err)
	}
	for _, name := range names {
		if diff := cmp.Diff(before[name], streamConfig(t, js, name)); diff != "" {
			t.Errorf("ensure changed stream %s (-before +after):\n%s", name, diff)
		}
	}
}

// What an earlier version has made gets the times of this one, in place.
func TestEnsureAdopts(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	js, l := s.JS(), s.Layout
	consumers := map[string]string{l.EventLog("git"): stream.RouterConsumer, q.Stream: q.Consumer, l.RetryStream("00"): stream.SenderConsumer}
	for name, consumer := range consumers {
		cfg := consumerConfig(t, js, name, consumer)
		cfg.AckWait = time.Minute
		if _, err := js.UpdateConsumer(t.Context(), name, cfg); err != nil {
			t.Fatal(err)
		}
	}
	members := streamConfig(t, js, l.MembersStream())
	members.MaxAge, members.Duplicates = 10*time.Second, 10*time.Second
	if _, err := js.UpdateStream(t.Context(), members); err != nil {
		t.Fatal(err)
	}
	before := everything(t, js)
	if err := l.Ensure(t.Context(), js, []string{"git"}); err != nil {
		t.Fatal(err)
	}
	missing := l.QueueFor("is-deleted")
	for _, want := range []int{1, 0} {
		if got, err := l.AdoptQueues(t.Context(), js, []stream.Queue{q, missing}); got != want || err != nil {
			t.Errorf("%d queues are adopted, error %v, want %d", got, err, want)
		}
	}
	for name, consumer := range consumers {
		cfg := consumerConfig(t, js, name, consumer)
		if cfg.AckWait != stream.AckWait || cfg.MaxDeliver != -1 || cfg.MaxAckPending == 0 {
			t.Errorf("consumer %s of stream %s is %+v, want an ack wait of %s and the rest as it was", consumer, name, cfg, stream.AckWait)
		}
	}
	if got := streamConfig(t, js, l.MembersStream()).MaxAge; got != stream.MembersTTL {
		t.Errorf("records of members live for %s, want %s", got, stream.MembersTTL)
	}
	after := everything(t, js)
	delete(before, l.MembersStream()) // it is worth nothing
	delete(after, l.MembersStream())
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("something was made anew (-before +after):\n%s", diff)
	}
}

func TestEnsureRefusesIncompatibleStreams(t *testing.T) {
	t.Parallel()
	l := newLayout(t, stream.LayoutConfig{RetryShards: 2})
	for _, tt := range []struct {
		name   string
		exists jetstream.StreamConfig
		change func(*jetstream.StreamConfig)
		want   string
	}{
		{"retention", l.EventLogConfig("git"), func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention WorkQueue"},
		{"discard policy", l.EventLogConfig("git"), func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "discard policy DiscardOld"},
		{"fewer subjects", l.EventLogConfig("git"), func(c *jetstream.StreamConfig) { c.Subjects = []string{"events.git.push"} }, "events.git.push"},
		{"more subjects", l.EventLogConfig("git"), func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "other") }, "other"},
		{"storage", l.EventLogConfig("git"), func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "Memory storage"},
		{"no schedules", l.RetryStreamConfig("01"), func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = false }, "schedules"},
		{"another stream has the subject", l.EventLogConfig("git"), func(c *jetstream.StreamConfig) { c.Name = "OTHER" }, "overlap"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := streamtest.New(t)
			cfg := tt.exists
			name := cfg.Name
			tt.change(&cfg)
			if _, err := s.JS().CreateStream(t.Context(), cfg); err != nil {
				t.Fatalf("create stream: %v", err)
			}
			err := s.Layout.Ensure(t.Context(), s.JS(), []string{"git"})
			if err == nil || !strings.Contains(err.Error(), "stream "+name) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that names stream %s and %q", err, name, tt.want)
			}
		})
	}
}

func TestEnsureRefusesBucketInMemory(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	cfg := jetstream.KeyValueConfig{Bucket: s.Layout.SubscriptionsBucket(), Storage: jetstream.MemoryStorage}
	if _, err := s.JS().CreateKeyValue(t.Context(), cfg); err != nil {
		t.Fatalf("create bucket: %v", err)
	}
	err := s.Layout.Ensure(t.Context(), s.JS(), nil)
	if err == nil || !strings.Contains(err.Error(), s.Layout.SubscriptionsStream()) || !strings.Contains(err.Error(), "Memory storage") {
		t.Errorf("got %v, want an error that names the bucket's stream and its storage", err)
	}
}

func TestEnsureEventLogRefusesDomain(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	for _, domain := range []string{"", "A", "a.b", "a>", "a b"} {
		if err := s.Layout.EnsureEventLog(t.Context(), s.JS(), domain); err == nil || !strings.Contains(err.Error(), "domain") {
			t.Errorf("domain %q: got %v, want an error", domain, err)
		}
		if err := s.Layout.Ensure(t.Context(), s.JS(), []string{"git", domain}); err == nil {
			t.Errorf("domains git and %q: got no error", domain)
		}
	}
}

func TestEnsureEndsWithContext(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Layout.Ensure(ctx, s.JS(), []string{"git"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestEnsureQueueChangesInFlight(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	if _, err := s.JS().Publish(t.Context(), q.Subject, []byte("waiting")); err != nil {
		t.Fatalf("publish: %v", err)
	}
	if err := s.Layout.EnsureQueue(t.Context(), s.JS(), "ci", q, 1); err != nil {
		t.Fatalf("ensure queue: %v", err)
	}
	if got := consumerConfig(t, s.JS(), q.Stream, q.Consumer).MaxAckPending; got != 1 {
		t.Errorf("got %d in flight, want 1", got)
	}
	queue, err := s.JS().Stream(t.Context(), q.Stream)
	if err != nil {
		t.Fatalf("look up queue: %v", err)
	}
	if got := queue.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("got %d deliveries waiting, want 1", got)
	}
}

func TestDeleteQueue(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	for range 2 { // what is gone is gone
		if err := s.Layout.DeleteQueue(t.Context(), s.JS(), q); err != nil {
			t.Errorf("delete queue: %v", err)
		}
		if _, err := s.JS().Stream(t.Context(), q.Stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("look up queue: got %v, want %v", err, jetstream.ErrStreamNotFound)
		}
	}
	if err := s.Layout.EnsureQueue(t.Context(), s.JS(), "ci", q, 64); err != nil {
		t.Errorf("make the queue again: %v", err)
	}
}

// Two installations in one account.
func TestEnsureWithPrefixes(t *testing.T) {
	t.Parallel()
	s, _ := ensured(t)
	other := newLayout(t, stream.LayoutConfig{Prefix: "team-a", RetryShards: 2})
	if err := other.Ensure(t.Context(), s.JS(), []string{"git"}); err != nil {
		t.Fatalf("ensure with a prefix: %v", err)
	}
	q := other.QueueFor("ci")
	if err := other.EnsureQueue(t.Context(), s.JS(), "ci", q, 64); err != nil {
		t.Fatalf("ensure queue with a prefix: %v", err)
	}
	ack, err := s.JS().Publish(t.Context(), other.EventSubject("git", "push"), nil)
	if err != nil || ack.Stream != other.EventLog("git") {
		t.Errorf("publish with a prefix: got %+v, %v, want it in %s", ack, err, other.EventLog("git"))
	}
}

func TestEnsureOnCluster(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	q := c.Layout.QueueFor("ci")
	var g errgroup.Group
	for i := range 3 { // one process at each server
		js, err := jetstream.New(c.Connect(i))
		if err != nil {
			t.Fatalf("open JetStream: %v", err)
		}
		g.Go(func() error {
			err := c.Layout.Ensure(t.Context(), js, []string{"git"})
			return errors.Join(err, c.Layout.EnsureQueue(t.Context(), js, "ci", q, 64))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	if err := c.Layout.Ensure(t.Context(), c.JS(), []string{"git"}); err != nil {
		t.Fatalf("ensure again: %v", err)
	}
	names := []string{
		c.Layout.EventLog("git"), q.Stream, c.Layout.RetryStream("00"), c.Layout.RetryStream("01"), c.Layout.Attempts(),
		c.Layout.DeadLetters(), c.Layout.SubscriptionsStream(),
	}
	for _, name := range names {
		if got := streamConfig(t, c.JS(), name).Replicas; got != 3 {
			t.Errorf("stream %s has %d replicas, want 3", name, got)
		}
	}
	c.StepDown(q.Stream)
	if err := c.Layout.EnsureQueue(t.Context(), c.JS(), "ci", q, 8); err != nil {
		t.Fatalf("ensure queue after a change of leader: %v", err)
	}
	// The servers of a cluster take a change over in their own time.
	testkit.Until(t, func() (bool, string) {
		got := consumerConfig(t, c.JS(), q.Stream, q.Consumer).MaxAckPending
		return got == 8, fmt.Sprintf("got %d in flight, want 8", got)
	})
	if err := c.Layout.DeleteQueue(t.Context(), c.JS(), q); err != nil {
		t.Errorf("delete queue: %v", err)
	}
}
