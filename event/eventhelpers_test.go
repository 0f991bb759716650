package event_test

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
)

var updateEvents = flag.Bool("update", false, "rewrite the golden files in testdata")

// wantEvent compares events. The order of extensions is not part of an event, and
// no data is the same as data of no length.
func wantEvent(t *testing.T, what string, got *event.Event, err error, want *event.Event) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if diff := cmp.Diff(canonicalEvent(want), canonicalEvent(got)); diff != "" {
		t.Errorf("%s the event is another (-want +got):\n%s", what, diff)
	}
}

func canonicalEvent(e *event.Event) *event.Event {
	c := *e
	c.Extensions = slices.Clone(e.Extensions)
	slices.SortFunc(c.Extensions, func(a, b event.Attribute) int { return strings.Compare(a.Name, b.Name) })
	if len(c.Extensions) == 0 {
		c.Extensions = nil
	}
	if len(c.Data) == 0 {
		c.Data = nil
	}
	return &c
}

// wantInvalid checks that something was refused as not being a CloudEvent, with
// each of the texts in the error.
func wantInvalid(t *testing.T, got any, err error, texts ...string) {
	t.Helper()
	if !errors.Is(err, event.ErrInvalidEvent) {
		t.Errorf("got %+v and error %v, want an error that wraps ErrInvalidEvent", got, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got error %q, want %q in it", err, text)
		}
	}
}
