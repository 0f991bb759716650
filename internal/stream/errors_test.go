package stream_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
)

func TestClassifyPublish(t *testing.T) {
	t.Parallel()
	api := func(code jetstream.ErrorCode) error { return &jetstream.APIError{Code: 503, ErrorCode: code} }
	for _, tt := range []struct {
		name string
		err  error
		want stream.PublishFailure
	}{
		{"at the limit", api(10077), stream.Full},
		{"at the limit, wrapped", fmt.Errorf("publish: %w", api(10077)), stream.Full},
		{"no responders", nats.ErrNoResponders, stream.Missing},
		{"no stream listens", jetstream.ErrNoStreamResponse, stream.Missing},
		{"no such stream", jetstream.ErrStreamNotFound, stream.Missing},
		{"another stream listens", api(10060), stream.Missing},
		{"no answer", context.DeadlineExceeded, stream.Unknown},
		{"no connection", nats.ErrConnectionClosed, stream.Unknown},
		{"no leader", api(10008), stream.Unknown},
		{"something else", errors.New("stream is full"), stream.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := stream.ClassifyPublish(tt.err); got != tt.want {
				t.Errorf("%v: got %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

// The same from a real server, whose codes and the client's errors could change.
func TestClassifyPublishOfServer(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	js := s.JS()
	publish := func(what string, want stream.PublishFailure, subject string, opts ...jetstream.PublishOpt) {
		t.Helper()
		_, err := js.Publish(t.Context(), subject, []byte("x"), opts...)
		if got := stream.ClassifyPublish(err); err == nil || got != want {
			t.Errorf("%s: got %d of %v, want %d", what, got, err, want)
		}
		future, err := js.PublishAsync(subject, []byte("x"), opts...)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case err = <-future.Err():
		case <-future.Ok():
		case <-testkit.Timeout(): // the client library would wait without limit
			t.Fatalf("%s, asynchronously: no answer", what)
		}
		if got := stream.ClassifyPublish(err); err == nil || got != want {
			t.Errorf("%s, asynchronously: got %d of %v, want %d", what, got, err, want)
		}
	}
	unknown := s.Layout.QueueFor("unknown")
	publish("no stream", stream.Missing, unknown.Subject, jetstream.WithRetryAttempts(0))
	publish("another stream", stream.Missing, q.Subject, jetstream.WithExpectStream(unknown.Stream))

	cfg := streamConfig(t, js, q.Stream)
	cfg.MaxMsgsPerSubject = 1
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatalf("update queue: %v", err)
	}
	if _, err := js.Publish(t.Context(), q.Subject, []byte("x")); err != nil {
		t.Fatalf("publish: %v", err)
	}
	publish("full", stream.Full, q.Subject)
	publish("another refusal", stream.Unknown, s.Layout.AttemptSubject("ci"), jetstream.WithExpectLastSequence(9))
}
