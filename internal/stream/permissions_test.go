package stream_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// guarded starts a server on which each role is a user of its own.
func guarded(t *testing.T, l stream.Layout) *streamtest.Server {
	t.Helper()
	return guardedWith(t, l, nil)
}

func guardedWith(t *testing.T, l stream.Layout, flags map[string]bool) *streamtest.Server {
	t.Helper()
	s := streamtest.NewWith(t, embedded.Config{Adjust: func(o *server.Options) {
		o.FeatureFlags = flags
		for _, role := range stream.Roles() {
			p := l.Permissions(role)
			o.Users = append(o.Users, &server.User{Username: string(role), Password: "test", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: p.Publish}, Subscribe: &server.SubjectPermission{Allow: p.Subscribe},
			}})
		}
	}})
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatalf("parse the server's URL: %v", err)
	}
	u.User = nil // each connection brings its own
	s.URL = u.String()
	return s
}

// as connects as serve does in that role.
func as(s *streamtest.Server, role stream.Role) *nats.Conn {
	return s.Connect(append(stream.ConnectOptions(string(role), zap.NewNop()), nats.UserInfo(string(role), "test"))...)
}

// isRefused reports whether the server has refused what nc has just sent.
func isRefused(t *testing.T, nc *nats.Conn, err error) bool {
	t.Helper()
	if flushErr := nc.Flush(); err == nil && flushErr != nil && !errors.Is(flushErr, nats.ErrPermissionViolation) {
		t.Fatalf("flush: %v", flushErr)
	}
	return errors.Is(err, nats.ErrPermissionViolation) || errors.Is(nc.LastError(), nats.ErrPermissionViolation)
}

// What a role does not need is refused, and what it needs is not. That the needs
// are complete is for the journey through all roles to show (cmd/jetpost).
func TestPermissions(t *testing.T) {
	t.Parallel()
	l := newLayout(t, stream.LayoutConfig{Prefix: "acme"})
	other := newLayout(t, stream.LayoutConfig{Prefix: "umbrella"})
	s := guarded(t, l)
	const (
		producer, router, sender, view, control = stream.RoleProducer, stream.RoleRouter, stream.RoleSender, stream.RoleView, stream.RoleControl
		api                                     = "$JS.API."
	)
	queue, bucket, catalog := l.QueueFor("ci").Stream, l.SubscriptionsStream(), l.CatalogStream()
	for _, act := range []struct {
		what    string
		subject string
		by      []stream.Role // who may publish to it
	}{
		{"publish an event", l.EventSubject("git", "push"), []stream.Role{producer}},
		{"publish an event of more tokens", l.EventSubject("git", "push.main"), []stream.Role{producer}},
		{"publish an event elsewhere", other.EventSubject("git", "push"), nil},
		{"publish without the prefix", "events.git.push", nil},
		{"publish an operational event", l.EventSubject(stream.OperationalDomain, "breaker.opened"), []stream.Role{producer, router, sender, control}},
		{"publish an operational event elsewhere", other.EventSubject(stream.OperationalDomain, "breaker.opened"), nil},
		{"queue a delivery", l.QueueFor("ci").Subject, []stream.Role{router, sender, control}},
		{"queue a delivery elsewhere", other.QueueFor("ci").Subject, nil},
		{"set a timer", l.RetryAt("00", "ci", "key"), []stream.Role{sender, control}},
		{"fill a block of timers", l.RetryAt("00", "_scrub", "block"), []stream.Role{sender, control}},
		{"pretend that a timer has fired", l.RetryDue("00", "ci"), nil},
		{"record an attempt", l.AttemptSubject("ci"), []stream.Role{sender, control}},
		{"give a delivery up", l.DeadLetterSubject("ci"), []stream.Role{router, sender}},
		{"keep what cannot be read", l.DeadLetterSubject(stream.InvalidLetters), []stream.Role{router, sender}},

		{"change a subscription", "$KV.acme_subscriptions.ci", []stream.Role{sender, control}},
		{"change a subscription elsewhere", "$KV.umbrella_subscriptions.ci", nil},
		{"change another bucket", "$KV.acme_others.ci", nil},
		{"get a subscription", api + "DIRECT.GET." + bucket + ".$KV.acme_subscriptions.ci", []stream.Role{sender, control}},
		{"watch the subscriptions", api + "CONSUMER.CREATE." + bucket + ".any.$KV.acme_subscriptions.>", []stream.Role{view, control}},
		{"end a watch", api + "CONSUMER.DELETE." + bucket + ".any", []stream.Role{view, control}},
		{"go on with a watch", "$JS.FC." + bucket + ".any.token", []stream.Role{view, control}},
		{"go on with a watch, second form", "$JS.FC._.hash." + bucket + ".any.token", []stream.Role{view, control}},
		{"ask where the subscriptions end", api + "STREAM.INFO." + bucket, []stream.Role{router, sender, view, control}},

		{"keep an answer", l.IdempotencyKey("k1"), []stream.Role{control}},
		{"keep an answer elsewhere", other.IdempotencyKey("k1"), nil},
		{"read an answer", api + "DIRECT.GET." + l.IdempotencyStream() + "." + l.IdempotencyKey("k1"), []stream.Role{control}},
		{"register a domain", "$KV.acme_catalog.orders", []stream.Role{control}},
		{"register a domain elsewhere", "$KV.umbrella_catalog.orders", nil},
		{"watch the domains", api + "CONSUMER.CREATE." + catalog + ".any.$KV.acme_catalog.>", []stream.Role{view, control}},
		{"end a watch of the domains", api + "CONSUMER.DELETE." + catalog + ".any", []stream.Role{view, control}},
		{"go on with a watch of the domains", "$JS.FC." + catalog + ".any.token", []stream.Role{view, control}},
		{"ask where the domains end", api + "STREAM.INFO." + catalog, []stream.Role{router, sender, view, control}},

		{"make a token", "$KV.acme_tokens.abc", []stream.Role{control}},
		{"make a token elsewhere", "$KV.umbrella_tokens.abc", nil},
		{"watch the tokens", api + "CONSUMER.CREATE." + l.TokensStream() + ".any." + l.TokenKey(">"), []stream.Role{view, control}},
		{"end a watch of the tokens", api + "CONSUMER.DELETE." + l.TokensStream() + ".any", []stream.Role{view, control}},
		{"go on with a watch of the tokens", "$JS.FC." + l.TokensStream() + ".any.token", []stream.Role{view, control}},
		{"ask where the tokens end", api + "STREAM.INFO." + l.TokensStream(), []stream.Role{router, sender, view, control}},
		{"note that a token was used", l.StateUsedSubject("abc"), []stream.Role{sender, view, control}},
		{"note that elsewhere", other.StateUsedSubject("abc"), nil},
		{"register a repository", "$KV.acme_repositories." + stream.RepositoryRecord("libs.release"), []stream.Role{control}},
		{"set the base URL", "$KV.acme_repositories." + stream.RepositoriesOrigin, []stream.Role{control}},
		{"register a repository elsewhere", "$KV.umbrella_repositories.key.libs", nil},
		{"watch the repositories", api + "CONSUMER.CREATE." + l.RepositoriesStream() + ".any.$KV.acme_repositories.>", []stream.Role{view, control}},
		{"end a watch of the repositories", api + "CONSUMER.DELETE." + l.RepositoriesStream() + ".any", []stream.Role{view, control}},
		{"go on with a watch of the repositories", "$JS.FC." + l.RepositoriesStream() + ".any.token", []stream.Role{view, control}},
		{"ask where the repositories end", api + "STREAM.INFO." + l.RepositoriesStream(), []stream.Role{router, sender, view, control}},

		{"agree on a rate", "$KV.acme_state." + stream.StateRate("ci"), []stream.Role{sender}},
		{"agree on a rate elsewhere", "$KV.umbrella_state." + stream.StateRate("ci"), nil},
		{"read what was agreed on", api + "DIRECT.GET." + l.StateStream() + ".$KV.acme_state." + stream.StateRate("ci"), []stream.Role{sender}},
		{"change a breaker", "$KV.acme_state." + stream.StateBreaker("ci"), []stream.Role{sender, control}},
		{"read a breaker", api + "DIRECT.GET." + l.StateStream() + "." + l.StateBreakerSubject("ci"), []stream.Role{sender, control}},
		{"watch the breakers", api + "CONSUMER.CREATE." + l.StateStream() + ".any." + l.StateBreakerSubject("*"), []stream.Role{sender, control}},
		{"watch all that was agreed on", api + "CONSUMER.CREATE." + l.StateStream() + ".any.$KV.acme_state.>", []stream.Role{control}},
		{"go on with a watch of the breakers", "$JS.FC." + l.StateStream() + ".any.token", []stream.Role{sender}},
		{"try out the storage", l.StateProbeSubject(view), []stream.Role{sender, view}},
		{"try out the storage as an admin", l.StateProbeSubject(control), []stream.Role{sender, control}},
		{"note that deliveries lag", l.StateLaggingSubject("ci"), []stream.Role{sender}},
		{"ask how long deliveries have waited", api + "STREAM.INFO." + queue, []stream.Role{router, sender, control}},
		{"ask what time it is", api + "STREAM.INFO." + l.StateStream(), []stream.Role{router, sender, control}},

		{"ask which events are settled", api + "CONSUMER.INFO." + l.EventLog("git") + ".router", []stream.Role{router, control}},
		{"ask which events are erased", api + "STREAM.INFO." + l.EventLog("git"), []stream.Role{router, sender, control}},
		{"ask which deliveries are settled", api + "CONSUMER.INFO." + queue + ".sender", []stream.Role{sender, control}},
		{"write down the attempts of what is ordered", "$KV.acme_state." + stream.StateOrder("ci"), []stream.Role{sender}},
		{"note what was made by hand", "$KV.acme_state." + stream.StateMade("ci"), []stream.Role{sender}},
		{"watch what was made by hand", api + "CONSUMER.CREATE." + l.StateStream() + ".any." + l.StateMadeSubject("*"), []stream.Role{sender, control}},
		{"give room back", api + "STREAM.PURGE." + l.ReserveStream(), []stream.Role{sender, control}},
		{"read the attempts of what is ordered", api + "DIRECT.GET." + l.StateStream() + "." + l.StateOrderSubject("ci"), []stream.Role{sender}},

		{"say that it is alive", l.MemberKey("snd-1"), []stream.Role{sender}},
		{"say so elsewhere", other.MemberKey("snd-1"), nil},
		{"see who is alive", api + "CONSUMER.CREATE." + l.MembersStream() + ".any." + l.MemberKey(">"), []stream.Role{sender, control}},
		{"see one of them", api + "DIRECT.GET." + l.MembersStream() + "." + l.MemberKey("snd-1"), []stream.Role{sender, control}},
		{"go on seeing it", "$JS.FC." + l.MembersStream() + ".any.token", []stream.Role{sender}},
		{"end that", api + "CONSUMER.DELETE." + l.MembersStream() + ".any", []stream.Role{sender, control}},
		{"make the bucket for it anew", api + "STREAM.CREATE." + l.MembersStream(), []stream.Role{sender, control}},

		{"take events", api + "CONSUMER.MSG.NEXT." + l.EventLog("git") + ".router", []stream.Role{router, control}},
		{"take deliveries", api + "CONSUMER.MSG.NEXT." + queue + ".sender", []stream.Role{sender, control}},
		{"read history", api + "CONSUMER.MSG.NEXT." + l.Attempts() + ".any", []stream.Role{sender, control}},
		{"read the attempts of a subscription", api + "CONSUMER.CREATE." + l.Attempts() + ".any." + l.AttemptSubject("ci"), []stream.Role{sender, control}},
		{"read events", api + "CONSUMER.MSG.NEXT." + l.EventLog("git") + ".any", []stream.Role{control}},
		{"ack an event", "$JS.ACK." + l.EventLog("git") + ".router.1.1.1.1.0", []stream.Role{router}},
		{"ack an event, second form", "$JS.ACK._.hash." + l.EventLog("git") + ".router.1.1.1.1.0", []stream.Role{router}},
		{"ack a delivery", "$JS.ACK." + queue + ".sender.1.1.1.1.0", []stream.Role{sender}},
		{"ack a delivery, second form", "$JS.ACK.hub.hash." + queue + ".sender.1.1.1.1.0", []stream.Role{sender}},
		{"get an attempt", api + "DIRECT.GET." + l.Attempts(), []stream.Role{sender, control}},
		{"get an event", api + "DIRECT.GET." + l.EventLog("git"), []stream.Role{control}},
		{"look into a queue", api + "STREAM.MSG.GET." + queue, []stream.Role{control}},
		{"look up a retry timer", api + "STREAM.MSG.GET." + l.RetryStream("00"), []stream.Role{sender, control}},
		{"get a dead letter", api + "DIRECT.GET." + l.DeadLetters(), []stream.Role{control}},
		{"delete a dead letter", api + "STREAM.MSG.DELETE." + l.DeadLetters(), []stream.Role{control}},
		{"delete an attempt", api + "STREAM.MSG.DELETE." + l.Attempts(), []stream.Role{control}},
		{"write on the audit trail", l.AuditSubject("subscription.create"), []stream.Role{sender, control}},
		{"write on the audit trail elsewhere", other.AuditSubject("subscription.create"), nil},
		{"read its last record", api + "STREAM.MSG.GET." + l.Audit(), []stream.Role{sender, control}},
		{"read the audit trail", api + "CONSUMER.CREATE." + l.Audit() + ".any", []stream.Role{control}},
		{"ask for the deletion of an audit record, which is always refused", api + "STREAM.MSG.DELETE." + l.Audit(), []stream.Role{control}},

		{"write down which streams there are", "$KV.acme_inventory.platform", []stream.Role{control}},
		{"write that down elsewhere", "$KV.umbrella_inventory.platform", nil},
		{"keep room", "acme.reserve.1", []stream.Role{control}},
		{"copy that", "$KV.acme_inventory_copy.platform", []stream.Role{control}},
		{"read which streams there are", api + "STREAM.MSG.GET." + l.InventoryStreams()[0], []stream.Role{view, control}},
		{"list the streams", api + "STREAM.NAMES", []stream.Role{control}},

		{"keep a redrive job", "$KV.acme_state." + stream.StateRedrive("rd-1"), []stream.Role{sender, control}},
		{"keep how far a domain was routed", "$KV.acme_state." + stream.StateRouted("git"), []stream.Role{sender, control}},
		{"keep how far a domain was routed elsewhere", "$KV.umbrella_state." + stream.StateRouted("git"), nil},
		{"set a consumer back", api + "CONSUMER.RESET." + l.EventLog("git") + "." + stream.RouterConsumer, []stream.Role{control}},
		{"keep a redrive job elsewhere", "$KV.umbrella_state." + stream.StateRedrive("rd-1"), nil},
		{"read a redrive job", api + "DIRECT.GET." + l.StateStream() + ".$KV.acme_state." + stream.StateRedrive("rd-1"), []stream.Role{sender, control}},

		{"create a stream", api + "STREAM.CREATE." + queue, []stream.Role{control}},
		{"update a stream", api + "STREAM.UPDATE." + queue, nil},
		{"delete a stream", api + "STREAM.DELETE." + queue, []stream.Role{control}},
		{"purge a stream", api + "STREAM.PURGE." + queue, []stream.Role{control}},
		{"cancel a timer", api + "STREAM.PURGE." + l.RetryStream("00"), []stream.Role{sender, control}},
		{"cancel a timer elsewhere", api + "STREAM.PURGE." + other.RetryStream("00"), []stream.Role{control}},
		{"erase an event", api + "STREAM.MSG.DELETE." + l.EventLog("git"), []stream.Role{control}},
		{"create a consumer", api + "CONSUMER.CREATE." + queue + ".sender", []stream.Role{control}},
		{"create a consumer with a filter", api + "CONSUMER.CREATE." + l.RetryStream("00") + ".sender.acme.retries.00.due.>", []stream.Role{control}},
		{"delete a consumer", api + "CONSUMER.DELETE." + l.EventLog("git") + ".router", []stream.Role{control}},
		{"answer another service", stream.InboxPrefix("control") + ".any", nil},
	} {
		var got []stream.Role
		for _, role := range stream.Roles() {
			nc := as(s, role)
			if !isRefused(t, nc, nc.Publish(act.subject, nil)) {
				got = append(got, role)
			}
			nc.Close()
		}
		if diff := cmp.Diff(act.by, got); diff != "" {
			t.Errorf("%s: who may (-want +got):\n%s", act.what, diff)
		}
	}
}

func TestPermissionsToSubscribe(t *testing.T) {
	t.Parallel()
	l := newLayout(t, stream.LayoutConfig{})
	s := guarded(t, l)
	for _, role := range stream.Roles() {
		for subject, want := range map[string]bool{
			"_INBOX_producer.a": role == stream.RoleProducer,
			"_INBOX_router.a":   role == stream.RoleRouter,
			"_INBOX_sender.a":   role == stream.RoleSender,
			"_INBOX_view.a":     role == stream.RoleView,
			"_INBOX_control.a":  role == stream.RoleControl,
			"_INBOX.>":          false,
			">":                 false,
			"deliveries.*":      false,
			"$KV.>":             false,
			"$JS.API.>":         false,
		} {
			nc := as(s, role)
			_, err := nc.SubscribeSync(subject)
			if got := !isRefused(t, nc, err); got != want {
				t.Errorf("%s subscribes to %s: got %t, want %t", role, subject, got, want)
			}
			nc.Close()
		}
	}
}

// An attempt that may be recorded already is looked up by its sequence: the one
// need of the senders that only trouble brings about.
func TestSenderReadsAttempts(t *testing.T) {
	t.Parallel()
	l := newLayout(t, stream.LayoutConfig{RetryShards: 1})
	s := guarded(t, l)
	control, err := stream.JetStream(as(s, stream.RoleControl))
	if err != nil {
		t.Fatal(err)
	}
	sender, err := stream.JetStream(as(s, stream.RoleSender))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ensure(t.Context(), control, nil); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	ack, err := sender.Publish(t.Context(), l.AttemptSubject("ci"), []byte("record"))
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	got, err := stream.Get(t.Context(), sender, l.Attempts(), ack.Sequence)
	if err != nil || string(got.Data) != "record" {
		t.Errorf("got %q and error %v", got.Data, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // there will be no answer
	defer cancel()
	if err := sender.DeleteStream(ctx, l.Attempts()); err == nil {
		t.Error("a sender has deleted the attempt log")
	}
	if err := control.DeleteStream(t.Context(), l.Attempts()); err != nil {
		t.Errorf("control cannot delete a stream: %v", err)
	}
}

// A watch of much has flow control: without its permission it would stop halfway.
func TestViewWatchesMuch(t *testing.T) {
	t.Parallel()
	l := newLayout(t, stream.LayoutConfig{RetryShards: 1})
	for _, secondForm := range []bool{false, true} {
		s := guardedWith(t, l, map[string]bool{server.FeatureFlagJsAckFormatV2: secondForm})
		control, err := stream.JetStream(as(s, stream.RoleControl))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Ensure(t.Context(), control, nil); err != nil {
			t.Fatalf("ensure: %v", err)
		}
		const keys = 2_000
		for n := range keys {
			if _, err := control.PublishAsync(fmt.Sprintf("$KV.%s.k%d", l.SubscriptionsBucket(), n), make([]byte, 4<<10)); err != nil {
				t.Fatalf("put: %v", err)
			}
		}
		<-control.PublishAsyncComplete()
		view, err := stream.JetStream(as(s, stream.RoleView))
		if err != nil {
			t.Fatal(err)
		}
		kv, err := view.KeyValue(t.Context(), l.SubscriptionsBucket())
		if err != nil {
			t.Fatalf("open bucket: %v", err)
		}
		watcher, err := kv.WatchAll(t.Context())
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		got := 0
		patience := testkit.Timeout()
		for ended := false; !ended; {
			select {
			case e := <-watcher.Updates():
				if ended = e == nil; !ended {
					got++
				}
			case <-patience:
				t.Fatalf("the watch stands still after %d of %d keys", got, keys)
			}
		}
		if err := watcher.Stop(); err != nil {
			t.Errorf("stop the watch: %v", err)
		}
		if err := view.Conn().Flush(); err != nil || view.Conn().LastError() != nil || got != keys {
			t.Errorf("second form %t: got %d keys, flush %v, last error %v", secondForm, got, err, view.Conn().LastError())
		}
	}
}

func TestPermissionsOfNobody(t *testing.T) {
	t.Parallel()
	p := newLayout(t, stream.LayoutConfig{}).Permissions("auditor")
	if len(p.Publish) > 0 || len(p.Subscribe) > 0 {
		t.Errorf("a role that does not exist got %+v", p)
	}
}

// Two tables of docs/operations.md are made of the code; -update writes them.
func TestOperationsTables(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "operations.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := replaceTable(t, string(text), "permissions", permissionsTable(t))
	want = replaceTable(t, want, "streams", streamsTable(t))
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", path, diff)
	}
}

func replaceTable(t *testing.T, text, name, table string) string {
	t.Helper()
	begin, end := "<!-- "+name+": written by the tests of package stream -->\n", "<!-- end of "+name+" -->\n"
	before, rest, found := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("there is no place for the table of %s", name)
	}
	return before + begin + table + end + after
}

func permissionsTable(t *testing.T) string {
	t.Helper()
	l := newLayout(t, stream.LayoutConfig{})
	var table strings.Builder
	table.WriteString("| connection | publish | subscribe |\n|---|---|---|\n")
	for _, role := range stream.Roles() {
		p := l.Permissions(role)
		fmt.Fprintf(&table, "| %s | `%s` | `%s` |\n", role, strings.Join(p.Publish, "` `"), strings.Join(p.Subscribe, "` `"))
		all := slices.Sorted(slices.Values(p.Publish))
		if len(slices.Compact(all)) != len(p.Publish) {
			t.Errorf("%s has a permission twice: %v", role, p.Publish)
		}
	}
	return table.String()
}

// streamsTable describes the streams as a server says that they are.
func streamsTable(t *testing.T) string {
	t.Helper()
	s := streamtest.New(t)
	l := newLayout(t, stream.LayoutConfig{})
	if err := l.Ensure(t.Context(), s.JS(), []string{"git"}); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	q := l.QueueFor("ci")
	if err := l.EnsureQueue(t.Context(), s.JS(), "ci", q, 1); err != nil {
		t.Fatalf("ensure queue: %v", err)
	}
	var table strings.Builder
	table.WriteString("| stream | kept | at most, messages | when full | largest message |\n|---|---|---|---|---|\n")
	for _, row := range []struct{ name, stream string }{
		{"EVENTS_<domain>", l.EventLog("git")},
		{"DELIVERIES_<subscription>", q.Stream},
		{fmt.Sprintf("RETRIES_%s to %s", l.RetryShards()[0], l.RetryShards()[len(l.RetryShards())-1]), l.RetryStream("00")},
		{"ATTEMPTS", l.Attempts()},
		{"DEADLETTERS", l.DeadLetters()},
		{"AUDIT", "AUDIT"},
		{l.SubscriptionsStream(), l.SubscriptionsStream()},
		{l.CatalogStream(), l.CatalogStream()},
		{l.TokensStream(), l.TokensStream()},
		{l.StateStream(), l.StateStream()},
		{l.IdempotencyStream(), l.IdempotencyStream()},
		{l.MembersStream(), l.MembersStream()},
		{l.RepositoriesStream(), l.RepositoriesStream()},
		{l.InventoryStreams()[0] + ", and its copy", l.InventoryStreams()[0]},
	} {
		info, err := s.JS().Stream(t.Context(), row.stream)
		if err != nil {
			t.Fatalf("look up %s: %v", row.stream, err)
		}
		cfg := info.CachedInfo().Config
		kept, most, full, size := "until settled", "no limit", "–", "no limit"
		if cfg.Retention != jetstream.WorkQueuePolicy {
			kept = "unlimited"
		}
		switch {
		case cfg.MaxAge >= 24*time.Hour:
			kept = fmt.Sprintf("%d days", cfg.MaxAge/(24*time.Hour))
		case cfg.MaxAge > 0:
			kept = fmt.Sprintf("%s, in memory", cfg.MaxAge)
		}
		if cfg.MaxMsgsPerSubject > 0 {
			most, full = fmt.Sprintf("%d per subscription", cfg.MaxMsgsPerSubject), "oldest goes"
			if per := map[string]string{l.CatalogStream(): "domain", l.IdempotencyStream(): "request", l.MembersStream(): "sender", l.RepositoriesStream(): "repository", l.InventoryStreams()[0]: "document", l.InventoryStreams()[1]: "document", l.TokensStream(): "token"}[row.stream]; per != "" {
				most = fmt.Sprintf("%d per %s", cfg.MaxMsgsPerSubject, per)
			}
		}
		if cfg.DiscardNewPerSubject { // it has one
			most, full = strconv.FormatInt(cfg.MaxMsgsPerSubject, 10), "new are refused"
		}
		if cfg.MaxMsgs > 0 {
			most, full = strconv.FormatInt(cfg.MaxMsgs, 10), "oldest goes"
			if cfg.Discard == jetstream.DiscardNew {
				full = "new are refused"
			}
		}
		if cfg.MaxMsgSize > 0 {
			size = fmt.Sprintf("%d KiB", cfg.MaxMsgSize>>10)
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", row.name, kept, most, full, size)
	}
	return table.String()
}
