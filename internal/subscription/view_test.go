package subscription

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// patience bounds each wait of these tests.
const patience = 30 * time.Second

// runView runs a view until the test ends.
func runView(t *testing.T, cfg ViewConfig, nc *nats.Conn, layout stream.Layout, k *keyring.Keyring, log *zap.Logger) *View {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	v := NewView(cfg, js, layout, k, log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return v
}

// syncView returns a snapshot with everything that was written before.
func syncView(t *testing.T, v *View) *Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	snapshot, err := v.Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

// await waits until ok is true of a snapshot.
func await(t *testing.T, v *View, what string, ok func(*Snapshot) bool) *Snapshot {
	t.Helper()
	timeout := testkit.Timeout()
	for {
		changed := v.Changed()
		if s := v.Snapshot(); ok(s) {
			return s
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

func TestViewFollows(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	before := create(t, store, example(t, "before"))
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, store.keyring, zap.NewNop())
	if got, ok := syncView(t, v).Get("before"); !ok || cmp.Diff(before, got) != "" {
		t.Errorf("what was there before: %s", cmp.Diff(before, got))
	}

	changed := v.Changed()
	ci := create(t, store, example(t, "ci"))
	select {
	case <-changed:
	case <-testkit.Timeout():
		t.Fatal("Changed does not tell")
	}
	snapshot := await(t, v, "ci", func(s *Snapshot) bool { _, ok := s.Get("ci"); return ok })
	if diff := cmp.Diff([]string{"before", "ci"}, ids(snapshot.All())); diff != "" {
		t.Errorf("All (-want +got):\n%s", diff)
	}
	if snapshot.Revision != ci.Revision {
		t.Errorf("revision: got %d, want %d", snapshot.Revision, ci.Revision)
	}
	push := &event.Event{ID: "1", Source: "s", Type: "git.push", Subject: "main"}
	if diff := cmp.Diff([]string{"before", "ci"}, ids(snapshot.Match("git", push, nil))); diff != "" {
		t.Errorf("Match (-want +got):\n%s", diff)
	}

	if _, err := store.Change(t.Context(), "ci", func(s *Subscription) error { s.State = Disabled; return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"before"}, ids(syncView(t, v).Match("git", push, nil))); diff != "" {
		t.Errorf("Match when one is disabled (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"before", "ci"}, ids(snapshot.Match("git", push, nil))); diff != "" {
		t.Errorf("an old snapshot changed (-want +got):\n%s", diff)
	}
	if err := store.Delete(t.Context(), "before", 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ci"}, ids(syncView(t, v).All())); diff != "" {
		t.Errorf("after a deletion (-want +got):\n%s", diff)
	}
	create(t, store, example(t, "before"))
	if diff := cmp.Diff([]string{"before", "ci"}, ids(syncView(t, v).All())); diff != "" {
		t.Errorf("after it was made again (-want +got):\n%s", diff)
	}
}

func TestViewOfAnEmptyBucket(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	if s := syncView(t, v); s.Revision != 0 || len(s.All()) != 0 || len(s.Broken()) != 0 {
		t.Errorf("got %+v", s)
	}
	create(t, store, example(t, "ci"))
	if s := syncView(t, v); len(s.All()) != 1 {
		t.Errorf("got %d, want 1", len(s.All()))
	}
}

func TestViewWithoutKeyring(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	create(t, store, example(t, "ci"))
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	s, ok := syncView(t, v).Get("ci")
	if !ok {
		t.Fatal("not found")
	}
	if len(s.ActiveSecrets(time.Now())) != 0 || s.Endpoint.Query.Reveal() != "" || s.Endpoint.SecretHeaders["Authorization"].Reveal() != "" {
		t.Error("secrets are revealed without a keyring")
	}
	if !s.Endpoint.Query.IsPlaceholder() || s.Endpoint.RedactedURL() != "https://example.com/hook?…" {
		t.Errorf("got %s", s.Endpoint.RedactedURL())
	}
}

// TestSyncSeesEveryWrite follows each of many random changes with a Sync of two
// views on connections of their own.
func TestSyncSeesEveryWrite(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	views := []*View{
		runView(t, ViewConfig{}, server.Connect(), server.Layout, store.keyring, zap.NewNop()),
		runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop()),
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	model := make(map[string]uint64)
	for step := range 1000 {
		id := fmt.Sprintf("s%d", r.IntN(20))
		switch _, exists := model[id]; {
		case !exists:
			model[id] = create(t, store, example(t, id)).Revision
		case r.IntN(4) == 0:
			if err := store.Delete(t.Context(), id, model[id]); err != nil {
				t.Fatal(err)
			}
			delete(model, id)
		default:
			s, err := store.Change(t.Context(), id, func(s *Subscription) error { s.Description = fmt.Sprint(step); return nil })
			if err != nil {
				t.Fatal(err)
			}
			model[id] = s.Revision
		}
		for i, v := range views {
			got := make(map[string]uint64)
			for _, s := range syncView(t, v).All() {
				got[s.ID] = s.Revision
			}
			if diff := cmp.Diff(model, got); diff != "" {
				t.Fatalf("seed %d, step %d, view %d (-want +got):\n%s", seed, step, i, diff)
			}
		}
	}
}

// TestSyncUnderLoad has many write at once, each following its own changes, to
// few keys, so that the bucket's history is overrun.
func TestSyncUnderLoad(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	kv, err := server.JS().KeyValue(t.Context(), server.Layout.SubscriptionsBucket())
	if err != nil {
		t.Fatal(err)
	}
	entry := create(t, store, example(t, "ci"))
	raw, err := kv.Get(t.Context(), entry.ID)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for range 150 {
				id := fmt.Sprintf("s%d", w%3)
				value := strings.Replace(string(raw.Value()), `"id":"ci"`, `"id":"`+id+`"`, 1)
				revision, err := kv.Put(t.Context(), id, []byte(value))
				if err != nil {
					t.Error(err)
					return
				}
				snapshot, err := v.Sync(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if got, ok := snapshot.Get(id); !ok || got.Revision < revision {
					t.Errorf("%s: got %+v after revision %d was written", id, got, revision)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestSyncSharesRequests counts what goes to the server.
func TestSyncSharesRequests(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	create(t, store, example(t, "ci"))
	v := runView(t, ViewConfig{SyncInterval: 100 * time.Millisecond}, server.Connect(), server.Layout, nil, zap.NewNop())
	syncView(t, v)
	var requests atomic.Int64
	nc := server.Connect()
	if _, err := nc.Subscribe("$JS.API.STREAM.INFO."+server.Layout.SubscriptionsStream(), func(*nats.Msg) { requests.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := v.Sync(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	most := int64(time.Since(started)/(100*time.Millisecond)) + syncBurst + 2
	if got := requests.Load(); got < 1 || got > most {
		t.Errorf("1000 calls made %d requests, want 1 to %d", got, most)
	}
}

func TestViewSurvivesRestart(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	create(t, store, example(t, "ci"))
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	syncView(t, v)
	for range 3 {
		server.Restart()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var changed *Subscription
		for changed == nil { // the store does not retry while the connection is away
			var err error
			changed, err = store.Change(ctx, "ci", func(s *Subscription) error { s.Description += "x"; return nil })
			if ctx.Err() != nil {
				t.Fatalf("the server does not come back: %v", err)
			}
		}
		cancel()
		if got, ok := syncView(t, v).Get("ci"); !ok || got.Revision != changed.Revision {
			t.Fatalf("got %+v, want revision %d", got, changed.Revision)
		}
	}
}

func TestViewWithoutServer(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	create(t, store, example(t, "ci"))
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	syncView(t, v)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := v.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Sync without a server: got %v, want the deadline", err)
	}
	if _, ok := v.Snapshot().Get("ci"); !ok {
		t.Error("the snapshot was lost with the connection")
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := v.Sync(t.Context())
		waiting <- err
	}()
	server.Start()
	select {
	case err := <-waiting:
		if err != nil {
			t.Errorf("Sync over a restart: %v", err)
		}
	case <-testkit.Timeout():
		t.Fatal("Sync does not come back with the server")
	}
}

// TestViewWaitsForBucket starts before anything is there.
func TestViewWaitsForBucket(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	createBucket(t, server.JS(), server.Layout)
	syncView(t, v)
}

// TestSyncOpensAWatchAgain takes the watch's consumer away, which the client
// library notices only after two missed heartbeats.
func TestSyncOpensAWatchAgain(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	v := runView(t, ViewConfig{Patience: 50 * time.Millisecond}, server.Connect(), server.Layout, nil, zap.NewNop())
	syncView(t, v)
	s, err := server.JS().Stream(t.Context(), server.Layout.SubscriptionsStream())
	if err != nil {
		t.Fatal(err)
	}
	for name := range s.ConsumerNames(t.Context()).Name() {
		if err := s.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	create(t, store, example(t, "ci"))
	started := time.Now()
	if _, ok := syncView(t, v).Get("ci"); !ok {
		t.Error("not found")
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestViewWhereTheLastMessageIsErased has a head that no message will ever reach.
func TestViewWhereTheLastMessageIsErased(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	live := runView(t, ViewConfig{Patience: 100 * time.Millisecond}, server.Connect(), server.Layout, nil, zap.NewNop())
	create(t, store, example(t, "ci"))
	for _, id := range []string{"a", "b"} {
		create(t, store, example(t, id))
		if err := store.Delete(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := server.JS().KeyValue(t.Context(), server.Layout.SubscriptionsBucket())
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1)); err != nil {
		t.Fatal(err)
	}
	late := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	for name, v := range map[string]*View{"live": live, "late": late} {
		if diff := cmp.Diff([]string{"ci"}, ids(syncView(t, v).All())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	s, err := server.JS().Stream(t.Context(), server.Layout.SubscriptionsStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	empty := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	if got := syncView(t, empty).All(); len(got) != 0 {
		t.Errorf("after a purge: got %s", ids(got))
	}
}

// TestViewOfAReplacedBucket deletes the bucket and makes it again, with fewer
// changes than the old one had.
func TestViewOfAReplacedBucket(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	v := runView(t, ViewConfig{Patience: 100 * time.Millisecond}, server.Connect(), server.Layout, nil, zap.NewNop())
	for i := range 10 {
		create(t, store, example(t, fmt.Sprintf("s%d", i)))
	}
	if got := len(syncView(t, v).All()); got != 10 {
		t.Fatalf("got %d, want 10", got)
	}
	// A second stream keeps the server's folder of streams, which it removes with
	// the last one at the same time as it makes the next.
	if _, err := server.JS().CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "other"}); err != nil {
		t.Fatal(err)
	}
	if err := server.JS().DeleteKeyValue(t.Context(), server.Layout.SubscriptionsBucket()); err != nil {
		t.Fatal(err)
	}
	createBucket(t, server.JS(), server.Layout)
	create(t, store, example(t, "new"))
	other := example(t, "s1") // the same key and revision as before, another content
	other.Description = "new"
	create(t, store, other)
	snapshot := syncView(t, v)
	if diff := cmp.Diff([]string{"new", "s1"}, ids(snapshot.All())); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if s, _ := snapshot.Get("s1"); s.Description != "new" {
		t.Error("the old record is taken for the new one")
	}
}

func TestViewReportsBrokenRecords(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	core, logs := observer.New(zap.ErrorLevel)
	v := runView(t, ViewConfig{Resync: 20 * time.Millisecond}, server.Connect(), server.Layout, store.keyring, zap.New(core))
	kv, err := server.JS().KeyValue(t.Context(), server.Layout.SubscriptionsBucket())
	if err != nil {
		t.Fatal(err)
	}
	create(t, store, example(t, "good"))
	create(t, store, example(t, "ci"))
	foreign := NewStore(server.JS(), server.Layout, testKeyring(t), zap.NewNop())
	create(t, foreign, example(t, "foreign"))
	raw, err := kv.Get(t.Context(), "good")
	if err != nil {
		t.Fatal(err)
	}
	notAnID := strings.Replace(string(raw.Value()), `"id":"good"`, `"id":"A.b"`, 1)
	if _, err := kv.Put(t.Context(), "A.b", []byte(notAnID)); err != nil {
		t.Fatal(err)
	}
	if _, ok := syncView(t, v).Get("ci"); !ok {
		t.Fatal("not found")
	}
	revision, err := kv.Put(t.Context(), "ci", []byte(`{"id":"ci","filters":[{"regexp":"true"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	push := &event.Event{ID: "1", Source: "s", Type: "git.push", Subject: "main"}
	snapshot := syncView(t, v)
	if diff := cmp.Diff([]string{"good"}, ids(snapshot.Match("git", push, nil))); diff != "" {
		t.Errorf("Match (-want +got):\n%s", diff)
	}
	broken := snapshot.Broken()
	if len(broken) != 3 || broken[0].ID != "A.b" || broken[1].ID != "ci" || broken[1].Revision != revision || broken[1].Err == nil ||
		broken[2].ID != "foreign" || !errors.Is(broken[2].Err, keyring.ErrKeyring) {
		t.Errorf("Broken: got %+v", broken)
	}
	if _, ok := snapshot.Get("ci"); ok {
		t.Error("what was there before is still found")
	}

	// Everything is read again a few times; no snapshot is made, nothing is logged twice.
	changed := v.Changed()
	watches, err := server.Connect().SubscribeSync("$JS.API.CONSUMER.CREATE." + server.Layout.SubscriptionsStream() + ".>")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := watches.NextMsg(patience); err != nil {
			t.Fatalf("nothing is read again: %v", err)
		}
	}
	select {
	case <-changed:
		t.Error("reading the same again counts as a change")
	default:
	}
	if got := logs.FilterField(zap.String("subscription_id", "ci")).Len(); got != 1 {
		t.Errorf("logged %d times, want once", got)
	}
	if got := logs.FilterField(zap.String("subscription_id", "foreign")).Len(); got != 1 {
		t.Errorf("logged %d times, want once", got)
	}

	if err := store.Delete(t.Context(), "ci", 0); err != nil {
		t.Fatal(err)
	}
	create(t, store, example(t, "ci"))
	snapshot = syncView(t, v)
	if _, ok := snapshot.Get("ci"); !ok || len(snapshot.Broken()) != 2 {
		t.Errorf("after it was repaired: %+v", snapshot.Broken())
	}
}

// TestViewNoticesWhatItMissed changes the bucket in a way that no watch shows.
func TestViewNoticesWhatItMissed(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	create(t, store, example(t, "ci"))
	v := runView(t, ViewConfig{Resync: 20 * time.Millisecond}, server.Connect(), server.Layout, nil, zap.NewNop())
	if len(syncView(t, v).All()) != 1 {
		t.Fatal("not found")
	}
	s, err := server.JS().Stream(t.Context(), server.Layout.SubscriptionsStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, v, "the purge", func(s *Snapshot) bool { return len(s.All()) == 0 })
}

func TestViewReadsMany(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	created := create(t, store, example(t, "s0"))
	kv, err := server.JS().KeyValue(t.Context(), server.Layout.SubscriptionsBucket())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := kv.Get(t.Context(), created.ID)
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	for i := 1; i < n; i++ {
		id := fmt.Sprintf("s%d", i)
		value := strings.Replace(string(raw.Value()), `"id":"s0"`, `"id":"`+id+`"`, 1)
		if _, err := server.JS().PublishAsync("$KV."+server.Layout.SubscriptionsBucket()+"."+id, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	<-server.JS().PublishAsyncComplete()
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	await(t, v, "all of them", func(s *Snapshot) bool { return len(s.All()) == n })
	if got := len(syncView(t, v).All()); got != n {
		t.Errorf("got %d, want %d", got, n)
	}
}

func TestViewStops(t *testing.T) {
	t.Parallel()
	server, _ := startStore(t)
	nc := server.Connect()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, stop := range map[string]func(cancel func()) bool{
		"context":    func(cancel func()) bool { cancel(); return false },
		"connection": func(func()) bool { nc.Close(); return true },
	} {
		if name == "connection" && nc.IsClosed() {
			t.Fatal("the connection is closed already")
		}
		v := NewView(ViewConfig{}, js, server.Layout, nil, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		if name == "context" {
			syncView(t, v)
		}
		wantErr := stop(cancel)
		select {
		case err := <-done:
			if (err != nil) != wantErr {
				t.Errorf("%s: Run returned %v", name, err)
			}
		case <-testkit.Timeout():
			t.Fatalf("%s: Run does not return", name)
		}
		cancel()
		if _, err := v.Sync(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("%s: Sync after Run: got %v, want ErrStopped", name, err)
		}
		if name == "connection" {
			return
		}
	}
}

// TestViewOnACluster follows changes while the bucket's leader moves and a node
// goes away.
func TestViewOnACluster(t *testing.T) {
	t.Parallel()
	cluster := streamtest.NewCluster(t)
	kv, err := cluster.JS().CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: cluster.Layout.SubscriptionsBucket(), History: 5, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	store := NewStore(cluster.JS(), cluster.Layout, testKeyring(t), zap.NewNop())
	var views []*View
	for i := range 3 {
		views = append(views, runView(t, ViewConfig{}, cluster.Connect(i), cluster.Layout, nil, zap.NewNop()))
	}
	var want string
	for step := range 60 {
		if step%20 == 10 {
			cluster.StepDown(cluster.Layout.SubscriptionsStream())
		}
		want = fmt.Sprintf("s%d", step)
		for {
			_, err := store.Create(t.Context(), example(t, want))
			if err == nil || errors.Is(err, ErrExists) { // the answer to an earlier try was lost
				break
			}
			if t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
		for i, v := range views {
			if _, ok := syncView(t, v).Get(want); !ok {
				t.Fatalf("step %d: view %d does not have %s", step, i, want)
			}
		}
	}
	if _, err := kv.Get(t.Context(), want); err != nil {
		t.Error(err)
	}
}

// BenchmarkSync is what a router pays to see every change.
func BenchmarkSync(b *testing.B) {
	server := streamtest.New(b)
	if _, err := server.JS().CreateKeyValue(b.Context(), jetstream.KeyValueConfig{Bucket: server.Layout.SubscriptionsBucket()}); err != nil {
		b.Fatal(err)
	}
	v := NewView(ViewConfig{SyncInterval: time.Nanosecond}, server.JS(), server.Layout, nil, zap.NewNop())
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	for b.Loop() {
		if _, err := v.Sync(ctx); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-done
}

// BenchmarkDecodeRecord is what a view pays for each record it reads.
func BenchmarkDecodeRecord(b *testing.B) {
	k := testKeyring(b)
	s := example(b, "ci")
	s.Queue = testLayout(b).QueueFor("ci")
	record, err := encodeRecord(s, k)
	if err != nil {
		b.Fatal(err)
	}
	for name, keyring := range map[string]*keyring.Keyring{"sealed": nil, "opened": k} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeRecord("ci", 1, record, keyring); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
