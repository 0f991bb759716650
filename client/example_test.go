package client_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/jetpost/jetpost/client"
	"github.com/jetpost/jetpost/client/api"
)

// A subscription needs types and a URL. With an idempotency key the call is repeated by
// itself when the server is busy, and makes one subscription.
func Example() {
	url, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Config{URL: url, Token: "jp_…"})
	if err != nil {
		fmt.Println(err)
		return
	}
	created, err := c.Subscriptions.Create(ctx, &api.Subscription{
		ID: "ci", Types: []string{"git.push"}, Endpoint: api.Endpoint{URL: "http://127.0.0.1:9000/hook"},
		Filters: []api.Filter{{Exact: map[string]string{"subject": "refs/heads/main"}}},
	}, client.IdempotencyKey(rand.Text()))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(created.ID, created.State, created.Profile, created.Endpoint.Timeout, created.Delivery.MaxInFlight)
	fmt.Println("secret:", strings.HasPrefix(created.Secret, "whsec_"))
	// Output:
	// ci active cloudevents 15s 64
	// secret: true
}

// A list asks for the next page when it is needed.
func ExampleSubscriptions_List() {
	url, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, _ := client.New(client.Config{URL: url})
	for _, id := range []string{"audit", "ci", "docs"} {
		_, err := c.Subscriptions.Create(ctx, &api.Subscription{
			ID: id, Types: []string{"git.*"}, Endpoint: api.Endpoint{URL: "http://127.0.0.1:9000/" + id}, Labels: map[string]string{"team": "anvil"},
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	f := client.SubscriptionFilter{Labels: []string{"team=anvil"}, Paging: client.Paging{PageSize: 2}}
	for sub, err := range c.Subscriptions.List(ctx, f) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(sub.ID, sub.Endpoint.URL)
	}
	// Output:
	// audit http://127.0.0.1:9000/audit
	// ci http://127.0.0.1:9000/ci
	// docs http://127.0.0.1:9000/docs
}

// What a server refuses is an *api.Problem, with everything that is wrong.
func ExampleSubscriptions_Replace() {
	url, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, _ := client.New(client.Config{URL: url})
	sub := &api.Subscription{Types: []string{"git.push"}, Endpoint: api.Endpoint{URL: "http://127.0.0.1:9000/hook"}}
	var first client.Response
	if _, err := c.Subscriptions.Replace(ctx, "ci", sub, client.WithResponse(&first)); err != nil { // there is none: it is created
		fmt.Println(err)
		return
	}
	sub, err := c.Subscriptions.Get(ctx, "ci")
	if err != nil {
		fmt.Println(err)
		return
	}
	sub.Description = "Builds of main."
	if sub, err = c.Subscriptions.Replace(ctx, "ci", sub, client.IfMatch(first.ETag())); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(first.Status, sub.Description)

	_, err = c.Subscriptions.Replace(ctx, "ci", sub, client.IfMatch(first.ETag())) // it has changed
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusPreconditionFailed {
		fmt.Println("changed by another client")
	}
	sub.Types, sub.Delivery.MaxInFlight = []string{"git.nope"}, 5000
	_, err = c.Subscriptions.Replace(ctx, "ci", sub)
	if p, ok := errors.AsType[*api.Problem](err); ok {
		for _, wrong := range p.Errors {
			fmt.Println(wrong.Field)
		}
	}
	// Output:
	// 201 Builds of main.
	// changed by another client
	// delivery.max_in_flight
	// types[0]
}

// Events are stored when Publish returns. What becomes of one is its story.
func ExampleEvents_Publish() {
	url, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, _ := client.New(client.Config{URL: url})
	receipts, err := c.Events.Publish(ctx, &api.Event{
		ID: "4711", Source: "/shop", Type: "build.uploaded", Subject: "shop/7",
		Data: []byte(`{"build_name":"shop","build_number":"7","build_started":"2026-01-31T12:00:00.000+0000"}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(receipts[0].Stream, receipts[0].Sequence, receipts[0].Duplicate)
	story, err := c.Events.FindStory(ctx, client.StoryFilter{Source: "/shop", ID: "4711"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(story.Domain, story.Routing, len(story.Subscriptions))
	// Output:
	// EVENTS_build 1 false
	// build waiting 0
}

// What is followed comes as it happens, until the context ends.
func ExampleEvents_Follow() {
	url, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, _ := client.New(client.Config{URL: url})
	for _, name := range []string{"one", "two"} {
		_, err := c.Events.Publish(ctx, &api.Event{
			ID: name, Source: "/shop", Type: "build.uploaded",
			Data: []byte(`{"build_name":"shop","build_number":"7","build_started":"2026-01-31T12:00:00.000+0000"}`),
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	for stored, err := range c.Events.Follow(ctx, client.EventFilter{Domain: "build", FromSeq: 1}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		var event api.Event
		if err := event.UnmarshalJSON(stored.Event); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(stored.Sequence, event.ID)
		if event.ID == "two" {
			cancel()
		}
	}
	// Output:
	// 1 one
	// 2 two
}
