package github_test

import (
	"maps"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/github"
	"github.com/jetpost/jetpost/internal/profile/wire"
)

// The signature is GitHub's: the vector is that of a published implementation.
func TestRequest(t *testing.T) {
	t.Parallel()
	const guid = "6f64a6db-e2c0-46da-8809-b85196520263"
	for _, tt := range []struct {
		eventType, event string
		secrets          []string
		signatures       http.Header
	}{
		{"git.push", "push", nil, nil},
		{"com.example.tickets.opened", "opened", []string{"mysecret", "older"}, http.Header{
			"X-Hub-Signature-256": {"sha256=4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3"},
			"X-Hub-Signature":     {"sha1=d03207e4b030cf234e3447bac4d93add4c6643d8"},
		}},
	} {
		h := http.Header{"X-Github-Event": {"set by the user"}}
		body, err := github.Webhook{}.Render(&wire.Request{
			Header: h, Secrets: tt.secrets,
			Delivery: &delivery.Delivery{ID: "dlv_0", Event: &event.Event{Type: tt.eventType, Data: []byte(`{"foo":"bar"}`)}},
		})
		if err != nil || string(body) != `{"foo":"bar"}` {
			t.Fatalf("got %q, %v", body, err)
		}
		want := http.Header{"Content-Type": {"application/json"}, "X-GitHub-Event": {tt.event}, "X-GitHub-Delivery": {guid}}
		maps.Copy(want, tt.signatures)
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("headers differ (-want +got):\n%s", diff)
		}
	}
	if _, err := (github.Webhook{}).Render(&wire.Request{Header: http.Header{}, Delivery: &delivery.Delivery{Event: &event.Event{Type: "ping"}}}); err == nil {
		t.Error("a type without an event is rendered")
	}
}
