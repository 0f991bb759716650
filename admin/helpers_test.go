package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// patience bounds each wait. Running into it means that something is broken.
const patience = 30 * time.Second

// A fixture is the API on a NATS server of its own, with what a test needs to
// play the other services.
type fixture struct {
	t      testing.TB
	nats   *streamtest.Server
	js     jetstream.JetStream
	layout stream.Layout
	store  *subscription.Store
	view   *subscription.View
	live   *schemas.Live
	egress *egress.Guard
	log    *zap.Logger
	cfg    Config
	admin  *Admin
	reg    *prometheus.Registry
	logs   *observer.ObservedLogs
	url    string

	handler atomic.Pointer[http.Handler] // of admin
}

func newFixture(tb testing.TB, change ...func(*Config)) *fixture {
	tb.Helper()
	f := &fixture{t: tb, nats: streamtest.New(tb)}
	f.layout, f.js = f.nats.Layout, f.nats.JS()
	catalogue, err := schemas.Load()
	if err != nil {
		tb.Fatal(err)
	}
	var domains []string
	for _, d := range catalogue.Domains() {
		domains = append(domains, d.Name)
	}
	if err := f.layout.Ensure(tb.Context(), f.js, domains); err != nil {
		tb.Fatal(err)
	}
	keyring, err := keyring.Load(filepath.Join(tb.TempDir(), "keyset.json"))
	if err != nil {
		tb.Fatal(err)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	f.logs = logs
	f.log = zap.New(core)
	log := f.log
	f.store = subscription.NewStore(f.js, f.layout, keyring, log)
	f.view = subscription.NewView(subscription.ViewConfig{}, f.js, f.layout, keyring, log)
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	repositories := repository.New(f.js, f.layout, log)
	ended := make(chan error, 3)
	go func() { ended <- f.view.Run(ctx) }()
	go func() { ended <- repositories.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		for range cap(ended) {
			<-ended
		}
	})
	f.egress, err = egress.New(egress.Config{
		AllowTargets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	f.cfg = Config{Version: "test", Repositories: repositories}
	for _, c := range change {
		c(&f.cfg)
	}
	f.live, err = schemas.NewLive(catalogue, f.js, f.layout.Prefix(), log)
	if err != nil {
		tb.Fatal(err)
	}
	go func() { ended <- f.live.Run(ctx) }()
	f.restart(func(*Config) {})
	server := httptest.NewServer(asAdmin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*f.handler.Load()).ServeHTTP(w, r) })))
	tb.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// restart makes the API anew with changed settings, as a process that is started again
// does.
func (f *fixture) restart(change func(*Config)) {
	f.t.Helper()
	change(&f.cfg)
	f.reg = prometheus.NewPedanticRegistry()
	var err error
	if f.admin, err = New(f.cfg, f.js, f.layout, f.store, f.view, f.egress, f.live, f.log, f.reg); err != nil {
		f.t.Fatal(err)
	}
	handler := f.admin.Handler()
	f.handler.Store(&handler)
}

// asAdmin lets everybody in as an admin.
func asAdmin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Principal{Role: access.Admin})))
	})
}

// A reply is the answer to a request.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

// do sends a request. Header is name, value, ….
func (f *fixture) do(method, path, body string, header ...string) reply {
	f.t.Helper()
	return send(f.t, method, f.url+path, body, header...)
}

func send(tb testing.TB, method, url, body string, header ...string) reply {
	tb.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(tb.Context(), method, url, reader)
	if err != nil {
		tb.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, url, err)
	}
	return reply{tb, resp.StatusCode, resp.Header, b}
}

// want fails the test unless the answer has that status, and a problem document
// if it is an error.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("got status %d, want %d: %s", r.status, status, r.body)
	}
	if status >= 400 {
		if got := r.header.Get("Content-Type"); got != "application/problem+json" {
			r.t.Errorf("an error has the content type %q", got)
		}
		var p httpapi.ProblemError
		r.into(&p)
		if p.Status != status || p.Title == "" || p.Detail == "" {
			r.t.Errorf("not a whole problem document: %s", r.body)
		}
	}
	return r
}

func (r reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("decode %s: %v", r.body, err)
	}
}

// subscription decodes an answer with a subscription.
func (r reply) subscription() v1.Subscription {
	r.t.Helper()
	var s v1.Subscription
	r.into(&s)
	return s
}

// fields are the fields a problem names, in their order.
func (r reply) fields() []string {
	r.t.Helper()
	var p httpapi.ProblemError
	r.into(&p)
	var names []string
	for _, e := range p.Errors {
		names = append(names, e.Field)
	}
	return names
}

// mustContain fails the test unless the body has all of texts.
func (r reply) mustContain(texts ...string) reply {
	r.t.Helper()
	for _, text := range texts {
		if !bytes.Contains(r.body, []byte(text)) {
			r.t.Errorf("the answer lacks %q: %s", text, r.body)
		}
	}
	return r
}

func (r reply) mustNotContain(texts ...string) reply {
	r.t.Helper()
	for _, text := range texts {
		if bytes.Contains(r.body, []byte(text)) {
			r.t.Errorf("the answer has %q: %s", text, r.body)
		}
	}
	return r
}

// ci is the subscription of the README.
const ci = `{"id":"ci","types":["git.push"],"filters":[{"exact":{"subject":"main"}}],"endpoint":{"url":"http://127.0.0.1:9000/hook"},"profile":"cloudevents"}`

func subscriptionNamed(id string) string { return strings.Replace(ci, `"ci"`, `"`+id+`"`, 1) }

// publish stores an event in its log, as a producer does.
func (f *fixture) publish(e *event.Event) uint64 {
	f.t.Helper()
	domain, event, _ := strings.Cut(e.Type, ".")
	msg := &nats.Msg{Subject: f.layout.EventSubject(domain, event), Header: nats.Header{}, Data: e.Data}
	e.SetHeader(msg.Header)
	ack, err := f.js.PublishMsg(f.t.Context(), msg)
	if err != nil {
		f.t.Fatal(err)
	}
	return ack.Sequence
}

func newEvent(eventType, id string) *event.Event {
	return &event.Event{ID: id, Source: "/test", Type: eventType, DataContentType: "application/json", Data: []byte(`{"b":1.0,"a":"<ü>"}`)}
}

// record stores an attempt, as a sender does.
func (f *fixture) record(subscriptionID, deliveryID string, attempt int) {
	f.t.Helper()
	a := &delivery.Attempt{
		DeliveryID: deliveryID, SubscriptionID: subscriptionID, Attempt: attempt, Outcome: delivery.Delivered,
		At: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Duration: delivery.Millis(1500 * time.Microsecond),
		Method: http.MethodPost, URL: "http://127.0.0.1:9000/hook", Status: 200, RequestBytes: 10,
		Event: delivery.EventRef{ID: "e1", Source: "/test", Type: "git.push", Stream: "EVENTS_git", Sequence: 7},
	}
	if err := delivery.NewLog(f.js, f.layout).Record(f.t.Context(), a, deliveryID, func(*delivery.Attempt) {}); err != nil {
		f.t.Fatal(err)
	}
}

// giveUp stores a dead letter, as a sender does.
func (f *fixture) giveUp(subscriptionID, eventID string) {
	f.t.Helper()
	e := newEvent("git.push", eventID)
	d := &delivery.Delivery{
		ID: delivery.ID(subscriptionID, e.Source, e.ID), SubscriptionID: subscriptionID, Event: e, Attempt: 1,
		Origin: delivery.Origin("EVENTS_git", 1, time.Unix(1, 0), subscriptionID) + eventID,
	}
	deadLetters := delivery.NewDeadLetters(f.js, f.layout)
	if err := deadLetters.GiveUp(f.t.Context(), d, delivery.ReasonExhausted, 3, &delivery.Attempt{Status: 503}); err != nil {
		f.t.Fatal(err)
	}
}

// queued are the deliveries that wait in a subscription's queue.
func (f *fixture) queued(id string) []*delivery.Delivery {
	f.t.Helper()
	q := f.layout.QueueFor(id)
	s, err := f.js.Stream(f.t.Context(), q.Stream)
	if err != nil {
		f.t.Fatal(err)
	}
	var found []*delivery.Delivery
	state := s.CachedInfo().State
	for n := state.FirstSeq; n <= state.LastSeq && state.Msgs > 0; n++ {
		m, err := s.GetMsg(f.t.Context(), n)
		if err != nil {
			f.t.Fatal(err)
		}
		d, err := delivery.FromMessage(id, m.Header, m.Data)
		if err != nil {
			f.t.Fatal(err)
		}
		found = append(found, d)
	}
	return found
}

// publishMsg stores a message.
func (f *fixture) publishMsg(msg *nats.Msg) {
	f.t.Helper()
	if _, err := f.js.PublishMsg(f.t.Context(), msg); err != nil {
		f.t.Fatal(err)
	}
}

// unreadable stores a message that is not an event.
func (f *fixture) unreadable() {
	f.t.Helper()
	f.publishMsg(&nats.Msg{Subject: f.layout.EventSubject("git", "push"), Header: nats.Header{"ce-id": {"x"}}, Data: []byte("{")})
}
