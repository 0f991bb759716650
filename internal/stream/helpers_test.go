package stream_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// awaitServer waits after a restart until the server answers on the test's
// connection, which may not have noticed yet that the server was away.
func awaitServer(t *testing.T, s *streamtest.Server) {
	t.Helper()
	testkit.Succeeds(t, "the server", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.JS().AccountInfo(ctx)
		return err
	})
}
