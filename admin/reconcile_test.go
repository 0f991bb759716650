package admin

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/deadletters"
	"github.com/jetpost/jetpost/admin/upkeep"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
)

// reconciler is that of the API.
func (f *fixture) reconciler() *upkeep.Reconciler {
	types, attempts, deadLetters := catalogue.New(f.live), f.admin.attempts, delivery.NewDeadLetters(f.js, f.layout)
	dead := deadletters.New(f.js, deadLetters, attempts, f.admin.keep, types, f.admin.trail, patience, f.log)
	return upkeep.NewReconciler(f.js, f.layout, f.store.ReadingLeader(), f.admin.keep, types, attempts, deadLetters, dead, f.admin.trail, f.cfg.Inventory, f.log)
}

const wantsPushes = `{"id":"ci","types":["git.push"],"endpoint":{"url":"http://127.0.0.1:9000/hook"}}`

// deadLetter makes a dead letter of the delivery.
func (j *journey) deadLetter(sub string, attempts int) {
	j.t.Helper()
	if err := delivery.NewDeadLetters(j.js, j.layout).GiveUp(j.t.Context(), j.delivery(sub), delivery.ReasonOverflow, attempts, nil); err != nil {
		j.t.Fatal(err)
	}
}

func (f *fixture) reconcile(id, body string) (out v1.Reconciled) {
	f.t.Helper()
	f.do("POST", "/v1/subscriptions/"+id+"/reconcile", body).want(http.StatusOK).into(&out)
	return out
}

// What was owed and is nowhere is made again, once; what is made, waits or was given up
// is not, nor what was never owed.
func TestReconcile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(newEvent("git.push", "before the subscription"))
	f.do("POST", "/v1/subscriptions", wantsPushes).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions/ci/pause", "").want(http.StatusOK) // another revision of it
	made := map[string]*journey{}
	for _, name := range []string{"delivered", "queued", "timer", "letter", "discarded", "exhausted", "rejected", "lost", "failed and lost", "manual and lost"} {
		made[name] = f.journey(newEvent("git.push", name))
	}
	f.publish(newEvent("git.pull_request", "not wanted"))
	made["delivered"].attempt("ci", 1, delivery.Retry, time.Time{})
	made["delivered"].attempt("ci", 2, delivery.Delivered, time.Time{})
	made["queued"].queue("ci")
	made["timer"].attempt("ci", 1, delivery.Retry, time.Time{})
	made["timer"].timer("ci", time.Now().Add(time.Hour))
	made["letter"].deadLetter("ci", 0)
	made["discarded"].deadLetter("ci", 0)
	f.do("POST", "/v1/dead-letters/2/discard", "").want(http.StatusOK)
	made["exhausted"].attempt("ci", 1, delivery.Exhausted, time.Time{})
	made["rejected"].attempt("ci", 1, delivery.Rejected, time.Time{})
	made["failed and lost"].attempt("ci", 1, delivery.Retry, time.Time{})
	made["failed and lost"].attempt("ci", 2, delivery.Retry, time.Time{})
	f.routed("git")
	f.publish(newEvent("git.push", "not routed yet"))

	want := map[string]int{"lost": 1, "failed and lost": 3, "manual and lost": 1}
	for _, dry := range []bool{true, false} {
		out := f.reconcile("ci", `{"dry_run":`+strconv.FormatBool(dry)+`}`)
		got := map[string]int{}
		for _, m := range out.Items {
			got[m.EventID] = m.Attempt
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("missing (-want +got):\n%s", diff)
		}
		if out.Owed != 10 || out.Missing != 3 || !out.Complete || out.Made != map[bool]uint64{false: 3}[dry] {
			t.Errorf("dry run %t: %+v", dry, out)
		}
	}
	queued := f.queued("ci")
	if len(queued) != 4 {
		t.Fatalf("%d deliveries are queued, want 4", len(queued))
	}
	for _, d := range queued[1:] {
		j := made[d.Event.ID]
		if as := j.delivery("ci"); d.Attempt != want[d.Event.ID] || d.ID != as.ID || d.Origin != as.Origin || string(d.Event.Data) != string(j.e.Data) {
			t.Errorf("got %+v", d)
		}
	}
	if out := f.reconcile("ci", ""); out.Missing != 0 || out.Made != 0 {
		t.Errorf("again: %+v", out)
	}
	if out := f.reconcile("ci", `{"since":"2020-01-01T00:00:00Z"}`); out.Made != 1 || out.Items[0].EventID != "before the subscription" {
		t.Errorf("from before the subscription: %+v", out)
	}
	records := slices.DeleteFunc(f.trail(), func(r audit.Record) bool { return r.Action != "subscription.reconcile" })
	if len(records) != 2 || records[0].Target != "subscriptions/ci" {
		t.Errorf("audit trail: %+v", records)
	}

	f.do("POST", "/v1/subscriptions/unknown/reconcile", "").want(http.StatusNotFound)
	f.do("POST", "/v1/subscriptions/ci/reconcile", `{"dry":true}`).want(http.StatusUnprocessableEntity)
}

// What the subscription did not want then is not owed now.
func TestReconcileAfterChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", `{"id":"ci","types":["git.push"],"filters":[{"exact":{"id":"other"}}],"endpoint":{"url":"http://127.0.0.1:9000/hook"}}`).want(http.StatusCreated)
	f.publish(newEvent("git.push", "before the change"))
	f.routed("git")
	f.do("PATCH", "/v1/subscriptions/ci", `{"filters":null}`).want(http.StatusOK)
	f.do("PATCH", "/v1/subscriptions/ci", `{"description":"x"}`).want(http.StatusOK)
	f.publish(newEvent("git.push", "lost"))
	f.routed("git")
	if out := f.reconcile("ci", ""); out.Made != 1 || out.Owed != 1 || out.Items[0].EventID != "lost" {
		t.Errorf("got %+v", out)
	}
}

// A queue that is lost, or has a damaged message, is made good without anybody asking;
// so are retry timers.
func TestLossesAreReconciled(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, f *fixture){
		"a queue is deleted": func(t *testing.T, f *fixture) {
			t.Helper()
			if err := f.js.DeleteStream(t.Context(), f.layout.QueueFor("ci").Stream); err != nil {
				t.Fatal(err)
			}
		},
		"a message of it is damaged": func(t *testing.T, f *fixture) {
			t.Helper()
			f.damage(f.layout.QueueFor("ci").Stream, 3)
		},
		"timers are damaged": func(t *testing.T, f *fixture) {
			t.Helper()
			f.damage(f.layout.RetryStream(f.layout.QueueFor("ci").RetryShard), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			streams := f.withInventory()
			f.do("POST", "/v1/subscriptions", wantsPushes).want(http.StatusCreated)
			var ids []string
			for n := range 5 {
				j := f.journey(newEvent("git.push", "e"+strconv.Itoa(n)))
				j.queue("ci")
				ids = append(ids, j.e.ID)
			}
			j := f.journey(newEvent("git.push", "timer"))
			j.attempt("ci", 1, delivery.Retry, time.Time{})
			j.timer("ci", time.Now().Add(time.Hour))
			f.routed("git")
			if err := streams.Check(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			lose(t, f)
			for _, look := range []func() error{
				func() error { return streams.Check(t.Context(), true) },
				func() error {
					return streams.FindDamage(t.Context(), f.layout.QueueFor("ci").Stream, f.layout.RetryStream(f.layout.QueueFor("ci").RetryShard))
				},
			} {
				if err := look(); err != nil {
					t.Fatal(err)
				}
			}
			snapshot, err := f.view.Sync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, sub := range snapshot.All() {
				f.admin.sweeper.Sweep(t.Context(), sub)
			}
			f.reconciler().Losses(t.Context())
			f.reconciler().Losses(t.Context())
			losses := streams.Losses()
			if len(losses) != 1 || losses[0].Reconciled.IsZero() || losses[0].Remade == 0 {
				t.Fatalf("losses: %+v", losses)
			}
			if kind := losses[0].Kind; kind != inventory.Replaced && kind != inventory.Damaged {
				t.Errorf("it is %s", kind)
			}
			// All is known again: nothing is missing any more.
			if out := f.reconcile("ci", `{"dry_run":true}`); out.Missing != 0 || out.Owed != uint64(len(ids)+1) {
				t.Errorf("got %+v", out)
			}
		})
	}
}

// A power loss takes the end of a queue that the list of streams did not know of yet: its
// consumer has had it. That is a loss too, and is made good.
func TestLostEndOfQueueIsReconciled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	streams := f.withInventory()
	f.do("POST", "/v1/subscriptions", wantsPushes).want(http.StatusCreated)
	queue := f.layout.QueueFor("ci")
	messages := f.streamFolder(queue.Stream, "msgs")
	copied := f.keep(messages) // without any message
	const lost = 5
	for n := range lost {
		f.journey(newEvent("git.push", "e"+strconv.Itoa(n))).queue("ci")
	}
	f.routed("git")
	if got := f.take(queue.Stream, queue.Consumer); len(got) != lost { // and no attempt of any is on record
		t.Fatalf("%d deliveries", len(got))
	}
	f.putBack(copied, messages)
	// As on a cluster, where nothing sets the consumer back.
	if err := stream.SetBack(t.Context(), f.js, queue.Stream, queue.Consumer, lost+1); err != nil {
		t.Fatal(err)
	}
	f.sweep("ci")
	f.reconciler().Losses(t.Context())
	if err := streams.Check(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	losses := streams.Losses()
	if len(losses) != 1 || losses[0].Kind != inventory.WentBack || losses[0].Was != lost || losses[0].Remade != lost {
		t.Errorf("losses: %+v", losses)
	}
	if got := f.take(queue.Stream, queue.Consumer); len(got) != lost {
		t.Errorf("%d deliveries are handed out, want %d", len(got), lost)
	}
}

// damage changes a byte of a message in the file of a stream.
func (f *fixture) damage(name string, sequence int) {
	f.t.Helper()
	f.nats.Stop()
	blocks, err := filepath.Glob(filepath.Join(f.nats.Dir, "jetstream", "$G", "streams", name, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		f.t.Fatalf("%v %v", blocks, err)
	}
	data, err := os.ReadFile(blocks[0])
	if err != nil {
		f.t.Fatal(err)
	}
	data[len(data)*(2*sequence-1)/12] ^= 1 // of about six messages
	if err := os.WriteFile(blocks[0], data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.nats.Start()
	f.eventually("the API has its connection again", func() bool { return f.js.Conn().IsConnected() })
}
