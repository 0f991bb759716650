package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	v1 "github.com/jetpost/jetpost/client/api"
)

// ids are the events of an answer, and its cursor.
func (r reply) ids() (ids []string, next string) {
	r.t.Helper()
	var got v1.Page[v1.StoredEvent]
	r.into(&got)
	ids = []string{}
	for _, item := range got.Items {
		var e struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(item.Event, &e); err != nil {
			r.t.Fatalf("%v: %s", err, r.body)
		}
		ids = append(ids, e.ID)
	}
	return ids, got.NextCursor
}

func TestEventHistory(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("GET", "/v1/events", "").want(http.StatusOK).mustContain(`{"items":[]}`)
	types := []string{"git.push", "artifact.deployed", "git.pull_request"}
	var published []string // oldest first
	var middle time.Time
	for n := range 9 {
		id := fmt.Sprintf("e%d", n)
		seq := f.publish(newEvent(types[n%3], id))
		published = append(published, id)
		if n == 4 {
			domain, _, _ := strings.Cut(types[n%3], ".")
			s, err := f.js.Stream(t.Context(), f.layout.EventLog(domain))
			if err != nil {
				t.Fatal(err)
			}
			m, err := s.GetMsg(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			middle = m.Time
		}
	}
	newest := slices.Clone(published)
	slices.Reverse(newest)
	from := url.QueryEscape(middle.Format(time.RFC3339Nano))
	tests := []struct {
		query string
		want  []string
	}{
		{"", newest},
		{"?domain=git", []string{"e8", "e6", "e5", "e3", "e2", "e0"}},
		{"?type=git.push", []string{"e6", "e3", "e0"}},
		{"?type=git.*&limit=500", []string{"e8", "e6", "e5", "e3", "e2", "e0"}},
		{"?type=artifact.deployed&domain=artifact", []string{"e7", "e4", "e1"}},
		{"?type=git.pull_request_comment", []string{}},
		{"?from_time=2020-01-01T00:00:00Z", published},
		{"?from_time=" + from, published[4:]},
		{"?domain=git&from_seq=3", []string{"e3", "e5", "e6", "e8"}},
		{"?type=git.push&from_seq=2", []string{"e3", "e6"}},
		{"?from_time=" + url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339)), []string{}},
		{"?domain=git&from_seq=999", []string{}},
	}
	for _, tt := range tests {
		got, next := f.do("GET", "/v1/events"+tt.query, "").want(http.StatusOK).ids()
		if diff := cmp.Diff(tt.want, got); diff != "" || next != "" {
			t.Errorf("%s (-want +got):\n%s\nnext %q", tt.query, diff, next)
		}
		// The same, two at a time, while events are added that do not move them.
		var pages []string
		query := tt.query
		for cursor := ""; ; {
			join := "?"
			if strings.Contains(query, "?") {
				join = "&"
			}
			path := "/v1/events" + strings.Replace(query, "&limit=500", "", 1) + join + "limit=2"
			if cursor != "" {
				path += "&cursor=" + cursor
			}
			part, next := f.do("GET", path, "").want(http.StatusOK).ids()
			pages = append(pages, part...)
			if next == "" {
				break
			}
			cursor = next
		}
		if !cmp.Equal(tt.want, append([]string{}, pages...)) {
			t.Errorf("%s in pages: got %v, want %v", query, pages, tt.want)
		}
	}

	first, next := f.do("GET", "/v1/events?limit=3", "").ids()
	f.publish(newEvent("git.push", "late"))
	f.publish(newEvent("artifact.deployed", "later"))
	second, _ := f.do("GET", "/v1/events?limit=6&cursor="+next, "").ids()
	if diff := cmp.Diff(newest, append(first, second...)); diff != "" {
		t.Errorf("pages shifted (-want +got):\n%s", diff)
	}
	for _, query := range []string{
		"?domain=nope", "?type=git.pusch", "?type=nope.*", "?type=git.push&domain=artifact", "?from_seq=3",
		"?domain=git&from_seq=3&from_time=2020-01-01T00:00:00Z", "?from_time=yesterday", "?from_time=2999-01-01T00:00:00Z", "?from_time=0044-03-15T00:00:00Z", "?cursor=x", "?cursor=e30", "?from_seq=-1&domain=git",
	} {
		f.do("GET", "/v1/events"+query, "").want(http.StatusUnprocessableEntity)
	}
}

// An event is shown as it was published; what is no event is shown as that.
func TestEventForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(newEvent("git.push", "e1"))
	broken := &nats.Msg{Subject: f.layout.EventSubject("git", "push"), Header: nats.Header{"ce-id": {"x"}}, Data: []byte("{")}
	if _, err := f.js.PublishMsg(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	r := f.do("GET", "/v1/events?domain=git&from_seq=1", "").want(http.StatusOK)
	r.mustContain(`"domain":"git","stream":"EVENTS_git","sequence":1,"stored_at":"`,
		`"event":{"specversion":"1.0","id":"e1","source":"/test","type":"git.push","datacontenttype":"application/json","data":{"b":1.0,"a":"<ü>"}}}`,
		`"sequence":2`, `"error":"`)
}

func TestFollowEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(newEvent("git.push", "before"))
	all, pushes := f.follow("/v1/events?follow=true"), f.follow("/v1/events?follow=true&type=git.push")
	again := f.follow("/v1/events?follow=true&domain=git&from_seq=1")
	f.publish(newEvent("artifact.deployed", "a"))
	f.publish(newEvent("git.push", "b"))
	next := func(fl *follower) string {
		t.Helper()
		var e v1.StoredEvent
		if err := fl.next(&e); err != nil {
			t.Fatal(err)
		}
		var event struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(e.Event, &event); err != nil {
			t.Fatal(err)
		}
		return event.ID
	}
	got := []string{next(all), next(all)}
	slices.Sort(got) // logs are read side by side
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" {
		t.Error(diff)
	}
	if id := next(pushes); id != "b" {
		t.Errorf("got %s", id)
	}
	if diff := cmp.Diff([]string{"before", "b"}, []string{next(again), next(again)}); diff != "" {
		t.Error(diff)
	}
}

func TestEventTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var got struct {
		Items []v1.EventType `json:"items"`
	}
	f.do("GET", "/v1/event-types", "").want(http.StatusOK).mustNotContain(`"$schema"`).into(&got)
	var names []string
	for _, item := range got.Items {
		names = append(names, item.Type)
		if item.Domain == "" || item.Description == "" || item.Validation != "enforce" || len(item.Example) == 0 || len(item.Schema) != 0 {
			t.Errorf("%s is not described: %+v", item.Type, item)
		}
	}
	if !slices.Contains(names, "git.push") || !slices.Contains(names, "artifact.deployed") {
		t.Errorf("got %v", names)
	}
	f.do("GET", "/v1/event-types?schema=true", "").want(http.StatusOK).mustContain(`"$schema"`)
}
