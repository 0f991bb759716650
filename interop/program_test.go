package interop_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deadline is how long anything may take to happen.
const deadline = 60 * time.Second

// A program is a running `jetpost serve` with data of its own.
type program struct {
	url, token string
}

// start builds jetpost from the module around this one and serves. octo is an open
// domain for data in the shape that other libraries expect.
func start(t *testing.T) *program {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "jetpost")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/jetpost")
	build.Dir = ".."
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build jetpost: %v\n%s", err, out)
	}
	octo := filepath.Join(dir, "schemas", "octo")
	if err := os.MkdirAll(octo, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(octo, "domain.json"), []byte(`{"name":"octo","description":"Anything.","open":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(binary, "serve", "--http", "127.0.0.1:0", "--data", data, "--schemas", filepath.Dir(octo), "--allow-target", "127.0.0.0/8")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("jetpost: %v\n%s", err, log.String()[max(0, log.Len()-4000):])
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	_, url, found := strings.Cut(strings.TrimSpace(line), " listening on ")
	if err != nil || !found {
		t.Fatalf("jetpost says %q, %v", line, err)
	}
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	return &program{url: url, token: strings.TrimSpace(string(token))}
}

// call makes a request to the API, which must succeed.
func (p *program) call(t *testing.T, method, path, contentType string, body []byte) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", contentType)
	response, err := (&http.Client{Timeout: deadline}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode > 299 {
		t.Fatalf("%s %s: %s\n%s", method, path, response.Status, answer)
	}
	return answer
}

// A capture is a request as a receiver got it.
type capture struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Header http.Header `json:"headers"`
	Body   []byte      `json:"body"` // base64 in JSON
}

// request is the captured one again, for libraries that read a request.
func (c *capture) request(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), c.Method, c.URL, bytes.NewReader(c.Body))
	r.Header = c.Header.Clone()
	return r
}

// tampered is the request with another body, which no verifier may accept.
func (c *capture) tampered() *capture {
	other := *c
	other.Body = bytes.Replace(c.Body, []byte(`"`), []byte(` "`), 1)
	return &other
}

// An event to publish.
type event struct {
	Type string
	Data json.RawMessage
}

// example is an event of the catalogue.
func example(t *testing.T, eventType string) event {
	t.Helper()
	domain, name, _ := strings.Cut(eventType, ".")
	data, err := os.ReadFile(filepath.Join("..", "schemas", domain, name+".example.json"))
	if err != nil {
		t.Fatal(err)
	}
	return event{eventType, data}
}

// deliver makes a subscription of a profile, publishes e and returns the one request
// that arrives. change edits the subscription first, if it is not nil.
func (p *program) deliver(t *testing.T, profile, secret string, e event, change func(sub map[string]any)) *capture {
	t.Helper()
	arrived := make(chan *capture, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		arrived <- &capture{Method: r.Method, URL: "http://" + r.Host + r.RequestURI, Header: r.Header, Body: body}
	}))
	t.Cleanup(receiver.Close)
	id := fmt.Sprintf("hook-%d", time.Now().UnixNano())
	sub := map[string]any{
		"id": id, "types": []string{e.Type}, "profile": profile, "secret": secret,
		"endpoint": map[string]any{"url": receiver.URL + "/in/hook?token=x"},
		"filters":  []any{map[string]any{"exact": map[string]any{"id": id}}},
	}
	if change != nil {
		change(sub)
	}
	body, err := json.Marshal(sub)
	if err != nil {
		t.Fatal(err)
	}
	p.call(t, http.MethodPost, "/v1/subscriptions", "application/json", body)
	published, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": "/interop", "type": e.Type, "subject": "a/subject",
		"time": "2026-03-01T11:30:00Z", "datacontenttype": "application/json", "data": e.Data,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.call(t, http.MethodPost, "/v1/events", "application/cloudevents+json", published)
	select {
	case c := <-arrived:
		return c
	case <-time.After(deadline):
		t.Fatalf("nothing arrives of %s by profile %s", e.Type, profile)
		return nil
	}
}
