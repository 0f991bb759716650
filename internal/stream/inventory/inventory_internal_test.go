package inventory

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// After the list was read, and before the streams are looked at, another admin deletes a
// queue, and makes another one anew. Neither is a loss.
func TestChangedByAnotherAdmin(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	layout := server.Layout
	open := func() *Inventory {
		i := New(Config{}, server.JS(), layout, zap.NewNop())
		if err := i.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		return i
	}
	a := open()
	gone, again := layout.QueueFor("gone"), layout.QueueFor("again")
	add := func(id string) {
		t.Helper()
		q := layout.QueueFor(id)
		if err := layout.EnsureQueue(t.Context(), server.JS(), id, q, 1); err != nil {
			t.Fatal(err)
		}
		if err := a.Made(t.Context(), q.Stream); err != nil {
			t.Fatal(err)
		}
	}
	add("gone")
	add("again")
	b := open()
	for _, name := range []string{gone.Stream, again.Stream} {
		if err := a.Forget(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := server.JS().DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	add("again")
	losses, _, err := b.compareAll(t.Context(), []string{gone.Stream, again.Stream})
	if err != nil || len(losses) > 0 {
		t.Errorf("losses %+v, error %v", losses, err)
	}
}

// A queue is missing, and is made anew while its loss is accepted, by who has seen before
// that another one is in its place. It is the same loss.
func TestMadeWhileAccepted(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	i := New(Config{}, server.JS(), server.Layout, zap.NewNop())
	if err := i.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := server.Layout.QueueFor("hook")
	ensure := func() {
		t.Helper()
		if err := server.Layout.EnsureQueue(t.Context(), server.JS(), "hook", q, 1); err != nil {
			t.Fatal(err)
		}
	}
	remove := func() {
		t.Helper()
		if err := server.JS().DeleteStream(t.Context(), q.Stream); err != nil {
			t.Fatal(err)
		}
	}
	ensure()
	if err := i.Made(t.Context(), q.Stream); err != nil {
		t.Fatal(err)
	}
	remove()
	missing, _, err := i.compareAll(t.Context(), []string{q.Stream})
	if err != nil || len(missing) != 1 || missing[0].Kind != Missing {
		t.Fatalf("losses %+v, error %v, want one that is missing", missing, err)
	}
	if err := i.lose(t.Context(), missing...); err != nil {
		t.Fatal(err)
	}
	ensure()
	replaced, _, err := i.compareAll(t.Context(), []string{q.Stream})
	if err != nil || len(replaced) != 1 || replaced[0].Kind != Replaced {
		t.Fatalf("losses %+v, error %v, want one that is replaced", replaced, err)
	}
	if err := i.Accept(t.Context(), "test", q.Stream); err != nil {
		t.Fatal(err)
	}
	for _, late := range [][]Loss{missing, replaced} {
		if err := i.lose(t.Context(), late...); err != nil {
			t.Fatal(err)
		}
		if open := i.open(); len(open) > 0 {
			t.Errorf("it is lost again: %+v", open)
		}
	}
	// Another loss of the same queue is one more.
	remove()
	if err := i.Check(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if open := i.open(); len(open) != 1 || open[0].Kind != Missing {
		t.Errorf("losses %+v, want one that is missing", open)
	}
}

// A power loss may take something of the queue of each of thousands of subscriptions.
func TestManyLosses(t *testing.T) {
	t.Parallel()
	d := &document{Installation: newID(), Version: 3, Streams: map[string]Stream{}}
	for n := range 10_000 {
		d.Losses = append(d.Losses, Loss{
			Stream: fmt.Sprintf("DELIVERIES_subscription-%d", n), Kind: WentBack, Was: uint64(n) + 100, Now: uint64(n), Count: 100, //nolint:gosec // small
			Detail: fmt.Sprintf("it ends with message %d, and has had %d: the last 100 or more are lost", n, n+100), Found: time.Now().UTC(),
		})
	}
	data, err := d.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Losses, got.Losses); diff != "" {
		t.Errorf("losses (-want +got):\n%s", diff)
	}
}
