package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
)

// A published event arrives: signed so that the receivers' library accepts it, as
// an event that the CloudEvents SDK reads, with the bytes of data that were
// published, and leaves a record.
func TestDelivered(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--schemas", shopDomain(t))
	const odd = "{ \"z\" : 12345678901234567890123, \"a\":\t1.0e+2,\n \"ü\":\"\\u00e9 é \U0001F980\", \"twice\":[1 ,2] , \"html\":\"<&>\"}"
	events := []happening{
		{id: "json 1/ü", source: "https://shop.example/a%20b?q=1", kind: "shop.order.created", subject: "best. 12 €", data: odd, extensions: map[string]string{"tenant": "blue"}},
		{id: "text", source: "/shop", kind: "shop.note", contentType: "text/plain; charset=utf-8", data: "Grüße \"quoted\" \\ \x01 \n"},
		{id: "bytes", source: "/shop", kind: "shop.blob", contentType: "application/octet-stream", data: "\x00\xff\xfe\x80 not UTF-8"},
		{id: "none", source: "/shop", kind: "shop.ping", data: ""},
	}
	type hook struct {
		*catcher
		secret string
	}
	hooks := make(map[string]hook)
	for _, profile := range []string{"cloudevents", "cloudevents-binary", "standard"} {
		c := startCatcher(t, nil)
		sub := s.subscribe(t, profile, c.URL+"/hook", []string{"shop.*"}, object{"profile": profile})
		hooks[profile] = hook{c, sub.Secret}
	}
	want := make(map[string]happening)
	for _, h := range events {
		encoded := h
		encoded.id, encoded.source, encoded.subject = event.EncodeHeaderValue(h.id), event.EncodeHeaderValue(h.source), event.EncodeHeaderValue(h.subject)
		r, err := s.tryPublish(t.Context(), encoded)
		if err != nil {
			t.Fatalf("publish %s: %v", h.id, err)
		}
		if r.Stream != "EVENTS_shop" || r.Duplicate {
			t.Errorf("publish %s: got receipt %+v", h.id, r)
		}
		for profile := range hooks {
			want[delivery.ID(profile, h.source, h.id)] = h
		}
	}
	for profile, c := range hooks {
		expected := len(events)
		if profile == "standard" {
			expected = 2 // the profile carries JSON and nothing
		}
		for _, a := range c.waitFor(t, expected) {
			h, known := want[a.id()]
			if !known {
				t.Errorf("%s: unknown webhook-id %s", profile, a.id())
				continue
			}
			if err := a.verify(c.secret); err != nil {
				t.Errorf("%s: %s: %v", profile, h.id, err)
			}
			if a.method != http.MethodPost || a.target != "/hook" || a.attempt() != "1" || a.header.Get("Jetpost-Subscription") != profile {
				t.Errorf("%s: %s: got %s %s with %v", profile, h.id, a.method, a.target, a.header)
			}
			if profile == "standard" {
				if want := `"data":` + max(h.data, "null") + "}"; h.data != "" && !strings.HasSuffix(string(a.body), want) {
					t.Errorf("%s: got body %s, want it to end in %s", profile, a.body, want)
				}
				continue
			}
			checkEvent(t, profile, a, h)
		}
		records := make(map[string]delivery.Attempt)
		eventually(t, "all attempts are recorded", func() bool {
			attempts := s.attempts(t, profile)
			for _, one := range attempts {
				records[one.DeliveryID] = one
			}
			return len(attempts) >= expected
		})
		for _, one := range records {
			if h := want[one.DeliveryID]; one.Outcome != delivery.Delivered || one.Status != http.StatusNoContent || one.Attempt != 1 ||
				one.NextAttempt != nil || one.Event.ID != h.id || one.Event.Source != h.source || one.Event.Type != h.kind || one.URL != c.URL+"/hook" {
				t.Errorf("%s: got the record %+v", profile, one)
			}
		}
		if len(records) != expected || c.count() != expected {
			t.Errorf("%s: %d requests and %d records, want %d", profile, c.count(), len(records), expected)
		}
	}
	eventually(t, "what the profile cannot carry is a dead letter", func() bool { return len(s.letters(t, "standard")) == 2 })
}

// checkEvent compares an arrival with what was published. The SDK does not undo
// the percent-encoding of the HTTP binding in binary mode.
func checkEvent(t *testing.T, profile string, a *arrival, h happening) {
	t.Helper()
	for name, values := range a.header {
		if decoded, err := event.DecodeHeaderValue(values[0]); strings.HasPrefix(name, "Ce-") {
			if err != nil {
				t.Errorf("%s: %s: header %s: %v", profile, h.id, name, err)
			}
			a.header[name] = []string{decoded}
		}
	}
	e, err := a.event()
	if err != nil {
		t.Errorf("%s: %s: %v", profile, h.id, err)
		return
	}
	got := happening{id: e.ID(), source: e.Source(), kind: e.Type(), subject: e.Subject(), data: string(e.Data())}
	want := happening{id: h.id, source: h.source, kind: h.kind, subject: h.subject, data: h.data}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(happening{})); diff != "" {
		t.Errorf("%s: %s: the event differs (-want +got):\n%s", profile, h.id, diff)
	}
	if tenant := fmt.Sprint(e.Extensions()["tenant"]); h.extensions != nil && tenant != h.extensions["tenant"] {
		t.Errorf("%s: %s: got tenant %q", profile, h.id, tenant)
	}
	if h.data != "" && h.contentType != "" && e.DataContentType() != h.contentType {
		t.Errorf("%s: %s: got content type %q, want %q", profile, h.id, e.DataContentType(), h.contentType)
	}
	if profile == "cloudevents-binary" && string(a.body) != h.data {
		t.Errorf("%s: %s: got body %q", profile, h.id, a.body)
	}
}

// The three modes of the HTTP binding lead to the same event.
func TestPublishedInEveryMode(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	s.subscribe(t, "modes", c.URL, []string{"artifact.*"}, nil)
	structured := func(id string) string {
		h := deployed(id, "libs")
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":%q,"subject":%q,"data":%s}`, h.id, h.source, h.kind, h.subject, h.data)
	}
	s.publish(t, deployed("a", "libs"))
	if r := s.do(t, http.MethodPost, "/v1/events", structured("b"), "Content-Type", "application/cloudevents+json"); r.status != http.StatusCreated {
		t.Errorf("structured: %d %s", r.status, r.body)
	}
	batch := "[" + structured("c") + "," + structured("d") + "]"
	if r := s.do(t, http.MethodPost, "/v1/events", batch, "Content-Type", "application/cloudevents-batch+json"); r.status != http.StatusCreated {
		t.Errorf("batch: %d %s", r.status, r.body)
	}
	got := c.exactly(t, 4)
	want := []string{"a", "b", "c", "d"}
	if diff := cmp.Diff(want, eventIDs(t, got)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for _, a := range got {
		e, err := a.event()
		if err != nil {
			t.Fatal(err)
		}
		checkEvent(t, "cloudevents", a, deployed(e.ID(), "libs"))
	}
}

// A subscription gets what its types and filters want, and nothing else.
func TestFiltered(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	wanted := map[string][]string{ // ids, by subscription
		"all":      {"jar-libs", "jar-snapshots", "pom-libs", "gone"},
		"exact":    {"jar-libs", "pom-libs"},
		"prefix":   {"jar-libs", "jar-snapshots"},
		"combined": {"jar-snapshots"},
		"types":    {"gone"},
		"nothing":  {},
	}
	hooks := make(map[string]*catcher)
	for id, more := range map[string]object{
		"all":    {},
		"exact":  {"types": []string{"artifact.deployed"}, "filters": []object{{"exact": object{"data.repo_key": "libs"}}}},
		"prefix": {"types": []string{"artifact.deployed"}, "filters": []object{{"prefix": object{"subject": "jar-"}}}},
		"combined": {"filters": []object{
			{"all": []object{{"not": object{"exact": object{"data.repo_key": "libs"}}}, {"any": []object{{"suffix": object{"subject": "-snapshots"}}, {"exact": object{"id": "never"}}}}}},
			{"exact": object{"type": "artifact.deployed"}},
		}},
		"types":   {"types": []string{"artifact.deleted"}},
		"nothing": {"filters": []object{{"exact": object{"data.size": "-1"}}}},
	} {
		hooks[id] = startCatcher(t, nil)
		types := []string{"artifact.*"}
		if given, ok := more["types"].([]string); ok {
			types = given
		}
		delete(more, "types")
		s.subscribe(t, id, hooks[id].URL, types, more)
	}
	for _, id := range []string{"jar-libs", "jar-snapshots", "pom-libs"} {
		_, repo, _ := strings.Cut(id, "-")
		h := deployed(id, repo)
		h.subject = id
		s.publish(t, h)
	}
	gone := deployed("gone", "libs")
	gone.kind = "artifact.deleted"
	s.publish(t, gone)
	for id, want := range wanted {
		got := hooks[id].waitFor(t, len(want))
		slices.Sort(want)
		if diff := cmp.Diff(want, eventIDs(t, got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	// The router matches an event with all subscriptions at once, and queues what it
	// matches before it goes on: what "all" has received last, no subscription receives any more.
	for id, want := range wanted {
		if got := hooks[id].count(); got != len(want) {
			t.Errorf("%s: %d requests, want %d", id, got, len(want))
		}
	}
}

// Receivers that never answer, or answer drop by drop, delay no others: the
// others have everything before the first request to those has even ended.
func TestDeadReceiverDelaysNoOthers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const events = 300
	waiting := func(_ http.ResponseWriter, r *http.Request, _ *arrival) { <-r.Context().Done() }
	dead := startCatcher(t, waiting)
	dripping := startCatcher(t, func(w http.ResponseWriter, r *http.Request, _ *arrival) {
		w.WriteHeader(http.StatusOK)
		for drops := time.NewTicker(50 * time.Millisecond); r.Context().Err() == nil; {
			select {
			case <-drops.C:
				_, _ = w.Write([]byte{'.'})
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
			}
		}
	})
	slow := object{"endpoint": object{"timeout": "30s"}, "delivery": object{"max_in_flight": 10}}
	s.subscribe(t, "dead", dead.URL, []string{"artifact.*"}, slow)
	s.subscribe(t, "dripping", dripping.URL, []string{"artifact.*"}, slow)
	var healthy []*catcher
	for i := range 3 {
		c := startCatcher(t, nil)
		s.subscribe(t, fmt.Sprint("healthy-", i), c.URL, []string{"artifact.*"}, nil)
		healthy = append(healthy, c)
	}
	for _, id := range numbered("event", events) {
		s.publish(t, deployed(id, "libs"))
	}
	for _, c := range healthy {
		c.exactly(t, events)
	}
	for _, id := range []string{"dead", "dripping"} {
		if records := s.attempts(t, id); len(records) > 0 {
			t.Errorf("a request to %s has ended after %v, before the others had everything", id, time.Duration(records[0].Duration))
		}
	}
	if got := dead.count(); got != 10 {
		t.Errorf("%d requests wait for the dead receiver, want max_in_flight, 10", got)
	}
}

// The same event published again, in whatever mode, is one delivery.
func TestSameEventTwice(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	s.subscribe(t, "once", c.URL, []string{"artifact.*"}, nil)
	h := deployed("again", "libs")
	first := s.publish(t, h)
	if first.Duplicate {
		t.Error("the first is called a duplicate")
	}
	second := s.publish(t, h)
	if !second.Duplicate || second.Sequence != first.Sequence {
		t.Errorf("the second got %+v, the first %+v", second, first)
	}
	structured := fmt.Sprintf(`{"specversion":"1.0","id":"again","source":"/artifactory/e2e","type":"artifact.deployed","data":%s}`, h.data)
	var third receipt
	r := s.do(t, http.MethodPost, "/v1/events", structured, "Content-Type", "application/cloudevents+json")
	if r.status != http.StatusCreated || !strings.Contains(string(r.body), `"duplicate":true`) {
		t.Errorf("in structured mode it got %d %s, want a duplicate (%+v)", r.status, r.body, third)
	}
	other := deployed("again", "libs")
	other.source = "/another/source"
	if got := s.publish(t, other); got.Duplicate {
		t.Error("the same id of another source is called a duplicate")
	}
	s.publish(t, deployed("last", "libs"))
	got := c.exactly(t, 3)
	if diff := cmp.Diff([]string{"again", "again", "last"}, eventIDs(t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
