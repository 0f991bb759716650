package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// Many attempts at once are few messages, and pages and followers still see each
// of them once, whatever message it is in.
func TestRecorder(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	log := delivery.NewLog(js, server.Layout)
	const n = 1000
	var want []string
	var wg sync.WaitGroup
	recorder := log.Recorder("hook")
	for i := range n {
		id := fmt.Sprintf("event-%04d", i)
		want = append(want, id)
		wg.Go(func() {
			a := failed()
			a.SubscriptionID, a.Event.ID, a.Outcome = "hook", id, delivery.Delivered
			if err := recorder.Record(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	messages := 0
	for _, err := range stream.Read(t.Context(), js, server.Layout.Attempts(), stream.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		messages++
	}
	if messages > n/4 {
		t.Errorf("%d attempts made at once are %d messages", n, messages)
	}

	var paged []string
	last := ^uint64(0)
	for before := uint64(0); ; {
		page, err := log.Latest(t.Context(), "hook", before, 37)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			if a.Sequence >= last {
				t.Fatalf("sequence %d follows %d, want newest first", a.Sequence, last)
			}
			last = a.Sequence
			paged = append(paged, a.Event.ID)
		}
		before = last
	}
	slices.Sort(paged)
	if diff := cmp.Diff(want, paged); diff != "" {
		t.Errorf("paged attempts differ (-want +got):\n%s", diff)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var followed []string
	var middle uint64
	for a, err := range log.Follow(ctx, "hook", 0) {
		if err != nil {
			t.Fatal(err)
		}
		followed = append(followed, a.Event.ID)
		if len(followed) == n/2 {
			middle = a.Sequence
		}
		if len(followed) == n {
			cancel()
		}
	}
	rest, cancelRest := context.WithCancel(t.Context())
	defer cancelRest()
	at := n/2 - 1
	for a, err := range log.Follow(rest, "hook", middle) {
		if err != nil {
			t.Fatal(err)
		}
		if a.Event.ID != followed[at] {
			t.Fatalf("from the middle of a message on: got %s, want %s", a.Event.ID, followed[at])
		}
		if at++; at == n {
			cancelRest()
		}
	}
	slices.Sort(followed)
	if diff := cmp.Diff(want, followed); diff != "" {
		t.Errorf("followed attempts differ (-want +got):\n%s", diff)
	}
}

// Records of any size fit: a message that the stream refuses would keep all its
// deliveries from being settled.
func TestRecorderOfLargeRecords(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	recorder := delivery.NewLog(js, server.Layout).Recorder("hook")
	const n = 200
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			a := failed()
			a.SubscriptionID, a.Event.ID, a.Outcome = "hook", fmt.Sprint(i), delivery.Delivered
			a.Error = ""
			a.ResponseBody = strings.Repeat("\x00", i*delivery.MaxStoredBody/n) // six bytes each
			if i%10 == 0 {                                                      // as large as can be
				a.Event.Source, a.Event.Type, a.Event.Subject = strings.Repeat("<", 512), strings.Repeat(">", 512), strings.Repeat("&", 512)
				a.Error, a.ResponseBody = strings.Repeat("\x00", 1024), strings.Repeat("\x00", delivery.MaxStoredBody)
				a.URL = "https://example.com/" + strings.Repeat("&", 2028)
			}
			if err := recorder.Record(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := delivery.NewLog(js, server.Layout).Latest(t.Context(), "hook", 0, n+1)
	if err != nil || len(got) != n {
		t.Errorf("got %d attempts, error %v, want %d", len(got), err, n)
	}
}

// A record that cannot be stored is not reported as stored.
func TestRecorderStopped(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	if err := js.DeleteStream(t.Context(), server.Layout.Attempts()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := failed()
	a.SubscriptionID = "hook"
	if err := delivery.NewLog(js, server.Layout).Recorder("hook").Record(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}
