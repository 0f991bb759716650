package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/testkit"
)

// A fleet is many processes of each role on a NATS server of its own.
type fleet struct {
	t       *testing.T
	nats    string // URL
	keyset  string
	admins  []*server // and producers
	routers []*server
	senders []*server // those that are alive
}

const fleetToken = "token-of-a-fleet"

func newFleet(t *testing.T) *fleet {
	t.Helper()
	_, port, _ := net.SplitHostPort(testkit.FreeAddress(t))
	p := prepareProgram(t, natsCommand, filepath.Join(t.TempDir(), "nats"), port)
	p.start(t)
	p.line(t, "listening on")
	return &fleet{t: t, nats: "nats://" + natsToken + "@127.0.0.1:" + port, keyset: filepath.Join(t.TempDir(), "keyset.json")}
}

// launch starts n processes of some roles, without waiting for one before the next.
func (f *fleet) launch(n int, roles string) []*server {
	f.t.Helper()
	all := make([]*server, n)
	for i := range all {
		s := &server{data: filepath.Join(f.t.TempDir(), "data"), token: fleetToken, client: newClientOf(f.t)}
		s.args = []string{
			"serve", "--http", "127.0.0.1:0", "--data", s.data, "--roles", roles, "--nats", f.nats, "--keyset", f.keyset,
			"--admin-token", fleetToken, "--allow-target", "127.0.0.0/8",
		}
		s.program = prepareProgram(f.t, s.args...)
		s.program.start(f.t)
		all[i] = s
	}
	for _, s := range all {
		line := s.line(f.t, " listening on http://")
		s.url = line[strings.Index(line, "http://"):]
	}
	return all
}

func (f *fleet) jetStream() jetstream.JetStream {
	f.t.Helper()
	nc, err := nats.Connect(f.nats)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		f.t.Fatal(err)
	}
	return js
}

// pulled is how many subscriptions a sender pulls, by its metrics.
func (s *server) pulled() int {
	r, err := s.try(context.Background(), http.MethodGet, "/metrics", nil)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(r.body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "jetpost_sender_subscriptions "); ok {
			n, _ := strconv.Atoi(value)
			return n
		}
	}
	return -1
}

// member is the id that a sender has among the others.
func (s *server) member(tb testing.TB) string {
	tb.Helper()
	var fields struct{ Member string }
	eventually(tb, "a sender says who it is", func() bool {
		lines := s.stderr.lines(`"member":"snd-`)
		return len(lines) > 0 && json.Unmarshal([]byte(lines[0]), &fields) == nil
	})
	return fields.Member
}

// steady waits until the senders that are alive share n subscriptions among them, and
// every admin says so.
func (f *fleet) steady(n int) map[string]int {
	f.t.Helper()
	want := make(map[string]int)
	eventually(f.t, fmt.Sprintf("%d senders share the subscriptions", len(f.senders)), func() bool {
		clear(want)
		sum := 0
		for _, s := range f.senders {
			pulled := s.pulled()
			want[s.member(f.t)] = pulled
			sum += pulled
		}
		if sum != n {
			return false
		}
		for _, a := range f.admins {
			var answer struct{ Items []v1.Sender }
			a.call(f.t, http.MethodGet, "/v1/senders", nil, &answer)
			got := make(map[string]int)
			for _, s := range answer.Items {
				got[s.ID] = s.Subscriptions
			}
			if !cmp.Equal(want, got) {
				return false
			}
		}
		return true
	})
	return want
}

// servedBy says which senders have made requests for events whose ids begin with prefix,
// by subscription.
func (f *fleet) servedBy(prefix string) map[string][]string {
	f.t.Helper()
	served := make(map[string][]string)
	for _, s := range f.senders {
		id := s.member(f.t)
		for _, line := range s.stderr.lines(`"event_id":"` + prefix) {
			var fields struct {
				Msg          string
				Subscription string `json:"subscription_id"`
			}
			if json.Unmarshal([]byte(line), &fields) != nil || fields.Msg != "attempt" {
				continue
			}
			if by := served[fields.Subscription]; !slices.Contains(by, id) {
				served[fields.Subscription] = append(by, id)
			}
		}
	}
	return served
}

// Several processes of each role. Under load a sender comes, one is stopped and one is
// killed: nothing is lost, repeats have the same delivery id, and when all is quiet each
// subscription is served by one sender, the one that every admin names.
func TestFleet(t *testing.T) {
	t.Parallel()
	seed := uint64(numberFrom(t, seedVariable, int(time.Now().UnixNano()&0xffff_ffff)))
	r := rand.New(rand.NewPCG(seed, 4))
	admins, routers, senders := 2+r.IntN(2), 2+r.IntN(2), 3+r.IntN(2)
	t.Logf("%s=%d: %d admins, %d routers, %d senders", seedVariable, seed, admins, routers, senders)
	const subscriptions = 20
	f := newFleet(t)
	f.admins = f.launch(1, "producer,admin") // who makes the keyset
	f.admins = append(f.admins, f.launch(admins-1, "producer,admin")...)
	f.routers, f.senders = f.launch(routers, "router"), f.launch(senders, "sender")
	someAdmin := func() *server { return f.admins[r.IntN(len(f.admins))] }

	c := startCatcher(t, nil)
	js := f.jetStream()
	subs := numbered("hook", subscriptions)
	for _, id := range subs {
		someAdmin().subscribe(t, id, c.URL, []string{"artifact.*"}, nil)
		// What the killed sender has in hand is to come back soon.
		queue, err := js.Consumer(t.Context(), "DELIVERIES_"+id, "sender")
		if err != nil {
			t.Fatal(err)
		}
		cfg := queue.CachedInfo().Config
		cfg.AckWait = 3 * time.Second
		if _, err := js.UpdateConsumer(t.Context(), "DELIVERIES_"+id, cfg); err != nil {
			t.Fatal(err)
		}
	}
	f.steady(subscriptions)

	ctx, quiet := context.WithCancel(t.Context())
	var loading sync.WaitGroup
	var accepted []string
	loading.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			id := fmt.Sprintf("load-%05d", n)
			if _, err := f.admins[n%len(f.admins)].tryPublish(t.Context(), deployed(id, "libs")); err == nil {
				accepted = append(accepted, id)
			} else {
				t.Errorf("publish %s: %v", id, err)
			}
			await(ctx, 20*time.Millisecond)
		}
	})
	t.Cleanup(loading.Wait)
	t.Cleanup(quiet)
	c.waitFor(t, 10*subscriptions)
	f.senders = append(f.senders, f.launch(1, "sender")...)
	f.steady(subscriptions)
	stopped := f.senders[r.IntN(len(f.senders))]
	if code := stopped.stop(t); code != 0 {
		t.Errorf("exit code %d of the sender that was stopped:\n%s", code, stopped.stderr.tail(20))
	}
	f.senders = slices.DeleteFunc(f.senders, func(s *server) bool { return s == stopped })
	killed := f.senders[r.IntN(len(f.senders))]
	killed.kill()
	f.senders = slices.DeleteFunc(f.senders, func(s *server) bool { return s == killed })
	owners := f.steady(subscriptions)
	quiet()
	loading.Wait()

	steady := numbered("steady", 5)
	for _, id := range steady {
		someAdmin().publish(t, deployed(id, "libs"))
	}
	expected := make(map[string]bool)
	for _, sub := range subs {
		for _, event := range slices.Concat(accepted, steady) {
			expected[deliveryID(sub, "/artifactory/e2e", event)] = true
		}
	}
	eventually(t, "everything arrives", func() bool { return c.deliveries() >= len(expected) })
	repeats := -len(expected)
	for _, a := range c.arrivals() {
		if repeats++; !expected[a.id()] {
			t.Errorf("%s has arrived, which was not published", a.id())
		}
	}
	t.Logf("%d events, %d deliveries, %d repeats", len(accepted)+len(steady), len(expected), repeats)
	if most := subscriptions * 64; repeats > most {
		t.Errorf("%d requests were repeated, at most %d were in flight", repeats, most)
	}

	served := map[string][]string{}
	eventually(t, "the senders' logs have it", func() bool {
		served = f.servedBy("steady-")
		return len(served) == subscriptions
	})
	shares := make(map[string]int)
	for id := range owners {
		shares[id] = 0
	}
	for _, sub := range subs {
		var answer struct{ Items []v1.Sender }
		someAdmin().call(t, http.MethodGet, "/v1/senders?subscription="+sub, nil, &answer)
		if len(answer.Items) != 1 || !slices.Equal(served[sub], []string{answer.Items[0].ID}) {
			t.Errorf("%s is served by %v, the API says by %+v", sub, served[sub], answer.Items)
		}
		for _, id := range served[sub] {
			shares[id]++
		}
	}
	if diff := cmp.Diff(owners, shares); diff != "" {
		t.Errorf("what senders have, and what they serve (-have +serve):\n%s", diff)
	}
}

// What a person sees.
func TestSendersCommand(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"artifact.*"}, nil)
	s.subscribe(t, "held", c.URL, []string{"artifact.*"}, nil)
	eventually(t, "the sender is shown", func() bool { return strings.Contains(s.cli(t, "senders").ok().stdout, "snd-") })
	id := s.member(t)
	s.cli(t, "senders").ok("LAST SEEN", id, "alive", version, " 2\n")
	s.cli(t, "senders", "--subscription", "hook").ok(id)
	s.cli(t, "senders", "-o", "json").ok(`"draining": false`, `"subscriptions": 2`, id)
	s.cli(t, "subscription", "pause", "held").ok()
	if said := s.cli(t, "senders", "--subscription", "held").ok().stderr; !strings.Contains(said, "no sender makes deliveries of held: it is not active") {
		t.Errorf("of a paused subscription it says %q", said)
	}
	s.cli(t, "subscription", "update", "hook", "--senders", "3").ok("senders", "3")
	s.cli(t, "subscription", "get", "hook", "-o", "json").ok(`"senders": 3`)
	s.cli(t, "subscription", "update", "hook", "--senders", "17").fails("use 1 to 16")
}
