package stream_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
)

func newLayout(t *testing.T, cfg stream.LayoutConfig) stream.Layout {
	t.Helper()
	l, err := stream.NewLayout(cfg)
	if err != nil {
		t.Fatalf("make layout: %v", err)
	}
	return l
}

// Names are kept by running systems and by permissions: a diff in this file is a
// migration.
func TestNamesGolden(t *testing.T) {
	t.Parallel()
	for file, cfg := range map[string]stream.LayoutConfig{
		"names.txt":          {RetryShards: 2},
		"names_prefixed.txt": {RetryShards: 2, Prefix: "team-a"},
	} {
		l := newLayout(t, cfg)
		q := l.QueueFor("ci")
		var b strings.Builder
		row := func(what string, names ...string) { fmt.Fprintf(&b, "%-28s %s\n", what, strings.Join(names, " ")) }
		row("event log", l.EventLog("git"))
		row("event log subjects", l.EventLogConfig("git").Subjects...)
		row("event subject", l.EventSubject("git", "push"))
		row("event subject, more tokens", l.EventSubject("artifact_property", "a.b"))
		row("router consumer", l.RouterConsumerConfig().Durable)
		row("queue", q.Stream)
		row("queue subject", q.Subject)
		row("queue subjects", l.QueueConfig("ci", q).Subjects...)
		row("queue consumer", q.Consumer, l.SenderConsumerConfig(1).Durable)
		row("queue retry shard", q.RetryShard)
		row("retry shards", l.RetryShards()...)
		row("retry stream", l.RetryStream(q.RetryShard))
		row("retry stream subjects", l.RetryStreamConfig(q.RetryShard).Subjects...)
		row("retry timer", l.RetryAt(q.RetryShard, "ci", "key"))
		row("retry due", l.RetryDue(q.RetryShard, "ci"))
		row("retry consumer", l.RetryConsumerConfig(q.RetryShard).Durable, l.RetryConsumerConfig(q.RetryShard).FilterSubject)
		row("attempts", l.Attempts())
		row("attempt subject", l.AttemptSubject("ci"))
		row("dead letters", l.DeadLetters())
		row("dead letter subject", l.DeadLetterSubject("ci"))
		row("what no router could read", l.DeadLetterSubject(stream.InvalidLetters))
		row("audit trail", l.Audit())
		row("audit subject", l.AuditSubject("subscription.create"))
		row("subscriptions bucket", l.SubscriptionsBucket())
		row("subscriptions stream", l.SubscriptionsStream())
		row("catalog bucket", l.CatalogBucket())
		row("catalog stream", l.CatalogStream())
		row("catalog key", l.CatalogKey("orders"))
		row("state bucket", l.StateBucket())
		row("state stream", l.StateStream())
		row("state key of a rate", stream.StateRate("ci"))
		row("and its subject", l.StateRateSubject("ci"))
		row("state key of a breaker", stream.StateBreaker("ci"))
		row("its subject", l.StateBreakerSubject("ci"))
		row("and back", stream.StateBreakerSubscription(stream.StateBreaker("ci")))
		row("state key of an order", stream.StateOrder("ci"))
		row("its subject", l.StateOrderSubject("ci"))
		row("state key of a redrive job", stream.StateRedrive("rd-1"))
		row("and its subject", l.StateRedriveSubject("rd-1"))
		row("state key of how far a domain was routed", stream.StateRouted("git"))
		row("and its subject", l.StateRoutedSubject("git"))
		row("idempotency bucket", l.IdempotencyBucket())
		row("idempotency stream", l.IdempotencyStream())
		row("idempotency key", l.IdempotencyKey("k1"))
		row("tokens bucket", l.TokensBucket())
		row("tokens stream", l.TokensStream())
		row("tokens key", l.TokenKey("abc"))
		row("state key of a token", stream.StateUsed("abc"))
		row("its subject", l.StateUsedSubject("abc"))
		row("and back", l.StateUsedToken(l.StateUsedSubject("abc")))
		row("members bucket", l.MembersBucket())
		row("members stream", l.MembersStream())
		row("members key", l.MemberKey("snd-1"))
		row("repositories bucket", l.RepositoriesBucket())
		row("repositories stream", l.RepositoriesStream())
		row("repositories key of a repository", stream.RepositoryRecord("libs.release_1-a"))
		row("and of the base URL", stream.RepositoriesOrigin)
		inventory, under := l.InventoryBuckets(), l.InventoryStreams()
		row("inventory buckets", inventory[:]...)
		row("inventory streams", under[:]...)
		row("reserve", l.ReserveStream())
		testkit.Golden(t, *update, file, []byte(b.String()))
	}
}

// A queue is stored with its subscription: the form must stay readable.
func TestQueueGolden(t *testing.T) {
	t.Parallel()
	got, err := json.MarshalIndent(newLayout(t, stream.LayoutConfig{}).QueueFor("ci"), "", "\t")
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	testkit.Golden(t, *update, "queue.json", append(got, '\n'))
}

// Ids and domains that differ in anything at all have nothing in common.
func TestNamesNeverCollide(t *testing.T) {
	t.Parallel()
	ids := []string{"a", "a-b", "a_b", "ab", "a--b", "a-b-c", "a-bc", "a1", "a-1", "audit", "at", "due", "subscriptions", "members", "tokens", "repositories"}
	for _, prefix := range []string{"", "p", "p-q", "p_q"} {
		l := newLayout(t, stream.LayoutConfig{Prefix: prefix})
		owner := map[string]string{l.Attempts(): "attempts", l.DeadLetters(): "dead letters", l.SubscriptionsStream(): "subscriptions", l.CatalogStream(): "catalog", l.StateStream(): "state", l.IdempotencyStream(): "idempotency", l.MembersStream(): "members", l.TokensStream(): "tokens"}
		owner[l.RepositoriesStream()] = "repositories"
		for _, shard := range l.RetryShards() {
			owner[l.RetryStream(shard)] = "retries " + shard
		}
		claim := func(who string, names ...string) {
			for _, name := range names {
				if other, taken := owner[name]; taken {
					t.Errorf("prefix %q: %s and %s are both called %s", prefix, who, other, name)
				}
				owner[name] = who
			}
		}
		for _, id := range ids {
			q := l.QueueFor(id)
			claim("subscription "+id, q.Stream, q.Subject, l.RetryAt(q.RetryShard, id, "k"), l.RetryDue(q.RetryShard, id),
				l.AttemptSubject(id), l.DeadLetterSubject(id))
			if got := l.RetrySubscription(l.RetryDue(q.RetryShard, id)); got != id {
				t.Errorf("prefix %q: what is due for %s is read as %s", prefix, id, got)
			}
			claim("domain "+id, l.EventLog(id), l.EventSubject(id, "x"))
		}
		claim("invalid letters", l.DeadLetterSubject(stream.InvalidLetters))
	}
}

// Two installations in one account, one of them without a prefix, share no stream.
func TestPrefixesNeverCollide(t *testing.T) {
	t.Parallel()
	owner := map[string]string{}
	for _, prefix := range []string{"", "a", "b", "a-b", "a_b", "ab"} {
		l := newLayout(t, stream.LayoutConfig{Prefix: prefix})
		q := l.QueueFor("ci")
		for _, name := range []string{
			l.EventLog("git"), l.EventSubject("git", "push"), q.Stream, q.Subject, l.RetryStream("00"), l.RetryDue("00", "ci"),
			l.Attempts(), l.AttemptSubject("ci"), l.DeadLetters(), l.DeadLetterSubject("ci"), l.SubscriptionsStream(), l.CatalogStream(), l.StateStream(), l.IdempotencyStream(), l.MembersStream(), l.TokensStream(), l.RepositoriesStream(),
		} {
			if other, taken := owner[name]; taken {
				t.Errorf("prefixes %q and %q share %s", prefix, other, name)
			}
			owner[name] = prefix
		}
	}
}

func TestNewLayout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  stream.LayoutConfig
		want string // in the error; empty: accepted
	}{
		{"the defaults", stream.LayoutConfig{}, ""},
		{"the greatest", stream.LayoutConfig{Prefix: strings.Repeat("a", 63), Replicas: 5, RetryShards: 32}, ""},
		{"the smallest", stream.LayoutConfig{Prefix: "a", Replicas: 1, RetryShards: 1}, ""},
		{"dashes, underscores and digits", stream.LayoutConfig{Prefix: "a-b_c1"}, ""},

		{"a prefix in upper case", stream.LayoutConfig{Prefix: "Team"}, `prefix "Team"`},
		{"a prefix with a dot", stream.LayoutConfig{Prefix: "a.b"}, "prefix"},
		{"a prefix with a space", stream.LayoutConfig{Prefix: "a b"}, "prefix"},
		{"a prefix with a wildcard", stream.LayoutConfig{Prefix: "a>"}, "prefix"},
		{"a prefix that is a wildcard", stream.LayoutConfig{Prefix: "*"}, "prefix"},
		{"a prefix with a slash", stream.LayoutConfig{Prefix: "a/b"}, "prefix"},
		{"a prefix with a line break", stream.LayoutConfig{Prefix: "a\n"}, "prefix"},
		{"a prefix that begins with a digit", stream.LayoutConfig{Prefix: "1a"}, "prefix"},
		{"a prefix that begins with a dollar sign", stream.LayoutConfig{Prefix: "$JS"}, "prefix"},
		{"a prefix that ends with a dash", stream.LayoutConfig{Prefix: "a-"}, "prefix"},
		{"a prefix of 64 letters", stream.LayoutConfig{Prefix: strings.Repeat("a", 64)}, "prefix"},
		{"fewer than one replica", stream.LayoutConfig{Replicas: -1}, "replicas -1"},
		{"more than five replicas", stream.LayoutConfig{Replicas: 6}, "replicas 6"},
		{"fewer than one shard", stream.LayoutConfig{RetryShards: -1}, "retry shards -1"},
		{"more than 32 shards", stream.LayoutConfig{RetryShards: 33}, "retry shards 33"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := stream.NewLayout(tt.cfg)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestLayoutDefaults(t *testing.T) {
	t.Parallel()
	l := newLayout(t, stream.LayoutConfig{})
	if got := len(l.RetryShards()); got != 8 {
		t.Errorf("got %d retry shards, want 8", got)
	}
	if got := l.EventLogConfig("git").Replicas; got != 1 {
		t.Errorf("got %d replicas, want 1", got)
	}
}

// Each queue's shard exists, and all shards are used.
func TestQueueForSpreadsRetries(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 8, 32} {
		l := newLayout(t, stream.LayoutConfig{RetryShards: shards})
		used := map[string]int{}
		for n := range 100 * shards {
			used[l.QueueFor(fmt.Sprintf("subscription-%d", n)).RetryShard]++
		}
		for shard, n := range used {
			if !slices.Contains(l.RetryShards(), shard) {
				t.Errorf("of %d shards: %d queues are in shard %s, which does not exist", shards, n, shard)
			}
			if n > 200 {
				t.Errorf("of %d shards: %d of %d queues are in shard %s", shards, n, 100*shards, shard)
			}
		}
		if len(used) != shards {
			t.Errorf("of %d shards %d are used", shards, len(used))
		}
	}
}

func TestValidDomain(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"git": true, "artifact_property": true, "release_bundle_v2": true, "a": true, "a-b": true, strings.Repeat("a", 63): true,
		"": false, "A": false, "1a": false, "_a": false, "-a": false, "a-": false, "a_": false, "a.b": false, "a*": false, ">": false,
		"a b": false, "a\n": false, "ä": false, "a/b": false, strings.Repeat("a", 64): false,
	} {
		if got := stream.ValidDomain(name); got != want {
			t.Errorf("%q: got %t, want %t", name, got, want)
		}
	}
}
