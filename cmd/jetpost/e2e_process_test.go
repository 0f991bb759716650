package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/testkit"
)

// SIGTERM in the middle of everything: requests under way are settled, the exit
// code is 0, and the next start goes on where this one has stopped, without
// making a request again.
func TestStopInMidLoad(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--http", testkit.FreeAddress(t))
	slow := startCatcher(t, func(w http.ResponseWriter, r *http.Request, _ *arrival) {
		if testkit.Pause(r.Context(), 200*time.Millisecond) {
			w.WriteHeader(http.StatusOK)
		}
	})
	fast := startCatcher(t, nil)
	s.subscribe(t, "slow", slow.URL, []string{"artifact.*"}, object{"delivery": object{"max_in_flight": 20}})
	s.subscribe(t, "fast", fast.URL, []string{"artifact.*"}, nil)
	const events = 300
	s.call(t, http.MethodPost, "/v1/subscriptions/slow/pause", nil, nil)
	ids := numbered("event", events)
	for _, id := range ids {
		s.publish(t, deployed(id, "libs"))
	}
	s.call(t, http.MethodPost, "/v1/subscriptions/slow/resume", nil, nil)
	slow.waitFor(t, 50)
	if code := s.stop(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, s.stderr.tail(20))
	}
	if got := slow.count(); got == events {
		t.Error("the load was over before the stop")
	}
	for _, a := range slow.arrivals() {
		if a.status != http.StatusOK {
			t.Errorf("the request for %s was broken off", a.id())
		}
	}
	if _, err := os.Stat(filepath.Join(s.data, "nats", "nats.url")); err == nil {
		t.Error("the NATS server has not stopped cleanly: its URL is still there")
	}
	// Nothing was published after the stop: what is missing was stored.
	s.restart(t)
	// What the stop has handed back comes at once. A few deliveries that the server
	// was just about to hand out come when it would take a crashed process for dead.
	if most := events * 9 / 10; !holdsWithin(t.Context(), 20*time.Second, func() bool { return slow.count() >= most && fast.count() >= most }) {
		t.Errorf("20s after the start only %d and %d of %d have arrived", slow.count(), fast.count(), events)
	}
	eventuallyWithin(t, 2*factDeadline, "everything arrives", func() bool { return slow.count() >= events && fast.count() >= events })
	for _, c := range []*catcher{slow, fast} {
		if diff := cmp.Diff(ids, eventIDs(t, c.exactly(t, events))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for _, id := range []string{"slow", "fast"} {
		eventually(t, "every request is recorded", func() bool { return len(s.attempts(t, id)) >= events })
		for _, a := range s.attempts(t, id) {
			if a.Attempt != 1 || a.Outcome != delivery.Delivered {
				t.Errorf("%s: got %+v", id, a)
			}
		}
	}
	if code := s.stop(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, s.stderr.tail(20))
	}
}

// Each role in a process of its own, two senders among them, on one NATS server:
// everything arrives once, whichever sender does the work, and both do.
func TestRolesSplit(t *testing.T) {
	t.Parallel()
	sp := startSplit(t)
	second := sp.join(t, "sender")
	c := startCatcher(t, nil)
	hook := sp.subscribe(t, "split", c.URL, []string{"artifact.*"}, object{"delivery": object{"senders": 2}})
	ids := numbered("event", 500)
	for _, id := range ids {
		sp.publish(t, deployed(id, "libs"))
	}
	got := c.exactly(t, len(ids))
	if diff := cmp.Diff(ids, eventIDs(t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, a := range got {
		if err := a.verify(hook.Secret); err != nil {
			t.Errorf("%s: %v", a.id(), err)
		}
	}
	// A change reaches senders elsewhere.
	sp.call(t, http.MethodPost, "/v1/subscriptions/split/pause", nil, nil)
	sp.publish(t, deployed("while-paused", "libs"))
	sp.call(t, http.MethodPost, "/v1/subscriptions/split/resume", nil, nil)
	c.exactly(t, len(ids)+1)
	for _, sender := range []*server{sp.sender, second} {
		if code := sender.stop(t); code != 0 {
			t.Errorf("exit code %d of a sender:\n%s", code, sender.stderr.tail(20))
		}
		if len(sender.stderr.lines(`"msg":"attempt"`)) == 0 {
			t.Error("a sender has made no request")
		}
	}
	if code := sp.router.stop(t); code != 0 {
		t.Errorf("exit code %d of the router:\n%s", code, sp.router.stderr.tail(20))
	}
	if code := sp.stop(t); code != 0 {
		t.Errorf("exit code %d of the admin:\n%s", code, sp.stderr.tail(20))
	}
}

// With an fsync before each acknowledgement everything works as without.
func TestSyncAlways(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--nats-sync", "always", "--http", testkit.FreeAddress(t))
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if a.nth == 1 && strings.HasSuffix(a.id(), "0") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	s.subscribe(t, "durable", c.URL, []string{"artifact.*"}, object{"delivery": retrying(0, "0s", "100ms", "100ms")})
	ids := numbered("event", 60)
	for _, id := range ids[:30] {
		s.publish(t, deployed(id, "libs"))
	}
	s.kill()
	s.restart(t)
	for _, id := range ids[30:] {
		s.publish(t, deployed(id, "libs"))
	}
	// What was in flight comes back when the server takes the sender for dead.
	eventuallyWithin(t, 2*factDeadline, "all events are delivered", func() bool {
		done := make(map[string]bool)
		for _, a := range c.arrivals() {
			if e, err := a.event(); err == nil && a.status/100 == 2 {
				done[e.ID()] = true
			}
		}
		return len(done) == len(ids)
	})
}

// No secret is shown to anybody but the endpoint: not in the log, not in an answer
// of the API, and not in the files of the data directory.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	const (
		querySecret  = "query-S3cr3t-4711"
		headerSecret = "header-S3cr3t-0815"
	)
	signing := "whsec_" + base64.StdEncoding.EncodeToString([]byte("signing-S3cr3t-of-thirty-two-bytes"[:32]))
	s := startServer(t, "--log-level", "debug", "--http", testkit.FreeAddress(t))
	var shown bytes.Buffer // all that the API answers, but for those that show a secret by design
	see := func(r reply) {
		for name, values := range r.header {
			fmt.Fprintln(&shown, name, values)
		}
		shown.Write(r.body)
	}
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if a.nth == 1 {
			panic(http.ErrAbortHandler) // an error of the client library, which knows the URL
		}
		w.Header().Set("Location", "/elsewhere?token="+querySecret)
		w.WriteHeader([]int{http.StatusFound, http.StatusInternalServerError, http.StatusOK}[(a.nth-2)%3])
	})
	body := object{
		"id": "secretive", "types": []string{"artifact.*"}, "secrets": []object{{"secret": signing}},
		"endpoint": object{"url": c.URL + "/hook?token=" + querySecret, "secret_headers": object{"authorization": "Bearer " + headerSecret}},
		"delivery": retrying(0, "0s", "10ms", "10ms", "10ms"),
	}
	if r := s.do(t, http.MethodPost, "/v1/subscriptions", body); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	// An endpoint that cannot be reached, and requests that are refused, with all
	// of the secrets in them.
	unreachable := object{
		"id": "unreachable", "types": []string{"artifact.*"}, "secrets": []object{{"secret": signing}},
		"endpoint": object{
			"url":            "http://127.0.0.1:1/hook?token=" + querySecret,
			"secret_headers": object{"x-key": headerSecret},
		},
		"delivery": retrying(0, "0s", "10ms"),
	}
	see(s.do(t, http.MethodPost, "/v1/subscriptions", body)) // exists
	if r := s.do(t, http.MethodPost, "/v1/subscriptions", unreachable); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, change := range []object{
		{"types": []string{"nonsense"}, "secrets": []object{{"secret": signing}}},
		{"endpoint": object{"url": "ftp://user:" + headerSecret + "@127.0.0.1/?token=" + querySecret}},
		{"endpoint": object{"url": "http://127.0.0.1/%zz?token=" + querySecret}},
		{"endpoint": object{"secret_headers": object{"x-key": headerSecret + "\n"}}},
		{"secrets": []object{{"secret": signing + "!"}}},
		{"secrets": signing},
		{"endpoint": object{"query": []string{querySecret}}},
	} {
		r := s.do(t, http.MethodPatch, "/v1/subscriptions/secretive", change)
		if r.status/100 != 4 {
			t.Errorf("%v: %d %s", change, r.status, r.body)
		}
		see(r)
	}
	see(s.do(t, http.MethodPost, "/v1/subscriptions/secretive/rotate-secret", object{"secret": signing + "!"}))
	see(s.do(t, http.MethodPatch, "/v1/subscriptions/secretive", object{"description": "changed"}))
	s.publish(t, deployed("one", "libs"))
	eventually(t, "the delivery is made", func() bool { return len(s.attempts(t, "secretive")) == 4 })
	eventually(t, "the unreachable endpoint is given up", func() bool { return len(s.letters(t, "unreachable")) == 1 })
	if a := c.arrivals()[0]; a.target != "/hook?token="+querySecret || a.header.Get("Authorization") != "Bearer "+headerSecret || a.verify(signing) != nil {
		t.Errorf("the endpoint got %s with %v", a.target, a.header)
	}
	for _, path := range []string{
		"/v1/subscriptions", "/v1/subscriptions/secretive", "/v1/attempts", "/v1/subscriptions/secretive/attempts",
		"/v1/subscriptions/secretive/dead-letters", "/v1/subscriptions/unreachable/attempts", "/v1/subscriptions/unreachable/dead-letters",
		"/v1/events", "/metrics", "/readyz", "/openapi.json", "/v1/subscriptions/unknown?token=" + s.token,
	} {
		see(s.do(t, http.MethodGet, path, nil))
	}
	for name, text := range map[string]string{"signing secret": signing, "query": querySecret, "header": headerSecret} {
		if r := s.do(t, http.MethodGet, "/v1/subscriptions/secretive/secret", nil); name == "signing secret" && !bytes.Contains(r.body, []byte(text)) {
			t.Errorf("the one answer that shows secrets does not: %s", r.body)
		}
		if at := strings.Index(shown.String(), text); at >= 0 {
			t.Errorf("the API shows the %s: …%s", name, shown.String()[max(0, at-200):at])
		}
	}
	s.kill()     // and so a crash,
	s.restart(t) // a start
	s.stop(t)    // and a clean stop have written their files and their logs
	searchFor(t, s, map[string]string{
		"signing secret": signing, "signing key": strings.TrimPrefix(signing, "whsec_"), "query": querySecret, "header": headerSecret,
		"key in the clear": "signing-S3cr3t-of-thirty-two-bytes"[:32],
	})
}

// searchFor looks for secrets in a server's log and in the files of its data
// directory.
func searchFor(t *testing.T, s *server, secrets map[string]string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(s.data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for name, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds the %s", path, name)
			}
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("searched %d files: %v", files, err)
	}
	for name, secret := range secrets {
		if found := s.stderr.lines(secret); len(found) > 0 {
			t.Errorf("the log shows the %s: %s", name, found)
		}
	}
	if token := s.stderr.lines(s.token); len(token) > 0 {
		t.Errorf("the log shows the admin token: %s", token)
	}
}

// A request without a token is refused with the reason.
func TestTokenIsAskedFor(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, token := range []string{"", "wrong", s.token + "x", strings.ToUpper(s.token)} {
		for _, path := range []string{"/v1/subscriptions", "/v1/events", "/v1/attempts"} {
			r := s.do(t, http.MethodGet, path, nil, "Authorization", "Bearer "+token)
			if detail, _ := r.problem(); r.status != http.StatusUnauthorized || detail == "" {
				t.Errorf("GET %s with token %q: %d %s", path, token, r.status, r.body)
			}
		}
		body, header := deployed("one", "libs").binary()
		r := s.do(t, http.MethodPost, "/v1/events", body, append(slices.Clone(header), "Authorization", "Bearer "+token)...)
		if r.status != http.StatusUnauthorized {
			t.Errorf("publish with token %q: %d %s", token, r.status, r.body)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if r := s.do(t, http.MethodGet, path, nil, "Authorization", ""); r.status != http.StatusOK {
			t.Errorf("GET %s without a token: %d %s", path, r.status, r.body)
		}
	}
	if line := s.line(t, "admin token"); !strings.Contains(line, filepath.Join(s.data, "admin.token")) {
		t.Errorf("the first start says %q about its token", line)
	}
	info, err := os.Stat(filepath.Join(s.data, "admin.token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin.token has mode %v, %v", info.Mode(), err)
	}
}
