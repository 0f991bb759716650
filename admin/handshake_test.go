package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// handshaking is a subscription with a handshake.
func handshaking(id, mode string, rate string) string {
	return `{"id":"` + id + `","types":["git.push"],"endpoint":{"url":"http://127.0.0.1:9000/hook"},"handshake":{"mode":"` + mode + `"` + rate + `}}`
}

// opened plays the sender: the receiver of id is being asked, and was given the
// token that is returned.
func (f *fixture) opened(id string, until time.Time) (token string) {
	f.t.Helper()
	_, err := f.store.Change(f.t.Context(), id, func(s *subscription.Subscription) error {
		h := &s.Handshake
		h.Consent, h.Origin, h.CheckedAt = subscription.Pending, "jetpost.example.com", time.Now().UTC()
		token = h.NewCallback(until)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

func (f *fixture) handshake(id string) v1.Handshake {
	f.t.Helper()
	return f.do("GET", "/v1/subscriptions/"+id, "").want(http.StatusOK).subscription().Handshake
}

func TestAskForConsent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("off")).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions/off/handshake", "").want(http.StatusConflict).mustContain("handshake.mode")
	f.do("POST", "/v1/subscriptions/nope/handshake", "").want(http.StatusNotFound)

	created := f.do("POST", "/v1/subscriptions", handshaking("hook", "required", `,"rate":120`)).want(http.StatusCreated).subscription()
	if h := created.Handshake; h.Consent != v1.Pending || !h.CheckedAt.IsZero() {
		t.Errorf("got %+v", h)
	}
	token := f.opened("hook", time.Now().Add(time.Hour))
	if _, err := f.store.Change(t.Context(), "hook", func(s *subscription.Subscription) error {
		s.Handshake.Allow("60", "it said so", time.Now().UTC())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if h := f.handshake("hook"); h.Consent != v1.Allowed || h.AllowedRate != 60 || h.Origin != "jetpost.example.com" || h.Reason != "it said so" {
		t.Errorf("got %+v", h)
	}
	r := f.do("POST", "/v1/subscriptions/hook/handshake", "").want(http.StatusAccepted)
	if h := r.subscription().Handshake; h != (v1.Handshake{Mode: "required", Rate: 120, Consent: v1.Pending}) {
		t.Errorf("got %+v", h)
	}
	if r.header.Get("ETag") == "" {
		t.Error("the answer has no ETag")
	}
	f.call(http.MethodGet, "/v1/handshakes/hook/"+token, "").is(http.StatusNotFound)
	// What the receiver has said is not the user's to say.
	h := f.do("PATCH", "/v1/subscriptions/hook", `{"handshake":{"consent":"allowed","allowed_rate":9,"origin":"x"}}`).want(http.StatusOK).subscription().Handshake
	if h.Consent != v1.Pending || h.AllowedRate != 0 || h.Origin != "" {
		t.Errorf("got %+v", h)
	}
}

// A plainPage is the answer to a callback.
type plainPage struct {
	*httptest.ResponseRecorder
	t *testing.T
}

func (p plainPage) is(status int) plainPage {
	p.t.Helper()
	if p.Code != status || !strings.HasPrefix(p.Header().Get("Content-Type"), "text/plain") || p.Body.Len() == 0 || p.Header().Get("Cache-Control") != "no-store" {
		p.t.Errorf("got %d %v %s, want %d", p.Code, p.Header(), p.Body, status)
	}
	return p
}

// call makes a callback, without any token. Header is name, value, ….
func (f *fixture) call(method, path, body string, header ...string) plainPage {
	f.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.admin.Callback().ServeHTTP(w, r)
	t, _ := f.t.(*testing.T)
	return plainPage{w, t}
}

func TestCallback(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", handshaking("hook", "required", `,"rate":120`)).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", handshaking("other", "required", "")).want(http.StatusCreated)
	const form = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name, id, method, query, body string
		header                        []string
		rate                          int
	}{
		{"by hand", "hook", "GET", "", "", nil, 120},
		{"by POST", "hook", "POST", "", "", nil, 120},
		{"with a rate", "hook", "GET", "", "", []string{"WebHook-Allowed-Rate", "30"}, 30},
		{"with a rate, POST", "hook", "POST", "", "ignored", []string{"WebHook-Allowed-Rate", "30"}, 30},
		{"with any rate", "hook", "POST", "", "", []string{"WebHook-Allowed-Rate", "*"}, 0},
		{"rate in the query", "hook", "GET", "?WebHook-Allowed-Rate=45", "", nil, 45},
		{"rate in a form", "hook", "POST", "", "webhook-allowed-rate=50", []string{"Content-Type", form}, 50},
		{"body of another type", "hook", "POST", "", "webhook-allowed-rate=50", []string{"Content-Type", "text/plain"}, 120},
		{"no rate asked", "other", "GET", "", "", nil, 0},
		{"no rate asked, one given", "other", "GET", "", "", []string{"WebHook-Allowed-Rate", "600"}, 600},
	} {
		token := f.opened(tt.id, time.Now().Add(time.Hour))
		url := "/v1/handshakes/" + tt.id + "/" + token
		if body := f.call(tt.method, url+tt.query, tt.body, tt.header...).is(http.StatusOK).Body.String(); !strings.Contains(body, tt.id) || strings.Contains(body, token) {
			t.Errorf("%s: got %s", tt.name, body)
		}
		h := f.handshake(tt.id)
		if h.Consent != v1.Allowed || h.AllowedRate != tt.rate || h.Origin != "jetpost.example.com" || !strings.Contains(h.Reason, "called back") {
			t.Errorf("%s: got %+v", tt.name, h)
		}
		// Again, and nothing changes.
		before := f.do("GET", "/v1/subscriptions/"+tt.id, "").subscription().Revision
		f.call("GET", url, "", "WebHook-Allowed-Rate", "7").is(http.StatusOK)
		if after := f.do("GET", "/v1/subscriptions/"+tt.id, "").subscription().Revision; after != before {
			t.Errorf("%s: a second call has changed something", tt.name)
		}
	}
}

func TestCallbackRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, id := range []string{"hook", "late", "denied", "other"} {
		f.do("POST", "/v1/subscriptions", handshaking(id, "required", "")).want(http.StatusCreated)
	}
	f.do("POST", "/v1/subscriptions", subscriptionNamed("off")).want(http.StatusCreated)
	token, late, denied := f.opened("hook", time.Now().Add(time.Hour)), f.opened("late", time.Now().Add(-time.Second)), f.opened("denied", time.Now().Add(time.Hour))
	if _, err := f.store.Change(t.Context(), "denied", func(s *subscription.Subscription) error {
		s.Handshake.Deny("no", time.Now().UTC())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	stored, err := f.store.Get(t.Context(), "hook")
	if err != nil {
		t.Fatal(err)
	}
	want := f.call("GET", "/v1/handshakes/hook/wrong", "").is(http.StatusNotFound).Body.String()
	for _, path := range []string{
		"hook/" + token[:42], "hook/" + token + "A", "hook/" + strings.ToUpper(token), "hook/" + stored.Handshake.Callback, "hook/%00", "hook/..%2f",
		"other/" + token, "nope/" + token, "NO-ID/" + token, "off/" + token, "off/", "hook", "hook/", "hook/" + token + "/more", "late/" + late, "denied/" + denied,
	} {
		for _, method := range []string{"GET", "POST"} {
			if got := f.call(method, "/v1/handshakes/"+path, "").is(http.StatusNotFound).Body.String(); got != want {
				t.Errorf("%s %s: the answer differs: %s", method, path, got)
			}
		}
	}
	url := "/v1/handshakes/hook/" + token
	for _, method := range []string{"HEAD", "PUT", "DELETE", "OPTIONS"} {
		if got := f.call(method, url, "").is(http.StatusMethodNotAllowed); got.Header().Get("Allow") != "GET, POST" {
			t.Errorf("%s: got %v", method, got.Header())
		}
	}
	for _, rate := range []string{"0", "-1", "many", "1.5"} {
		f.call("GET", url, "", "WebHook-Allowed-Rate", rate).is(http.StatusBadRequest)
	}
	f.call("POST", url, strings.Repeat("x", 4<<10+1)).is(http.StatusBadRequest)
	for _, id := range []string{"hook", "late", "other"} {
		if h := f.handshake(id); h.Consent != v1.Pending {
			t.Errorf("%s: got %+v", id, h)
		}
	}
	for _, entry := range f.logs.All() {
		for _, field := range entry.Context {
			if strings.Contains(field.String, token) {
				t.Errorf("the log has the token: %s", entry.Message)
			}
		}
	}
	f.call("GET", url, "").is(http.StatusOK)
}

// What senders have agreed on goes with the subscription.
func TestDeleteForgetsRate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kv, err := f.js.KeyValue(t.Context(), f.layout.StateBucket())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"hook", "other"} {
		f.do("POST", "/v1/subscriptions", subscriptionNamed(id)).want(http.StatusCreated)
		if _, err := kv.Put(t.Context(), stream.StateRate(id), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	f.do("DELETE", "/v1/subscriptions/hook", "").want(http.StatusOK)
	if status, err := kv.Status(t.Context()); err != nil || status.Values() != 1 {
		t.Errorf("got %v, %v, want one entry left", status, err)
	}
}
