package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

func publisherOf(t *testing.T, s *streamtest.Server, cfg stream.PublisherConfig) *stream.Publisher {
	t.Helper()
	js, err := stream.JetStream(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	return stream.NewPublisher(cfg, js)
}

// makeStream makes the stream that published messages go to.
func makeStream(t *testing.T, s *streamtest.Server, limit int64) jetstream.Stream {
	t.Helper()
	made, err := s.JS().CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, MaxMsgs: limit, Discard: jetstream.DiscardNew})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func messageNamed(id string) *nats.Msg {
	return &nats.Msg{Subject: "s", Header: nats.Header{stream.HeaderMessageID: {id}, stream.HeaderExpectedStream: {"S"}}}
}

// limited is longer than anything here takes on a loaded machine.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// A message is published again until its stream is there, and is stored once.
func TestPublisherRepeats(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	publisher := publisherOf(t, s, stream.PublisherConfig{Pause: time.Millisecond, LongPause: 50 * time.Millisecond})
	one := publisher.Send(messageNamed("a"))
	if _, err := one.Wait(limited(t), time.Now().Add(200*time.Millisecond)); stream.ClassifyPublish(err) != stream.Missing || one.Last() == nil {
		t.Fatalf("without a stream: %v, last %v", err, one.Last())
	}
	ended, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	other := publisher.Send(messageNamed("b"))
	if _, err := other.Wait(ended, time.Time{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("after ctx has ended: %v", err)
	}
	made := makeStream(t, s, -1)
	ack, err := other.Wait(limited(t), time.Time{}) // it may be called again
	if err != nil || ack.Sequence != 1 || ack.Duplicate {
		t.Fatalf("%+v, %v", ack, err)
	}
	again := publisher.Send(messageNamed("b"))
	if ack, err := again.Wait(limited(t), time.Time{}); err != nil || !ack.Duplicate || again.Last() != nil {
		t.Errorf("the same id again: %+v, %v", ack, err)
	}
	if info, err := made.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// An error that does not go away is returned at once.
func TestPublisherRefused(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	makeStream(t, s, 1)
	publisher := publisherOf(t, s, stream.PublisherConfig{
		Pause: time.Hour, LongPause: time.Hour,
		Retry: func(err error) bool { return stream.ClassifyPublish(err) != stream.Full },
	})
	first, second := publisher.Send(messageNamed("a")), publisher.Send(messageNamed("b"))
	if _, err := first.Wait(limited(t), time.Time{}); err != nil {
		t.Error(err)
	}
	if _, err := second.Wait(limited(t), time.Time{}); stream.ClassifyPublish(err) != stream.Full {
		t.Errorf("a full stream: %v", err)
	}
}

// An answer that does not come in time is waited for no longer; published again under the
// same id, the message is stored once, and the answer to either counts.
func TestPublisherPatience(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	made := makeStream(t, s, -1)
	publisher := publisherOf(t, s, stream.PublisherConfig{})
	s.Stop()
	one := publisher.Send(messageNamed("a"))
	done := make(chan struct{})
	close(done)
	if _, err := one.Answer(done); err == nil {
		t.Fatal("a server that is not there has answered")
	}
	s.Start()
	for tries := 0; ; tries++ {
		one.Again()
		ctx, cancel := context.WithTimeout(limited(t), 2*time.Second)
		ack, err := one.Answer(ctx.Done())
		cancel()
		if err == nil {
			if ack.Sequence != 1 {
				t.Errorf("%+v", ack)
			}
			break
		}
		if tries == 15 {
			t.Fatal(err)
		}
	}
	info, err := made.Info(limited(t))
	if err != nil || info.State.Msgs != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// Patience is for each try; the message is published again until it is stored.
func TestPublisherOverRestart(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	makeStream(t, s, -1)
	publisher := publisherOf(t, s, stream.PublisherConfig{Patience: 50 * time.Millisecond, LongPatience: time.Second, Pause: time.Millisecond, LongPause: time.Second})
	s.Stop()
	one := publisher.Send(messageNamed("a"))
	answered := make(chan error, 1)
	go func() {
		_, err := one.Wait(limited(t), time.Time{})
		answered <- err
	}()
	s.Start()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
