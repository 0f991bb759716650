package stream_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
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

// wantEvent compares events. The order of extensions is not part of an event, and
// no data is the same as data of no length.
func wantEvent(t *testing.T, what string, got *stream.Event, err error, want *stream.Event) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if diff := cmp.Diff(canonicalEvent(want), canonicalEvent(got)); diff != "" {
		t.Errorf("%s the event is another (-want +got):\n%s", what, diff)
	}
}

func canonicalEvent(e *stream.Event) *stream.Event {
	c := *e
	c.Extensions = slices.Clone(e.Extensions)
	slices.SortFunc(c.Extensions, func(a, b stream.Attribute) int { return strings.Compare(a.Name, b.Name) })
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
	if !errors.Is(err, stream.ErrInvalidEvent) {
		t.Errorf("got %+v and error %v, want an error that wraps ErrInvalidEvent", got, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got error %q, want %q in it", err, text)
		}
	}
}

// eventually waits for what the server does in its own time.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	patience := time.After(20 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-patience:
			t.Fatalf("wait for %s: %v", what, err)
		}
	}
}

// awaitServer waits after a restart until the server answers on the test's
// connection, which may not have noticed yet that the server was away.
func awaitServer(t *testing.T, s *streamtest.Server) {
	t.Helper()
	eventually(t, "the server", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.JS().AccountInfo(ctx)
		return err
	})
}
