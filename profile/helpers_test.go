package profile_test

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/profile"
	"github.com/jetpost/jetpost/profile/wire"
	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/subscription"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares got with a file in testdata, or rewrites it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatalf("update golden file: %v", err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read golden file: %v", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", path, diff)
	}
}

// Signing secrets: the newest and the one before it.
const (
	newSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	oldSecret = "whsec_b2xkIGFuZCBub3QgeWV0IGZvcmdvdHRlbi4uLg=="
)

// An example is an event as a receiver may get it.
type example struct {
	name  string
	event *stream.Event
}

// examples have what is hard to carry: attributes that a header cannot hold as
// they are, JSON that an encoder would write in another way, text and bytes.
func examples() []example {
	const at, json = "2026-03-01T12:30:00.12+01:00", "application/json"
	return []example{
		{"artifact", &stream.Event{
			ID: "01jnqx", Source: "jfrog/jfrt@01h9mspg5atsp402qqxm071zjv", Type: "artifact.deployed", Subject: "libs-release/org/acme/app-1.0.jar",
			Time: at, DataContentType: json,
			Data: []byte(`{"repo_key":"libs-release","path":"org/acme/app-1.0.jar","name":"app-1.0.jar","sha256":"069092736c73613a25917f582f8a2621b8495cb723914c85dc570761ce0846f8","size":353178}`),
		}},
		{"git", &stream.Event{
			ID: "85c7e78e", Source: "/git/widgets", Type: "git.push", Subject: "refs/heads/main", Time: at,
			DataContentType: "application/json; charset=utf-8", DataSchema: "https://schemas.example.com/git.push?v=1#push",
			Extensions: []stream.Attribute{
				{Name: "partitionkey", Value: "widgets"},
				{Name: "traceparent", Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
			},
			Data: []byte("{\n  \"ref\" : \"refs/heads/main\",\n  \"commits\":[{\"message\":\"Größe <&> \\u00e9\\/\",\"id\":12345678901234567890}],\"ratio\":1.0\n}"),
		}},
		{"odd attributes", &stream.Event{
			ID: "a b 100%", Source: "https://example.com/a?q=%20", Type: "notes.added", Subject: `say "hi" for 5 €, \o/ 😀`,
			DataContentType: json, Extensions: []stream.Attribute{{Name: "note", Value: "naïve, 50% \"off\" <&>"}},
			Data: []byte(`{"z":1,"a":[]}`),
		}},
		{"text", &stream.Event{
			ID: "1", Source: "/notes", Type: "notes.added", DataContentType: "text/plain; charset=utf-8",
			Data: []byte("dear \"reader\",\n\t5 € <or> so\x00"),
		}},
		{"binary", &stream.Event{
			ID: "1", Source: "/notes", Type: "notes.added", DataContentType: "application/octet-stream", Data: []byte{0, 0xff, 0xfe, '\r', '\n', 0x80},
		}},
		{"no data", &stream.Event{ID: "1", Source: "/notes", Type: "notes.added"}},
		{"JSON without a content type", &stream.Event{ID: "1", Source: "/notes", Type: "notes.added", Data: []byte(` 1 `)}},
		{"JSON that is none", &stream.Event{ID: "1", Source: "/notes", Type: "notes.added", DataContentType: json, Data: []byte(`{"a":`)}},
		{"JSON that is not UTF-8", &stream.Event{ID: "1", Source: "/notes", Type: "notes.added", DataContentType: json, Data: []byte("{\"a\":\"\xff\"}")}},
	}
}

func deliveryOf(e *stream.Event) *delivery.Delivery {
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

func render(t *testing.T, name string, h http.Header, d *delivery.Delivery, secrets []string, now time.Time) ([]byte, error) {
	t.Helper()
	r, err := lookup(t, name).Prepare(&subscription.Subscription{ID: d.SubscriptionID, Profile: name})
	if err != nil {
		t.Fatal(err)
	}
	return r.Render(&wire.Request{Header: h, Method: http.MethodPost, Host: "example.com", Path: "/hook", Delivery: d, Secrets: secrets, Now: now})
}
