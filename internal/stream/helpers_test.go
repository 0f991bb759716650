package stream_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// holds waits until fact is true.
func holds(t *testing.T, what string, fact func() bool) {
	t.Helper()
	eventually(t, what, func() error {
		if fact() {
			return nil
		}
		return errors.New("not true in time")
	})
}
