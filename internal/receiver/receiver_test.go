package receiver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/testkit"
)

const (
	testSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
)

// A testReceiver is `jetpost receiver` on a free port.
type testReceiver struct {
	url    string
	client *http.Client
	lines  chan string // what it has printed after "listening on …"
	stop   func() error
}

// startReceiver parses args like the program does and runs the command. secrets
// may be nil.
func startReceiver(tb testing.TB, secrets secretSource, args ...string) *testReceiver {
	tb.Helper()
	c := parseReceiver(tb, append([]string{"--addr", "127.0.0.1:0"}, args...)...)
	c.secrets = secrets
	ctx, cancel := context.WithCancel(tb.Context())
	stdout, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := c.Run(&terminal.Env{Ctx: ctx, Stdin: strings.NewReader(""), Stdout: w, Stderr: tb.Output()})
		_ = w.Close()
		ended <- err
	}()
	r := &testReceiver{client: new(http.Client), lines: make(chan string, 10_000)}
	go func() {
		defer close(r.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			r.lines <- lines.Text()
		}
	}()
	r.stop = func() error {
		cancel()
		r.client.CloseIdleConnections()
		return <-ended
	}
	tb.Cleanup(cancel)
	first, ok := <-r.lines
	if !ok {
		tb.Fatalf("the receiver did not start: %v", <-ended)
	}
	r.url = strings.TrimPrefix(first, "listening on ")
	if c.JSON {
		var listening struct{ URL string }
		if err := json.Unmarshal([]byte(first), &listening); err != nil {
			tb.Fatal(err)
		}
		r.url = listening.URL
	}
	return r
}

func parseReceiver(tb testing.TB, args ...string) *Cmd {
	tb.Helper()
	c := new(Cmd)
	parser, err := kong.New(c, kong.Writers(tb.Output(), tb.Output()))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		tb.Fatal(err)
	}
	return c
}

// until returns what is printed up to the first line that contains text.
func (r *testReceiver) until(t *testing.T, text string) string {
	t.Helper()
	var got []string
	for line := range r.lines {
		got = append(got, line)
		if strings.Contains(line, text) {
			return strings.Join(got, "\n")
		}
	}
	t.Fatalf("printed\n%s\nand nowhere %q", strings.Join(got, "\n"), text)
	return ""
}

// signed is a request as jetpost makes it, signed by the reference library.
func (r *testReceiver) signed(tb testing.TB, secret, id string, body []byte) *http.Request {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, r.url+"/hook", bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	sign(tb, req.Header, secret, id, body, time.Now())
	return req
}

func sign(tb testing.TB, h http.Header, secret, id string, body []byte, at time.Time) {
	tb.Helper()
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		tb.Fatal(err)
	}
	signature, err := webhook.Sign(id, at, body)
	if err != nil {
		tb.Fatal(err)
	}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("webhook-signature", signature)
}

// send returns the status and the body of the answer.
func (r *testReceiver) send(tb testing.TB, req *http.Request) (int, string) {
	tb.Helper()
	res, err := r.client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, string(body)
}

const pushData1 = `{"ref":"refs/heads/main","before":"f22fe95d6097bc18ba2ace7c5808ef53c0211a2e","after":"85c7e78e6dfb63bcad4a0bb0953c0b3554ed0e93",` +
	`"commits":[{"id":"85c7e78e6dfb63bcad4a0bb0953c0b3554ed0e93","message":"Fix the roof\n\nIt leaked.\n","author":{"name":"Ada"},` +
	`"added":["roof.txt"],"removed":["bucket.txt"],"modified":["README.md"]}],"pusher":{"login":"ada"}}`

const structuredPush = `{"specversion":"1.0","id":"p1","source":"/git/widgets","type":"git.push","data":` + pushData1 + `}`

func TestReceiverPrintsWhatArrives(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		header map[string]string
		body   string
		want   []string
	}{
		{
			"a push, structured",
			map[string]string{"Content-Type": "application/cloudevents+json; charset=UTF-8", "jetpost-subscription": "ci", "jetpost-attempt": "3"},
			structuredPush,
			[]string{
				"  200  git.push  ci  attempt 3  signature ok  ", "POST /hook",
				"webhook-id dlv_1  event p1 from /git/widgets",
				"refs/heads/main  f22fe95..85c7e78  1 commit by ada",
				"85c7e78  Fix the roof  (Ada)", "A roof.txt  M README.md  D bucket.txt",
			},
		},
		{
			"a file, binary, with a percent-encoded source",
			map[string]string{
				"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "f1",
				"ce-source": "/caf%C3%A9", "ce-type": "artifact.deployed",
			},
			`{"repo_key":"libs","path":"org/x/app.jar","name":"app.jar","sha256":"0123456789abcdef","size":2048}`,
			[]string{"artifact.deployed", "event f1 from /café", "deployed  libs/org/x/app.jar  2.0 KiB  sha256 0123456789ab"},
		},
		{
			"a moved file, standard body",
			map[string]string{"Content-Type": "application/json"},
			`{"type":"artifact.moved","timestamp":"2026-01-02T03:04:05Z","data":{"repo_key":"a","path":"x","source_repo_path":"a/x","target_repo_path":"b/x","size":1}}`,
			[]string{"artifact.moved", "moved  a/x -> b/x  1 B"},
		},
		{
			"a new branch without commits",
			map[string]string{"Content-Type": "application/cloudevents+json"},
			`{"specversion":"1.0","id":"p2","source":"/g","type":"git.push","data":{"ref":"refs/heads/x","before":"0000000000","after":"abcdef0123"}}`,
			[]string{"refs/heads/x  new at abcdef0  0 commits"},
		},
		{
			"a deleted tag",
			map[string]string{"Content-Type": "application/cloudevents+json"},
			`{"specversion":"1.0","id":"p3","source":"/g","type":"git.push","data":{"ref":"refs/tags/v1","before":"abcdef0123","after":"0000000000"}}`,
			[]string{"refs/tags/v1  deleted, was abcdef0"},
		},
		{
			"a batch",
			map[string]string{"Content-Type": "application/cloudevents-batch+json"},
			"[" + structuredPush + "," + structuredPush + "]",
			[]string{"2 events", "git.push  event p1 from /git/widgets"},
		},
		{
			"a broken event",
			map[string]string{"Content-Type": "application/cloudevents+json"},
			`{"specversion":"1.0"`,
			[]string{"signature ok", "not a readable event: "},
		},
		{
			"binary mode that says its content type twice",
			map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s", "ce-datacontenttype": "text/plain"},
			`x`,
			[]string{"not a readable event: ce-datacontenttype must not exist"},
		},
		{
			"something else",
			map[string]string{"Content-Type": "text/plain"},
			"hello",
			[]string{"  200  signature ok  5 B  POST /hook"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := startReceiver(t, nil, "--secret", testSecret)
			req := r.signed(t, testSecret, "dlv_1", []byte(test.body))
			for name, value := range test.header {
				req.Header.Set(name, value)
			}
			if status, _ := r.send(t, req); status != http.StatusOK {
				t.Errorf("status is %d", status)
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			got := r.until(t, "total: received 1  distinct 1  repeats 0  signatures ok 1 BAD 0 unverified 0  status 200:1")
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("printed\n%s\nwithout %q", got, want)
				}
			}
		})
	}
}

func TestReceiverShortensLongPushes(t *testing.T) {
	t.Parallel()
	files := `"f0"` + strings.Repeat(`,"f"`, 19)
	commit := `{"id":"85c7e78e6d","message":"m","author":{"name":"n"},"added":[` + files + `]}`
	push := `{"ref":"refs/heads/main","before":"a","after":"b","commits":[` + commit + strings.Repeat(","+commit, 24) + `]}`
	got := describePush([]byte(push))
	if len(got) != 1+2*listedCommits+1 || got[len(got)-1] != "  and 15 more" {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
	if !strings.HasSuffix(got[2], "and 12 more") {
		t.Errorf("files: %q", got[2])
	}
}

// What arrives must not be able to write to the terminal.
func TestReceiverNeverPrintsControlCharacters(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, nil, "--verbose")
	body := `{"type":"git.push\u001b[31m","data":{"a":"` + "\u202e\u009b" + `"}}`
	r.send(t, r.signed(t, testSecret, "dlv_0", []byte("\x1b[2J")))
	req := r.signed(t, testSecret, "dlv_1", []byte(body))
	req.Header.Set("X-Colour", "\x80\u0085 red")
	req.URL.RawQuery = "token=%1b"
	r.send(t, req)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	got := r.until(t, "total:")
	checkPrintable(t, got)
	for _, want := range []string{`git.push\u001b[31m`, "X-Colour: ", "/hook?token=%1b", "signature unverified", "does not name its subscription"} {
		if !strings.Contains(got, want) {
			t.Errorf("printed\n%s\nwithout %q", got, want)
		}
	}
}

func checkPrintable(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%q contains %U", text, r)
		}
	}
}

func TestReceiverHidesQueriesAndShowsBodiesOnDemand(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body, want string
		args             []string
	}{
		{"the query is hidden", "x", "POST /hook?…", nil},
		{"a long text is cut", strings.Repeat("line\n", 10_000), "    | and 32.8 KiB more", []string{"--verbose"}},
		{"bytes are not printed", "\xff\xfe", "    | 2 B that are not text", []string{"--verbose"}},
		{"lines are indented", "a\nb", "    | b", []string{"--verbose"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := startReceiver(t, nil, append(test.args, "--no-verify")...)
			req := r.signed(t, testSecret, "dlv_1", []byte(test.body))
			req.URL.RawQuery = "token=hidden"
			r.send(t, req)
			r.until(t, test.want)
		})
	}
}

func TestReceiverWritesJSON(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, nil, "--json", "--verbose", "--secret", testSecret)
	for _, body := range []string{structuredPush, "\xff"} {
		req := r.signed(t, testSecret, "dlv_1", []byte(body))
		req.Header.Set("Content-Type", "application/cloudevents+json")
		req.Header.Set("jetpost-subscription", "ci")
		req.Header.Set("jetpost-attempt", "1")
		r.send(t, req)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	var got []requestRecord
	for line := range r.lines {
		var record requestRecord
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if record.Time.IsZero() == (record.Kind == "request") || (record.Headers == nil) == (record.Kind == "request") {
			t.Errorf("%s", line)
		}
		record.Time, record.Headers = time.Time{}, nil
		if record.EventProblem != "" {
			record.EventProblem = "there is one" // the words are not the receiver's
		}
		got = append(got, record)
	}
	want := requestRecord{
		Kind: "request", Method: "POST", Path: "/hook", Status: 200, Signature: "ok",
		Subscription: "ci", WebhookID: "dlv_1", Attempt: "1", Arrival: 1, Size: int64(len(structuredPush)),
		Events: []eventRecord{{Type: "git.push", ID: "p1", Source: "/git/widgets"}}, Body: structuredPush,
	}
	again := want
	again.Arrival, again.Size, again.Events, again.Body, again.BodyBase64 = 2, 1, nil, "", []byte("\xff")
	again.EventProblem = "there is one"
	if diff := cmp.Diff([]requestRecord{want, again, {Kind: "summary"}}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReceiverCountsQuietly(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, nil, "--quiet", "--json", "--secret", testSecret)
	for i := range 5 {
		r.send(t, r.signed(t, testSecret, fmt.Sprintf("dlv_%d", i/2), []byte("ten bytes!")))
	}
	r.send(t, r.signed(t, otherSecret, "dlv_9", []byte("ten bytes!")))
	unnamed := r.signed(t, testSecret, "x", nil)
	unnamed.Header = http.Header{}
	r.send(t, unnamed)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	var last string
	for line := range r.lines { // no request is printed, only summaries
		if !strings.Contains(line, `"kind":"summary"`) {
			t.Errorf("printed %s", line)
		}
		last = line
	}
	var got struct {
		Final bool
		receiverTotals
	}
	if err := json.Unmarshal([]byte(last), &got); err != nil {
		t.Fatal(err)
	}
	want := receiverTotals{
		Received: 7, Bytes: 60, Distinct: 4, Repeats: 2, Verified: 5, Bad: 2,
		Statuses: map[string]int64{"200": 5, "401": 2},
	}
	if diff := cmp.Diff(want, got.receiverTotals); diff != "" || !got.Final {
		t.Errorf("final %t (-want +got)\n%s", got.Final, diff)
	}
}

func TestReceiverPrintsASummaryWhileItCounts(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, nil, "--quiet", "--no-verify")
	r.send(t, r.signed(t, testSecret, "dlv_1", []byte("x")))
	r.until(t, "received 1 (+1)  distinct 1  repeats 0  signatures ok 0 BAD 0 unverified 1  status 200:1")
}

func TestIDsForgetTheOldest(t *testing.T) {
	t.Parallel()
	seen := ids{perShard: 100}
	n := 10 * idShards * seen.perShard
	for i := range n {
		if got := seen.arrive(strconv.Itoa(i)); got != 1 {
			t.Fatalf("id %d has arrived %d times", i, got)
		}
	}
	if got := seen.arrive(strconv.Itoa(n - 1)); got != 2 {
		t.Errorf("the latest id has arrived %d times", got)
	}
	kept := 0
	for i := range seen.shards {
		kept += len(seen.shards[i].recent) + len(seen.shards[i].older)
	}
	if kept > 2*idShards*seen.perShard {
		t.Errorf("%d ids are kept", kept)
	}
}

func TestVerifySignature(t *testing.T) {
	t.Parallel()
	now := time.Unix(1614265330, 0) // the published vector
	const body = `{"test": 2432232314}`
	vector := map[string]string{
		"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
		"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
	}
	tests := []struct {
		name   string
		change map[string]string
		now    time.Time
		want   string // of the error, empty: valid
	}{
		{"the published vector", nil, now, ""},
		{"another version and an old signature before it", map[string]string{
			"webhook-signature": "v1a,hnO3 v1,AAAA v2,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		}, now, ""},
		{"no id", map[string]string{"webhook-id": ""}, now, "the webhook-id header is missing"},
		{"no timestamp", map[string]string{"webhook-timestamp": ""}, now, "the webhook-timestamp header is missing"},
		{"no signature", map[string]string{"webhook-signature": ""}, now, "the webhook-signature header is missing"},
		{"another id", map[string]string{"webhook-id": "msg_2"}, now, "no secret matches"},
		{"another time", map[string]string{"webhook-timestamp": "1614265331"}, now, "no secret matches"},
		{"a signed number", map[string]string{"webhook-timestamp": "+1614265330"}, now, "the webhook-timestamp header is not a number of seconds"},
		{"no number", map[string]string{"webhook-timestamp": "now"}, now, "the webhook-timestamp header is not a number of seconds"},
		{"an empty signature", map[string]string{"webhook-signature": "v1,"}, now, "no secret matches"},
		{"a wrong signature", map[string]string{"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OI="}, now, "no secret matches"},
		{"no v1 signature", map[string]string{"webhook-signature": "v1a,? v1,?"}, now, "the webhook-signature header has no v1 and no v1a signature"},
		{"five minutes old", nil, now.Add(5 * time.Minute), ""},
		{"a little older", nil, now.Add(5*time.Minute + time.Nanosecond), "the timestamp is 5m0s old"},
		{"five minutes early", nil, now.Add(-5 * time.Minute), ""},
		{"a second earlier", nil, now.Add(-5*time.Minute - time.Second), "the timestamp is 5m1s in the future"},
	}
	keys, err := DecodeSecrets([]string{otherSecret, testSecret})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			for name, value := range vector {
				h.Set(name, value)
			}
			for name, value := range test.change {
				h.Set(name, value)
			}
			got := ""
			if err := VerifySignature(h, []byte(body), keys, test.now); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestReceiverRefusesABadSignature(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, nil, "--secret", otherSecret, "--secret", testSecret, "--fail-first", "1")
	if status, _ := r.send(t, r.signed(t, "whsec_c29tZXRoaW5nIGVsc2Ugd2l0aCAyNCBi", "dlv_1", []byte("x"))); status != http.StatusUnauthorized {
		t.Errorf("status is %d", status)
	}
	got := r.until(t, "answer: the signature is wrong")
	if !strings.Contains(got, "  401  signature BAD") || !strings.Contains(got, "signature: no secret matches") {
		t.Errorf("printed %s", got)
	}
}

func TestSecretsThatAreNone(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]string{
		"": "secret 2 is empty", "whsec_": "secret 2 is not whsec_ followed by base64",
		"whsec_not base64!": "secret 2 is not whsec_ followed by base64",
		"whpk_?":            "secret 2 is not whpk_ followed by base64", "whsk_AAAA": "secret 2 is not an Ed25519 key",
	} {
		_, err := newReceiver(&Cmd{Secret: []string{testSecret, secret}}, io.Discard)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v", secret, err)
		}
	}
}

// A rotatingServer stands for the API that knows the secrets.
type rotatingServer struct {
	asked   atomic.Int64
	secrets atomic.Pointer[[]string]
	err     atomic.Pointer[error]
}

func (s *rotatingServer) rotate(secrets ...string) { s.secrets.Store(&secrets) }

func (s *rotatingServer) source(_ context.Context, subscription string) ([]string, error) {
	s.asked.Add(1)
	if err := s.err.Load(); err != nil {
		return nil, *err
	}
	if subscription != "ci" {
		return nil, errors.New("no such subscription")
	}
	return *s.secrets.Load(), nil
}

func deliver(tb testing.TB, k *verifier, subscription, secret string) judgement {
	tb.Helper()
	h, body := http.Header{}, []byte("body")
	sign(tb, h, secret, "dlv_1", body, time.Now())
	if subscription != "" {
		h.Set("jetpost-subscription", subscription)
	}
	return k.check(tb.Context(), h, body, time.Now())
}

func TestKeyringFollowsRotations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var server rotatingServer
		server.rotate(testSecret)
		k, err := newVerifier(nil, nil, server.source)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(step string, got judgement, want validity, asked int64) {
			t.Helper()
			if got.validity != want || server.asked.Load() != asked {
				t.Errorf("%s: %v (%s), the server was asked %d times, want %v and %d", step, got.validity, got.problem, server.asked.Load(), want, asked)
			}
		}
		expect("an unknown subscription is asked for", deliver(t, k, "ci", testSecret), verified, 1)
		expect("and remembered", deliver(t, k, "ci", testSecret), verified, 1)
		server.rotate(otherSecret)
		began := time.Now()
		expect("a rotated secret is asked for", deliver(t, k, "ci", otherSecret), verified, 2)
		if waited := time.Since(began); waited != refetchInterval {
			t.Errorf("it was asked for again after %v", waited)
		}
		expect("the old one is bad once the server was asked again", deliver(t, k, "ci", testSecret), bad, 3)
		testkit.Pause(t.Context(), time.Hour)
		expect("a good one needs no question", deliver(t, k, "ci", otherSecret), verified, 3)
		expect("an unknown subscription", deliver(t, k, "other", otherSecret), unverified, 4)
		expect("is not asked for at once again", deliver(t, k, "other", otherSecret), unverified, 4)
		expect("no subscription", deliver(t, k, "", otherSecret), unverified, 4)

		h := http.Header{}
		sign(t, h, testSecret, "dlv_1", nil, time.Now().Add(-time.Hour))
		h.Set("jetpost-subscription", "ci")
		expect("an old request is bad whatever the secret", k.check(t.Context(), h, nil, time.Now()), bad, 4)

		server.rotate()
		testkit.Pause(t.Context(), time.Second)
		expect("a subscription without secrets", deliver(t, k, "ci", testSecret), unverified, 5)
		server.rotate("whsec_?")
		testkit.Pause(t.Context(), time.Second)
		expect("secrets that are none", deliver(t, k, "ci", testSecret), unverified, 6)
		server.rotate(testSecret)
		testkit.Pause(t.Context(), time.Second)
		expect("and good ones again", deliver(t, k, "ci", testSecret), verified, 7)
	})
}

// Many requests that arrive after a rotation cost one question.
func TestKeyringAsksOnceForMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var server rotatingServer
		server.rotate(testSecret)
		k, err := newVerifier(nil, []string{"ci"}, server.source)
		if err != nil {
			t.Fatal(err)
		}
		if got := deliver(t, k, "", testSecret); got.validity != verified {
			t.Fatalf("the subscription that was asked for: %v", got)
		}
		server.rotate(otherSecret)
		testkit.Pause(t.Context(), time.Millisecond)
		results := make(chan judgement)
		for range 100 {
			go func() { results <- deliver(t, k, "ci", otherSecret) }()
		}
		for range 100 {
			if got := <-results; got.validity != verified {
				t.Errorf("after the rotation: %v", got)
			}
		}
		if got := server.asked.Load(); got != 2 {
			t.Errorf("the server was asked %d times", got)
		}
		if got := deliver(t, k, "cd", otherSecret); got != (judgement{unverified, "its subscription was not asked for"}) {
			t.Errorf("another subscription: %v", got)
		}
	})
}

func TestKeyringWithoutAServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var server rotatingServer
		down := errors.New("connection refused")
		server.err.Store(&down)
		k, err := newVerifier(nil, nil, server.source)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 10 {
			if got := deliver(t, k, "ci", testSecret); got.validity != unverified || !strings.Contains(got.problem, "connection refused") {
				t.Errorf("got %v", got)
			}
		}
		if server.asked.Load() != 1 || time.Since(began) != 0 {
			t.Errorf("asked %d times in %v", server.asked.Load(), time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		testkit.Pause(t.Context(), time.Second)
		h := http.Header{}
		sign(t, h, testSecret, "dlv_1", nil, time.Now())
		h.Set("jetpost-subscription", "ci")
		if got := k.check(ctx, h, nil, time.Now()); got.validity != unverified {
			t.Errorf("a client that went away: %v", got)
		}
	})
}

func TestKeyringKeepsABoundedNumberOfSubscriptions(t *testing.T) {
	t.Parallel()
	k, err := newVerifier(nil, nil, func(context.Context, string) ([]string, error) { return []string{testSecret}, nil })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * keptSubscriptions {
		if got := deliver(t, k, fmt.Sprintf("s%d", i), testSecret); got.validity != verified {
			t.Fatal(got)
		}
	}
	if len(k.fetched) > keptSubscriptions {
		t.Errorf("%d are kept", len(k.fetched))
	}
}

func TestReceiverFaults(t *testing.T) {
	t.Parallel()
	type response struct {
		Status               int
		RetryAfter, Location string
		Size                 int
	}
	tests := []struct {
		args string
		want []response // to requests with the same webhook-id, in order
	}{
		{"--status 503 --retry-after 5", []response{{Status: 503, RetryAfter: "5"}}},
		{"--retry-after 5", []response{{Status: 200}}},
		{"--status 302", []response{{Status: 302, Location: "/followed"}}},
		{"--status 204 --body-size 10", []response{{Status: 204}}},
		{"--body-size 100000", []response{{Status: 200, Size: 100000}}},
		{"--fail-first 2 --retry-after soon", []response{{Status: 500, RetryAfter: "soon"}, {Status: 500, RetryAfter: "soon"}, {Status: 200}}},
		{"--fail-rate 1", []response{{Status: 500}}},
		{"--delay 1ms --status 410", []response{{Status: 410}}},
		{"--drip --drip-interval 1ms --body-size 10", []response{{Status: 200, Size: 10}}},
		{"--drip --drip-interval 1ms --status 500 --retry-after 1", []response{{Status: 500, RetryAfter: "1"}}},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			r := startReceiver(t, nil, append(strings.Fields(test.args), "--quiet", "--no-verify")...)
			r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			for i, want := range test.want {
				res, err := r.client.Do(r.signed(t, testSecret, "dlv_1", []byte("x")))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				got := response{res.StatusCode, res.Header.Get("Retry-After"), res.Header.Get("Location"), len(body)}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("answer %d (-want +got)\n%s", i+1, diff)
				}
			}
		})
	}
}

// The share holds, and the same seed fails the same requests.
func TestFailRateIsRepeatable(t *testing.T) {
	t.Parallel()
	outcome := func(seed string) string {
		f := newFaults(parseReceiver(t, "--fail-rate", "0.3", "--seed", seed))
		var b strings.Builder
		for i := range 5000 {
			for arrival := 1; arrival <= 2; arrival++ {
				b.WriteString(strconv.Itoa(f.choose(fmt.Sprintf("dlv_%d", i), arrival).status / 100))
			}
		}
		return b.String()
	}
	first := outcome("7")
	if failed := strings.Count(first, "5"); failed < 2800 || failed > 3200 {
		t.Errorf("%d of 10000 failed", failed)
	}
	if outcome("7") != first {
		t.Error("the same seed gave another outcome")
	}
	if outcome("8") == first {
		t.Error("another seed gave the same outcome")
	}
}

func TestReceiverDripsTheWholeAnswer(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, nil, "--drip", "--drip-interval", "50ms", "--no-verify")
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /hook HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1000)
	n, err := conn.Read(buffer)
	if err != nil || n > 5 || buffer[0] != 'H' {
		t.Errorf("the first read returned %q, %v", buffer[:n], err)
	}
	if err := r.stop(); err != nil { // and a drip does not hold the receiver up
		t.Error(err)
	}
	if rest, _ := io.ReadAll(conn); bytes.Contains(rest, []byte("\r\n\r\n")) {
		t.Errorf("the answer ended: %q", rest)
	}
}

func TestReceiverStopsWhileRequestsHang(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--hang"}, {"--delay", "1h"}} {
		r := startReceiver(t, nil, append(args, "--no-verify")...)
		answered := make(chan error, 1)
		go func() {
			res, err := r.client.Do(r.signed(t, testSecret, "dlv_1", []byte("x")))
			if err == nil {
				_ = res.Body.Close()
			}
			answered <- err
		}()
		r.until(t, "POST /hook")
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if err := <-answered; err == nil {
			t.Errorf("%v: the request was answered", args)
		}
		r.until(t, "total: received 1  distinct 1  repeats 0")
	}
}

func TestReceiverRefusesLargeBodies(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--quiet", "--no-verify"}, {"--secret", testSecret}} {
		r := startReceiver(t, nil, args...)
		body := bytes.Repeat([]byte("x"), maxReceivedBody)
		for _, test := range []struct {
			body io.Reader
			want int
		}{
			{bytes.NewReader(body), 200},
			{io.MultiReader(bytes.NewReader(body)), 200}, // chunked
			{io.MultiReader(bytes.NewReader(body), strings.NewReader("x")), 413},
			{strings.NewReader(string(body) + "x"), 413},
		} {
			req := r.signed(t, testSecret, "dlv_1", body)
			with, err := http.NewRequestWithContext(t.Context(), http.MethodPost, req.URL.String(), test.body)
			if err != nil {
				t.Fatal(err)
			}
			with.Header = req.Header
			res, err := r.client.Do(with)
			if err != nil { // a refused client may see its connection cut instead
				if test.want == 200 {
					t.Error(err)
				}
				continue
			}
			_ = res.Body.Close()
			if res.StatusCode != test.want {
				t.Errorf("status %d, want %d", res.StatusCode, test.want)
			}
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.until(t, "status 200:2 413:2")
	}
}

func TestReceiverNoticesRequestsThatBreakOff(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"--json"}} {
		r := startReceiver(t, nil, args...)
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel"); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		r.until(t, "unexpected EOF")
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if got := r.until(t, "received"); !strings.Contains(got, "broke off 1") && !strings.Contains(got, `"broken":1`) {
			t.Errorf("the summary is %s", got)
		}
	}
}

func TestReceiverReportsWhatItCannotDo(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := parseReceiver(t, "--addr", taken.Addr().String())
	if err := c.Run(&terminal.Env{Ctx: t.Context(), Stdout: io.Discard, Stderr: io.Discard}); err == nil || !strings.Contains(err.Error(), "start the receiver: ") {
		t.Errorf("an address in use: %v", err)
	}
	for args, want := range map[string]string{
		"--fail-rate=1.5":               "use a share from 0 to 1",
		"--fail-rate=NaN":               "use a share from 0 to 1",
		"--status=99":                   "use 200 to 599",
		"--fail-first=-1":               "cannot be negative",
		"--no-verify --secret=whsec_AA": "neither --secret nor",
		"--hang --drip":                 "can't be used together",
		"--quiet --verbose":             "can't be used together",
	} {
		parser, err := kong.New(new(Cmd))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// Whatever arrives, the receiver prints it in whole, printable lines and never
// takes it for signed.
func FuzzReceiverRequest(f *testing.F) {
	f.Add("application/cloudevents+json", "1.0", "git.push", "v1,AAAA", []byte(structuredPush))
	f.Add("application/cloudevents-batch+json", "", "", "v1a,x v1,=", []byte("["+structuredPush+"]"))
	f.Add("application/json", "1.0", "artifact.moved", "", []byte(`{"repo_key":"a","path":"b"}`))
	f.Add("text/plain", "", "%zz", "v1,", []byte(`{"type":"git.push","data":`+pushData1+`}`))
	keys, err := DecodeSecrets([]string{testSecret})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, contentType, version, eventType, signature string, body []byte) {
		now := time.Unix(1614265330, 0) // a fixed time: what varies by itself looks like new coverage
		req := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/hook"}, Header: http.Header{
			"Content-Type": {contentType}, "Ce-Specversion": {version}, "Ce-Type": {eventType}, "Ce-Id": {eventType}, "Ce-Source": {version},
			idHeader: {eventType}, timestampHeader: {"1614265330"}, signatureHeader: {signature},
		}}
		if err := VerifySignature(req.Header, body, keys, now); err == nil {
			t.Errorf("signature %s of %q", base64.StdEncoding.EncodeToString([]byte(signature)), body)
		}
		var text, lines bytes.Buffer
		x := exchange{arrived: now, req: req, body: body, size: int64(len(body))}
		(&receiverOutput{w: &text, verbose: true}).request(x)
		checkPrintable(t, text.String())
		(&receiverOutput{w: &lines, verbose: true, json: true}).request(x)
		if bytes.Count(lines.Bytes(), []byte("\n")) != 1 || !json.Valid(lines.Bytes()) {
			t.Errorf("printed %q", lines.String())
		}
	})
}

// The receiver is the other end of the benchmarks, so it must not be the limit.
func BenchmarkReceiver(b *testing.B) {
	body := []byte(`{"specversion":"1.0","id":"p1","source":"/s","type":"t","data":"` + strings.Repeat("x", 900) + `"}`)
	for _, args := range []string{"--quiet --no-verify", "--quiet --secret " + testSecret} {
		b.Run(args, func(b *testing.B) {
			r := startReceiver(b, nil, strings.Fields(args)...)
			r.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
			var next atomic.Int64
			header := r.signed(b, testSecret, "dlv_1", body).Header
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, r.url, bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					req.Header = header
					res, err := r.client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					next.Add(1)
				}
			})
			b.ReportMetric(float64(next.Load())/b.Elapsed().Seconds(), "req/s")
		})
	}
}
