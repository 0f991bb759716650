package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream/consume"
)

func TestAttempts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("b")).want(http.StatusCreated)
	if got := strings.TrimSpace(string(f.do("GET", "/v1/subscriptions/ci/attempts", "").want(http.StatusOK).body)); got != `{"items":[]}` {
		t.Errorf("without attempts: %s", got)
	}
	for n := range 5 {
		f.record("ci", fmt.Sprintf("dlv_%d", n), 1)
		f.record("b", fmt.Sprintf("dlv_b%d", n), 1)
	}
	read := func(path string) (ids []string, next string) {
		t.Helper()
		var got v1.Page[delivery.Attempt]
		f.do("GET", path, "").want(http.StatusOK).into(&got)
		for _, a := range got.Items {
			ids = append(ids, a.DeliveryID)
		}
		return ids, got.NextCursor
	}
	first, next := read("/v1/subscriptions/ci/attempts?limit=2")
	f.record("ci", "dlv_late", 1) // must not move what is on the next page
	second, next := read("/v1/subscriptions/ci/attempts?limit=2&cursor=" + next)
	third, next := read("/v1/subscriptions/ci/attempts?limit=2&cursor=" + next)
	want := [][]string{{"dlv_4", "dlv_3"}, {"dlv_2", "dlv_1"}, {"dlv_0"}}
	if diff := cmp.Diff(want, [][]string{first, second, third}); diff != "" || next != "" {
		t.Errorf("pages (-want +got):\n%s\nnext %q", diff, next)
	}
	all, _ := read("/v1/attempts?limit=3")
	if diff := cmp.Diff([]string{"dlv_late", "dlv_b4", "dlv_4"}, all); diff != "" {
		t.Errorf("of all subscriptions (-want +got):\n%s", diff)
	}

	// Clients depend on this form.
	r := f.do("GET", "/v1/subscriptions/b/attempts?limit=1", "").want(http.StatusOK)
	var got map[string]any
	r.into(&got)
	item := got["items"].([]any)[0].(map[string]any)
	if item["sequence"].(float64) == 0 {
		t.Error("an attempt has no sequence")
	}
	delete(item, "sequence")
	wantItem := map[string]any{
		"delivery_id": "dlv_b4", "subscription_id": "b", "attempt": 1.0, "at": "2026-01-31T12:00:00Z", "duration_ms": 1.5,
		"outcome": "delivered", "method": "POST", "url": "http://127.0.0.1:9000/hook", "status": 200.0, "request_bytes": 10.0,
		"event": map[string]any{"id": "e1", "source": "/test", "type": "git.push", "stream": "EVENTS_git", "sequence": 7.0},
	}
	if diff := cmp.Diff(wantItem, item); diff != "" {
		t.Errorf("an attempt (-want +got):\n%s", diff)
	}

	f.do("DELETE", "/v1/subscriptions/b", "").want(http.StatusOK)
	if ids, _ := read("/v1/subscriptions/b/attempts"); len(ids) != 5 {
		t.Errorf("the attempts of a deleted subscription: %v", ids)
	}
	for _, query := range []string{"?cursor=x", "?cursor=0", "?cursor=-1", "?limit=0", "?follow=maybe"} {
		f.do("GET", "/v1/subscriptions/ci/attempts"+query, "").want(http.StatusUnprocessableEntity)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.do("GET", "/v1/subscriptions/ci/dead-letters", "").want(http.StatusOK).mustContain(`{"items":[]}`)
	for n := range 3 {
		f.giveUp("ci", fmt.Sprintf("e%d", n))
	}
	var got v1.Page[delivery.DeadLetter]
	f.do("GET", "/v1/subscriptions/ci/dead-letters?limit=2", "").want(http.StatusOK).into(&got)
	if len(got.Items) != 2 || got.Items[0].Event.ID != "e2" || got.Items[0].Reason != delivery.ReasonExhausted || got.Items[0].Status != 503 || got.Items[0].Attempts != 3 {
		t.Errorf("got %+v", got)
	}
	var rest v1.Page[delivery.DeadLetter]
	f.do("GET", "/v1/subscriptions/ci/dead-letters?limit=2&cursor="+got.NextCursor, "").want(http.StatusOK).into(&rest)
	if len(rest.Items) != 1 || rest.Items[0].Event.ID != "e0" || rest.NextCursor != "" {
		t.Errorf("got %+v", rest)
	}

	f.do("GET", "/v1/dead-letters/_invalid", "").want(http.StatusOK).mustContain(`{"items":[]}`)
	broken := &consume.Message{Msg: &nats.Msg{Header: nats.Header{}, Data: []byte("garbage")}, Stream: "EVENTS_git", Sequence: 9}
	if err := delivery.NewDeadLetters(f.js, f.layout).KeepUnreadable(t.Context(), broken, errors.New("not an event")); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/v1/dead-letters/_invalid", "").want(http.StatusOK).mustContain(`"unreadable"`, "not an event", `"sequence":9`)
}

// A follower reads what the server writes, line by line.
type follower struct {
	t     testing.TB
	lines *bufio.Reader
	body  io.ReadCloser
	blank int
}

func (f *fixture) follow(path string) *follower {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != httpapi.NDJSON {
		f.t.Fatalf("got status %d, content type %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return &follower{f.t, bufio.NewReader(resp.Body), resp.Body, 0}
}

// next decodes the next line that is not empty.
func (fl *follower) next(v any) error {
	fl.t.Helper()
	for {
		line, err := fl.lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		if len(line) > 1 {
			return json.Unmarshal(line, v)
		}
		fl.blank++
	}
}

func (fl *follower) attempt() delivery.Attempt {
	fl.t.Helper()
	var a delivery.Attempt
	if err := fl.next(&a); err != nil {
		fl.t.Fatal(err)
	}
	return a
}

func TestFollowAttempts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.Heartbeat = 10 * time.Millisecond })
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.record("ci", "dlv_before", 1)
	one, all := f.follow("/v1/subscriptions/ci/attempts?follow=true"), f.follow("/v1/attempts?follow=true")
	f.record("b", "dlv_b", 1)
	f.record("ci", "dlv_ci", 1)
	if got := one.attempt(); got.DeliveryID != "dlv_ci" || got.Sequence == 0 {
		t.Errorf("got %+v", got)
	}
	if got := all.attempt(); got.DeliveryID != "dlv_b" {
		t.Errorf("got %+v", got)
	}
	last := all.attempt()
	if last.DeliveryID != "dlv_ci" {
		t.Errorf("got %+v", last)
	}
	// A reader that was cut off continues where that happened.
	f.record("ci", "dlv_next", 1)
	again := f.follow("/v1/attempts?follow=true&from_seq=" + strconv.FormatUint(last.Sequence+1, 10))
	if got := again.attempt(); got.DeliveryID != "dlv_next" {
		t.Errorf("got %+v", got)
	}
	// Nothing happens for a while, which is said.
	for again.blank == 0 {
		line, err := again.lines.ReadBytes('\n')
		if err != nil || len(line) != 1 {
			t.Fatalf("got %q, %v, want an empty line", line, err)
		}
		again.blank++
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	stopping, stop := context.WithCancel(t.Context())
	f := newFixture(t, func(c *Config) { c.Stopping, c.MaxFollowers = stopping.Done(), 1 })
	fl := f.follow("/v1/attempts?follow=true")
	f.do("GET", "/v1/attempts?follow=true", "").want(http.StatusServiceUnavailable).mustContain("too many")
	stop()
	var a delivery.Attempt
	if err := fl.next(&a); !errors.Is(err, io.EOF) {
		t.Errorf("the answer ended with %v, want its end", err)
	}
}

// The end of a log that breaks off does not look like the end of the log.
func TestFollowBreaksOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	httpapi.Register(f.admin.api, huma.Operation{Method: http.MethodGet, Path: "/v1/broken"},
		func(context.Context, *struct{}) (*httpapi.Streamed, error) {
			return f.admin.api.Follow(func(_ context.Context, emit func(any) bool) error {
				emit(delivery.Attempt{DeliveryID: "dlv_1", Outcome: delivery.Retry})
				return errors.New("the log is gone")
			})
		})
	resp, err := http.Get(f.url + "/v1/broken")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a log that broke off looks whole")
	}
}

func TestFollowerLeaves(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.MaxFollowers, c.Heartbeat = 1, 5*time.Millisecond })
	fl := f.follow("/v1/attempts?follow=true")
	_ = fl.body.Close()
	for deadline := time.Now().Add(patience); ; {
		if r := f.do("GET", "/v1/attempts?follow=true&from_seq=1&limit=0", ""); r.status != http.StatusUnprocessableEntity {
			t.Fatalf("got %d", r.status)
		}
		resp, err := http.Get(f.url + "/v1/attempts?follow=true")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of a follower who has left is still taken")
		}
	}
}
