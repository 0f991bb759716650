package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetpost/jetpost/admin/jobs"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

// run lets an admin work on redrive jobs until stop is called, or the test ends.
func run(tb testing.TB, a *Admin) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			tb.Errorf("run: %v", err)
		}
	})
	stop = func() {
		cancel()
		running.Wait()
	}
	tb.Cleanup(stop)
	return stop
}

func (f *fixture) eventually(what string, fact func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !fact(); {
		if time.Now().After(deadline) {
			f.t.Fatalf("not after %s: %s", patience, what)
		}
		testkit.Pause(f.t.Context(), 10*time.Millisecond)
	}
}

// deadLettersLeft are the sequences of all dead letters, newest first.
func (f *fixture) deadLettersLeft() []uint64 {
	f.t.Helper()
	found, err := delivery.NewDeadLetters(f.js, f.layout).Page(f.t.Context(), &delivery.Selection{}, 0, 10_000)
	if err != nil {
		f.t.Fatal(err)
	}
	var left []uint64
	for _, deadLetter := range found {
		left = append(left, deadLetter.Sequence)
	}
	return left
}

func (f *fixture) job(id string) v1.RedriveJob {
	f.t.Helper()
	var job v1.RedriveJob
	f.do("GET", "/v1/redrives/"+id, "").want(http.StatusOK).into(&job)
	return job
}

// redriveAll makes a job and returns it.
func (f *fixture) redriveJob(body string) v1.RedriveJob {
	f.t.Helper()
	var job v1.RedriveJob
	f.do("POST", "/v1/redrives", body).want(http.StatusAccepted).into(&job)
	return job
}

func (f *fixture) awaitJob(id string) v1.RedriveJob {
	f.t.Helper()
	var job v1.RedriveJob
	f.eventually("job "+id+" ends", func() bool {
		job = f.job(id)
		return job.State != jobs.Running
	})
	return job
}

func (f *fixture) keepUnreadable() {
	f.t.Helper()
	broken := &consume.Message{Msg: &nats.Msg{Data: []byte{0xff, 'x'}, Header: nats.Header{"foo": {"bar"}}}, Stream: "EVENTS_git", Sequence: 9}
	if err := delivery.NewDeadLetters(f.js, f.layout).KeepUnreadable(f.t.Context(), broken, errors.New("not an event")); err != nil {
		f.t.Fatal(err)
	}
}

func TestShowLetter(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.giveUp("ci", "e1")
	f.keepUnreadable()
	var got map[string]any
	f.do("GET", "/v1/dead-letters/1", "").want(http.StatusOK).into(&got)
	delete(got, "at")
	want := map[string]any{
		"delivery_id": delivery.ID("ci", "/test", "e1"), "subscription_id": "ci", "reason": "exhausted", "attempts": 3.0, "status": 503.0, "sequence": 1.0,
		"event":      map[string]any{"id": "e1", "source": "/test", "type": "git.push", "stream": "EVENTS_git", "sequence": 1.0, "stored_at": "1970-01-01T00:00:01Z"},
		"attributes": map[string]any{"specversion": "1.0", "id": "e1", "source": "/test", "type": "git.push", "datacontenttype": "application/json"},
		"data":       `{"b":1.0,"a":"<ü>"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a dead letter (-want +got):\n%s", diff)
	}
	f.do("GET", "/v1/dead-letters/2", "").want(http.StatusOK).mustContain(`"unreadable"`, `"data_base64":"/3g="`, `"foo":["bar"]`).mustNotContain("jetpost-dead-letter")
	f.do("GET", "/v1/dead-letters/3", "").want(http.StatusNotFound)
	f.do("GET", "/v1/dead-letters/x", "").want(http.StatusUnprocessableEntity)
	f.do("GET", "/v1/dead-letters/0", "").want(http.StatusNotFound)
}

func TestFilterLetters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range 4 {
		f.giveUp("ci", "e"+strconv.Itoa(n))
	}
	f.giveUp("b", "e9")
	f.keepUnreadable()
	for path, want := range map[string]string{
		"/v1/dead-letters?limit=500":                                    "6 5 4 3 2 1",
		"/v1/dead-letters?subscription=ci&limit=3":                      "4 3 2",
		"/v1/dead-letters?subscription=_invalid":                        "6",
		"/v1/dead-letters?reason=overflow&reason=unreadable":            "6",
		"/v1/dead-letters?type=git.*&subscription=b":                    "5",
		"/v1/subscriptions/ci/dead-letters?type=git.push&reason=gone":   "",
		"/v1/subscriptions/ci/dead-letters?type=git.push&type=x":        "4 3 2 1",
		"/v1/subscriptions/ci/dead-letters?to=2026-01-01T00:00:00Z":     "",
		"/v1/subscriptions/ci/dead-letters?from=2026-01-01T00:00:00Z":   "4 3 2 1",
		"/v1/subscriptions/ci/dead-letters?reason=exhausted&cursor=3":   "2 1",
		"/v1/dead-letters?reason=exhausted&reason=gone&limit=1&type=g*": "5",
	} {
		if strings.Contains(path, "reason=gone") || strings.Contains(path, "to=") { // no dead letters: the subscription must be known
			if f.do("GET", "/v1/subscriptions/ci", "").status == http.StatusNotFound {
				f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
			}
		}
		var got v1.Page[delivery.DeadLetter]
		f.do("GET", path, "").want(http.StatusOK).into(&got)
		var places []string
		for _, deadLetter := range got.Items {
			places = append(places, strconv.FormatUint(deadLetter.Sequence, 10))
		}
		if strings.Join(places, " ") != want {
			t.Errorf("%s: got %v, want %s", path, places, want)
		}
	}
	for _, path := range []string{
		"/v1/dead-letters?reason=nope", "/v1/dead-letters?subscription=*", "/v1/dead-letters?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
		"/v1/dead-letters?from=9999-01-02T00:00:00Z", "/v1/dead-letters?cursor=x",
	} {
		f.do("GET", path, "").want(http.StatusUnprocessableEntity)
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range 300 { // more than are looked up at a time
		f.giveUp("ci", "e"+strconv.Itoa(n))
	}
	f.giveUp("b", "e9")
	f.keepUnreadable()
	f.do("POST", "/v1/dead-letters/302/discard", `{"reason":"a mistake of ours"}`).want(http.StatusOK).mustContain(`"discarded":1`)
	f.do("POST", "/v1/dead-letters/302/discard", "").want(http.StatusNotFound)
	f.do("POST", "/v1/dead-letters/discard", `{}`).want(http.StatusUnprocessableEntity)
	f.do("POST", "/v1/dead-letters/discard", `{"subscription":"ci","all":true}`).want(http.StatusUnprocessableEntity)
	f.do("POST", "/v1/dead-letters/discard", `{"subscription":"c*"}`).want(http.StatusUnprocessableEntity)
	f.do("POST", "/v1/dead-letters/discard", `{"sequences":[1,2,999],"subscription":"ci"}`).want(http.StatusOK).mustContain(`"discarded":2`)
	f.do("POST", "/v1/dead-letters/discard", `{"subscription":"ci","reasons":["exhausted"],"reason":"old"}`).want(http.StatusOK).mustContain(`"discarded":298`).mustNotContain("more")
	if diff := cmp.Diff([]uint64{301}, f.deadLettersLeft()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	f.do("POST", "/v1/dead-letters/discard", `{"all":true}`).want(http.StatusOK).mustContain(`"discarded":1`)
	logged := f.logs.FilterMessage("dead letter discarded")
	if logged.Len() != 302 || logged.All()[0].ContextMap()["reason"] != "a mistake of ours" {
		t.Errorf("%d lines in the log", logged.Len())
	}
}

func TestRedriveOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	for _, id := range []string{"e1", "e2"} {
		f.giveUp("ci", id)
	}
	f.giveUp("gone", "e3")
	f.keepUnreadable()
	f.do("POST", "/v1/dead-letters/1/redrive", "").want(http.StatusAccepted).mustContain(delivery.ID("ci", "/test", "e1"), `"state":"active"`)
	got := f.queued("ci")
	if len(got) != 1 || got[0].ID != delivery.ID("ci", "/test", "e1") || got[0].Attempt != 4 || got[0].Redrive.Before != 3 {
		t.Fatalf("on the queue: %+v", got)
	}
	f.do("POST", "/v1/dead-letters/1/redrive", "").want(http.StatusNotFound)
	f.do("POST", "/v1/dead-letters/3/redrive", "").want(http.StatusNotFound).mustContain("subscription gone")
	f.do("POST", "/v1/dead-letters/4/redrive", "").want(http.StatusConflict).mustContain("could not be read")
	if _, err := f.store.Change(t.Context(), "ci", func(s *subscription.Subscription) error { s.State = subscription.Disabled; return nil }); err != nil {
		t.Fatal(err)
	}
	f.do("POST", "/v1/dead-letters/2/redrive", "").want(http.StatusConflict).mustContain("disabled", "resume")
	f.do("POST", "/v1/redrives", `{"subscription":"ci"}`).want(http.StatusConflict).mustContain("disabled")
	f.do("POST", "/v1/subscriptions/ci/resume", "").want(http.StatusOK)
	f.fillQueue("ci")
	f.do("POST", "/v1/dead-letters/2/redrive", "").want(http.StatusConflict).mustContain("queue is full")
	if diff := cmp.Diff([]uint64{4, 3, 2}, f.deadLettersLeft()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// fillQueue makes a queue as small as what is in it.
func (f *fixture) fillQueue(id string) {
	f.t.Helper()
	q := f.layout.QueueFor(id)
	s, err := f.js.Stream(f.t.Context(), q.Stream)
	if err != nil {
		f.t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgs = max(int64(s.CachedInfo().State.Msgs), 1) //nolint:gosec // small
	if _, err := f.js.UpdateStream(f.t.Context(), cfg); err != nil {
		f.t.Fatal(err)
	}
}

func TestRedriveJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	run(t, f.admin)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	const many = 300
	for n := range many {
		f.giveUp("ci", "e"+strconv.Itoa(n))
	}
	f.giveUp("gone", "e1")
	f.keepUnreadable()
	f.do("POST", "/v1/redrives", `{"dry_run":true}`).want(http.StatusOK).
		mustContain(`"state":"dry_run"`, `"total":302`, `"by_subscription":{"_invalid":1,"ci":300,"gone":1}`, `"by_reason":{"exhausted":301,"unreadable":1}`)
	if len(f.deadLettersLeft()) != many+2 || len(f.queued("ci")) > 0 {
		t.Error("a dry run did something")
	}
	job := f.redriveJob(`{"rate":10000}`)
	if job.State != jobs.Running || job.Total != many+2 || job.ID == "" {
		t.Errorf("a new job: %+v", job)
	}
	job = f.awaitJob(job.ID)
	if job.State != jobs.Done || job.Done != many || job.Failed != 2 || job.Gone != 0 || len(job.Failures) != 2 || job.EndedAt == nil {
		t.Errorf("the job that has ended: %+v", job)
	}
	if job.Failures[0].Sequence != many+1 || !strings.Contains(job.Failures[0].Error, "subscription gone") || !strings.Contains(job.Failures[1].Error, "could not be read") {
		t.Errorf("failures: %+v", job.Failures)
	}
	if diff := cmp.Diff([]uint64{many + 2, many + 1}, f.deadLettersLeft()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if got := len(f.queued("ci")); got != many {
		t.Errorf("%d deliveries on the queue, want %d", got, many)
	}
	f.do("POST", "/v1/redrives/"+job.ID+"/cancel", "").want(http.StatusConflict).mustContain("it is done")
	f.do("POST", "/v1/redrives/rd-none/cancel", "").want(http.StatusNotFound)
	f.do("GET", "/v1/redrives/rd-none", "").want(http.StatusNotFound)
	f.do("GET", "/v1/redrives", "").want(http.StatusOK).mustContain(job.ID)

	// A dead letter is chosen by its place; what cannot be a job is refused.
	f.giveUp("ci", "last")
	job = f.awaitJob(f.redriveJob(fmt.Sprintf(`{"sequences":[%d]}`, many+3)).ID)
	if job.Done != 1 || job.Total != 1 {
		t.Errorf("one of a place: %+v", job)
	}
	for body, field := range map[string]string{
		`{"rate":0}`: "rate", `{"rate":1e9}`: "rate", `{"reasons":["x"]}`: "reasons[0]", `{"types":[""]}`: "types",
		`{"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}`: "to", `{"subscription":">"}`: "subscription",
		`{"sequences":[` + strings.TrimSuffix(strings.Repeat("1,", 201), ",") + `]}`: "sequences",
		`{"types":["` + strings.Repeat("x", 3000) + `"]}`:                            "",
	} {
		if diff := cmp.Diff([]string{field}, f.do("POST", "/v1/redrives", body).want(http.StatusUnprocessableEntity).fields()); diff != "" {
			t.Errorf("%.60s (-want +got):\n%s", body, diff)
		}
	}
	f.do("POST", "/v1/redrives", `{"subscription":"_invalid"}`).want(http.StatusConflict)
	f.do("POST", "/v1/redrives", `{"subscription":"unknown"}`).want(http.StatusNotFound)
}

// jobs are those of the installation.
func (f *fixture) jobs() *jobs.Store { return jobs.NewStore(f.js, f.layout) }

// A second admin on the same streams.
func (f *fixture) another(lease time.Duration) *Admin {
	f.t.Helper()
	a, err := New(Config{RedriveLease: lease}, f.js, f.layout, f.store, f.view, f.egress, f.live, f.log, prometheus.NewRegistry())
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// Of two admins one works on a job. When it is stopped, or is gone, the other goes on.
func TestRedriveTwoAdmins(t *testing.T) {
	t.Parallel()
	const lease = 5 * time.Second // long enough for a busy machine to renew
	f := newFixture(t, func(c *Config) { c.RedriveLease = lease })
	stop := run(t, f.admin)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	const many = 60
	for n := range many {
		f.giveUp("ci", "e"+strconv.Itoa(n))
	}
	job := f.redriveJob(`{"rate":30}`)
	f.eventually("the first admin works on it", func() bool { return f.job(job.ID).Done > 0 })
	run(t, f.another(lease))
	run(t, f.another(lease))
	f.eventually("some are done", func() bool { return f.job(job.ID).Done >= many/3 })
	stop()
	job = f.awaitJob(job.ID)
	if job.Done != many || job.Failed != 0 || job.Gone != 0 {
		t.Errorf("the job: %+v", job)
	}
	record, err := f.jobs().Get(t.Context(), job.ID)
	if err != nil || record.Claims != 2 {
		t.Errorf("it was begun %d times, want twice; error %v", record.Claims, err)
	}
	if took := job.EndedAt.Sub(job.StartedAt); took < (many-2)*time.Second/30 {
		t.Errorf("%d dead letters at 30 per second took %s", many, took)
	}
	if got := len(f.queued("ci")); got != many || len(f.deadLettersLeft()) > 0 {
		t.Errorf("%d deliveries on the queue, want %d; dead letters left: %v", got, many, f.deadLettersLeft())
	}
}

// A job whose admin was killed goes on from what was written last. What it had
// redriven by then is not done twice.
func TestRedriveTakenOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.RedriveLease = 300 * time.Millisecond })
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	for n := range 10 {
		f.giveUp("ci", "e"+strconv.Itoa(n))
	}
	job := f.redriveJob(`{"subscription":"ci"}`)
	record, err := f.jobs().Get(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	// The dead admin has written that 2 are done, has done 4, and of a fifth one only
	// the first half.
	for sequence := uint64(1); sequence <= 4; sequence++ {
		f.do("POST", fmt.Sprintf("/v1/dead-letters/%d/redrive", sequence), "").want(http.StatusAccepted)
	}
	deadLetter, err := delivery.NewDeadLetters(f.js, f.layout).Get(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	q := f.layout.QueueFor("ci")
	if _, err := f.js.PublishMsg(t.Context(), deadLetter.Redriven(q.Subject, q.Stream, time.Now())); err != nil {
		t.Fatal(err)
	}
	record.Holder, record.Claims, record.Done, record.Next = "dead", 1, 2, 3
	if err := f.jobs().Update(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	run(t, f.admin)
	job = f.awaitJob(job.ID)
	if job.Done != 10 || job.Failed != 0 || job.Gone != 0 || job.State != jobs.Done {
		t.Errorf("the job: %+v", job)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("it was taken over after %s, before the lease had ended", took)
	}
	if got := len(f.queued("ci")); got != 10 {
		t.Errorf("%d deliveries on the queue, want 10", got)
	}
	// An admin that was only slow cannot write any more, and notices.
	record.Done = 3
	if err := f.jobs().Update(t.Context(), record); !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		t.Errorf("a late write: %v", err)
	}
}

func TestRedriveCancelled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	run(t, f.admin)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	const many = 50
	for n := range many {
		f.giveUp("ci", "e"+strconv.Itoa(n))
	}
	job := f.redriveJob(`{"rate":5}`)
	f.eventually("some are done", func() bool { return f.job(job.ID).Done > 0 })
	f.do("POST", "/v1/redrives/"+job.ID+"/cancel", "").want(http.StatusOK).mustContain(`"state":"cancelled"`)
	var done int
	f.eventually("the work has ended, and says how far it came", func() bool {
		job = f.job(job.ID)
		done = len(f.queued("ci"))
		return job.Done == done && job.State == jobs.Cancelled && len(f.logs.FilterMessage("redrive job left").All()) == 1
	})
	if left := len(f.deadLettersLeft()); left+done != many || done == many {
		t.Errorf("%d are done, %d left, of %d", done, left, many)
	}
}

// A job waits while the queue is half full, and one of a subscription that is
// deleted meanwhile fails.
func TestRedriveWaitsForRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	run(t, f.admin)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	for n := range 3 {
		f.giveUp("ci", "e"+strconv.Itoa(n))
	}
	f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusAccepted)
	f.fillQueue("ci")
	job := f.redriveJob(`{"subscription":"ci"}`)
	f.eventually("the job is worked on", func() bool { return len(f.logs.FilterMessage("redrive job begun").All()) == 1 })
	if job = f.job(job.ID); job.State != jobs.Running || job.Done+job.Failed > 0 {
		t.Errorf("while the queue is full: %+v", job)
	}
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK)
	job = f.awaitJob(job.ID)
	if job.State != jobs.Failed || !strings.Contains(job.Error, "subscription ci") || job.Failed != 1 {
		t.Errorf("after the subscription was deleted: %+v", job)
	}
	if left := len(f.deadLettersLeft()); left != 3 {
		t.Errorf("%d dead letters are left, want 3", left)
	}
}

func TestRedeliver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	e := newEvent("git.push", "e1")
	sequence := f.publish(e)
	attempted := func(id, eventID, log string, sequence uint64) {
		t.Helper()
		a := &delivery.Attempt{
			DeliveryID: id, SubscriptionID: "ci", Attempt: 2, Outcome: delivery.Delivered,
			Event: delivery.EventRef{ID: eventID, Source: "/test", Type: "git.push", Stream: log, Sequence: sequence},
		}
		if err := delivery.NewLog(f.js, f.layout).Record(t.Context(), a, id, func(*delivery.Attempt) {}); err != nil {
			t.Fatal(err)
		}
	}
	id := delivery.ID("ci", "/test", "e1")
	path := func(id string) string { return "/v1/subscriptions/ci/deliveries/" + id + "/redeliver" }
	f.do("POST", path(id), "").want(http.StatusNotFound).mustContain("no attempt")
	attempted(id, "e1", "EVENTS_git", sequence)
	for range 2 {
		f.do("POST", path(id), "").want(http.StatusAccepted).mustContain(id, `"state":"active"`)
	}
	got := f.queued("ci")
	if len(got) != 2 || got[0].ID != id || got[0].Manual == "" || got[0].Manual == got[1].Manual || got[0].Attempt != 1 {
		t.Fatalf("on the queue: %+v", got)
	}
	if diff := cmp.Diff(e, got[0].Event); diff != "" {
		t.Errorf("the event (-want +got):\n%s", diff)
	}
	record, err := stream.Get(t.Context(), f.js, "EVENTS_git", sequence)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Origin != delivery.Origin("EVENTS_git", sequence, record.Time, "ci") {
		t.Errorf("origin %s", got[0].Origin)
	}
	// One that was given up, and whose event is gone.
	f.giveUp("ci", "e2")
	f.do("POST", path(delivery.ID("ci", "/test", "e2")), "").want(http.StatusAccepted)
	if got = f.queued("ci"); len(got) != 3 || got[2].Event.ID != "e2" || got[2].Redrive.DeadLetter != 0 || len(f.deadLettersLeft()) != 1 {
		t.Errorf("of a dead letter: %+v", got)
	}
	log, err := f.js.Stream(t.Context(), "EVENTS_git")
	if err == nil {
		err = log.SecureDeleteMsg(t.Context(), sequence)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.do("POST", path(id), "").want(http.StatusGone).mustContain("EVENTS_git", "30 days")
	attempted(delivery.ID("ci", "/test", "e3"), "e3", delivery.TestLog, 1)
	f.do("POST", path(delivery.ID("ci", "/test", "e3")), "").want(http.StatusGone).mustContain("test event")
	// In a log that was made anew the place has another event.
	other := f.publish(newEvent("git.push", "e5"))
	attempted(delivery.ID("ci", "/test", "e4"), "e4", "EVENTS_git", other)
	f.do("POST", path(delivery.ID("ci", "/test", "e4")), "").want(http.StatusGone)
	f.do("POST", "/v1/subscriptions/unknown/deliveries/"+id+"/redeliver", "").want(http.StatusNotFound)
}
