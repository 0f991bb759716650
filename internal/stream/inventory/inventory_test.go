package inventory_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// an installation: its server, and the file in its data folder.
type installation struct {
	*streamtest.Server

	file string
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	return &installation{streamtest.New(t), filepath.Join(t.TempDir(), "installation.json")}
}

// open is what a start does: it reads the list, makes what is missing and may be made,
// and puts it on the list.
func (n *installation) open(t *testing.T) *inventory.Inventory {
	t.Helper()
	i := inventory.New(inventory.Config{File: n.file}, n.JS(), n.Layout, zap.NewNop())
	if err := i.Open(t.Context()); err != nil {
		t.Fatalf("open: %v", err)
	}
	n.ensure(t, i)
	return i
}

func (n *installation) ensure(t *testing.T, i *inventory.Inventory) {
	t.Helper()
	if err := n.Layout.EnsureKnown(t.Context(), n.JS(), []string{"git"}, i.Known()); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	if err := i.Note(t.Context()); err != nil {
		t.Fatalf("note: %v", err)
	}
}

func (n *installation) check(t *testing.T, i *inventory.Inventory) {
	t.Helper()
	if err := i.Check(t.Context(), true); err != nil {
		t.Fatalf("check: %v", err)
	}
}

func (n *installation) publish(t *testing.T, subject string, count int) {
	t.Helper()
	for range count {
		if _, err := n.JS().Publish(t.Context(), subject, []byte("x")); err != nil {
			t.Fatalf("publish to %s: %v", subject, err)
		}
	}
}

func (n *installation) delete(t *testing.T, name string) {
	t.Helper()
	if err := n.JS().DeleteStream(t.Context(), name); err != nil {
		t.Fatalf("delete %s: %v", name, err)
	}
}

// kinds are the losses that are not accepted, by stream.
func kinds(i *inventory.Inventory) map[string]string {
	found := map[string]string{}
	for _, l := range i.Losses() {
		if l.Open() {
			found[l.Stream] = l.Kind
		}
	}
	return found
}

func wantKinds(t *testing.T, i *inventory.Inventory, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, kinds(i)); diff != "" {
		t.Errorf("losses (-want +got):\n%s", diff)
	}
	if err := i.Ready(t.Context()); (err == nil) != (len(want) == 0) {
		t.Errorf("ready: %v", err)
	}
}

// Whatever stream is deleted, the next start says so, does not make it anew, and goes on
// once that is accepted, behind the sequences that there were.
func TestStreamIsMissing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"KV_subscriptions", "KV_catalog", "KV_tokens", "KV_state", "KV_repositories", "KV_idempotency",
		"AUDIT", "ATTEMPTS", "DEADLETTERS", "RETRIES_01", "EVENTS_git",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newInstallation(t)
			i := n.open(t)
			n.publish(t, n.Layout.EventSubject("git", "push"), 3)
			n.publish(t, n.Layout.AuditSubject("subscription.create"), 3)
			n.publish(t, n.Layout.AttemptSubject("ci"), 3)
			n.check(t, i)
			wantKinds(t, i, map[string]string{})
			n.delete(t, name)

			i = n.open(t)
			wantKinds(t, i, map[string]string{name: inventory.Missing})
			if _, err := n.JS().Stream(t.Context(), name); err == nil {
				t.Fatalf("%s was made anew", name)
			}
			if blocking := i.Blocking(); len(blocking) != 1 {
				t.Errorf("blocking: %v", blocking)
			}
			// Also at the start after that, when it was not accepted.
			i = n.open(t)
			wantKinds(t, i, map[string]string{name: inventory.Missing})

			if err := i.Accept(t.Context(), "test", name); err != nil {
				t.Fatal(err)
			}
			n.ensure(t, i)
			wantKinds(t, i, map[string]string{})
			s, err := n.JS().Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains([]string{"AUDIT", "ATTEMPTS", "EVENTS_git"}, name) && s.CachedInfo().State.LastSeq != 3 {
				t.Errorf("%s goes on behind %d, want 3", name, s.CachedInfo().State.LastSeq)
			}
			wantKinds(t, n.open(t), map[string]string{})
		})
	}
}

// A stream that is made anew by something else, purged of its keys, or restored from an
// old copy, is noticed while jetpost runs.
func TestStreamHasLess(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	i := n.open(t)
	kv, err := n.JS().KeyValue(t.Context(), n.Layout.SubscriptionsBucket())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := kv.Put(t.Context(), id, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	n.publish(t, n.Layout.EventSubject("git", "push"), 10)
	n.check(t, i)
	wantKinds(t, i, map[string]string{})

	// Deleting keys and erasing events is no loss.
	if err := kv.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	events, err := n.JS().Stream(t.Context(), n.Layout.EventLog("git"))
	if err != nil {
		t.Fatal(err)
	}
	if err := events.SecureDeleteMsg(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	n.check(t, i)
	wantKinds(t, i, map[string]string{})

	cfg := n.Layout.EventLogConfig("git")
	n.delete(t, cfg.Name)
	if _, err := n.JS().CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	bucket, err := n.JS().Stream(t.Context(), n.Layout.SubscriptionsStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.subscriptions.b")); err != nil {
		t.Fatal(err)
	}
	n.check(t, i)
	n.check(t, i) // once
	wantKinds(t, i, map[string]string{cfg.Name: inventory.Replaced, n.Layout.SubscriptionsStream(): inventory.Damaged})
	for _, l := range i.Losses() {
		if want := map[string]uint64{cfg.Name: 10, n.Layout.SubscriptionsStream(): 1}[l.Stream]; l.Count != want {
			t.Errorf("%s has lost %d, want %d", l.Stream, l.Count, want)
		}
	}
	if err := i.Accept(t.Context(), "test", cfg.Name, n.Layout.SubscriptionsStream()); err != nil {
		t.Fatal(err)
	}
	wantKinds(t, n.open(t), map[string]string{})
}

// A queue that is missing does not keep the others waiting, and is reported also when it
// was made anew before anybody looked.
func TestQueueIsMissing(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	i := n.open(t)
	q := n.Layout.QueueFor("ci")
	made := func() {
		t.Helper()
		if err := n.Layout.EnsureQueue(t.Context(), n.JS(), "ci", q, 1); err != nil {
			t.Fatal(err)
		}
		if err := i.Made(t.Context(), q.Stream); err != nil {
			t.Fatal(err)
		}
	}
	made()
	made()
	wantKinds(t, i, map[string]string{})
	n.publish(t, q.Subject, 4)
	n.check(t, i)

	n.delete(t, q.Stream)
	i = n.open(t)
	wantKinds(t, i, map[string]string{q.Stream: inventory.Missing})
	if blocking := i.Blocking(); len(blocking) > 0 {
		t.Errorf("blocking: %v", blocking)
	}
	made()
	wantKinds(t, i, map[string]string{q.Stream: inventory.Replaced})
	if err := i.Accept(t.Context(), "test", q.Stream); err != nil {
		t.Fatal(err)
	}
	n.delete(t, q.Stream)
	made()
	wantKinds(t, i, map[string]string{q.Stream: inventory.Replaced})

	// Deleting it in an orderly way is no loss.
	if err := i.Accept(t.Context(), "test", q.Stream); err != nil {
		t.Fatal(err)
	}
	if err := i.Forget(t.Context(), q.Stream); err != nil {
		t.Fatal(err)
	}
	n.delete(t, q.Stream)
	wantKinds(t, n.open(t), map[string]string{})
}

// The list is kept in three places, and each of them may be lost.
func TestListIsLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, n *installation){
		"the list": func(t *testing.T, n *installation) { t.Helper(); n.delete(t, n.Layout.InventoryStreams()[0]) },
		"its copy": func(t *testing.T, n *installation) { t.Helper(); n.delete(t, n.Layout.InventoryStreams()[1]) },
		"both": func(t *testing.T, n *installation) {
			t.Helper()
			n.delete(t, n.Layout.InventoryStreams()[0])
			n.delete(t, n.Layout.InventoryStreams()[1])
		},
		"the list, and another data folder": func(t *testing.T, n *installation) {
			t.Helper()
			n.delete(t, n.Layout.InventoryStreams()[0])
			n.file = filepath.Join(t.TempDir(), "installation.json")
		},
		"the file": func(t *testing.T, n *installation) {
			t.Helper()
			if err := os.WriteFile(n.file, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newInstallation(t)
			i := n.open(t)
			id := i.ID()
			n.check(t, i)
			lose(t, n)
			n.delete(t, n.Layout.Audit())
			i = n.open(t)
			if i.ID() != id {
				t.Errorf("the installation was %s, and is %s", id, i.ID())
			}
			if got := kinds(i)[n.Layout.Audit()]; got != inventory.Missing {
				t.Errorf("losses: %v", kinds(i))
			}
			// What is lost of the list itself is reported, and does not hold anything up.
			for _, l := range i.Blocking() {
				if l.Stream != n.Layout.Audit() {
					t.Errorf("blocking: %+v", l)
				}
			}
			if err := i.Accept(t.Context(), "test", slices.Collect(keys(kinds(i)))...); err != nil {
				t.Fatal(err)
			}
			n.ensure(t, i)
			wantKinds(t, n.open(t), map[string]string{})
		})
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// What an earlier version has made is taken as it is.
func TestAdoption(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	if err := n.Layout.Ensure(t.Context(), n.JS(), []string{"git"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range n.Layout.InventoryStreams() { // which earlier versions did not have
		n.delete(t, name)
	}
	q := n.Layout.QueueFor("ci")
	if err := n.Layout.EnsureQueue(t.Context(), n.JS(), "ci", q, 1); err != nil {
		t.Fatal(err)
	}
	n.delete(t, n.Layout.StateStream()) // and one that they did not have either
	i := n.open(t)
	wantKinds(t, i, map[string]string{})
	for _, name := range []string{q.Stream, n.Layout.Audit(), n.Layout.StateStream(), n.Layout.EventLog("git")} {
		if _, listed := i.Seen(name); !listed {
			t.Errorf("%s is not on the list", name)
		}
	}
	if _, listed := i.Seen(n.Layout.MembersStream()); listed {
		t.Error("the senders that are alive, which a restart forgets, are on the list")
	}
}

// Two admins see what the other one does, and change the list side by side.
func TestTwoAdmins(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	a := n.open(t)
	other := &installation{n.Server, filepath.Join(t.TempDir(), "installation.json")}
	b := other.open(t)
	if a.ID() == "" || a.ID() != b.ID() {
		t.Fatalf("installations %q and %q", a.ID(), b.ID())
	}
	add := func(i *inventory.Inventory, id string) error {
		q := n.Layout.QueueFor(id)
		if err := n.Layout.EnsureQueue(t.Context(), n.JS(), id, q, 1); err != nil {
			return err
		}
		return i.Made(t.Context(), q.Stream)
	}
	done := make(chan error)
	ids := strings.Fields("a b c d e f g h i j k l")
	for n, id := range ids {
		i := []*inventory.Inventory{a, b}[n%2]
		go func() { done <- add(i, id) }()
	}
	for range ids {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, i := range []*inventory.Inventory{a, b} {
		if err := i.Check(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if got := len(i.Queues()); got != len(ids) {
			t.Errorf("%d queues are on the list, want %d", got, len(ids))
		}
	}
	// One deletes in an orderly way, and the other one makes it again.
	q := n.Layout.QueueFor("a")
	if err := a.Forget(t.Context(), q.Stream); err != nil {
		t.Fatal(err)
	}
	n.delete(t, q.Stream)
	if err := b.Check(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := add(b, "a"); err != nil {
		t.Fatal(err)
	}
	n.check(t, a)
	wantKinds(t, a, map[string]string{})
	wantKinds(t, b, map[string]string{})

	n.delete(t, n.Layout.Audit())
	n.check(t, a)
	n.check(t, b)
	wantKinds(t, b, map[string]string{n.Layout.Audit(): inventory.Missing})
	if losses := b.Losses(); len(losses) != 1 {
		t.Errorf("both have noticed it: %+v", losses)
	}
	if err := b.Accept(t.Context(), "test", n.Layout.Audit()); err != nil {
		t.Fatal(err)
	}
	n.check(t, a)
	wantKinds(t, a, map[string]string{})
}

// Admins that start for the first time at the same moment are of one installation.
func TestAdminsBeginTogether(t *testing.T) {
	t.Parallel()
	for range 5 {
		server := streamtest.New(t)
		admins := make([]*installation, 4)
		opened := make([]*inventory.Inventory, len(admins))
		var starting sync.WaitGroup
		for n := range admins {
			admins[n] = &installation{server, filepath.Join(t.TempDir(), "installation.json")}
			opened[n] = inventory.New(inventory.Config{File: admins[n].file}, server.JS(), server.Layout, zap.NewNop())
			starting.Go(func() {
				if err := opened[n].Open(t.Context()); err != nil {
					t.Errorf("open: %v", err)
				}
			})
		}
		starting.Wait()
		for n, admin := range admins {
			if opened[n].ID() != opened[0].ID() {
				t.Errorf("installations %s and %s", opened[n].ID(), opened[0].ID())
			}
			wantKinds(t, admin.open(t), map[string]string{})
		}
	}
}

// A power loss takes the ends of many queues. The next start, which has 30 s for a try,
// finds all of them in one.
func TestManyQueuesWentBack(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	i := n.open(t)
	want := map[string]string{}
	for number := range 80 {
		id := fmt.Sprintf("q%d", number)
		q := n.Layout.QueueFor(id)
		if err := n.Layout.EnsureQueue(t.Context(), n.JS(), id, q, 1); err != nil {
			t.Fatal(err)
		}
		n.publish(t, q.Subject, 1)
		if err := i.Made(t.Context(), q.Stream); err != nil {
			t.Fatal(err)
		}
		want[q.Stream] = inventory.WentBack
	}
	n.check(t, i)
	// The file has seen more of them than there is.
	b, err := os.ReadFile(n.file)
	if err != nil {
		t.Fatal(err)
	}
	var form map[string]any
	if err := json.Unmarshal(b, &form); err != nil {
		t.Fatal(err)
	}
	for _, document := range form["documents"].(map[string]any) {
		streams, _ := document.(map[string]any)["streams"].(map[string]any)
		for name, s := range streams {
			if want[name] != "" {
				s.(map[string]any)["last"] = 5
			}
		}
	}
	if b, err = json.Marshal(form); err == nil {
		err = os.WriteFile(n.file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	i = inventory.New(inventory.Config{File: n.file}, n.JS(), n.Layout, zap.NewNop())
	if err := i.Open(ctx); err != nil {
		t.Fatalf("open: %v", err)
	}
	wantKinds(t, i, want)
	if err := i.Accept(t.Context(), "test", slices.Collect(maps.Keys(want))...); err != nil {
		t.Fatal(err)
	}
	wantKinds(t, n.open(t), map[string]string{})
}

// What was missing and is there again, as it was, is not lost.
func TestRestored(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	i := n.open(t)
	n.publish(t, n.Layout.AttemptSubject("ci"), 3)
	n.check(t, i)
	n.Stop()
	from := filepath.Join(n.Dir, "jetstream", "$G", "streams", n.Layout.Attempts())
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(from, away); err != nil {
		t.Fatal(err)
	}
	n.Start()
	i = n.open(t)
	wantKinds(t, i, map[string]string{n.Layout.Attempts(): inventory.Missing})
	n.Stop()
	if err := os.Rename(away, from); err != nil {
		t.Fatal(err)
	}
	n.Start()
	wantKinds(t, n.open(t), map[string]string{})
}

// A data folder that goes with other streams is noticed.
func TestForeignFolder(t *testing.T) {
	t.Parallel()
	one, two := newInstallation(t), newInstallation(t)
	one.open(t)
	two.open(t)
	two.file = one.file
	i := inventory.New(inventory.Config{File: two.file}, two.JS(), two.Layout, zap.NewNop())
	if err := i.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if blocking := i.Blocking(); len(blocking) != 1 || !strings.Contains(blocking[0].Detail, "belongs to installation") {
		t.Errorf("blocking: %+v", blocking)
	}
}

// Losses are reported once, also those that were noticed before anybody listened.
func TestTell(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	n.open(t)
	n.delete(t, n.Layout.Attempts())
	i := n.open(t)
	reported := make(chan inventory.Loss, 10)
	i.Tell(func(l inventory.Loss) { reported <- l })
	n.delete(t, n.Layout.DeadLetters())
	n.check(t, i)
	n.check(t, i)
	if a, b := <-reported, <-reported; a.Stream != n.Layout.Attempts() || b.Stream != n.Layout.DeadLetters() || len(reported) > 0 {
		t.Errorf("reported %+v and %+v, and %d more", a, b, len(reported))
	}
}

// A process that keeps no list sees what is lost.
func TestReader(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	reader := inventory.New(inventory.Config{Reader: true, Every: 10 * time.Millisecond}, n.JS(), n.Layout, zap.NewNop())
	if err := reader.Open(t.Context()); err != nil { // before there is a list
		t.Fatal(err)
	}
	i := n.open(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- reader.Run(ctx) }()
	n.delete(t, n.Layout.SubscriptionsStream())
	n.check(t, i)
	testkit.Eventually(t, "the inventory shows it", func() bool { return len(reader.Blocking()) == 1 && reader.Ready(t.Context()) != nil })
	if err := i.Accept(t.Context(), "test", n.Layout.SubscriptionsStream()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the inventory shows it", func() bool { return reader.Ready(t.Context()) == nil })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for prefix, names := range map[string]map[string]stream.Kind{
		"": {
			"EVENTS_git": stream.KindEventLog, "DELIVERIES_ci": stream.KindQueue, "RETRIES_07": stream.KindPlatform, "AUDIT": stream.KindPlatform,
			"KV_subscriptions": stream.KindPlatform, "KV_members": stream.KindMemory, "KV_other": stream.KindOther, "p_AUDIT": stream.KindOther, "ORDERS": stream.KindOther,
		},
		"p": {
			"p_EVENTS_git": stream.KindEventLog, "p_DELIVERIES_ci": stream.KindQueue, "p_RETRIES_07": stream.KindPlatform, "AUDIT": stream.KindOther,
			"KV_p_subscriptions": stream.KindPlatform, "KV_p_members": stream.KindMemory, "KV_subscriptions": stream.KindOther,
		},
	} {
		l, err := stream.NewLayout(stream.LayoutConfig{Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range names {
			if got, _ := l.KindOf(name); got != want {
				t.Errorf("prefix %q: %s is %d, want %d", prefix, name, got, want)
			}
		}
	}
}
