package stream_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// A reader that follows a stream that loses its end is notified, instead of skipping what comes to
// the places that were read; also when the stream has caught up by then.
func TestFollowedStreamGoesBack(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]int{"behind": 0, "caught up": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := streamtest.New(t)
			js := server.JS()
			if err := server.Layout.EnsureEventLog(t.Context(), js, "notes"); err != nil {
				t.Fatal(err)
			}
			log := server.Layout.EventLog("notes")
			publish := func(n int) {
				for range n {
					testkit.Eventually(t, "an event is stored", func() bool {
						_, err := js.Publish(t.Context(), server.Layout.EventSubject("notes", "added"), []byte("x"))
						return err == nil
					})
				}
			}
			publish(10)
			folder, copied := filepath.Join(server.Dir, "jetstream", "$G", "streams", log, "msgs"), filepath.Join(t.TempDir(), "copy")
			server.Stop()
			if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
				t.Fatal(err)
			}
			server.Start()
			publish(10)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			read, ended := make(chan uint64, 100), make(chan error, 1)
			go func() {
				var last error
				for r, err := range stream.Read(ctx, js, log, stream.Range{Follow: true}) {
					if last = err; err == nil {
						read <- r.Sequence
					}
				}
				ended <- last
			}()
			for range 20 {
				select {
				case <-read:
				case err := <-ended:
					t.Fatalf("it has ended: %v", err)
				}
			}
			server.Stop()
			if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(copied))); err != nil {
				t.Fatal(err)
			}
			server.Start()
			publish(after)
			if err := <-ended; !errors.Is(err, stream.ErrWentBack) {
				t.Errorf("got %v, want that the stream went back", err)
			}
		})
	}
}

// A restart that loses nothing does not end it.
func TestFollowedStreamStays(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	js := server.JS()
	if err := server.Layout.EnsureEventLog(t.Context(), js, "notes"); err != nil {
		t.Fatal(err)
	}
	next := uint64(0)
	publish := func() {
		testkit.Eventually(t, "an event is stored", func() bool {
			_, err := js.Publish(t.Context(), server.Layout.EventSubject("notes", "added"), []byte("x"))
			return err == nil
		})
	}
	publish()
	for r, err := range stream.Read(t.Context(), js, server.Layout.EventLog("notes"), stream.Range{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if next++; r.Sequence != next {
			t.Fatalf("read %d, want %d", r.Sequence, next)
		}
		if next == 4 {
			return
		}
		server.Restart()
		publish()
	}
}
