package admin

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/story"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
)

// A journey is an event on its way, moved on by the test as router and sender would.
type journey struct {
	*fixture

	e   *event.Event
	seq uint64
}

func (f *fixture) journey(e *event.Event) *journey {
	f.t.Helper()
	return &journey{f, e, f.publish(e)}
}

// routed settles all events of the log, as routers do.
func (f *fixture) routed(domain string) {
	f.t.Helper()
	consumer, err := f.js.Consumer(f.t.Context(), f.layout.EventLog(domain), stream.RouterConsumer)
	if err != nil {
		f.t.Fatal(err)
	}
	batch, err := consumer.FetchNoWait(100)
	if err != nil {
		f.t.Fatal(err)
	}
	for msg := range batch.Messages() {
		if err := msg.DoubleAck(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (j *journey) log() string { return j.layout.EventLog("git") }

// stored is when the log stored the event.
func (j *journey) stored() time.Time {
	j.t.Helper()
	record, err := stream.Get(j.t.Context(), j.js, j.log(), j.seq)
	if err != nil {
		j.t.Fatal(err)
	}
	return record.Time
}

func (j *journey) delivery(sub string) *delivery.Delivery {
	return &delivery.Delivery{
		ID: delivery.ID(sub, j.e.Source, j.e.ID), SubscriptionID: sub, Event: j.e, Attempt: 1,
		Origin: delivery.Origin(j.log(), j.seq, j.stored(), sub), Accepted: time.Now(),
	}
}

// queue puts the delivery on the queue of a subscription.
func (j *journey) queue(sub string) {
	j.t.Helper()
	q := j.layout.QueueFor(sub)
	j.publishMsg(delivery.Queued(j.e, q.Subject, q.Stream, delivery.Origin(j.log(), j.seq, j.stored(), sub), time.Now()))
}

// take has a sender take all that is in the queue, and hands it back if it is to wait.
func (j *journey) take(sub string, wait time.Duration) {
	j.t.Helper()
	q := j.layout.QueueFor(sub)
	consumer, err := j.js.Consumer(j.t.Context(), q.Stream, q.Consumer)
	if err != nil {
		j.t.Fatal(err)
	}
	batch, err := consumer.FetchNoWait(1)
	if err != nil {
		j.t.Fatal(err)
	}
	for msg := range batch.Messages() {
		if wait > 0 {
			if err := msg.NakWithDelay(wait); err != nil {
				j.t.Fatal(err)
			}
		}
	}
}

func (j *journey) attempt(sub string, number int, outcome delivery.Outcome, next time.Time) {
	j.t.Helper()
	d := j.delivery(sub)
	a := &delivery.Attempt{
		DeliveryID: d.ID, SubscriptionID: sub, Attempt: number, Outcome: outcome, At: time.Now().UTC(),
		Method: http.MethodPost, URL: "http://127.0.0.1:9000/hook", Status: 503, Event: delivery.RefOf(d),
	}
	if outcome == delivery.Delivered {
		a.Status = 200
	}
	if !next.IsZero() {
		a.NextAttempt = &next
	}
	if err := delivery.NewLog(j.js, j.layout).Record(j.t.Context(), a, d.Origin, func(*delivery.Attempt) {}); err != nil {
		j.t.Fatal(err)
	}
}

func (j *journey) timer(sub string, at time.Time) {
	j.t.Helper()
	d, q := j.delivery(sub), j.layout.QueueFor(sub)
	d.Attempt = 2
	j.publishMsg(d.Timer(j.layout.RetryAt(q.RetryShard, sub, d.TimerKey()), j.layout.RetryDue(q.RetryShard, sub), at))
}

func (j *journey) giveUp(sub string) {
	j.t.Helper()
	if err := delivery.NewDeadLetters(j.js, j.layout).GiveUp(j.t.Context(), j.delivery(sub), delivery.ReasonExhausted, 2, nil); err != nil {
		j.t.Fatal(err)
	}
}

// story is the answer, and its parts by subscription.
func (f *fixture) story(path string) (whole v1.Story, parts map[string]v1.StoryPart) {
	f.t.Helper()
	f.do("GET", path, "").want(http.StatusOK).into(&whole)
	parts = map[string]v1.StoryPart{}
	for _, part := range whole.Subscriptions {
		parts[part.SubscriptionID] = part
	}
	return whole, parts
}

func (j *journey) path() string { return "/v1/events/git/" + strconv.FormatUint(j.seq, 10) }

func TestStory(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := []string{"dead", "delivered", "flying", "given-up", "manual", "nak", "never", "ordered", "paused", "queued", "redriven", "timer", "twice"}
	for _, id := range ids {
		f.do("POST", "/v1/subscriptions", subscriptionNamed(id)).want(http.StatusCreated)
	}
	f.do("POST", "/v1/subscriptions", `{"id":"other-branch","types":["git.push"],"filters":[{"exact":{"subject":"dev"}}],"endpoint":{"url":"http://127.0.0.1:9000/"}}`).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", `{"id":"other-type","types":["artifact.*"],"endpoint":{"url":"http://127.0.0.1:9000/"}}`).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions/paused/pause", "").want(http.StatusOK)
	for _, id := range []string{"deleted", "deleted-waiting"} {
		f.do("POST", "/v1/subscriptions", subscriptionNamed(id)).want(http.StatusCreated)
	}
	f.do("POST", "/v1/subscriptions", subscriptionNamed("disabled-later")).want(http.StatusCreated)

	e := newEvent("git.push", "e1")
	e.Subject = "main"
	j := f.journey(e)
	f.do("GET", j.path()+"/story", "").want(http.StatusOK).mustContain(`"routing":"waiting"`, `"outcome":"not_routed_yet"`, `"complete":true`)
	f.routed("git")
	soon, later := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond), time.Now().Add(2*time.Hour).UTC().Truncate(time.Millisecond)
	past := time.Now().Add(-time.Second)

	j.attempt("delivered", 1, delivery.Retry, past)
	j.attempt("delivered", 2, delivery.Delivered, time.Time{})
	j.attempt("dead", 1, delivery.Retry, past)
	j.attempt("dead", 2, delivery.Exhausted, time.Time{})
	j.giveUp("dead")
	j.attempt("given-up", 1, delivery.Rejected, time.Time{})
	j.queue("flying")
	j.take("flying", 0)
	j.queue("nak")
	j.attempt("nak", 1, delivery.Retry, soon)
	j.take("nak", time.Hour)
	j.attempt("timer", 1, delivery.Retry, soon)
	j.timer("timer", later) // the timer is what counts
	j.queue("paused")
	j.queue("queued")
	j.attempt("twice", 1, delivery.Retry, past)
	q := f.layout.QueueFor("twice")
	again := j.delivery("twice")
	again.Attempt = 2
	f.publishMsg(again.Requeued(q.Subject, q.Stream))
	j.attempt("redriven", 1, delivery.Exhausted, time.Time{})
	q = f.layout.QueueFor("redriven")
	f.publishMsg((&delivery.StoredDeadLetter{DeadLetter: delivery.DeadLetter{Attempts: 1, Sequence: 7}, Delivery: j.delivery("redriven")}).Redriven(q.Subject, q.Stream, time.Now()))
	j.attempt("manual", 1, delivery.Exhausted, time.Time{})
	j.giveUp("manual")
	q = f.layout.QueueFor("manual")
	f.publishMsg(j.delivery("manual").ManualRetry(q.Subject, q.Stream, "m1"))
	j.attempt("ordered", 1, delivery.Retry, past)
	j.attempt("deleted", 1, delivery.Delivered, time.Time{})
	j.attempt("deleted-waiting", 1, delivery.Retry, soon)
	j.queue("disabled-later")
	for _, id := range []string{"deleted", "deleted-waiting"} {
		f.do("DELETE", "/v1/subscriptions/"+id, "").want(http.StatusOK)
	}
	f.do("PATCH", "/v1/subscriptions/disabled-later", `{"state":"disabled"}`).want(http.StatusOK)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("afterwards")).want(http.StatusCreated)

	whole, parts := f.story(j.path() + "/story")
	if whole.Routing != "done" || !whole.Complete || whole.Domain != "git" || whole.Sequence != j.seq || whole.StoredAt.IsZero() {
		t.Errorf("got %+v", whole)
	}
	outcomes := map[string]string{}
	for id, part := range parts {
		outcomes[id] = part.Outcome
		if part.DeliveryID != delivery.ID(id, e.Source, e.ID) || part.Detail == "" || part.Reason == "" {
			t.Errorf("%s is not complete: %+v", id, part)
		}
	}
	want := map[string]string{
		"dead": "dead_letter", "delivered": "delivered", "flying": "in_flight", "given-up": "given_up", "manual": "dead_letter",
		"nak": "retry_scheduled", "never": "unknown", "ordered": "retry_due", "paused": "queued", "queued": "queued", "redriven": "queued",
		"timer": "retry_scheduled", "twice": "queued", "deleted": "delivered", "deleted-waiting": "dropped",
		"disabled-later": "queued", "afterwards": "not_matched",
	}
	if diff := cmp.Diff(want, outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if got := parts["delivered"]; len(got.Attempts) != 2 || got.Attempts[0].Attempt != 1 || got.ChangedSince || got.Deleted || got.Pending != nil {
		t.Errorf("got %+v", got)
	}
	if got := parts["dead"]; len(got.DeadLetters) != 1 || len(got.Attempts) != 2 {
		t.Errorf("got %+v", got)
	}
	if got := parts["timer"].Pending; got == nil || got.Place != "timer" || !got.Due.Equal(later) {
		t.Errorf("got %+v", got)
	}
	if got := parts["nak"].Pending; got == nil || got.Place != "in_flight" || !got.Due.Equal(soon) {
		t.Errorf("got %+v", got)
	}
	if got := parts["manual"].Pending; got == nil || !got.Manual {
		t.Errorf("got %+v", got)
	}
	if got := parts["deleted"]; !got.Deleted || got.Because != "deleted" {
		t.Errorf("got %+v", got)
	}
	if !parts["afterwards"].ChangedSince || !parts["disabled-later"].ChangedSince || parts["disabled-later"].Because != "disabled" {
		t.Errorf("got %+v, %+v", parts["afterwards"], parts["disabled-later"])
	}
	var others []string
	for _, v := range whole.NotMatched {
		others = append(others, v.SubscriptionID+" "+string(v.Because))
	}
	if diff := cmp.Diff([]string{"other-branch filter", "other-type type"}, others); diff != "" || whole.NotMatchedAll != 2 {
		t.Error(diff)
	}

	// The same about one, and found by source and id.
	for _, path := range []string{j.path() + "/story?", "/v1/events/story?source=%2Ftest&id=e1&", "/v1/events/story?source=%2Ftest&id=e1&type=git.push&"} {
		for _, id := range []string{"timer", "deleted", "other-branch"} {
			one, parts := f.story(path + "subscription=" + id)
			if len(one.Subscriptions) != 1 || len(one.NotMatched) != 0 || one.Sequence != j.seq || id != "other-branch" && parts[id].Outcome != want[id] {
				t.Errorf("%s of %s: got %+v", path, id, one)
			}
		}
	}
	f.do("GET", j.path()+"/story?subscription=unknown", "").want(http.StatusNotFound)
	f.do("GET", j.path()+"/story?subscription=_invalid", "").want(http.StatusUnprocessableEntity)
	f.do("GET", "/v1/events/story?source=%2Ftest&id=e2", "").want(http.StatusNotFound).mustContain("git", "artifact")
	f.do("GET", "/v1/events/story?source=%2Ftest", "").want(http.StatusUnprocessableEntity).mustContain("id")
}

// Another event with the same source and id has the same delivery ids, and a story of
// its own.
func TestStoryOfOneOfTwo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("ci")).want(http.StatusCreated)
	e := newEvent("git.push", "e1")
	e.Subject = "main"
	first := f.journey(e)
	second := f.journey(e)
	f.routed("git")
	first.attempt("ci", 1, delivery.Delivered, time.Time{})
	second.queue("ci")
	if _, parts := f.story(first.path() + "/story"); parts["ci"].Outcome != "delivered" || len(parts["ci"].Attempts) != 1 {
		t.Errorf("got %+v", parts["ci"])
	}
	if whole, parts := f.story("/v1/events/story?source=%2Ftest&id=e1&domain=git"); parts["ci"].Outcome != "queued" || whole.Sequence != second.seq {
		t.Errorf("got %+v", parts["ci"])
	}
}

// A delivery is found in a long queue, and what is not searched whole is said.
func TestStoryOfLongQueue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("ci")).want(http.StatusCreated)
	var journeys []*journey
	for n := range 150 {
		e := newEvent("git.push", "e"+strconv.Itoa(n))
		e.Subject = "main"
		j := f.journey(e)
		j.queue("ci")
		journeys = append(journeys, j)
	}
	f.routed("git")
	f.routed("git")
	for _, j := range []*journey{journeys[0], journeys[75], journeys[149]} {
		if whole, parts := f.story(j.path() + "/story"); parts["ci"].Outcome != "queued" || !whole.Complete {
			t.Errorf("%s: got %+v", j.path(), parts["ci"])
		}
	}
	what, complete, err := stream.FindWaiting(t.Context(), f.js, f.layout.QueueFor("ci"), time.Time{}, 10, func(nats.Header) bool { return false })
	if what != nil || complete || err != nil {
		t.Errorf("got %v, %t, %v", what, complete, err)
	}
}

// When there is no time left, the story says what it lacks.
func TestStoryWithoutTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("ci")).want(http.StatusCreated)
	e := newEvent("git.push", "e1")
	e.Subject = "main"
	j := f.journey(e)
	j.attempt("ci", 1, delivery.Delivered, time.Time{})
	record, err := stream.Get(t.Context(), f.js, j.log(), j.seq)
	if err != nil {
		t.Fatal(err)
	}
	stories := story.NewStories(story.NewLogs(f.admin.api, f.js, f.layout, catalogue.New(f.live)), f.admin.keep, f.admin.attempts, delivery.NewDeadLetters(f.js, f.layout), time.Nanosecond)
	got, err := stories.Assemble(t.Context(), "git", &record, "")
	if err != nil {
		t.Fatal(err)
	}
	if got.Complete || len(got.NotLookedAt) != 2 || len(got.Subscriptions) != 1 || got.Subscriptions[0].Outcome != "unknown" {
		t.Errorf("got %+v", got)
	}
}

func TestStoryOfWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.unreadable()
	deadLetters := delivery.NewDeadLetters(f.js, f.layout)
	if err := deadLetters.KeepUnreadable(t.Context(), &consume.Message{Msg: &nats.Msg{}, Stream: f.layout.EventLog("git"), Sequence: 1}, event.ErrInvalidEvent); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/v1/events/git/1/story", "").want(http.StatusOK).mustContain(`"unreadable":{`, `"error":"`, `"subscriptions":[]`)
	f.do("GET", "/v1/events/git/1", "").want(http.StatusOK).mustContain(`"error":"`)
}

func TestGetEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(newEvent("git.push", "e1"))
	f.do("GET", "/v1/events/git/1", "").want(http.StatusOK).mustContain(`"domain":"git","stream":"EVENTS_git","sequence":1`, `"id":"e1"`)
	for _, path := range []string{"git/2", "git/0", "nope/1", "GIT/1"} {
		f.do("GET", "/v1/events/"+path, "").want(http.StatusNotFound).mustContain("30 days")
	}
	f.do("GET", "/v1/events/git/first", "").want(http.StatusUnprocessableEntity)
}

func TestSearchEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var want []string
	for n := range 20 {
		eventType := []string{"git.push", "artifact.deployed", "git.pull_request"}[n%3]
		e := newEvent(eventType, "e"+strconv.Itoa(n))
		if n%4 == 0 {
			e.Source = "/rare"
			want = append(want, e.ID)
		}
		f.publish(e)
	}
	structured := newEvent("git.push", "structured")
	structured.Source = "/rare"
	msg := &nats.Msg{Subject: f.layout.EventSubject("git", "push"), Header: map[string][]string{"Content-Type": {"application/cloudevents+json"}}, Data: structured.AppendStructured(nil)}
	f.publishMsg(msg)
	want = append(want, "structured")
	newest := slices.Clone(want)
	slices.Reverse(newest)
	collect := func(query string) (ids []string) {
		t.Helper()
		for cursor := ""; ; {
			part, next := f.do("GET", "/v1/events?limit=2&"+query+cursor, "").want(http.StatusOK).ids()
			if ids = append(ids, part...); next == "" {
				return ids
			}
			cursor = "&cursor=" + next
		}
	}
	if diff := cmp.Diff(newest, collect("source=/rare")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, collect("source=/rare&from_time=2020-01-01T00:00:00Z")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"e8"}, collect("source=/rare&id=e8")); diff != "" {
		t.Error(diff)
	}
	if got := collect("id=e8&source=/test"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	log, err := f.js.Stream(t.Context(), f.layout.EventLog("git"))
	if err != nil {
		t.Fatal(err)
	}
	var middle *jetstream.RawStreamMsg
	if middle, err = log.GetMsg(t.Context(), 6); err != nil { // e8
		t.Fatal(err)
	}
	to := "&to_time=" + middle.Time.Format(time.RFC3339Nano)
	if diff := cmp.Diff([]string{"e6", "e5", "e3", "e2", "e0"}, collect("domain=git"+to)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"e0", "e2", "e3", "e5", "e6"}, collect("domain=git&from_seq=1"+to)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"e0"}, collect("domain=git&from_seq=1&source=/rare"+to)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"e4", "e0"}, collect("source=/rare"+to)); diff != "" {
		t.Error(diff)
	}
	for _, query := range []string{"to_time=0044-03-15T00:00:00Z", "follow=true&to_time=2026-01-01T00:00:00Z", "from_time=2026-01-02T00:00:00Z&to_time=2026-01-01T00:00:00Z"} {
		f.do("GET", "/v1/events?"+query, "").want(http.StatusUnprocessableEntity)
	}
}
