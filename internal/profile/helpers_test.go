package profile_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// Signing secrets: the newest, an Ed25519 key and the oldest.
const (
	newSecret     = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	privateSecret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	publicKey     = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	oldSecret     = "whsec_b2xkIGFuZCBub3QgeWV0IGZvcmdvdHRlbi4uLg=="
)

// An example is an event as a receiver may get it.
type example struct {
	name  string
	event *event.Event
}

// examples have what is hard to carry: attributes that a header cannot hold as
// they are, JSON that an encoder would write in another way, text and bytes.
func examples() []example {
	const at, json = "2026-03-01T12:30:00.12+01:00", "application/json"
	return []example{
		{"artifact", &event.Event{
			ID: "01jnqx", Source: "jfrog/jfrt@01h9mspg5atsp402qqxm071zjv", Type: "artifact.deployed", Subject: "libs-release/org/acme/app-1.0.jar",
			Time: at, DataContentType: json,
			Data: []byte(`{"repo_key":"libs-release","path":"org/acme/app-1.0.jar","name":"app-1.0.jar","sha256":"069092736c73613a25917f582f8a2621b8495cb723914c85dc570761ce0846f8","size":353178}`),
		}},
		{"git", &event.Event{
			ID: "85c7e78e", Source: "/git/widgets", Type: "git.push", Subject: "refs/heads/main", Time: at,
			DataContentType: "application/json; charset=utf-8", DataSchema: "https://schemas.example.com/git.push?v=1#push",
			Extensions: []event.Attribute{
				{Name: "authid", Value: "maria"},
				{Name: "authtype", Value: "user"},
				{Name: "partitionkey", Value: "widgets"},
				{Name: "traceparent", Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
			},
			Data: []byte("{\n  \"ref\" : \"refs/heads/main\",\n  \"commits\":[{\"message\":\"Größe <&> \\u00e9\\/\",\"id\":12345678901234567890}],\"ratio\":1.0\n}"),
		}},
		{"odd attributes", &event.Event{
			ID: "a b 100%", Source: "https://example.com/a?q=%20", Type: "notes.added", Subject: `say "hi" for 5 €, \o/ 😀`,
			DataContentType: json, Extensions: []event.Attribute{{Name: "note", Value: "naïve, 50% \"off\" <&>"}},
			Data: []byte(`{"z":1,"a":[]}`),
		}},
		{"text", &event.Event{
			ID: "1", Source: "/notes", Type: "notes.added", DataContentType: "text/plain; charset=utf-8",
			Data: []byte("dear \"reader\",\n\t5 € <or> so\x00"),
		}},
		{"binary", &event.Event{
			ID: "1", Source: "/notes", Type: "notes.added", DataContentType: "application/octet-stream", Data: []byte{0, 0xff, 0xfe, '\r', '\n', 0x80},
		}},
		{"no data", &event.Event{ID: "1", Source: "/notes", Type: "notes.added"}},
		{"JSON without a content type", &event.Event{ID: "1", Source: "/notes", Type: "notes.added", Data: []byte(` 1 `)}},
		{"JSON that is none", &event.Event{ID: "1", Source: "/notes", Type: "notes.added", DataContentType: json, Data: []byte(`{"a":`)}},
		{"JSON that is not UTF-8", &event.Event{ID: "1", Source: "/notes", Type: "notes.added", DataContentType: json, Data: []byte("{\"a\":\"\xff\"}")}},
	}
}

// catalogued has the main example of the first event type of each domain, and of all
// of them in the domain git, which some profiles carry alone.
func catalogued(t *testing.T) []example {
	t.Helper()
	c, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	var list []example
	for _, domain := range c.Domains() {
		types := domain.Types
		if domain.Name != "git" {
			types = types[:min(1, len(types))]
		}
		for _, eventType := range types {
			if len(eventType.Examples) == 0 {
				continue
			}
			list = append(list, example{eventType.Name, &event.Event{
				ID: "01jnqx", Source: "/" + domain.Name, Type: eventType.Name, Time: "2026-03-01T11:30:00Z",
				DataContentType: "application/json", Data: eventType.Examples[0].Data,
			}})
		}
	}
	return list
}

func deliveryOf(e *event.Event) *delivery.Delivery {
	return &delivery.Delivery{
		ID: delivery.ID("hook", e.Source, e.ID), SubscriptionID: "hook", Event: e, Origin: "EVENTS_notes:7:hook",
		Accepted: time.Date(2026, 3, 1, 11, 30, 1, 5_000_000, time.UTC), Attempt: 1,
	}
}

func lookup(t *testing.T, name string) wire.Profile {
	t.Helper()
	p, ok := profile.Lookup(name)
	if !ok {
		t.Fatalf("there is no profile %s", name)
	}
	return p
}

// subscriptionOf is a subscription of a profile that shows all that it can send.
func subscriptionOf(name string) *subscription.Subscription {
	created := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	keys := func(secrets ...string) []subscription.SigningKey {
		list := make([]subscription.SigningKey, len(secrets))
		for i, secret := range secrets {
			list[i] = subscription.SigningKey{ID: fmt.Sprintf("key_%d", len(secrets)-i), Secret: keyring.NewSecret(secret), CreatedAt: created}
		}
		return list
	}
	sub := &subscription.Subscription{ID: "hook", Profile: name, Types: []string{"git.*"}, Endpoint: subscription.Endpoint{
		URL: "https://example.com/hook", Headers: map[string]string{"x-team": "harbor"},
	}}
	switch name {
	case "jfrog":
		sub.Settings = map[string]string{"use_secret_for_signing": "true", "jpd_origin": "https://acme.jfrog.io", "user_context": "true"}
		sub.Secrets = keys("tell no one")
	case "jfrog-custom":
		sub.Endpoint.Method = http.MethodPut
		sub.Endpoint.Headers = map[string]string{"authorization": "Bearer {{ .secrets.token }}", "x-event": "{{ .domain }}/{{ .event_type }}"}
		sub.Template = subscription.Template{
			Payload: `{"text":"{{ .domain }} {{ .type }} by {{ .userContext.id }}: {{ .data.name }}","data":{{ json .data }}}`,
			Secrets: map[string]keyring.Secret{"token": keyring.NewSecret("s3cr3t")},
		}
	case "secure-source-manager", "github":
		sub.Secrets = keys("tell no one")
	default:
		sub.Secrets = keys(newSecret, privateSecret, oldSecret)
	}
	traits, _ := profile.Traits(name)
	sub.SetDefaultsOf(traits, created)
	return sub
}

// render makes the request of a subscription's delivery as a sender does, at now.
func render(t *testing.T, sub *subscription.Subscription, d *delivery.Delivery, now time.Time) (*http.Request, []byte, error) {
	t.Helper()
	target, err := url.Parse(sub.Endpoint.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{Method: sub.Endpoint.Method, URL: target, Host: target.Host, Header: http.Header{
		"User-Agent": {"jetpost/1"}, wire.HeaderSubscription: {sub.ID}, wire.HeaderAttempt: {strconv.Itoa(d.Attempt)},
	}}
	for name, value := range sub.Endpoint.Headers {
		r.Header.Set(name, value)
	}
	var secrets []string
	for _, key := range sub.ActiveSecrets(now) {
		secrets = append(secrets, key.Secret.Reveal())
	}
	renderer, err := lookup(t, sub.Profile).Prepare(sub)
	if err != nil {
		t.Fatal(err)
	}
	body, err := renderer.Render(&wire.Request{
		Header: r.Header, Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Delivery: d, Secrets: secrets, Now: now,
	})
	if err != nil {
		return nil, nil, err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		r.Body = nil
	}
	return r, body, nil
}

// A tap is a receiver that keeps requests as they come off the socket.
type tap struct {
	client *http.Client
	raw    chan []byte
}

func newTap(t *testing.T) *tap {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{raw: make(chan []byte, 1)}
	done := make(chan error, 1)
	go func() { done <- p.serve(listener) }()
	transport := &http.Transport{
		DisableCompression: true, // as the sender's
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
		},
	}
	p.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := errors.Join(listener.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return p
}

// serve reads the requests of one connection and accepts all of them.
func (p *tap) serve(listener net.Listener) error {
	conn, err := listener.Accept()
	if err != nil {
		return nil // nothing was sent
	}
	defer func() { _ = conn.Close() }()
	var seen bytes.Buffer
	for in := bufio.NewReader(io.TeeReader(conn, &seen)); ; seen.Reset() {
		r, err := http.ReadRequest(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return err
		}
		p.raw <- bytes.Clone(seen.Bytes())
		if _, err := io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
			return err
		}
	}
}

// send makes a request through a real client, and returns the bytes that arrived.
func (p *tap) send(t *testing.T, r *http.Request) []byte {
	t.Helper()
	r.URL.Scheme = "http" // the bytes inside TLS are the same
	response, err := p.client.Do(r.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return <-p.raw
}
