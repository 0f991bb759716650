package client_test

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jetpost/jetpost/client"
	"github.com/jetpost/jetpost/client/api"
)

// first reads the first item of a list, which may be empty.
func first[T any](list iter.Seq2[T, error]) error {
	for _, err := range list {
		return err
	}
	return nil
}

// The client has every operation that the OpenAPI document of the server has.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../admin/testdata/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	var mu sync.Mutex
	called, want := map[string]bool{}, 0
	for path, operations := range document.Paths {
		for method, op := range operations {
			want++
			mux.HandleFunc(strings.ToUpper(method)+" "+path, func(w http.ResponseWriter, _ *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				called[op.OperationID] = true
				_, _ = io.WriteString(w, "{}")
			})
		}
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c := newClient(t, server.URL)
	ctx := t.Context()
	for _, err := range everyCall(ctx, c) {
		if err != nil {
			t.Error(err)
		}
	}
	for path, operations := range document.Paths {
		for method, op := range operations {
			if !called[op.OperationID] {
				t.Errorf("nothing calls %s, %s %s", op.OperationID, method, path)
			}
		}
	}
	if len(called) != want || want < 60 {
		t.Errorf("%d operations are called, the document has %d", len(called), want)
	}
}

// second is the error of a call.
func second[T any](_ T, err error) error { return err }

func everyCall(ctx context.Context, c *client.Client) []error {
	return slices.Concat(subscriptionCalls(ctx, c), recordCalls(ctx, c), []error{
		first(c.Events.List(ctx, client.EventFilter{})),
		second(c.Events.Publish(ctx, &api.Event{})),
		second(c.Events.Get(ctx, "git", 1)),
		second(c.Events.Erase(ctx, "git", 1, api.EraseReason{})),
		second(c.Events.Story(ctx, "git", 1, "")),
		second(c.Events.FindStory(ctx, client.StoryFilter{})),
		first(c.Events.Explain(ctx, &api.ExplainOptions{}, client.Paging{})),
		second(c.EventTypes.List(ctx, "", client.WithSchemas())),
		second(c.EventTypes.Get(ctx, "git.push")),
		second(c.EventTypes.Validate(ctx, "git.push", []byte("{}"))),
		second(c.Domains.List(ctx)),
		second(c.Domains.Get(ctx, "orders")),
		second(c.Domains.Put(ctx, "orders", &api.DomainFiles{}, client.DryRun(), client.Force(), client.StoredEvents(10))),
		c.Domains.Delete(ctx, "orders"),
		second(c.Tokens.Create(ctx, &api.TokenOptions{})),
		second(c.Tokens.Get(ctx, "id")),
		second(c.Tokens.Self(ctx)),
		first(c.Tokens.List(ctx, client.Paging{})),
		second(c.Tokens.Change(ctx, "id", &api.TokenChange{})),
		c.Tokens.Revoke(ctx, "id"),
		first(c.Repositories.List(ctx, client.RepositoryFilter{})),
		second(c.Repositories.Get(ctx, "libs")),
		second(c.Repositories.Put(ctx, "libs", &api.RepositoryOptions{})),
		c.Repositories.Delete(ctx, "libs"),
		second(c.Storage.Get(ctx)),
		second(c.Storage.AcceptLoss(ctx, &api.AcceptOptions{})),
		second(c.Senders.List(ctx, "")),
	})
}

func subscriptionCalls(ctx context.Context, c *client.Client) []error {
	s, id := c.Subscriptions, "ci"
	return []error{
		second(s.Create(ctx, &api.Subscription{})),
		second(s.Get(ctx, id)),
		first(s.List(ctx, client.SubscriptionFilter{})),
		second(s.Replace(ctx, id, &api.Subscription{})),
		second(s.Patch(ctx, id, map[string]any{})),
		second(s.Delete(ctx, id)),
		second(s.Pause(ctx, id, api.PauseOptions{})),
		second(s.Resume(ctx, id)),
		second(s.RotateSecret(ctx, id, api.RotateOptions{})),
		second(s.Secret(ctx, id)),
		second(s.Test(ctx, id, api.TestOptions{})),
		second(s.AskForConsent(ctx, id)),
		second(s.Breaker(ctx, id)),
		second(s.ResetBreaker(ctx, id)),
		second(s.Backlog(ctx, id)),
		first(s.Backlogs(ctx, client.BacklogFilter{})),
		second(s.Reconcile(ctx, id, api.ReconcileOptions{})),
		second(s.Redeliver(ctx, id, "dlv_1")),
	}
}

func recordCalls(ctx context.Context, c *client.Client) []error {
	export, err := c.Audit.Export(ctx, 0, 0)
	if err == nil {
		err = export.Close()
	}
	return []error{
		err,
		first(c.Attempts.List(ctx, client.AttemptFilter{})),
		first(c.Attempts.List(ctx, client.AttemptFilter{Subscription: "ci"})),
		first(c.Audit.List(ctx, client.AuditFilter{})),
		second(c.Audit.Get(ctx, 1)),
		second(c.Audit.Head(ctx)),
		first(c.DeadLetters.List(ctx, client.LetterFilter{})),
		first(c.DeadLetters.ListOf(ctx, client.LetterFilter{Subscription: "ci"})),
		first(c.DeadLetters.Invalid(ctx, client.Paging{})),
		second(c.DeadLetters.Get(ctx, 1)),
		second(c.DeadLetters.Redrive(ctx, 1)),
		second(c.DeadLetters.Discard(ctx, 1, api.DiscardReason{})),
		second(c.DeadLetters.DiscardAll(ctx, &api.DiscardOptions{})),
		second(c.Redrives.Create(ctx, &api.RedriveOptions{})),
		second(c.Redrives.Get(ctx, "rd-1")),
		first(c.Redrives.List(ctx, client.Paging{})),
		second(c.Redrives.Cancel(ctx, "rd-1")),
	}
}
