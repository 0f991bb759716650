package sender_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender"
)

const origin = "jetpost.example.com"

func withOrigin(c *sender.Config) { c.Origin = origin }

func withCallback(c *sender.Config) {
	c.Origin, c.PublicURL = origin, "https://jetpost.example.com"
}

// asking is a subscription whose receiver is asked first.
func asking(id, url, mode string, rate int) *subscription.Subscription {
	sub := to(id, url)
	sub.Handshake = subscription.Handshake{Mode: mode, Rate: rate, Consent: subscription.Pending}
	return sub
}

// consenting answers OPTIONS with these headers, and everything else with 204.
func consenting(t *testing.T, status int, pairs ...string) *receiver {
	t.Helper()
	return receive(t, func(w http.ResponseWriter, got *request) {
		if got.Method != http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		for i := 0; i < len(pairs); i += 2 {
			w.Header().Set(pairs[i], pairs[i+1])
		}
		w.WriteHeader(status)
	})
}

// questions are the OPTIONS requests that the receiver got, deliveries the others.
func (rc *receiver) questions() []*request {
	return slices.DeleteFunc(rc.all(), func(r *request) bool { return r.Method != http.MethodOptions })
}

func (rc *receiver) deliveries() []*request {
	return slices.DeleteFunc(rc.all(), func(r *request) bool { return r.Method == http.MethodOptions })
}

// handshake waits until the record satisfies fact.
func (r *rig) handshake(id, what string, fact func(*subscription.Handshake) bool) subscription.Handshake {
	r.t.Helper()
	var h subscription.Handshake
	eventually(r.t, func() (bool, string) {
		sub, err := r.store.Get(r.t.Context(), id)
		if err != nil {
			return false, err.Error()
		}
		h = sub.Handshake
		return fact(&h), fmt.Sprintf("%s is not %s: %+v", id, what, h)
	})
	return h
}

func (r *rig) awaitConsent(id string, want subscription.Consent) subscription.Handshake {
	r.t.Helper()
	return r.handshake(id, string(want), func(h *subscription.Handshake) bool { return h.Consent == want })
}

func TestHandshakeAllowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := consenting(t, http.StatusOK, "WebHook-Allowed-Origin", "Jetpost.example.com", "WebHook-Allowed-Rate", "6000")
	sub := withSecrets(asking("hook", rc.URL+"/in/a%2Fb", subscription.HandshakeRequired, 12000))
	sub = r.subscribe(sub)
	r.queue(sub, 0, 3)
	service := r.send(withOrigin)
	r.awaitSettled(sub)
	rc.wantDelivered(3)
	h := r.awaitConsent("hook", subscription.Allowed)
	if h.Origin != origin || h.AllowedRate != 6000 || h.CheckedAt.IsZero() || h.Callback != "" || h.Reason == "" {
		t.Errorf("got %+v", h)
	}
	asked := rc.questions()
	if len(asked) != 1 {
		t.Fatalf("the receiver was asked %d times, want once", len(asked))
	}
	q := asked[0]
	if q.RequestURI != "/in/a%2Fb?"+secretQuery || len(q.body) > 0 || q.ContentLength > 0 ||
		q.Header.Get("WebHook-Request-Origin") != origin || q.Header.Get("WebHook-Request-Rate") != "12000" || q.Header["Webhook-Request-Callback"] != nil ||
		q.Header.Get("Authorization") != secretHeader || q.Header.Get("User-Agent") != "jetpost" || q.Header["Webhook-Signature"] != nil {
		t.Errorf("got question %s with %v", q.RequestURI, q.Header)
	}
	for _, d := range rc.deliveries() {
		if d.at.Before(q.at) || d.Header.Get("WebHook-Request-Origin") != origin {
			t.Errorf("got a delivery %s after the question, with origin %q", d.at.Sub(q.at), d.Header.Get("WebHook-Request-Origin"))
		}
	}
	// The consent is remembered.
	service.stop()
	if got := counter(t, service.reg, "jetpost_sender_handshakes_total", "allowed"); got != 1 {
		t.Errorf("%v handshakes are counted, want 1", got)
	}
	r.send(withOrigin)
	r.queue(sub, 3, 1)
	r.awaitSettled(sub)
	if n := len(rc.questions()); n != 1 {
		t.Errorf("the receiver was asked %d times, want once", n)
	}
	r.wantNoSecrets()
}

// wantDelivered is wantOnce for the first n notes, beside questions.
func (rc *receiver) wantDelivered(n int) {
	rc.t.Helper()
	got := make(map[string]int)
	for _, d := range rc.deliveries() {
		got[d.note()]++
	}
	if len(got) != n || len(rc.deliveries()) != n {
		rc.t.Errorf("got notes %v, want %d, each once", got, n)
	}
}

// Without consent nothing is delivered, if it is required; nothing is lost either.
func TestHandshakeDenied(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var allowed atomic.Bool
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if got.Method != http.MethodOptions || allowed.Load() {
			w.Header().Set("WebHook-Allowed-Origin", "*")
		}
		w.WriteHeader(http.StatusOK)
	})
	required, preferred := r.subscribe(asking("required", rc.URL, subscription.HandshakeRequired, 0)), r.subscribe(asking("preferred", rc.URL, subscription.HandshakePreferred, 0))
	r.queue(required, 0, 20)
	r.queue(preferred, 100, 20)
	r.send(withOrigin)
	r.send(withOrigin)
	for _, id := range []string{"required", "preferred"} {
		if h := r.awaitConsent(id, subscription.Denied); !strings.Contains(h.Reason, "200 without WebHook-Allowed-Origin") {
			t.Errorf("%s: got %+v", id, h)
		}
	}
	r.awaitSettled(preferred)
	rc.wantDelivered(20)
	if info, err := r.consumer(required); err != nil || info.NumPending != 20 || info.NumAckPending != 0 {
		t.Errorf("got %+v, %v, want 20 untouched deliveries", info, err)
	}
	for _, d := range rc.deliveries() {
		if d.Header.Get("Webhook-Request-Origin") != "" {
			t.Error("a delivery carries an origin that no receiver has allowed")
		}
	}
	allowed.Store(true)
	r.change("required", func(s *subscription.Subscription) { s.Handshake.Ask() })
	r.awaitSettled(required)
	rc.wantDelivered(40)
	if n := len(rc.questions()); n != 3 {
		t.Errorf("%d questions were asked by two senders, want 3", n)
	}
}

// A receiver that cannot answer is asked again.
func TestHandshakeFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var asked atomic.Int32
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if got.Method == http.MethodOptions && asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("WebHook-Allowed-Origin", origin)
	})
	sub := r.subscribe(asking("hook", rc.URL, subscription.HandshakeRequired, 0))
	r.queue(sub, 0, 2)
	r.send(withCallback)
	r.handshake("hook", "in trouble", func(h *subscription.Handshake) bool {
		return h.Consent == subscription.Pending && strings.Contains(h.Reason, "answered 503")
	})
	r.awaitSettled(sub)
	rc.wantDelivered(2)
	if q := rc.questions(); len(q) != 2 || q[1].at.Sub(q[0].at) < 4*time.Second || q[0].Header.Get("Webhook-Request-Callback") == q[1].Header.Get("Webhook-Request-Callback") {
		t.Errorf("got %d questions, want two, some seconds apart and with a callback each", len(q))
	}
	// As is one that cannot be reached, with the reason.
	rc.Close()
	r.subscribe(asking("away", rc.URL, subscription.HandshakePreferred, 0))
	h := r.handshake("away", "unreachable", func(h *subscription.Handshake) bool { return strings.Contains(h.Reason, "could not be asked") })
	if h.Consent != subscription.Pending || !strings.Contains(h.Reason, "connection refused") {
		t.Errorf("got %+v", h)
	}
}

// A redirect is not followed, and addresses that deliveries may not go to are not
// asked either.
func TestHandshakeGuards(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := consenting(t, http.StatusOK, "WebHook-Allowed-Origin", "*")
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		http.Redirect(w, got.Request, other.URL+"/?"+secretQuery, http.StatusTemporaryRedirect)
	})
	r.subscribe(withSecrets(asking("redirected", rc.URL, subscription.HandshakeRequired, 0)))
	service := r.send(withOrigin)
	if h := r.awaitConsent("redirected", subscription.Denied); !strings.Contains(h.Reason, "redirects are not followed") {
		t.Errorf("got %+v", h)
	}
	service.stop()
	guard, err := egress.New(egress.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.subscribe(withSecrets(asking("refused", other.URL, subscription.HandshakeRequired, 0)))
	service = r.send(withOrigin, func(c *sender.Config) { c.Egress = guard })
	h := r.handshake("refused", "refused", func(h *subscription.Handshake) bool { return strings.Contains(h.Reason, "could not be asked") })
	if !strings.Contains(h.Reason, egress.ErrTargetRefused.Error()) {
		t.Errorf("got %+v", h)
	}
	if n := len(other.all()); n > 0 {
		t.Errorf("%d requests were made that must not be", n)
	}
	service.stop()
	r.wantNoSecrets()
}

// A receiver that says nothing may call back, also before it has answered.
func TestHandshakeCallback(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := consenting(t, http.StatusMethodNotAllowed)
	sub := r.subscribe(asking("hook", rc.URL, subscription.HandshakeRequired, 120))
	r.queue(sub, 0, 1)
	r.send(withCallback)
	r.send(withCallback)
	h := r.handshake("hook", "waiting", func(h *subscription.Handshake) bool { return strings.Contains(h.Reason, "may still call back") })
	if h.Consent != subscription.Pending || h.CallbackUntil.Sub(h.CheckedAt) != 24*time.Hour {
		t.Errorf("got %+v", h)
	}
	url := rc.questions()[0].Header.Get("WebHook-Request-Callback")
	token, ok := strings.CutPrefix(url, "https://jetpost.example.com/v1/handshakes/hook/")
	if !ok || !h.AnswersTo(token, time.Now()) || strings.Contains(h.Callback, token) {
		t.Errorf("got callback %q for %+v", url, h)
	}
	if len(rc.questions()) != 1 || len(rc.deliveries()) != 0 {
		t.Errorf("got %d questions, %d deliveries, want one and none", len(rc.questions()), len(rc.deliveries()))
	}
	// What the API does when it is called.
	r.change("hook", func(s *subscription.Subscription) {
		s.Handshake.Allow("", "the receiver has called back", time.Now().UTC())
	})
	r.awaitSettled(sub)
	if d := rc.deliveries(); len(d) != 1 || d[0].Header.Get("WebHook-Request-Origin") != origin {
		t.Errorf("got %d deliveries, want one with the origin", len(d))
	}

	early := receive(t, func(w http.ResponseWriter, got *request) {
		if got.Method == http.MethodOptions {
			r.change("early", func(s *subscription.Subscription) {
				s.Handshake.Allow("600", "the receiver has called back", time.Now().UTC())
			})
		}
	})
	sub = r.subscribe(asking("early", early.URL, subscription.HandshakeRequired, 0))
	r.queue(sub, 0, 1)
	r.awaitSettled(sub)
	if h := r.awaitConsent("early", subscription.Allowed); h.AllowedRate != 600 || h.Reason != "the receiver has called back" {
		t.Errorf("got %+v, want what the callback said", h)
	}
}

// A callback that does not come is a denial.
func TestHandshakeCallbackLate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := consenting(t, http.StatusOK)
	r.subscribe(asking("hook", rc.URL, subscription.HandshakeRequired, 0))
	r.send(withCallback)
	r.handshake("hook", "waiting", func(h *subscription.Handshake) bool { return strings.Contains(h.Reason, "may still call back") })
	r.change("hook", func(s *subscription.Subscription) { // a day later
		s.Handshake.CheckedAt, s.Handshake.CallbackUntil = s.Handshake.CheckedAt.Add(-25*time.Hour), time.Now().Add(-time.Minute).UTC()
	})
	if h := r.awaitConsent("hook", subscription.Denied); !strings.Contains(h.Reason, "has not called back") || h.Callback != "" {
		t.Errorf("got %+v", h)
	}
	if n := len(rc.questions()); n != 1 {
		t.Errorf("the receiver was asked %d times, want once", n)
	}
}

// Another URL is another receiver: it is asked, and gets nothing before.
func TestHandshakeAfterChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := consenting(t, http.StatusOK, "WebHook-Allowed-Origin", "*")
	second := consenting(t, http.StatusOK)
	sub := r.subscribe(asking("hook", first.URL, subscription.HandshakeRequired, 0))
	r.send(withOrigin)
	r.queue(sub, 0, 10)
	r.awaitSettled(sub)
	r.change("hook", func(s *subscription.Subscription) {
		next := s.Clone()
		next.Endpoint.URL = second.URL
		next.Inherit(s)
		next.SetDefaults(time.Now())
		*s = *next
	})
	r.queue(sub, 10, 10)
	r.awaitConsent("hook", subscription.Denied)
	if len(second.questions()) != 1 || len(second.deliveries()) != 0 || len(first.deliveries()) != 10 {
		t.Errorf("got %d questions and %d deliveries at the second, %d deliveries at the first, want 1, 0 and 10",
			len(second.questions()), len(second.deliveries()), len(first.deliveries()))
	}
}

// The rate that a receiver allows is kept.
func TestHandshakeRate(t *testing.T) {
	t.Parallel()
	const n = 40
	r := newRig(t)
	rc := consenting(t, http.StatusOK, "WebHook-Allowed-Origin", "*", "WebHook-Allowed-Rate", "1200") // 20 per second
	sub := asking("hook", rc.URL, subscription.HandshakeRequired, 6000)
	sub.Delivery.Rate = 100
	sub = r.subscribe(sub)
	r.queue(sub, 0, n)
	r.send(withOrigin)
	r.awaitSettled(sub)
	rc.wantDelivered(n)
	rc.wantTogether(20, 1)
	rc.wantSpread(rc.deliveries(), 20)
}
