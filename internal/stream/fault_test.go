package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// The server's own errors, as clients get them.
func TestFaultOf(t *testing.T) {
	t.Parallel()
	api := func(e *server.ApiError) error {
		return fmt.Errorf("publish: %w", &jetstream.APIError{Code: e.Code, ErrorCode: jetstream.ErrorCode(e.ErrCode), Description: e.Description})
	}
	failed := func(cause error) *server.ApiError {
		return server.NewJSStreamStoreFailedError(cause, server.Unless(cause))
	}
	for _, tt := range []struct {
		name string
		err  error
		want stream.Fault
	}{
		{"nothing", nil, stream.NoFault},
		{"the server is full", api(server.NewJSInsufficientResourcesError()), stream.FaultStorage},
		{"the account is full", api(server.NewJSAccountResourcesExceededError()), stream.FaultStorage},
		{"no room for a stream", api(server.NewJSStorageResourcesExceededError()), stream.FaultStorage},
		{"no files for a consumer", &jetstream.APIError{Code: 500, ErrorCode: 10012, Description: "error creating store for consumer"}, stream.FaultFiles},
		{"no files for a stream", &jetstream.APIError{Code: 500, ErrorCode: 10049, Description: "error creating store for stream: no space left on device"}, stream.FaultFiles},
		{"another reason", &jetstream.APIError{Code: 500, ErrorCode: 10012, Description: "consumer has no filter"}, stream.NoFault},
		{"no room in memory", api(server.NewJSMemoryResourcesExceededError()), stream.FaultStorage},
		{"too many messages", api(failed(server.ErrMaxMsgs)), stream.FaultLimit},
		{"too many bytes", api(failed(server.ErrMaxBytes)), stream.FaultLimit},
		{"the server is stopping", api(failed(server.ErrStoreClosed)), stream.FaultDisconnected},
		{"no leader of the cluster", api(server.NewJSClusterNotAvailError()), stream.FaultLeaderless},
		{"the stream is offline", api(server.NewJSStreamOfflineError()), stream.FaultLeaderless},
		{"sent again too soon", api(server.NewJSStreamDuplicateMessageConflictError()), stream.FaultSilent},
		{"JetStream is off", api(server.NewJSNotEnabledError()), stream.FaultMissing},
		{"JetStream is off for the account", api(server.NewJSNotEnabledForAccountError()), stream.FaultMissing},
		{"the stream is gone", api(server.NewJSStreamNotFoundError()), stream.FaultMissing},
		{"another refusal", api(server.NewJSStreamWrongLastSequenceError(7)), stream.NoFault},
		{"no stream listens", jetstream.ErrNoStreamResponse, stream.FaultMissing},
		{"no responders", nats.ErrNoResponders, stream.FaultMissing},
		{"no answer", errors.Join(errors.New("wait"), context.DeadlineExceeded), stream.FaultSilent},
		{"no answer to the client library", jetstream.ErrAsyncPublishTimeout, stream.FaultSilent},
		{"no answer in the end, no leader before", errors.Join(stream.ErrNoAnswer, api(server.NewJSClusterNotAvailError())), stream.FaultLeaderless},
		{"no connection", errors.Join(stream.ErrNoAnswer, nats.ErrDisconnected), stream.FaultDisconnected},
		{"the connection is closed", nats.ErrConnectionClosed, stream.FaultDisconnected},
		{"the caller has gone", context.Canceled, stream.NoFault},
		{"something else", errors.New("the storage of NATS is full"), stream.NoFault},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := stream.FaultOf(tt.err)
			if got != tt.want {
				t.Errorf("%v: got %d (%s), want %d", tt.err, got, got, tt.want)
			}
			if known := got != stream.NoFault; (got.String() != "") != known || (got.Advice() != "") != known {
				t.Errorf("%d: %q, %q", got, got, got.Advice())
			}
		})
	}
	// What is not at its limit must not be taken for a full queue: its delivery would
	// become a dead letter while a server stops.
	if got := stream.ClassifyPublish(api(failed(server.ErrStoreClosed))); got != stream.Unknown {
		t.Errorf("a store that is closed: got %d, want %d", got, stream.Unknown)
	}
}

// A server that is full refuses the probe, and takes it again when there is room.
func TestHealthOfFullServer(t *testing.T) {
	t.Parallel()
	s := streamtest.NewWith(t, embedded.Config{MaxStore: 1 << 20})
	if err := s.Layout.Ensure(t.Context(), s.JS(), []string{"git"}); err != nil {
		t.Fatal(err)
	}
	h := stream.NewHealth(s.JS(), s.Layout, stream.RoleControl, zap.NewNop())
	if err := h.Check(t.Context()); err != nil {
		t.Fatalf("a server with room: %v", err)
	}
	subject := s.Layout.EventSubject("git", "push")
	var err error
	for err == nil {
		_, err = s.JS().Publish(t.Context(), subject, make([]byte, 200<<10))
	}
	h.Failed(s.Layout.EventLog("git"), err)
	wait := func(what string, fact func(error) bool) {
		t.Helper()
		testkit.Until(t, func() (bool, string) {
			got := h.Check(t.Context())
			return fact(got), fmt.Sprintf("%s: got %v", what, got)
		})
	}
	full := stream.FaultStorage.String()
	wait("a full server", func(err error) bool {
		return err != nil && contains(err, full) && contains(err, "does not store what it is given") && contains(err, "EVENTS_git stores nothing since")
	})
	log, err := s.JS().Stream(t.Context(), s.Layout.EventLog("git"))
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nothing needs to be published to the log for that: a process that is not ready gets no work.
	wait("a server with room again", func(err error) bool { return err == nil })
}

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }
