package streamtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

func create(t *testing.T, js jetstream.JetStream, replicas int) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "TEST", Subjects: []string{"test.>"}, Replicas: replicas, Storage: jetstream.FileStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publish repeats: after a restart or an election the first try may be too early.
func publish(t *testing.T, js jetstream.JetStream, subject string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second) // the answer may be lost with the server
		ack, err := js.Publish(try, subject, []byte("x"), jetstream.WithMsgID(subject))
		cancel()
		if err == nil {
			return ack.Sequence
		}
		if ctx.Err() != nil {
			t.Fatalf("publish %s: %v", subject, err)
		}
	}
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	create(t, s.JS(), 1)
	publish(t, s.JS(), "test.before")
	url := s.URL
	s.Restart()
	if s.URL != url {
		t.Errorf("URL after restart is another one")
	}
	if got := publish(t, s.JS(), "test.after"); got != 2 {
		t.Errorf("sequence after restart = %d, want 2", got)
	}
}

func TestStopFailsPublishers(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	js := s.JS()
	create(t, js, 1)
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := js.Publish(ctx, "test.a", nil); err == nil {
		t.Error("publish to a stopped server succeeded")
	}
	s.Start()
	if got := publish(t, js, "test.b"); got == 0 {
		t.Errorf("sequence = %d, want one", got)
	}
}

func TestServersAreSeparate(t *testing.T) {
	t.Parallel()
	a, b := streamtest.New(t), streamtest.New(t)
	create(t, a.JS(), 1)
	create(t, b.JS(), 1)
	publish(t, a.JS(), "test.a")
	if got := publish(t, b.JS(), "test.b"); got != 1 {
		t.Errorf("sequence = %d, want 1: the servers share a store", got)
	}
}

func TestClusterSurvivesOneNode(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	create(t, c.JS(), 3)
	publish(t, c.JS(), "test.1")

	before := c.Leader("TEST")
	c.StepDown("TEST")
	if after := c.Leader("TEST"); after == before {
		t.Errorf("leader is still node %d", after)
	}
	publish(t, c.JS(), "test.2")

	stopped := c.Leader("TEST")
	c.StopNode(stopped)
	if got := publish(t, c.JS(), "test.3"); got != 3 {
		t.Errorf("sequence without node %d = %d, want 3", stopped, got)
	}
	c.StartNode(stopped)
	if got := publish(t, c.JS(), "test.4"); got != 4 {
		t.Errorf("sequence with all nodes = %d, want 4", got)
	}
}
