package router_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/router"
	"github.com/jetpost/jetpost/schemas"
)

// live is the catalogue of one process, on a connection of its own.
func (r *rig) live() (*schemas.Live, jetstream.JetStream) {
	r.t.Helper()
	base, err := schemas.Load()
	if err != nil {
		r.t.Fatal(err)
	}
	js, err := stream.JetStream(r.server.Connect(nats.ReconnectBufSize(-1)))
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := schemas.NewLive(base, js, r.layout.Prefix(), zap.NewNop())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("live catalogue: %v", err)
		}
	})
	return l, js
}

// register stores a domain with the event "created", as an admin does.
func (r *rig) register(store *schemas.Store, name, schema string, options schemas.PutOptions) (*schemas.Change, error) {
	r.t.Helper()
	options.Before = func(ctx context.Context) error { return r.layout.EnsureEventLog(ctx, r.js, name) }
	return store.Put(r.t.Context(), name, schemas.Files{
		"domain.json":          json.RawMessage(`{"name":"` + name + `"}`),
		"created.schema.json":  json.RawMessage(schema),
		"created.example.json": json.RawMessage(`{"n":1}`),
	}, options)
}

// A domain is registered over one connection; producers and routers on others know
// it at once, without a pause: its first event is accepted, and delivered.
func TestRegisteredDomainIsRoutedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	admin, adminJS := r.live()
	store := schemas.NewStore(adminJS, admin, zap.NewNop())
	known, publishJS := r.live()
	p, err := producer.New(producer.Config{Prefix: r.layout.Prefix()}, publishJS, known, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r.routeCatalogue()
	const schema = `{"type":"object","properties":{"n":{"type":"integer","maximum":%d}}}`
	for n := range 15 {
		name := fmt.Sprintf("shop%d", n)
		sub := r.subscribe(wants(name, []string{name + ".*"}))
		if _, err := r.register(store, name, fmt.Sprintf(schema, 5), schemas.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		publish := func(id string, n int) error {
			_, err := p.Publish(t.Context(), &event.Event{ID: id, Source: "/shop", Type: name + ".created", Data: fmt.Appendf(nil, `{"n":%d}`, n)})
			return err
		}
		if err := publish("0", 1); err != nil {
			t.Fatalf("the first event of %s: %v", name, err)
		}
		// So is a new version, and one that is refused leaves the old one in place.
		if _, err := r.register(store, name, fmt.Sprintf(schema, 100), schemas.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := publish("1", 99); err != nil {
			t.Fatalf("an event of the new version: %v", err)
		}
		_, err := r.register(store, name, fmt.Sprintf(schema, 3), schemas.PutOptions{})
		if _, refused := errors.AsType[*schemas.IncompatibleError](err); !refused {
			t.Fatalf("a narrower version: %v", err)
		}
		if err := publish("2", 98); err != nil {
			t.Fatal(err)
		}
		r.awaitQueued(sub, 3)
		r.wantQueued(sub, 0, 1, 2)
	}
	if _, err := p.Publish(t.Context(), &event.Event{ID: "1", Source: "/shop", Type: "shop99.created"}); !errors.Is(err, schemas.ErrUnknownType) {
		t.Errorf("a type that is not registered: %v", err)
	}
}

// routeCatalogue starts a router that follows a catalogue of its own.
func (r *rig) routeCatalogue() {
	r.t.Helper()
	known, js := r.live()
	view := subscription.NewView(subscription.ViewConfig{}, js, r.layout, nil, r.log)
	service, err := router.New(router.Config{Catalogue: known, Grace: 2 * time.Second}, r.server.Connect(nats.ReconnectBufSize(-1)), r.layout, view, r.log, prometheus.NewRegistry())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	viewed, routed := make(chan error, 1), make(chan error, 1)
	go func() { viewed <- view.Run(ctx) }()
	go func() { routed <- service.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-viewed, <-routed); err != nil {
			r.t.Errorf("router: %v", err)
		}
	})
}

// A deleted domain is no longer routed. What a producer that had not heard of it has
// stored waits, and is routed when the domain is back.
func TestDeletedDomainComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	admin, js := r.live()
	store := schemas.NewStore(js, admin, zap.NewNop())
	r.routeCatalogue()
	sub := r.subscribe(wants("all", []string{"shop.*"}))
	if _, err := r.register(store, "shop", `{}`, schemas.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, func() (bool, string) { // or it never knows that there was one
		c, err := r.js.Consumer(t.Context(), r.layout.EventLog("shop"), stream.RouterConsumer)
		return err == nil && c.CachedInfo().NumWaiting > 0, "the domain is not routed"
	})
	if err := store.Delete(t.Context(), "shop", 0); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, func() (bool, string) {
		return r.logged.FilterMessageSnippet("domain was deleted").Len() == 1, "the router goes on"
	})
	e := note(7)
	m := message(e)
	m.Subject = r.layout.EventSubject("shop", "created")
	if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if _, err := r.register(store, "shop", `{}`, schemas.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	r.awaitQueued(sub, 1)
	r.wantQueued(sub, 7)
	err := store.Delete(t.Context(), "shop", 0)
	if !errors.Is(err, schemas.ErrHasEvents) || !strings.Contains(err.Error(), "1 are kept") {
		t.Errorf("deletion of a domain with an event: %v", err)
	}
}
