package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A subscription that names a proxy is delivered to through it. The proxy's URL is
// nowhere to be seen, and one that is not configured is refused.
func TestProxyJourney(t *testing.T) {
	t.Parallel()
	const password = "pr0xy-passw0rd"
	var mu sync.Mutex
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		mu.Lock()
		seen = append(seen, given+" "+r.RequestURI)
		mu.Unlock()
		r.RequestURI = ""
		r.Header.Del("Proxy-Authorization")
		response, err := newClientOf(t).Do(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}))
	t.Cleanup(proxy.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	s := startServer(t, "--proxy", "eu="+strings.Replace(proxy.URL, "://", "://operator:"+password+"@", 1), "--proxy", "gone="+strings.Replace(gone.URL, "://", "://operator:"+password+"@", 1))
	c := startCatcher(t, nil)
	created := s.run(t, "subscription", "create", "--id", "ci", "--types", "artifact.deployed", "--url", c.URL+"/in?key=k", "--proxy", "eu")
	s.subscribe(t, "direct", c.URL+"/direct", []string{"artifact.deployed"}, nil)
	s.subscribe(t, "late", c.URL+"/late", []string{"artifact.deployed"}, object{"endpoint": object{"proxy": "gone"}})
	s.publish(t, deployed("1", "libs"))
	targets := make([]string, 0, 2)
	for _, a := range c.waitFor(t, 2) {
		targets = append(targets, a.target)
	}
	slices.Sort(targets)
	mu.Lock()
	through := slices.Clone(seen)
	mu.Unlock()
	if !slices.Equal(targets, []string{"/direct", "/in?key=k"}) || !slices.Equal(through, []string{password + " " + c.URL + "/in?key=k"}) {
		t.Errorf("arrived are %q, through the proxy %q", targets, through)
	}

	// One that is down is named by its key.
	if !holdsWithin(t.Context(), factDeadline, func() bool { return len(s.attempts(t, "late")) > 0 }) {
		t.Fatal("no attempt is on record")
	}
	if a := s.attempts(t, "late")[0]; a.Error != "the proxy gone cannot be reached: connection refused" {
		t.Errorf("the attempt says %q", a.Error)
	}
	r := s.do(t, http.MethodPost, "/v1/subscriptions", object{"id": "bad", "types": []string{"artifact.deployed"}, "endpoint": object{"url": c.URL, "proxy": "us"}})
	if text := string(r.body); r.status != http.StatusUnprocessableEntity || !strings.Contains(text, `{"field":"endpoint.proxy","message":"proxy with key 'us' not found"}`) {
		t.Errorf("an unknown proxy is answered with %d %s", r.status, text)
	}
	shown := s.do(t, http.MethodGet, "/v1/subscriptions/ci", nil)
	if !strings.Contains(string(shown.body), `"proxy":"eu"`) {
		t.Errorf("the subscription is %s", shown.body)
	}
	everything := created + string(shown.body) + s.run(t, "attempts", "ci") + s.run(t, "attempts", "late") + s.stdout.String() + s.stderr.String()
	for _, secret := range []string{password, strings.TrimPrefix(proxy.URL, "http://"), strings.TrimPrefix(gone.URL, "http://")} {
		if strings.Contains(everything, secret) {
			t.Errorf("%s is in %s", secret, everything)
		}
	}
}

// The flag is checked, and so is the variable with one in each line; neither is shown.
func TestProxyFlagIsChecked(t *testing.T) {
	t.Parallel()
	const good, bad = "us=http://operator:pr0xy@host:1", "eu=socks5://operator:pr0xy@host:1"
	for _, given := range [][2]string{{"--proxy", bad}, {"JETPOST_PROXY", good + "\n" + bad}} {
		args := []string{"serve", "--http", "127.0.0.1:0", "--data", t.TempDir()}
		if given[0] == "--proxy" {
			args = append(args, given[:]...)
		}
		p := prepareProgramAt(t, t.TempDir(), args...)
		p.cmd.Env = append(p.cmd.Env, given[0]+"="+given[1])
		p.start(t)
		if code := p.wait(t); code == 0 || !strings.Contains(p.stderr.String(), "the URL of proxy eu cannot be used") || strings.Contains(p.stderr.String(), "pr0xy") {
			t.Errorf("%s: exit code %d, %s", given[0], code, p.stderr)
		}
	}
}
