package main

import (
	"net/http"
	"strings"
	"testing"
)

// happened is an event of the domain shop, whose data may be anything.
func happened(kind, id string, bytes int) happening {
	return happening{id: id, source: "/shop", kind: "shop." + kind, data: `"` + strings.Repeat("x", bytes) + `"`}
}

// awaitReady waits until /readyz answers 200, or 503 with a reason.
func (s *server) awaitReady(t *testing.T, because string) {
	t.Helper()
	var last reply
	want := http.StatusOK
	if because != "" {
		want = http.StatusServiceUnavailable
	}
	if !holdsWithin(t.Context(), 2*factDeadline, func() bool {
		r, err := s.try(t.Context(), http.MethodGet, "/readyz", nil)
		last = r
		return err == nil && r.status == want && strings.Contains(string(r.body), because)
	}) {
		t.Fatalf("/readyz is still %d %s, want %d because %q", last.status, last.body, want, because)
	}
}

// wantAll waits until a catcher got everything, and checks that no more than repeats
// came twice.
func (c *catcher) wantAll(t *testing.T, ids []string, repeats int) {
	t.Helper()
	times := func() map[string]int {
		got := make(map[string]int)
		for _, a := range c.arrivals() {
			e, err := a.event()
			if err != nil {
				t.Fatal(err)
			}
			got[e.ID()]++
		}
		return got
	}
	missing := func() (n int) {
		got := times()
		for _, id := range ids {
			if got[id] == 0 {
				n++
			}
		}
		return n
	}
	if !holdsWithin(t.Context(), 2*factDeadline, func() bool { return missing() == 0 }) {
		t.Fatalf("%d of %d events that were acknowledged have not arrived", missing(), len(ids))
	}
	again := 0
	for _, n := range times() {
		again += n - 1
	}
	if again > repeats {
		t.Errorf("%d requests were made again, want at most %d", again, repeats)
	}
}
