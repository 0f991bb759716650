package main

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// A URL of NATS that cannot be read is not shown: it may have a password.
func TestNATSPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"nats://user:s3cr3t%zz@127.0.0.1:1", "nats://user:s3cr3t/x@127.0.0.1:1", "nats://user:s3cr 3t@127.0.0.1", "nats://user:s3cr3t@[127.0.0.1"} {
		connect, _, stop, err := (&serveCmd{NATS: url}).openNATS(stream.Layout{}, nil, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		_, err = connect("view", "")
		stop()
		if err == nil || strings.Contains(err.Error(), "s3cr") || !strings.Contains(err.Error(), "--nats") {
			t.Errorf("%s: got %v", url, err)
		}
	}
}
