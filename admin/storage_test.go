package admin

import (
	"context"
	"net/http"
	"testing"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/upkeep"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/stream/inventory"
)

// withInventory lets the API know its streams.
func (f *fixture) withInventory() *inventory.Inventory {
	f.t.Helper()
	streams := inventory.New(inventory.Config{}, f.js, f.layout, zap.NewNop())
	if err := streams.Open(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	restore := func(ctx context.Context) error {
		if err := f.layout.EnsureKnown(ctx, f.js, nil, streams.Known()); err != nil {
			return err
		}
		return streams.Note(ctx)
	}
	f.restart(func(c *Config) {
		c.Inventory = streams
		c.Storage = upkeep.NewStorage(streams, audit.New(f.js, f.layout, "admin", zap.NewNop()), f.layout, restore, zap.NewNop())
	})
	return streams
}

// lose deletes a stream, which is noticed.
func (f *fixture) lose(name string) {
	f.t.Helper()
	streams := f.withInventory()
	if err := f.js.DeleteStream(f.t.Context(), name); err != nil {
		f.t.Fatal(err)
	}
	if err := streams.Check(f.t.Context(), true); err != nil {
		f.t.Fatal(err)
	}
}

// What is lost is shown, and accepted by its name only.
func TestLosses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("GET", "/v1/storage", "").want(http.StatusOK).mustContain(`"losses":[]`)
	f.lose(f.layout.DeadLetters())
	f.do("GET", "/v1/storage", "").want(http.StatusOK).mustContain(`"stream":"DEADLETTERS"`, `"kind":"missing"`)
	for _, body := range []string{`{}`, `{"streams":[]}`, `{"streams":["ATTEMPTS"]}`, `{"streams":["DEADLETTERS","nothing"]}`, `{"stream":"DEADLETTERS"}`} {
		f.do("POST", "/v1/storage/accept-loss", body).want(http.StatusUnprocessableEntity)
	}
	f.do("POST", "/v1/storage/accept-loss", `{"streams":["DEADLETTERS"]}`).want(http.StatusOK).mustContain(`"accepted":"`)
	if _, err := f.js.Stream(t.Context(), f.layout.DeadLetters()); err != nil {
		t.Error(err)
	}
	f.do("POST", "/v1/storage/accept-loss", `{"streams":["DEADLETTERS"]}`).want(http.StatusUnprocessableEntity)
}

// The queue of a subscription that loses it while jetpost runs is made anew by the sweep,
// and reported; one whose subscription is lost is kept, and reported too.
func TestSweepReportsQueues(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	streams := f.withInventory()
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("cd")).want(http.StatusCreated)
	if err := f.js.DeleteStream(t.Context(), f.layout.QueueFor("ci").Stream); err != nil {
		t.Fatal(err)
	}
	f.do("POST", "/v1/subscriptions/cd/pause", "").want(http.StatusOK)
	f.do("POST", "/v1/subscriptions/cd/test", "").want(http.StatusAccepted)
	if err := f.store.Delete(t.Context(), "cd", 0); err != nil { // past the API, which would delete the queue
		t.Fatal(err)
	}
	snapshot, err := f.view.Sync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range snapshot.All() {
		f.admin.sweeper.Sweep(t.Context(), sub)
	}
	f.admin.sweeper.FindUnowned(t.Context(), snapshot)
	if losses := streams.Losses(); len(losses) != 1 || losses[0].Stream != "DELIVERIES_ci" || losses[0].Kind != inventory.Replaced {
		t.Errorf("losses: %+v", losses)
	}
	if unowned := streams.UnownedQueues(); len(unowned) != 1 || unowned[0].Stream != "DELIVERIES_cd" || unowned[0].Messages != 1 {
		t.Errorf("unowned: %+v", unowned)
	}
	// Deleting a subscription in an orderly way is neither.
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK)
	if err := streams.Check(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if losses := streams.Losses(); len(losses) != 1 {
		t.Errorf("losses: %+v", losses)
	}
}
