package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := time.Now()
	r := f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	created := r.subscription()

	if !strings.HasPrefix(created.Secret, "whsec_") || strings.Count(string(r.body), "whsec_") != 1 {
		t.Errorf("the secret is not shown exactly once: %s", r.body)
	}
	if created.CreatedAt.Before(before.Add(-time.Second)) || created.Revision == 0 {
		t.Errorf("got created_at %v and revision %d", created.CreatedAt, created.Revision)
	}
	if got, want := r.header.Get("ETag"), fmt.Sprintf("%q", strconv.FormatUint(created.Revision, 10)); got != want {
		t.Errorf("got ETag %s, want %s", got, want)
	}
	if got := r.header.Get("Location"); got != "/v1/subscriptions/ci" {
		t.Errorf("got Location %q", got)
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("got Cache-Control %q for an answer with a secret", got)
	}

	// Clients depend on this form.
	var got map[string]any
	r.into(&got)
	keys := got["secrets"].([]any)[0].(map[string]any)
	keys["id"], keys["created_at"] = "key_x", "x"
	got["secret"], got["created_at"], got["updated_at"], got["revision"] = "whsec_x", "x", "x", 1.0
	want := map[string]any{
		"id": "ci", "types": []any{"git.push"}, "profile": "cloudevents", "state": "active",
		"filters":  []any{map[string]any{"exact": map[string]any{"subject": "main"}}},
		"endpoint": map[string]any{"url": "http://127.0.0.1:9000/hook", "method": "POST", "timeout": "15s"},
		"secrets":  []any{map[string]any{"id": "key_x", "secret": "[secret]", "created_at": "x"}},
		"delivery": map[string]any{
			"max_in_flight": 64.0, "senders": 1.0, "max_age": "120h", "breaker": map[string]any{"mode": "on", "failures": 10.0, "disable_after": "120h"},
			"retry": map[string]any{"schedule": []any{"0s", "5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"}, "jitter": 0.2},
		},
		"queue":  map[string]any{"stream": "DELIVERIES_ci", "subject": "deliveries.ci", "consumer": "sender", "retry_shard": f.layout.QueueFor("ci").RetryShard},
		"secret": "whsec_x", "created_at": "x", "updated_at": "x", "revision": 1.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if f.inFlight("ci") != 64 {
		t.Errorf("got a consumer with %d in flight", f.inFlight("ci"))
	}

	shown := f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusOK).mustNotContain("whsec_", `"secret":"w`)
	if got := shown.header.Get("ETag"); got != r.header.Get("ETag") {
		t.Errorf("got ETag %s after %s", got, r.header.Get("ETag"))
	}
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusConflict).mustContain("exists already", "PATCH")
}

// inFlight is the bound of a queue's consumer.
func (f *fixture) inFlight(id string) int {
	f.t.Helper()
	c, err := f.js.Consumer(f.t.Context(), f.layout.QueueFor(id).Stream, stream.SenderConsumer)
	if err != nil {
		f.t.Fatal(err)
	}
	return c.CachedInfo().Config.MaxAckPending
}

func TestCreateWithWhatIsGiven(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	r := f.do("POST", "/v1/subscriptions", `{"types":["git.*"],"secret":"`+secret+`",
		"endpoint":{"url":"http://127.0.0.1:9000/hook?token=swordfish","secret_headers":{"Authorization":"Bearer swordfish"}},
		"queue":{"stream":"DELIVERIES_other","subject":"deliveries.other","consumer":"x","retry_shard":"77"},
		"revision":99,"state_reason":"made up","state":"paused"}`).want(http.StatusCreated)
	r.mustNotContain("swordfish")
	created := r.subscription()
	if !strings.HasPrefix(created.ID, "sub-") {
		t.Errorf("got the id %q", created.ID)
	}
	if created.Secret != secret {
		t.Errorf("got another secret than the one that was given")
	}
	if created.Queue != v1.Queue(f.layout.QueueFor(created.ID)) || created.StateReason != "" || created.Revision == 99 {
		t.Errorf("the client chose what is not its own: %s", r.body)
	}
	if created.State != v1.Paused {
		t.Errorf("got state %s", created.State)
	}
	f.do("GET", "/v1/subscriptions/"+created.ID, "").want(http.StatusOK).
		mustContain(`"query":"[secret]"`, `"Authorization":"[secret]"`, `"url":"http://127.0.0.1:9000/hook"`).
		mustNotContain("swordfish", secret)
	f.do("GET", "/v1/subscriptions/"+created.ID+"/secret", "").want(http.StatusOK).mustContain(secret)
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	deep := func(n int) string {
		return strings.Repeat(`{"not":`, n) + `{"exact":{"subject":"x"}}` + strings.Repeat(`}`, n)
	}
	with := func(members string) string {
		return `{"types":["git.push"],"endpoint":{"url":"https://example.com/"},` + members + `}`
	}
	tests := []struct {
		name, body string
		status     int
		fields     []string
		detail     string
	}{
		{
			"everything wrong at once", `{"id":"No","types":["git.pusch","orders.*","bad type"],"endpoint":{"url":"ftp://h/"},"profile":"x","filters":[{"exact":{"a-b":"x"}}]}`,
			422,
			[]string{"filters[0].exact.a-b"},
			"not an attribute name",
		},
		{
			"several fields", `{"id":"No","types":["git.pusch","orders.*"],"endpoint":{"url":"ftp://h/"},"profile":"x"}`,
			422,
			[]string{"id", "endpoint.url", "profile", "types[0]", "types[1]"},
			"",
		},
		{"unknown type", `{"types":["git.pusch"],"endpoint":{"url":"https://example.com/"}}`, 422, []string{"types[0]"}, `did you mean \"git.push\"?`},
		{"unknown type explains", `{"types":["git.pusch"],"endpoint":{"url":"https://example.com/"}}`, 422, []string{"types[0]"}, `GET /v1/event-types`},
		{"unknown domain", `{"types":["orders.*"],"endpoint":{"url":"https://example.com/"}}`, 422, []string{"types[0]"}, "the domains are app_trust, artifact"},
		{"no types", `{"endpoint":{"url":"https://example.com/"}}`, 422, []string{"types"}, "at least one event type"},
		{"no endpoint", `{"types":["git.push"]}`, 422, []string{"endpoint.url"}, "is missing"},
		{"private address", `{"types":["git.push"],"endpoint":{"url":"https://10.0.0.1/"}}`, 422, []string{"endpoint.url"}, "--allow-target 10.0.0.1/32"},
		{"http to a public address", `{"types":["git.push"],"endpoint":{"url":"http://example.com/"}}`, 422, []string{"endpoint.url"}, "refused"},
		{"password in the URL", `{"types":["git.push"],"endpoint":{"url":"https://user:swordfish@example.com/"}}`, 422, []string{"endpoint.url"}, "user name"},
		{"not JSON", `{"types":`, 422, []string{""}, "ends too early"},
		{"not an object", `["git.push"]`, 422, []string{""}, "must be an object"},
		{"nothing in it", ` `, 422, []string{""}, "not valid JSON"},
		{"unknown field", with(`"url":"x"`), 422, []string{"url"}, "is not a field"},
		{"field twice", with(`"types":["git.push"]`), 422, []string{""}, "twice"},
		{
			"wrong types", `{"types":"git.push","endpoint":"https://example.com/","labels":[],"delivery":{"max_in_flight":"64","max_age":5}}`,
			422,
			[]string{"types", "endpoint", "labels", "delivery.max_in_flight", "delivery.max_age"},
			"",
		},
		{"deep filter", with(`"filters":[` + deep(8) + `]`), 422, []string{"filters[0].not.not.not.not.not.not.not.not"}, "nested"},
		{"deep JSON", with(`"filters":[` + deep(20_000) + `]`), 422, []string{""}, "max depth"},
		{"short secret", with(`"secret":"whsec_c3dvcmRmaXNo"`), 422, []string{"secrets[0].secret"}, "24 to 64 bytes"},
		{"placeholder for nothing", with(`"secrets":[{"id":"k","secret":"[secret]"}]`), 422, []string{"secrets[0].secret"}, "stands for"},
		{"no body", "", 400, nil, "body is required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := send(t, "POST", f.url+"/v1/subscriptions", tt.body, "Content-Type", "application/json").want(tt.status)
			if diff := cmp.Diff(tt.fields, r.fields()); diff != "" {
				t.Errorf("fields (-want +got):\n%s\n%s", diff, r.body)
			}
			r.mustContain(tt.detail).mustNotContain("swordfish", "c3dvcmRmaXNo")
		})
	}
	t.Cleanup(func() { // after the subtests: nothing of all that has left a trace
		names := streamNames(t, f.js)
		if slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "DELIVERIES_") }) {
			t.Errorf("a refused subscription has left a queue: %v", names)
		}
	})
}

func streamNames(tb testing.TB, js jetstream.JetStream) []string {
	tb.Helper()
	var names []string
	lister := js.StreamNames(context.WithoutCancel(tb.Context())) // also in a cleanup
	for name := range lister.Name() {
		names = append(names, name)
	}
	if err := lister.Err(); err != nil {
		tb.Fatal(err)
	}
	return names
}

func TestHostileBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	huge := strings.Repeat(" ", 10<<20)
	f.do("POST", "/v1/subscriptions", huge).want(http.StatusRequestEntityTooLarge)
	// Without a length in advance.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/v1/subscriptions", struct{ *strings.Reader }{strings.NewReader(huge)})
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil { // or the connection is cut while writing
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("got status %d for a body without a length", resp.StatusCode)
		}
	}
	f.do("POST", "/v1/subscriptions", ci, "Content-Type", "application/x-www-form-urlencoded").
		want(http.StatusUnsupportedMediaType).mustContain("application/json")
	f.do("POST", "/v1/subscriptions", ci, "Content-Type", "application/json-patch+json").want(http.StatusUnsupportedMediaType)
	f.do("POST", "/v1/subscriptions", ci, "Content-Type", "application/json; charset=utf-8").want(http.StatusCreated)
	for _, contentType := range []string{"application/json; utf-8", "Application/JSON ; charset=utf-8", "text/json"} {
		f.do("POST", "/v1/subscriptions", ci, "Content-Type", contentType).want(http.StatusConflict) // it was read
	}
}

// One of many creations wins, and the others hear that it exists.
func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const clients = 16
	statuses := make([]int, clients)
	ids := make([]string, clients)
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			statuses[i] = f.do("POST", "/v1/subscriptions", ci).status
			ids[i] = f.do("POST", "/v1/subscriptions", subscriptionNamed(fmt.Sprintf("ci-%d", i))).subscription().ID
		})
	}
	running.Wait()
	slices.Sort(statuses)
	if statuses[0] != http.StatusCreated || statuses[1] != http.StatusConflict || statuses[clients-1] != http.StatusConflict {
		t.Errorf("got %v, want one 201 and 409 for all others", statuses)
	}
	if slices.Contains(ids, "") {
		t.Errorf("some of the others failed: %v", ids)
	}
	var page v1.SubscriptionPage
	f.do("GET", "/v1/subscriptions?limit=100", "").want(http.StatusOK).into(&page)
	if len(page.Items) != clients+1 {
		t.Errorf("got %d subscriptions, want %d", len(page.Items), clients+1)
	}
}

// A subscription that lost the race in another process must not change the queue
// of the one that has won.
func TestCreateLeavesTheOthersQueueAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", strings.Replace(ci, `"profile"`, `"delivery":{"max_in_flight":3},"profile"`, 1)).want(http.StatusConflict)
	if got := f.inFlight("ci"); got != 64 {
		t.Errorf("a refused creation changed the queue: %d in flight", got)
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 7 {
		body := strings.Replace(subscriptionNamed(fmt.Sprintf("s%d", i)), `"profile"`, fmt.Sprintf(`"labels":{"team":"t%d","odd":"%t"},"profile"`, i%2, i%2 == 1), 1)
		f.do("POST", "/v1/subscriptions", body).want(http.StatusCreated)
	}
	f.do("POST", "/v1/subscriptions/s3/pause", "").want(http.StatusOK)

	list := func(query string) (ids []string, next string) {
		t.Helper()
		var page v1.SubscriptionPage
		f.do("GET", "/v1/subscriptions"+query, "").want(http.StatusOK).mustNotContain("whsec_").into(&page)
		ids = []string{}
		for _, s := range page.Items {
			ids = append(ids, s.ID)
		}
		return ids, page.NextCursor
	}
	first, next := list("?limit=3")
	if diff := cmp.Diff([]string{"s0", "s1", "s2"}, first); diff != "" {
		t.Error(diff)
	}
	// What comes and goes between two pages moves nothing.
	f.do("DELETE", "/v1/subscriptions/s2", "").want(http.StatusOK)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("a0")).want(http.StatusCreated)
	second, next := list("?limit=3&cursor=" + next)
	if diff := cmp.Diff([]string{"s3", "s4", "s5"}, second); diff != "" {
		t.Error(diff)
	}
	third, next := list("?limit=3&cursor=" + next)
	if diff := cmp.Diff([]string{"s6"}, third); diff != "" || next != "" {
		t.Errorf("last page: %v, next %q", third, next)
	}
	for query, want := range map[string][]string{
		"?state=paused":                    {"s3"},
		"?state=disabled":                  {},
		"?label=team=t1":                   {"s1", "s3", "s5"},
		"?label=team":                      {"s0", "s1", "s3", "s4", "s5", "s6"},
		"?label=team=t1&label=odd=false":   {},
		"?label=team=t1&limit=2":           {"s1", "s3"},
		"?label=team=t0&state=active":      {"s0", "s4", "s6"},
		"?label=team=t1&limit=2&cursor=s3": {"s5"},
	} {
		if got, _ := list(query); !cmp.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?limit=x", "?cursor=..", "?state=odd", "?label==x", "?lable=x"} {
		f.do("GET", "/v1/subscriptions"+query, "").want(http.StatusUnprocessableEntity)
	}
}

func TestGetMissing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{"nope", "NOPE", "..", "a.b", "%2e%2e", strings.Repeat("x", 300)} {
		f.do("GET", "/v1/subscriptions/"+path, "").want(http.StatusNotFound)
	}
	f.do("PATCH", "/v1/subscriptions/nope", `{}`).want(http.StatusNotFound)
	f.do("DELETE", "/v1/subscriptions/nope", "").want(http.StatusNotFound)
	for _, action := range []string{"pause", "resume", "rotate-secret", "test"} {
		f.do("POST", "/v1/subscriptions/nope/"+action, "").want(http.StatusNotFound)
	}
	for _, records := range []string{"secret", "attempts", "attempts?follow=true", "dead-letters"} {
		f.do("GET", "/v1/subscriptions/nope/"+records, "").want(http.StatusNotFound)
		f.do("GET", "/v1/subscriptions/%2a/"+records, "").want(http.StatusNotFound)
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.do("POST", "/v1/subscriptions", `{"id":"ci","types":["git.push"],"description":"old","labels":{"a":"b"},
		"endpoint":{"url":"http://127.0.0.1:9000/hook?token=swordfish","secret_headers":{"X-Key":"swordfish"}}}`).want(http.StatusCreated).subscription()

	// What was read can be sent back: secrets that are placeholders stay.
	read := f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusOK)
	f.do("PUT", "/v1/subscriptions/ci", string(read.body)).want(http.StatusOK).mustNotContain("swordfish")
	stored, err := f.store.Get(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	if stored.Endpoint.Query.Reveal() != "token=swordfish" || stored.Endpoint.SecretHeaders["X-Key"].Reveal() != "swordfish" {
		t.Error("a round trip lost the secrets")
	}

	// What is left out gets its default, but for the signing secret.
	replaced := f.do("PUT", "/v1/subscriptions/ci", `{"types":["git.*"],"endpoint":{"url":"http://127.0.0.1:9000/new"},"delivery":{"max_in_flight":7}}`).
		want(http.StatusOK).mustNotContain("whsec_").subscription()
	if replaced.Description != "" || len(replaced.Labels) != 0 || replaced.Endpoint.Query != "" || len(replaced.Endpoint.SecretHeaders) != 0 {
		t.Errorf("something is left of what was replaced: %+v", replaced)
	}
	if !replaced.CreatedAt.Equal(created.CreatedAt) || replaced.Queue != created.Queue {
		t.Errorf("a replacement changed what never changes")
	}
	f.do("GET", "/v1/subscriptions/ci/secret", "").mustContain(created.Secret)
	if got := f.inFlight("ci"); got != 7 {
		t.Errorf("max_in_flight did not reach the consumer: %d", got)
	}
	f.do("PUT", "/v1/subscriptions/ci", subscriptionNamed("other")).want(http.StatusUnprocessableEntity).mustContain("cannot be changed")
	f.do("PUT", "/v1/subscriptions/ci", `{"types":["nope.x"],"endpoint":{"url":"http://127.0.0.1:9000/new"}}`).want(http.StatusUnprocessableEntity)
}

func TestPatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", `{"id":"ci","types":["git.push"],"description":"old","labels":{"a":"1","b":"2"},
		"endpoint":{"url":"http://127.0.0.1:9000/hook?token=swordfish","secret_headers":{"X-Key":"swordfish"}}}`).want(http.StatusCreated)
	query := func() string {
		t.Helper()
		s, err := f.store.Get(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		if s.Endpoint.SecretHeaders["X-Key"].Reveal() != "swordfish" {
			t.Error("the secret header is lost")
		}
		return s.Endpoint.Query.Reveal()
	}

	r := f.do("PATCH", "/v1/subscriptions/ci", `{"description":null,"labels":{"a":null,"c":"3"},"delivery":{"max_in_flight":5},"filters":[{"prefix":{"subject":"rel"}}]}`,
		"Content-Type", "application/merge-patch+json").want(http.StatusOK).mustNotContain("swordfish", "whsec_")
	got := r.subscription()
	if diff := cmp.Diff(map[string]string{"b": "2", "c": "3"}, got.Labels); diff != "" || got.Description != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if got.Delivery.MaxInFlight != 5 || f.inFlight("ci") != 5 || len(got.Filters) != 1 || len(got.Delivery.Retry.Schedule) != 10 {
		t.Errorf("got %s", r.body)
	}
	if query() != "token=swordfish" {
		t.Error("the query is lost")
	}
	// A URL is replaced as a whole: the secret query goes with it.
	f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"url":"http://127.0.0.1:9000/other"}}`).want(http.StatusOK)
	if query() != "" {
		t.Error("the secret query would be sent to another URL")
	}
	f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"url":"http://127.0.0.1:9000/other?key=2"}}`).want(http.StatusOK)
	if query() != "key=2" {
		t.Errorf("got the query %q", query())
	}

	// Order can be switched on and off; it brings its limit with it.
	for _, step := range []struct {
		patch   string
		status  int
		ordered bool
		flight  int
	}{
		{`{"delivery":{"ordered":true,"max_in_flight":5}}`, http.StatusUnprocessableEntity, false, 5},
		{`{"delivery":{"ordered":false}}`, http.StatusOK, false, 5},
		{`{"delivery":{"ordered":true}}`, http.StatusOK, true, 1},
		{`{"delivery":{"rate":10}}`, http.StatusOK, true, 1},
		{`{"delivery":{"max_in_flight":2}}`, http.StatusUnprocessableEntity, true, 1},
		{`{"delivery":{"ordered":null}}`, http.StatusOK, false, 64},
		{`{"delivery":{"ordered":true,"max_in_flight":1}}`, http.StatusOK, true, 1},
		{`{"delivery":{"ordered":false,"max_in_flight":5,"rate":0}}`, http.StatusOK, false, 5},
	} {
		f.do("PATCH", "/v1/subscriptions/ci", step.patch).want(step.status)
		got := f.do("GET", "/v1/subscriptions/ci", "").subscription().Delivery
		if got.Ordered != step.ordered || got.MaxInFlight != step.flight || f.inFlight("ci") != step.flight {
			t.Errorf("%s: ordered is %t, %d in flight, and %d for the server", step.patch, got.Ordered, got.MaxInFlight, f.inFlight("ci"))
		}
	}

	for body, want := range map[string]int{
		`{"id":"x"}`:                       http.StatusUnprocessableEntity,
		`{"types":[]}`:                     http.StatusUnprocessableEntity,
		`{"nope":1}`:                       http.StatusUnprocessableEntity,
		`{"filters":[{"regexp":"x"}]}`:     http.StatusUnprocessableEntity,
		`[]`:                               http.StatusUnprocessableEntity,
		`{"labels":{},"labels":{}}`:        http.StatusBadRequest,
		`{"labels":`:                       http.StatusBadRequest,
		`{} {}`:                            http.StatusBadRequest,
		strings.Repeat(`{"a":`, 100_000/5): http.StatusBadRequest,
		`{"endpoint":{"url":"https://10.0.0.1/"}}`:            http.StatusUnprocessableEntity,
		`{"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}`: http.StatusUnprocessableEntity,
	} {
		f.do("PATCH", "/v1/subscriptions/ci", body).want(want)
	}
	after := f.do("GET", "/v1/subscriptions/ci", "").subscription()
	if after.Delivery.MaxInFlight != 5 || !cmp.Equal(after.Types, []string{"git.push"}) {
		t.Error("a refused patch has changed something")
	}
}

func TestConditionalChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated).header.Get("ETag")
	second := f.do("PATCH", "/v1/subscriptions/ci", `{"description":"2"}`, "If-Match", first).want(http.StatusOK).header.Get("ETag")
	if first == second {
		t.Fatalf("the ETag did not change: %s", first)
	}
	f.do("PATCH", "/v1/subscriptions/ci", `{"description":"3"}`, "If-Match", first).want(http.StatusPreconditionFailed).mustContain("If-Match")
	f.do("PUT", "/v1/subscriptions/ci", ci, "If-Match", first).want(http.StatusPreconditionFailed)
	f.do("PUT", "/v1/subscriptions/ci", ci, "If-Match", "W/"+second).want(http.StatusPreconditionFailed)
	f.do("DELETE", "/v1/subscriptions/ci", "", "If-Match", first).want(http.StatusPreconditionFailed)
	if got := f.do("GET", "/v1/subscriptions/ci", "").subscription(); got.Description != "2" || got.State != v1.Active {
		t.Errorf("a failed precondition has changed something: %+v", got)
	}
	f.do("PATCH", "/v1/subscriptions/ci", `{"description":"4"}`, "If-Match", `"0", `+second).want(http.StatusOK)
	f.do("DELETE", "/v1/subscriptions/ci", "", "If-Match", "*").want(http.StatusOK)
}

// Changes of different fields at the same time are all kept.
func TestConcurrentPatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	const clients = 16
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			if r := f.do("PATCH", "/v1/subscriptions/ci", fmt.Sprintf(`{"labels":{"l%d":"x"}}`, i)); r.status != http.StatusOK {
				t.Errorf("got %d: %s", r.status, r.body)
			}
		})
		running.Go(func() { // and a client of another process
			_, err := f.store.Change(t.Context(), "ci", func(s *subscription.Subscription) error {
				s.Description += "x"
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	got := f.do("GET", "/v1/subscriptions/ci", "").subscription()
	if len(got.Labels) != clients || len(got.Description) != clients {
		t.Errorf("got %d labels and the description %q", len(got.Labels), got.Description)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	q := f.layout.QueueFor("ci")
	for range 3 {
		f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusAccepted)
	}
	// One of them has become a retry timer, one timer belongs to another subscription.
	d := f.queued("ci")[0]
	timer := d.Timer(f.layout.RetryAt(q.RetryShard, "ci", d.TimerKey()), f.layout.RetryDue(q.RetryShard, "ci"), time.Now().Add(time.Hour))
	other := d.Timer(f.layout.RetryAt(q.RetryShard, "ci-2", d.TimerKey()), f.layout.RetryDue(q.RetryShard, "ci-2"), time.Now().Add(time.Hour))
	other.Header.Set(nats.MsgIdHdr, "other")
	for _, m := range []*nats.Msg{timer, other} {
		if _, err := f.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.TrimSpace(string(f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK).body)); got != `{"dropped":4,"queued":3,"retries":1}` {
		t.Errorf("got %s", got)
	}
	f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusNotFound)
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusNotFound)
	if _, err := f.js.Stream(t.Context(), q.Stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("looking for the queue: %v", err)
	}
	s, err := f.js.Stream(t.Context(), f.layout.RetryStream(q.RetryShard))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("%d retry timers are left, want that of the other subscription", got)
	}
	// A later one of the same id begins with nothing.
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	if left := f.queued("ci"); len(left) != 0 {
		t.Errorf("the new subscription inherits %d deliveries", len(left))
	}
}

// A deletion that was broken off after any step can be repeated.
func TestDeleteAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	if err := f.layout.DeleteQueue(t.Context(), f.js, f.layout.QueueFor("ci")); err != nil {
		t.Fatal(err)
	}
	// It can also be taken back into use.
	f.do("POST", "/v1/subscriptions/ci/resume", "").want(http.StatusOK)
	if f.inFlight("ci") != 64 {
		t.Error("resuming did not bring the queue back")
	}
	if err := f.layout.DeleteQueue(t.Context(), f.js, f.layout.QueueFor("ci")); err != nil {
		t.Fatal(err)
	}
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK).mustContain(`"dropped":0`)
	f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusNotFound)
}

// A record that no keyring opens is shown as broken and can be deleted.
func TestBrokenRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	kv, err := f.js.KeyValue(t.Context(), f.layout.SubscriptionsBucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "ci", `{"id":"ci"`); err != nil {
		t.Fatal(err)
	}
	var list v1.SubscriptionPage
	f.do("GET", "/v1/subscriptions", "").want(http.StatusOK).into(&list)
	if len(list.Items) != 0 || len(list.Broken) != 1 || list.Broken[0].ID != "ci" || list.Broken[0].Error == "" {
		t.Errorf("got %+v", list)
	}
	f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusInternalServerError)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusInternalServerError)
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
}

// What the API has answered is what another process matches with.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	routers := subscription.NewView(subscription.ViewConfig{}, f.js, f.layout, nil, f.log)
	go func() { _ = routers.Run(t.Context()) }()
	for i := range 20 {
		id := fmt.Sprintf("s%d", i)
		created := f.do("POST", "/v1/subscriptions", strings.Replace(subscriptionNamed(id), `[{"exact":{"subject":"main"}}]`, `[]`, 1)).want(http.StatusCreated).subscription()
		snapshot, err := routers.Sync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := snapshot.Match("git", newEvent("git.push", "1"), nil); len(got) != 1 || got[0].ID != id || got[0].Revision != created.Revision {
			t.Fatalf("got %d matches after %s was created", len(got), id)
		}
		f.do("GET", "/v1/subscriptions/"+id, "").want(http.StatusOK)
		f.do("DELETE", "/v1/subscriptions/"+id, "").want(http.StatusOK)
		f.do("GET", "/v1/subscriptions/"+id, "").want(http.StatusNotFound)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.Timeout = 200 * time.Millisecond })
	// On a busy machine that is too short for all that is created, too.
	f.eventually("it is created", func() bool {
		status := f.do("POST", "/v1/subscriptions", ci).status
		return status == http.StatusCreated || status == http.StatusConflict
	})
	f.nats.Stop()
	for _, r := range []reply{
		f.do("GET", "/v1/subscriptions", ""), f.do("GET", "/v1/subscriptions/ci", ""), f.do("GET", "/v1/attempts", ""),
		f.do("GET", "/v1/events", ""), f.do("POST", "/v1/subscriptions", subscriptionNamed("b")), f.do("DELETE", "/v1/subscriptions/ci", ""),
	} {
		r.want(http.StatusServiceUnavailable)
		if r.header.Get("Retry-After") == "" || r.header.Get("X-Request-Id") == "" {
			t.Errorf("got headers %v", r.header)
		}
	}
	f.nats.Start()
	for deadline := time.Now().Add(patience); ; {
		if r := f.do("GET", "/v1/subscriptions/ci", ""); r.status == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("still %d after NATS is back: %s", r.status, r.body)
		}
	}
}
