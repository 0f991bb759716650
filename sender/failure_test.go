package sender_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/sender"
)

// What must never be seen anywhere but at the receiver.
const (
	secretQuery  = "token=s3cr3t-query"
	secretHeader = "Bearer s3cr3t-header"
)

// withSecrets adds all kinds of secrets that an endpoint can have.
func withSecrets(sub *subscription.Subscription) *subscription.Subscription {
	sub.Endpoint.Timeout = subscription.Duration(3 * time.Second) // a busy machine needs more than one for TLS
	sub.Endpoint.Query = keyring.NewSecret(secretQuery)
	sub.Endpoint.SecretHeaders = map[string]keyring.Secret{"Authorization": keyring.NewSecret(secretHeader)}
	return sub
}

// wantNoSecrets looks for secrets in everything that was logged and stored.
func (r *rig) wantNoSecrets() {
	r.t.Helper()
	search := func(where, text string) {
		for _, s := range []string{"s3cr3t", strings.TrimPrefix(secret, "whsec_")} {
			if strings.Contains(text, s) {
				r.t.Errorf("%s has a secret in it: %s", where, text)
			}
		}
	}
	for _, entry := range r.logged.All() {
		fields, err := json.Marshal(entry.ContextMap())
		if err != nil {
			r.t.Fatal(err)
		}
		search("the log", entry.Message+" "+string(fields)+fmt.Sprint(entry.ContextMap()))
	}
	if r.logged.Len() == 0 {
		r.t.Error("nothing was logged")
	}
	for name := range r.js.StreamNames(r.t.Context()).Name() {
		s, err := r.js.Stream(r.t.Context(), name)
		if err != nil {
			r.t.Fatal(err)
		}
		for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
			m, err := s.GetMsg(r.t.Context(), seq)
			if err != nil {
				continue // settled
			}
			search("stream "+name, fmt.Sprint(m.Header)+string(m.Data))
		}
	}
}

// raw starts a receiver below HTTP.
func raw(t *testing.T, serve func(net.Conn)) (url string) {
	t.Helper()
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
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = c.Read(make([]byte, 64<<10)) // the request fits
				serve(c)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// Whatever a receiver does, the attempt ends in time and is recorded with an
// error that says what was wrong; and it says it without secrets.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	hang := func() {
		select {
		case <-done:
		case <-testkit.Timeout():
		}
	}
	write := func(c net.Conn, text string) { _, _ = c.Write([]byte(text)) }
	closed := httptest.NewServer(nil)
	closed.Close()
	quiet := log.New(new(strings.Builder), "", 0)
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = quiet
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	oldTLS := httptest.NewUnstartedServer(http.NotFoundHandler())
	oldTLS.Config.ErrorLog = quiet
	oldTLS.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // what must be refused
	oldTLS.StartTLS()
	t.Cleanup(oldTLS.Close)

	const within = "no complete answer within 3s"
	cases := []struct {
		name   string
		url    string
		status int
		want   string // in the error
		body   int    // bytes of the answer that are kept
	}{
		{"never-answers", raw(t, func(net.Conn) { hang() }), 0, within, 0},
		{"never-ends-headers", raw(t, func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\nA: b\r\n"); hang() }), 0, within, 0},
		{"never-ends-body", raw(t, func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegin"); hang() }), 200, "the answer broke off: " + within, 5},
		{"drips", raw(t, func(c net.Conn) {
			write(c, "HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				select {
				case <-done:
					return
				case <-testkit.TimeoutAfter(100 * time.Millisecond):
					if _, err := c.Write([]byte("1\r\nx\r\n")); err != nil {
						return
					}
				}
			}
		}), 500, "the answer broke off: " + within, -1},
		{"answers-10-megabytes", raw(t, func(c net.Conn) {
			write(c, "HTTP/1.1 500 Oh\r\nContent-Length: 10485760\r\n\r\n")
			write(c, strings.Repeat("x", 10<<20))
			hang()
		}), 500, "", delivery.MaxStoredBody},
		{"sends-1-megabyte-of-headers", raw(t, func(c net.Conn) {
			write(c, "HTTP/1.1 200 OK\r\n"+strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 1000)+"\r\n")
			hang()
		}), 0, "headers exceeded", 0},
		{"sends-a-long-header-that-is-none", raw(t, func(c net.Conn) {
			write(c, "HTTP/1.1 200 OK\r\n"+strings.Repeat("no colon ", 6000)+"\r\n\r\n")
		}), 0, "malformed MIME header", 0},
		{"closes-in-the-body", raw(t, func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegin") }), 200, "the answer broke off: unexpected EOF", 5},
		{"closes-without-an-answer", raw(t, func(net.Conn) {}), 0, "EOF", 0},
		{"speaks-another-protocol", raw(t, func(c net.Conn) { write(c, "220 mail.example.com ESMTP\r\n") }), 0, "malformed HTTP", 0},
		{"has-a-status-that-is-none", raw(t, func(c net.Conn) { write(c, "HTTP/1.1 99999 Oh\r\nContent-Length: 0\r\n\r\n") }), 0, "malformed HTTP status code", 0},
		{"answers-100-for-ever", raw(t, func(c net.Conn) {
			for {
				if _, err := c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
					return
				}
			}
		}), 0, "", 0},
		{"refuses-the-connection", closed.URL, 0, "connection refused", 0},
		{"has-an-untrusted-certificate", untrusted.URL, 0, "failed to verify certificate", 0},
		{"has-old-tls", oldTLS.URL, 0, "tls: ", 0},
		{"has-no-tls", strings.Replace(raw(t, func(c net.Conn) { write(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }), "http:", "https:", 1), 0, "HTTP response to HTTPS client", 0},
		{"tls-never-comes", strings.Replace(raw(t, func(net.Conn) { hang() }), "http:", "https:", 1), 0, within, 0},
	}
	r := newRig(t)
	subs := make([]*subscription.Subscription, len(cases))
	for i, tt := range cases {
		subs[i] = r.subscribe(withSecrets(to(tt.name, tt.url, 0)))
		r.queue(subs[i], 1, 1)
	}
	service := r.send()
	for i, tt := range cases {
		a := r.awaitAttempts(subs[i], 1)[0]
		if a.Outcome != delivery.Exhausted || a.Status != tt.status || !strings.Contains(a.Error, tt.want) || (a.Error == "") != (tt.status == 500 && tt.want == "") {
			t.Errorf("%s: got %s, status %d, error %q, want exhausted, %d, %q", tt.name, a.Outcome, a.Status, a.Error, tt.status, tt.want)
		}
		if len(a.Error) > 1100 {
			t.Errorf("%s: the error has %d bytes: %.100s", tt.name, len(a.Error), a.Error)
		}
		if tt.body >= 0 && len(a.ResponseBody) != tt.body {
			t.Errorf("%s: %d bytes of the answer are kept, want %d", tt.name, len(a.ResponseBody), tt.body)
		}
		if took := time.Duration(a.Duration); took > 10*time.Second {
			t.Errorf("%s: the attempt took %s, want its timeout at most", tt.name, took)
		}
		if !strings.HasSuffix(a.URL, "?…") {
			t.Errorf("%s: the attempt shows URL %s", tt.name, a.URL)
		}
		r.awaitSettled(subs[i])
		if deadLetter := r.awaitDeadLetters(tt.name, 1)[0]; deadLetter.Error != a.Error || deadLetter.Status != a.Status {
			t.Errorf("%s: got dead letter with status %d, error %q, want those of the attempt", tt.name, deadLetter.Status, deadLetter.Error)
		}
	}
	close(done)
	service.stop()
	r.wantNoSecrets()
}

// Without permission nothing on this machine is called, whatever its name.
func TestEgressGuard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	port := rc.URL[strings.LastIndexByte(rc.URL, ':'):]
	guard, err := egress.New(egress.Config{AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	service := r.send(func(c *sender.Config) { c.Egress = guard })
	for id, url := range map[string]string{
		"by-address": rc.URL, "by-name": "http://localhost" + port, "by-ipv6": "http://[::1]" + port, "by-mapped-address": "http://[::ffff:127.0.0.1]" + port,
		"by-any-address": "http://0.0.0.0" + port, "metadata": "http://169.254.169.254/latest",
	} {
		sub := r.subscribe(withSecrets(to(id, url, 0)))
		r.queue(sub, 1, 1)
		a := r.awaitAttempts(sub, 1)[0]
		if a.Outcome != delivery.Exhausted || a.Status != 0 || !strings.Contains(a.Error, egress.ErrTargetRefused.Error()) ||
			!strings.Contains(a.Error, "--allow-target") {
			t.Errorf("%s: got %s, status %d, error %q, want it refused, and how it can be allowed", id, a.Outcome, a.Status, a.Error)
		}
		if time.Duration(a.Duration) > 900*time.Millisecond {
			t.Errorf("%s: it took %s to refuse", id, time.Duration(a.Duration))
		}
	}
	if n := len(rc.all()); n > 0 {
		t.Errorf("%d requests were made", n)
	}
	service.stop()
	r.wantNoSecrets()
}

// Deliveries that arrive leave no more of the secrets than those that fail; nor
// does a receiver that sends them back in a redirect.
func TestNoSecretsOfSuccess(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if got.URL.RawQuery != secretQuery || got.Header.Get("Authorization") != secretHeader {
			t.Errorf("the receiver got query %q and header %q, want the secrets", got.URL.RawQuery, got.Header.Get("Authorization"))
		}
		if got.Header.Get("Jetpost-Attempt") == "1" {
			w.Header().Set("Location", "/?"+got.URL.RawQuery)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	})
	sub := r.subscribe(withSecrets(to("hook", rc.URL, 0, 0)))
	gone := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusGone) })
	other := r.subscribe(withSecrets(to("gone", gone.URL)))
	service := r.send()
	r.queue(sub, 1, 1)
	r.queue(other, 1, 1)
	rc.await(2)
	r.awaitSettled(sub)
	r.awaitDeadLetters("gone", 1)
	service.stop()
	r.wantNoSecrets()
	for record, err := range stream.Read(t.Context(), r.js, r.layout.Attempts(), stream.Range{}) {
		if err != nil || !strings.Contains(string(record.Data), "?…") {
			t.Errorf("got record %s, %v, want a URL with its query left out", record.Data, err)
		}
	}
}
