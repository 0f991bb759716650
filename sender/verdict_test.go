package sender_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

// The profile says what a status means: what it rejects is a dead letter at once,
// whatever Retry-After says, and what it retries is retried when that says so.
// What is not an answer is always retried.
func TestVerdictOfProfile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	answers := func(status int) string {
		return receive(t, func(w http.ResponseWriter, got *request) {
			if got.Header.Get("Jetpost-Attempt") != "" {
				t.Errorf("the receiver sees %v", got.Header)
			}
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(status)
		}).URL
	}
	hangUp := receive(t, func(http.ResponseWriter, *request) { panic(http.ErrAbortHandler) }).URL
	r.send()
	for _, tt := range []struct {
		id, url string
		outcome delivery.Outcome
		status  int
	}{
		{"rejects-400", answers(http.StatusBadRequest), delivery.Rejected, http.StatusBadRequest},
		{"rejects-410", answers(http.StatusGone), delivery.Rejected, http.StatusGone},
		{"rejects-415", answers(http.StatusUnsupportedMediaType), delivery.Rejected, http.StatusUnsupportedMediaType},
		{"rejects-429", answers(http.StatusTooManyRequests), delivery.Rejected, http.StatusTooManyRequests},
		{"rejects-307", answers(http.StatusTemporaryRedirect), delivery.Rejected, http.StatusTemporaryRedirect},
		{"retries-503", answers(http.StatusServiceUnavailable), delivery.Retry, http.StatusServiceUnavailable},
		{"retries-silence", hangUp, delivery.Retry, 0},
	} {
		sub := to(tt.id, tt.url, 0, time.Minute, time.Minute)
		sub.Profile, sub.Secrets = "jfrog", nil
		sub = r.subscribe(sub)
		r.queue(sub, 1, 1)
		a := r.awaitAttempts(sub, 1)[0]
		if a.Outcome != tt.outcome || a.Status != tt.status {
			t.Errorf("%s: got %s, status %d, want %s, %d", tt.id, a.Outcome, a.Status, tt.outcome, tt.status)
		}
		r.awaitSettled(sub)
		deadLetters := r.deadLetters(tt.id)
		if tt.outcome == delivery.Rejected {
			if len(deadLetters) != 1 || deadLetters[0].Reason != delivery.ReasonRejected || deadLetters[0].Attempts != 1 || deadLetters[0].Status != tt.status || a.NextAttempt != nil {
				t.Errorf("%s: got dead letters %+v, next attempt %v, want it given up", tt.id, deadLetters, a.NextAttempt)
			}
			continue
		}
		if len(deadLetters) != 0 || a.NextAttempt == nil {
			t.Errorf("%s: got dead letters %+v, want it to be tried again", tt.id, deadLetters)
			continue
		}
		wait, want := a.NextAttempt.Sub(a.At), time.Minute
		if tt.status != 0 {
			want = time.Hour
		}
		if wait < want*8/10 || wait > want*13/10 {
			t.Errorf("%s: the next attempt is due after %s, want %s", tt.id, wait, want)
		}
	}
	if sub, err := r.store.Get(t.Context(), "rejects-410"); err != nil || sub.State != subscription.Active {
		t.Errorf("got %+v, %v: this profile does not know receivers that are gone", sub, err)
	}
}

// What a profile cannot carry is a dead letter that says why, without a request and
// without a secret.
func TestUnrenderable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	r.send()
	for _, profile := range []string{"standard", "jfrog", "secure-source-manager"} {
		sub := to("of-"+profile, rc.URL)
		if sub.Profile = profile; profile != "standard" {
			sub.Secrets = []subscription.SigningKey{{ID: "key_1", Secret: keyring.NewSecret("s3cr3t-shared")}}
		}
		sub = r.subscribe(withSecrets(sub))
		e := newEvent(1)
		e.DataContentType, e.Data = "text/plain", []byte("not JSON")
		if _, err := r.js.PublishMsg(t.Context(), queued(sub, e, time.Now())); err != nil {
			t.Fatal(err)
		}
		deadLetter := r.awaitDeadLetters(sub.ID, 1)[0]
		if deadLetter.Reason != delivery.ReasonRejected || deadLetter.Attempts != 0 || deadLetter.Status != 0 || !strings.HasPrefix(deadLetter.Error, "render: ") || len(deadLetter.Error) < 40 {
			t.Errorf("%s: got %+v, want it rejected with a reason", profile, deadLetter)
		}
		r.wantDeadLetterData(deadLetter, e)
		r.awaitSettled(sub)
	}
	if n := len(rc.all()); n > 0 {
		t.Errorf("%d requests were made", n)
	}
	r.wantNoSecrets()
}

// A receiver that is asked by a method without a body gets none.
func TestMethods(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.send()
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		rc := receive(t, nil)
		sub := to("by-"+strings.ToLower(method), rc.URL, 0)
		sub.Endpoint.Method = method
		sub = r.subscribe(sub)
		r.queue(sub, 1, 1)
		got := rc.await(1)[0]
		a := r.awaitAttempts(sub, 1)[0]
		if got.Method != method || a.Method != method || got.ContentLength != int64(len(got.body)) || a.RequestBytes != len(got.body) || got.TransferEncoding != nil {
			t.Errorf("%s: got %s, %d bytes of %d, %+v", method, got.Method, len(got.body), got.ContentLength, a)
		}
		if diff := cmp.Diff("1", got.note()); diff != "" { // the profile standard has a body for every method
			t.Errorf("%s: %s", method, diff)
		}
	}
}

// The names of a vendor's headers arrive in the vendor's spelling, also on a retry.
func TestLettersOfHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.send()
	got := make(chan string, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 64<<10)
			n, _ := c.Read(b)
			got <- string(b[:n])
			_, _ = c.Write([]byte("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			_ = c.Close()
		}
	}()
	sub := to("hook", "http://"+l.Addr().String(), 0, time.Second)
	sub.Profile, sub.Secrets = "jfrog", []subscription.SigningKey{{ID: "key_1", Secret: keyring.NewSecret("t0ken")}}
	sub = r.subscribe(sub)
	r.queue(sub, 1, 1)
	for n := range 2 {
		select {
		case raw := <-got:
			if !strings.Contains(raw, "\r\nX-JFrog-Event-Auth: t0ken\r\n") {
				t.Errorf("request %d: got\n%s", n+1, raw)
			}
		case <-testkit.Timeout():
			t.Fatal("no request has come")
		}
	}
	r.awaitSettled(sub)
}
