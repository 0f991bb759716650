package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/testkit"
)

const factDeadline = testkit.Patience

var eventually, eventuallyWithin, holdsWithin = testkit.Eventually, testkit.EventuallyWithin, testkit.HoldsWithin

// printed is what a process has written so far.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// lines returns the complete lines that contain text.
func (p *printed) lines(text string) []string {
	all := p.String()
	all = all[:strings.LastIndexByte(all, '\n')+1]
	var found []string
	for line := range strings.Lines(all) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// logged waits for the line of its log that contains text, of which there is one; a line
// is written up to 100 ms after the fact.
func (p *program) logged(tb testing.TB, text string) string {
	tb.Helper()
	eventually(tb, "the log says: "+text, func() bool { return len(p.stderr.lines(text)) > 0 })
	lines := p.stderr.lines(text)
	if len(lines) != 1 {
		tb.Errorf("the log has %d lines of this kind: %q", len(lines), lines)
	}
	return lines[0]
}

// tail returns the last n lines.
func (p *printed) tail(n int) string {
	lines := strings.Split(strings.TrimSpace(p.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// troubles returns the last n lines of a log that are more than information, or
// else the last lines of any kind.
func (p *printed) troubles(n int) string {
	lines := slices.DeleteFunc(p.lines(""), func(line string) bool {
		return strings.Contains(line, `"level":"info"`) || strings.Contains(line, `"level":"debug"`)
	})
	if len(lines) == 0 {
		return p.tail(n)
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// A program is jetpost in a process of its own.
type program struct {
	name   string
	cmd    *exec.Cmd
	stdout *printed
	stderr *printed
	home   string
	exited chan struct{} // closed when it has ended
	quiet  bool          // its log is not shown when the test fails

	began time.Time
	ended time.Time // valid once exited is closed
}

// programEnv is the environment of a program: that of the tests, without what
// would configure it, and with a home folder of its own.
func programEnv(home string, more ...string) []string {
	kept := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "JETPOST_") || strings.HasPrefix(v, "XDG_") || strings.HasPrefix(v, "GIT_")
	})
	return append(append(kept, childVariable+"=1", "HOME="+home), more...)
}

// self is the path of the test binary, which is the program too.
func self(tb testing.TB) string {
	tb.Helper()
	path, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func prepareProgram(tb testing.TB, args ...string) *program {
	tb.Helper()
	return prepareProgramAt(tb, tb.TempDir(), args...)
}

// prepareProgramAt is prepareProgram with a home folder, which is the current one
// as well.
func prepareProgramAt(tb testing.TB, home string, args ...string) *program {
	tb.Helper()
	p := &program{home: home, name: strings.Join(args[:min(2, len(args))], " "), stdout: new(printed), stderr: new(printed), exited: make(chan struct{})}
	p.cmd = exec.Command(self(tb), args...)
	p.cmd.Env = programEnv(home, parentVariable+"=3")
	p.cmd.Dir = home
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	return p
}

// start starts the program. It is killed at the end of the test, and must not have
// panicked by then.
func (p *program) start(tb testing.TB) {
	tb.Helper()
	theirs, ours, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	p.began = time.Now()
	err = p.cmd.Start()
	_ = theirs.Close()
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState says it all
		p.ended = time.Now()
		_ = ours.Close()
		close(p.exited)
	}()
	tb.Cleanup(func() {
		p.kill()
		for _, alarm := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE"} {
			if text := p.stderr.String(); strings.Contains(text, alarm) {
				tb.Errorf("%s: %s", p.name, text[strings.Index(text, alarm):])
				return
			}
		}
		if tb.Failed() && !p.quiet {
			tb.Logf("the last that %s said:\n%s", p.name, p.stderr.troubles(20))
		}
	})
}

// kill ends the process as a crash does, and waits until it is gone.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // or it has ended already
	<-p.exited
}

// stop asks the process to end and returns its exit code.
func (p *program) stop(tb testing.TB) int {
	tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatalf("stop %s: %v", p.name, err)
	}
	return p.wait(tb)
}

// wait returns the exit code.
func (p *program) wait(tb testing.TB) int {
	tb.Helper()
	select {
	case <-p.exited:
	case <-testkit.Timeout():
		tb.Fatalf("%s does not end; it said\n%s", p.name, p.stderr.tail(30))
	}
	return p.cmd.ProcessState.ExitCode()
}

// line waits for a line on standard output that contains text.
func (p *program) line(tb testing.TB, text string) string {
	tb.Helper()
	var found []string
	ended := false
	eventually(tb, fmt.Sprintf("%s printed %q", p.name, text), func() bool {
		select {
		case <-p.exited:
			ended = true
		default:
		}
		found = p.stdout.lines(text)
		return len(found) > 0 || ended
	})
	if len(found) == 0 {
		tb.Fatalf("%s has ended without printing %q:\n%s\n%s", p.name, text, p.stdout.tail(30), p.stderr.tail(30))
	}
	return found[0]
}

// A server is `jetpost serve` with a data directory of its own.
type server struct {
	*program
	data   string
	args   []string
	url    string
	token  string
	client *http.Client
	clock  *setClock // nil: that of the machine
}

// startServer runs a server in all its roles that may call loopback addresses.
// The test ends with it.
func startServer(tb testing.TB, args ...string) *server {
	tb.Helper()
	return startServerIn(tb, filepath.Join(tb.TempDir(), "data"), append([]string{"--allow-target", "127.0.0.0/8"}, args...)...)
}

// startServerIn runs a server with a given data directory.
func startServerIn(tb testing.TB, data string, args ...string) *server {
	tb.Helper()
	s := prepareServerIn(tb, data, args...)
	s.restart(tb)
	return s
}

func prepareServerIn(tb testing.TB, data string, args ...string) *server {
	tb.Helper()
	s := &server{data: data, client: newClientOf(tb)}
	s.args = append([]string{"serve", "--http", "127.0.0.1:0", "--data", data}, args...)
	return s
}

func newClientOf(tb testing.TB) *http.Client {
	tb.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: factDeadline}
}

// restart starts the server, again on the same data.
func (s *server) restart(tb testing.TB) {
	tb.Helper()
	s.restartAt(tb, tb.TempDir())
}

// restartAt starts the server with a home folder, and more variables.
func (s *server) restartAt(tb testing.TB, home string, env ...string) {
	tb.Helper()
	s.program = prepareProgramAt(tb, home, s.args...)
	s.cmd.Env = append(s.cmd.Env, env...)
	if s.clock != nil {
		s.clock.give(s.program)
	}
	s.program.start(tb)
	line := s.line(tb, " listening on http://")
	s.url = line[strings.Index(line, "http://"):]
	if token, err := os.ReadFile(filepath.Join(s.data, "admin.token")); err == nil {
		s.token = strings.TrimSpace(string(token))
	}
}

// natsURL is where the embedded NATS server of the server listens.
func (s *server) natsURL(tb testing.TB) string {
	tb.Helper()
	url, err := os.ReadFile(embedded.URLFile(filepath.Join(s.data, "nats")))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(url))
}

// jetStream looks into the server's NATS from outside.
func (s *server) jetStream(tb testing.TB) jetstream.JetStream {
	tb.Helper()
	nc, err := nats.Connect(s.natsURL(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// freePort returns an address of this machine that stays free while a server that was
// killed is not there.

// object is a JSON object.
type object = map[string]any

// A reply is what a server has answered.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// problem is the answer as a problem document.
func (r reply) problem() (detail string, fields []string) {
	var p struct {
		Detail string
		Errors []struct{ Field, Message string }
	}
	_ = json.Unmarshal(r.body, &p)
	for _, e := range p.Errors {
		fields = append(fields, e.Field)
	}
	return p.Detail, fields
}

// try makes a request. body is sent as it is when it is a string or bytes, and
// otherwise as JSON.
func (s *server) try(ctx context.Context, method, path string, body any, header ...string) (reply, error) {
	var in io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(body)
	case []byte:
		in = bytes.NewReader(body)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		in = bytes.NewReader(text)
		header = append([]string{"Content-Type", "application/json"}, header...)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, in)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, text}, err
}

// do makes a request that must be answered.
func (s *server) do(tb testing.TB, method, path string, body any, header ...string) reply {
	tb.Helper()
	r, err := s.try(tb.Context(), method, path, body, header...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// call makes a request that must succeed, and decodes the answer into out.
func (s *server) call(tb testing.TB, method, path string, body, out any) {
	tb.Helper()
	r := s.do(tb, method, path, body)
	if r.status/100 != 2 {
		tb.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(r.body, out); err != nil {
		tb.Fatalf("%s %s: %v in %s", method, path, err, r.body)
	}
}

// A subscribed is a subscription as the API answers.
type subscribed struct {
	ID          string
	Secret      string // in the answer to its creation
	State       string
	StateReason string `json:"state_reason"`
}

// subscribe creates a subscription of types to url. More has its other fields.
func (s *server) subscribe(tb testing.TB, id, url string, types []string, more object) subscribed {
	tb.Helper()
	endpoint := object{"url": url}
	body := object{"id": id, "types": types, "endpoint": endpoint}
	for name, value := range more {
		if name != "endpoint" {
			body[name] = value
			continue
		}
		maps.Copy(endpoint, value.(object))
	}
	var out subscribed
	s.call(tb, http.MethodPost, "/v1/subscriptions", body, &out)
	if out.ID != id || !strings.HasPrefix(out.Secret, "whsec_") {
		tb.Fatalf("created %q with a secret of %d characters", out.ID, len(out.Secret))
	}
	return out
}

// subscription returns a subscription as it is now.
func (s *server) subscription(tb testing.TB, id string) subscribed {
	tb.Helper()
	var out subscribed
	s.call(tb, http.MethodGet, "/v1/subscriptions/"+id, nil, &out)
	return out
}

// retrying are the delivery options of a subscription with a schedule.
func retrying(jitter float64, schedule ...string) object {
	return object{"retry": object{"schedule": schedule, "jitter": jitter}}
}

// withoutBreaker turns the breaker off, where a receiver that fails is tried to the
// end.
func withoutBreaker(delivery object) object {
	delivery["breaker"] = object{"mode": "off"}
	return delivery
}

// pages reads a list to its end.
func pages[T any](tb testing.TB, s *server, path string) []T {
	tb.Helper()
	var all []T
	for cursor := ""; ; {
		var page struct {
			Items      []T
			NextCursor string `json:"next_cursor"`
		}
		query := "?limit=500"
		if cursor != "" {
			query += "&cursor=" + cursor
		}
		s.call(tb, http.MethodGet, path+query, nil, &page)
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

// attempts returns the attempts of a subscription, oldest first.
func (s *server) attempts(tb testing.TB, id string) []delivery.Attempt {
	tb.Helper()
	all := pages[delivery.Attempt](tb, s, "/v1/subscriptions/"+id+"/attempts")
	slices.Reverse(all)
	return all
}

// letters returns the dead letters of a subscription, oldest first.
func (s *server) letters(tb testing.TB, id string) []delivery.DeadLetter {
	tb.Helper()
	all := pages[delivery.DeadLetter](tb, s, "/v1/subscriptions/"+id+"/dead-letters")
	slices.Reverse(all)
	return all
}

// A happening is an event that a test publishes.
type happening struct {
	id, source, kind, subject string // kind is the type
	contentType               string // default: application/json
	data                      string
	extensions                map[string]string
}

// A receipt is the answer to a publish.
type receipt struct {
	ID        string
	Stream    string
	Sequence  uint64
	Duplicate bool
}

// binary is the event as a request in binary mode.
func (h happening) binary() (body string, header []string) {
	header = []string{
		"Ce-Specversion", "1.0", "Ce-Id", h.id, "Ce-Source", h.source, "Ce-Type", h.kind,
		"Content-Type", "application/json",
	}
	if h.contentType != "" {
		header = append(header, "Content-Type", h.contentType)
	}
	if h.subject != "" {
		header = append(header, "Ce-Subject", h.subject)
	}
	for name, value := range h.extensions {
		header = append(header, "Ce-"+name, value)
	}
	return h.data, header
}

var errNotAccepted = errors.New("not accepted")

// tryPublish publishes h in binary mode.
func (s *server) tryPublish(ctx context.Context, h happening) (receipt, error) {
	body, header := h.binary()
	r, err := s.try(ctx, http.MethodPost, "/v1/events", body, header...)
	if err != nil {
		return receipt{}, err
	}
	if r.status != http.StatusCreated {
		return receipt{}, fmt.Errorf("%w: %d %s", errNotAccepted, r.status, r.body)
	}
	var got receipt
	return got, json.Unmarshal(r.body, &got)
}

// publish publishes h, which must be accepted.
func (s *server) publish(tb testing.TB, h happening) receipt {
	tb.Helper()
	got, err := s.tryPublish(tb.Context(), h)
	if err != nil {
		tb.Fatal(err)
	}
	if got.ID != h.id || got.Sequence == 0 {
		tb.Fatalf("published %s, got the receipt %+v", h.id, got)
	}
	return got
}

// deployed is an event about a file of a repository.
func deployed(id, repo string) happening {
	return happening{
		id: id, source: "/artifactory/e2e", kind: "artifact.deployed", subject: repo + "/" + id,
		data: fmt.Sprintf(`{"repo_key":%q,"path":"org/acme/%s.jar","name":"%s.jar","sha256":"%064d","size":%d}`, repo, id, id, len(id), 1000+len(id)),
	}
}

// shopDomain returns a folder with a domain of the test's own, whose data may be
// anything: shop.<event>.
func shopDomain(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "schemas")
	if err := os.MkdirAll(filepath.Join(dir, "shop"), 0o700); err != nil {
		tb.Fatal(err)
	}
	text := `{"name":"shop","description":"What happens in a shop.","validation":"off","open":true}`
	if err := os.WriteFile(filepath.Join(dir, "shop", "domain.json"), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// retryTimers is how many timers are stored.
func retryTimers(tb testing.TB, js jetstream.JetStream) (n uint64) {
	tb.Helper()
	streams := js.ListStreams(tb.Context(), jetstream.WithStreamListSubject("retries.>"))
	for info := range streams.Info() {
		n += info.State.Msgs
	}
	if err := streams.Err(); err != nil {
		tb.Fatal(err)
	}
	return n
}
