package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
)

// A domain is registered while every role runs in a process of its own, each with no
// more permissions than it needs: its first event is accepted and delivered, at once
// and without a restart, and after one everything is still there.
func TestRegisteredDomainTravels(t *testing.T) {
	t.Parallel()
	layout, err := stream.NewLayout(stream.LayoutConfig{Prefix: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := embedded.Start(embedded.Config{Dir: filepath.Join(t.TempDir(), "nats"), Token: guardToken, Adjust: func(o *natsserver.Options) {
		o.CustomClientAuthentication = guard{layout}
	}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Stop(t.Context()) })
	keys := filepath.Join(t.TempDir(), "keyset.json")
	join := func(role string, more ...string) *server {
		return startServerIn(t, filepath.Join(t.TempDir(), role), append([]string{
			"--roles", role, "--nats", ns.URL(), "--prefix", "acme",
			"--keyset", keys, "--allow-target", "127.0.0.0/8",
		}, more...)...)
	}
	admin := join(roleAdmin)
	producer, router, sender := join(roleProducer), join(roleRouter), join(roleSender)
	receiver := startCatcher(t, nil)
	for n := range 5 {
		name := fmt.Sprintf("shop%d", n)
		admin.run(t, "schemas", "push", shopFolder(t, name, shopSchema))
		admin.subscribe(t, name, receiver.URL, []string{name + ".created"}, nil)
		producer.publish(t, happening{id: name, source: "/shop", kind: name + ".created", subject: name, data: `{"total":1}`})
		receiver.exactly(t, n+1)
	}

	// An admin that starts makes sure of all that is registered, also of an event log that
	// is lost, when it is started with its loss accepted.
	admin.run(t, "schemas", "push", shopFolder(t, "spare", shopSchema))
	admin.subscribe(t, "spare", receiver.URL, []string{"spare.*"}, nil)
	if code := admin.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	nc, err := ns.Connect("jetpost "+string(stream.RoleControl), stream.ConnectOptions(string(stream.RoleControl), zap.NewNop())...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := stream.JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), layout.EventLog("spare")); err != nil {
		t.Fatal(err)
	}
	admin = join(roleAdmin, "--accept-loss", layout.EventLog("spare"))
	producer.publish(t, happening{id: "again", source: "/shop", kind: "spare.created", subject: "again", data: `{"total":1}`})
	receiver.exactly(t, 6)
	for _, s := range []*server{admin, producer, router, sender} {
		s.call(t, http.MethodGet, "/readyz", nil, nil)
		if code := s.stop(t); code != 0 {
			t.Errorf("%s: exit code %d", strings.Join(s.args, " "), code)
		}
		if lines := s.stderr.lines("iolation"); len(lines) > 0 {
			t.Errorf("a connection was refused something: %s", lines)
		}
	}
}
