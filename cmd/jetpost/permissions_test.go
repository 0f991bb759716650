package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/cli"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
)

const guardToken = "test-token"

// guard gives each connection the permissions of its role, which is the end of its
// name.
type guard struct{ layout stream.Layout }

func (g guard) Check(c natsserver.ClientAuthentication) bool {
	options := c.GetOpts()
	if options.Token != guardToken {
		return false
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(options.Name, "jetpost "), ":") // and what it is used for
	role := stream.Role(name)
	p := g.layout.Permissions(role)
	c.RegisterUser(&natsserver.User{Username: string(role), Permissions: &natsserver.Permissions{
		Publish: &natsserver.SubjectPermission{Allow: p.Publish}, Subscribe: &natsserver.SubjectPermission{Allow: p.Subscribe},
	}})
	return len(p.Publish) > 0
}

// The whole journey, with every role in a process of its own, on a NATS server that
// lets each connection do what its role may, and refuses nothing.
func TestPermissionsSuffice(t *testing.T) {
	t.Parallel()
	for _, secondForm := range []bool{false, true} { // of the subjects of acks
		t.Run(fmt.Sprintf("js_ack_fc_v2=%t", secondForm), func(t *testing.T) {
			t.Parallel()
			journeyWithPermissions(t, secondForm)
		})
	}
}

func journeyWithPermissions(t *testing.T, secondForm bool) {
	t.Helper()
	layout, err := stream.NewLayout(stream.LayoutConfig{Prefix: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zapcore.WarnLevel)
	ns, err := embedded.Start(embedded.Config{Dir: filepath.Join(t.TempDir(), "nats"), Token: guardToken, Adjust: func(o *natsserver.Options) {
		o.CustomClientAuthentication = guard{layout}
		o.FeatureFlags = map[string]bool{natsserver.FeatureFlagJsAckFormatV2: secondForm}
	}}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Stop(t.Context()) })

	keys := filepath.Join(t.TempDir(), "keyset.json")
	join := func(role string) *server {
		return startServerIn(t, filepath.Join(t.TempDir(), role), "--roles", role, "--nats", ns.URL(), "--prefix", "acme",
			"--keyset", keys, "--allow-target", "127.0.0.0/8")
	}
	admin := join(roleAdmin)
	producer, router, sender := join(roleProducer), join(roleRouter), join(roleSender)
	all := []*server{admin, producer, router, sender}
	for _, s := range all {
		s.call(t, http.MethodGet, "/readyz", nil, nil)
	}

	// Delivered at once, and after a retry.
	flaky := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if a.nth == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	admin.subscribe(t, "flaky", flaky.URL, []string{"artifact.*"}, object{"delivery": retrying(0, "0s", "100ms")})
	accepted := producer.publish(t, deployed("one", "libs"))
	flaky.waitFor(t, 2)
	eventually(t, "both attempts are recorded", func() bool { return len(admin.attempts(t, "flaky")) == 2 })

	// A test event, a change, and what the sender does to a subscription whose receiver is gone.
	gone := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) { w.WriteHeader(http.StatusGone) })
	admin.subscribe(t, "gone", gone.URL, []string{"git.*"}, nil)
	admin.call(t, http.MethodPost, "/v1/subscriptions/gone/pause", nil, nil)
	admin.call(t, http.MethodPost, "/v1/subscriptions/gone/resume", nil, nil)
	admin.call(t, http.MethodPost, "/v1/subscriptions/gone/test", nil, nil)
	eventually(t, "the delivery is a dead letter", func() bool { return len(admin.letters(t, "gone")) == 1 })
	if got := admin.subscription(t, "gone"); got.State != "disabled" {
		t.Errorf("got %+v", got)
	}

	// A receiver that is asked for its consent, and senders that agree on a rate.
	asked := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		w.Header().Set("WebHook-Allowed-Origin", "*")
	})
	admin.subscribe(t, "asked", asked.URL, []string{"artifact.*"}, object{"handshake": object{"mode": "required"}, "delivery": object{"rate": 100}})
	admin.call(t, http.MethodPost, "/v1/subscriptions/asked/test", nil, nil)
	eventually(t, "the delivery has its turn after the consent", func() bool { return len(admin.attempts(t, "asked")) == 1 })
	admin.call(t, http.MethodPost, "/v1/subscriptions/asked/handshake", nil, nil)
	admin.call(t, http.MethodDelete, "/v1/subscriptions/asked", nil, nil)

	// A timer fires, and the pump puts the delivery back on its queue. And what
	// no router can read.
	e := &event.Event{ID: "late", Source: "/late", Type: "artifact.deployed", Data: []byte("{}")}
	shard := layout.QueueFor("flaky").RetryShard
	for n, wait := range []time.Duration{time.Second, time.Hour} { // the second is deleted with its subscription
		d := &delivery.Delivery{
			ID: delivery.ID("flaky", e.Source, e.ID), SubscriptionID: "flaky", Event: e, Attempt: 2,
			Origin: delivery.Origin(accepted.Stream, uint64(1_000+n), time.Unix(1, 0), "flaky"), Accepted: time.Now(),
		}
		publishAs(t, ns, stream.RoleSender, d.Timer(layout.RetryAt(shard, "flaky", d.TimerKey()), layout.RetryDue(shard, "flaky"), time.Now().Add(wait)))
	}
	publishAs(t, ns, stream.RoleProducer, &nats.Msg{Subject: layout.EventSubject("artifact", "deployed"), Data: []byte("?")})
	flaky.waitFor(t, 3)
	eventually(t, "what cannot be read is a dead letter", func() bool {
		return len(pages[delivery.DeadLetter](t, admin, "/v1/dead-letters/"+stream.InvalidLetters)) == 1
	})

	// What was given up is made again, alone and by a job, and one attempt more.
	admin.call(t, http.MethodPost, "/v1/subscriptions/gone/resume", nil, nil)
	letter := admin.letters(t, "gone")[0]
	place := fmt.Sprintf("/v1/dead-letters/%d", letter.Sequence)
	admin.call(t, http.MethodGet, place, nil, nil)
	admin.call(t, http.MethodPost, place+"/redrive", nil, nil)
	eventually(t, "the receiver is still gone", func() bool {
		letters := admin.letters(t, "gone")
		return len(letters) == 1 && letters[0].Sequence > letter.Sequence
	})
	admin.call(t, http.MethodPost, "/v1/subscriptions/gone/resume", nil, nil)
	var job v1.RedriveJob
	admin.call(t, http.MethodPost, "/v1/redrives", object{"subscription": "gone"}, &job)
	eventually(t, "the job is done", func() bool {
		admin.call(t, http.MethodGet, "/v1/redrives/"+job.ID, nil, &job)
		return job.State == "done"
	})
	admin.call(t, http.MethodGet, "/v1/redrives", nil, nil)
	admin.call(t, http.MethodPost, "/v1/subscriptions/flaky/deliveries/"+flaky.arrivals()[0].id()+"/redeliver", nil, nil)
	flaky.waitFor(t, 4)
	admin.call(t, http.MethodPost, "/v1/dead-letters/discard", object{"all": true}, nil)

	// Both the admin and the sender have said what they have done.
	eventually(t, "all that was said is stored", func() bool {
		got := eventsByType(t, admin)
		return got["artifact.deployed"] == 1 && got[""] == 1 && // the latter is what cannot be read
			got["jetpost.subscription.created"] == 3 && got["jetpost.subscription.disabled"] == 3 && got["jetpost.delivery.exhausted"] == 4
	})
	admin.call(t, http.MethodGet, "/v1/subscriptions?limit=1", nil, nil)
	eventually(t, "the sender is shown", func() bool {
		var senders struct{ Items []v1.Sender }
		admin.call(t, http.MethodGet, "/v1/senders", nil, &senders)
		return len(senders.Items) == 1 && senders.Items[0].Subscriptions == 1
	})
	admin.call(t, http.MethodDelete, "/v1/subscriptions/flaky", nil, nil)

	// What is ordered asks how far the events are settled, and writes its attempts down.
	inOrder := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if a.nth == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	terms := retrying(0, "0s", "10ms")
	terms["ordered"] = true
	admin.subscribe(t, "in-order", inOrder.URL, []string{"artifact.*"}, object{"delivery": terms})
	for _, id := range []string{"two", "three"} {
		producer.publish(t, deployed(id, "libs"))
	}
	inOrder.waitFor(t, 4)
	eventually(t, "all attempts are recorded", func() bool { return len(admin.attempts(t, "in-order")) == 4 })
	admin.call(t, http.MethodDelete, "/v1/subscriptions/in-order", nil, nil)

	// A token that the admin has made works on the producer, which notes that, and stops
	// doing so.
	var made struct{ ID, Token string }
	admin.call(t, http.MethodPost, "/v1/tokens", object{"name": "ci", "role": "publisher", "domains": []string{"artifact"}}, &made)
	body, header := deployed("four", "libs").binary()
	publish := func() int {
		return producer.do(t, http.MethodPost, "/v1/events", body, append(slices.Clone(header), "Authorization", "Bearer "+made.Token)...).status
	}
	if status := publish(); status != http.StatusCreated {
		t.Errorf("publish with a token that was just made: got %d", status)
	}
	eventually(t, "its use is noted", func() bool {
		var token v1.MadeToken
		admin.call(t, http.MethodGet, "/v1/tokens/"+made.ID, nil, &token)
		return token.LastUsedAt != nil
	})
	admin.call(t, http.MethodPatch, "/v1/tokens/"+made.ID, object{"name": "was ci"}, nil)
	admin.call(t, http.MethodDelete, "/v1/tokens/"+made.ID, nil, nil)
	eventually(t, "it is revoked on the producer", func() bool { return publish() == http.StatusUnauthorized })

	// A server that starts, or is asked again, finds everything there.
	again := join(roleAdmin)
	for _, s := range append(all, again) {
		s.call(t, http.MethodGet, "/readyz", nil, nil)
		if code := s.stop(t); code != 0 {
			t.Errorf("%s: exit code %d", s.args[len(s.args)-1], code)
		}
		if lines := s.stderr.lines("iolation"); len(lines) > 0 {
			t.Errorf("a connection was refused something: %s", lines)
		}
	}
	for _, entry := range logged.All() {
		if !strings.Contains(entry.Message, "Slow Consumer") {
			t.Errorf("the NATS server says: %s", entry.Message)
		}
	}
}

// publishAs stores a message in a stream, by a connection of its own.
func publishAs(t *testing.T, ns *embedded.Server, role stream.Role, m *nats.Msg) {
	t.Helper()
	nc, err := ns.Connect("jetpost "+string(role), stream.ConnectOptions(string(role), zap.NewNop())...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := stream.JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatalf("publish %s as %s: %v", m.Subject, role, err)
	}
}

// sourcesWith returns the files of the program, without tests, that contain a pattern.
func sourcesWith(t *testing.T, pattern *regexp.Regexp) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path) //nolint:gosec // of this repository
		if pattern.Match(source) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestOperationsNames compares the metrics and flags that docs/operations.md names
// with those that there are.
func TestOperationsNames(t *testing.T) {
	t.Parallel()
	text := readDoc(t, "docs/operations.md")
	if lines := strings.Count(text, "\n"); lines > 130 {
		t.Errorf("docs/operations.md has %d lines, want at most 130", lines)
	}
	metric := regexp.MustCompile(`jetpost_[a-z_]+`)
	var exist []string
	for _, file := range sourcesWith(t, regexp.MustCompile(`prometheus\.\w+Opts\{`)) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		exist = append(exist, metric.FindAllString(string(source), -1)...)
	}
	if len(exist) == 0 {
		t.Fatal("found no metrics")
	}
	slices.Sort(exist)
	named := slices.Compact(slices.Sorted(slices.Values(metric.FindAllString(text, -1))))
	if diff := cmp.Diff(slices.Compact(exist), named); diff != "" {
		t.Errorf("metrics (-exist +named):\n%s", diff)
	}
	parser, err := kong.New(new(commandLine), kong.Vars(cli.HelpVars()))
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range parser.Model.Leaves(false) {
		if node.Name != "serve" {
			continue
		}
		for _, found := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !hasFlag(node, found[1]) {
				t.Errorf("docs/operations.md names --%s, which serve does not have", found[1])
			}
		}
	}
}
