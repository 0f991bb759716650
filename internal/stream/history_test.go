package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// A history is an event log with numbered events in it.
type history struct {
	*streamtest.Server
	js   jetstream.JetStream
	name string
}

// newHistory publishes one event for each type given, so that their sequences
// count from 1.
func newHistory(t *testing.T, types ...string) history {
	t.Helper()
	s := streamtest.New(t)
	h := history{s, s.JS(), s.Layout.EventLog("git")}
	if err := s.Layout.EnsureEventLog(t.Context(), h.js, "git"); err != nil {
		t.Fatalf("ensure event log: %v", err)
	}
	h.publish(t, types...)
	return h
}

func (h history) subject(eventType string) string { return h.Layout.EventSubject("git", eventType) }

func (h history) publish(t *testing.T, types ...string) {
	t.Helper()
	futures := make([]jetstream.PubAckFuture, len(types))
	for i, eventType := range types {
		msg := nats.NewMsg(h.subject(eventType))
		msg.Header.Set("ce-id", strconv.Itoa(i))
		msg.Data = []byte("data of " + strconv.Itoa(i))
		future, err := h.js.PublishMsgAsync(msg)
		if err != nil {
			t.Fatalf("publish: %v", err)
		}
		futures[i] = future
	}
	for _, future := range futures {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			t.Fatalf("publish: %v", err)
		case <-testkit.Timeout(): // the client library would wait without limit
			t.Fatal("publish: no answer")
		}
	}
}

func (h history) remove(t *testing.T, sequences ...uint64) {
	t.Helper()
	s, err := h.js.Stream(t.Context(), h.name)
	if err != nil {
		t.Fatalf("look up stream: %v", err)
	}
	for _, seq := range sequences {
		if err := s.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatalf("delete message %d: %v", seq, err)
		}
	}
}

// read collects the sequences that Read yields.
func (h history) read(t *testing.T, r stream.Range) []uint64 {
	t.Helper()
	var got []uint64
	for rec, err := range stream.Read(t.Context(), h.js, h.name, r) {
		if err != nil {
			t.Fatalf("read %+v: %v", r, err)
		}
		got = append(got, rec.Sequence)
	}
	return got
}

func (h history) get(t *testing.T, sequence uint64) stream.Record {
	t.Helper()
	rec, err := stream.Get(t.Context(), h.js, h.name, sequence)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	return rec
}

func TestRead(t *testing.T) {
	t.Parallel()
	//                    1       2       3       4       5         6       7       8
	h := newHistory(t, "push", "pull", "push", "push", "tag.new", "pull", "push", "pull")
	h.remove(t, 1, 4, 8) // the first, one in the middle, the last
	third := h.get(t, 3)
	for _, tt := range []struct {
		name string
		r    stream.Range
		want []uint64
	}{
		{"everything", stream.Range{}, []uint64{2, 3, 5, 6, 7}},
		{"from a sequence", stream.Range{FromSequence: 5}, []uint64{5, 6, 7}},
		{"from a sequence that is gone", stream.Range{FromSequence: 4}, []uint64{5, 6, 7}},
		{"from the first, which is gone", stream.Range{FromSequence: 1}, []uint64{2, 3, 5, 6, 7}},
		{"from the last, which is gone", stream.Range{FromSequence: 8}, nil},
		{"from behind the last", stream.Range{FromSequence: 100}, nil},
		{"from a time", stream.Range{FromTime: third.Time}, []uint64{3, 5, 6, 7}},
		{"from just behind a time", stream.Range{FromTime: third.Time.Add(1)}, []uint64{5, 6, 7}},
		{"from a time before the first", stream.Range{FromTime: third.Time.Add(-time.Hour)}, []uint64{2, 3, 5, 6, 7}},
		{"from a time to come", stream.Range{FromTime: third.Time.Add(time.Hour)}, nil},
		{"one subject", stream.Range{Subject: h.subject("push")}, []uint64{3, 7}},
		{"one subject, whose last is gone", stream.Range{Subject: h.subject("pull")}, []uint64{2, 6}},
		{"one subject from a sequence of another", stream.Range{Subject: h.subject("push"), FromSequence: 5}, []uint64{7}},
		{"one subject from a time", stream.Range{Subject: h.subject("pull"), FromTime: third.Time}, []uint64{6}},
		{"a wildcard", stream.Range{Subject: h.subject("*")}, []uint64{2, 3, 6, 7}},
		{"a wildcard of several tokens", stream.Range{Subject: h.subject("tag.>")}, []uint64{5}},
		{"a subject that never was", stream.Range{Subject: h.subject("fork")}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, h.read(t, tt.r)); diff != "" {
				t.Errorf("sequences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRecord(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "push", "push")
	for rec, err := range stream.Read(t.Context(), h.js, h.name, stream.Range{FromSequence: 2}) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		want := stream.Record{
			Stream: h.name, Subject: h.subject("push"), Sequence: 2, Time: rec.Time,
			Header: nats.Header{"ce-id": {"1"}}, Data: []byte("data of 1"),
		}
		if diff := cmp.Diff(want, rec); diff != "" {
			t.Errorf("read (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, h.get(t, 2)); diff != "" {
			t.Errorf("get (-want +got):\n%s", diff)
		}
		latest, err := stream.Latest(t.Context(), h.js, h.name, h.subject("push"), 0, 1)
		if diff := cmp.Diff([]stream.Record{want}, latest); err != nil || diff != "" {
			t.Errorf("latest: %v (-want +got):\n%s", err, diff)
		}
		latest, err = stream.LatestHeaders(t.Context(), h.js, h.name, h.subject("push"), 0, 1)
		if err != nil || len(latest) != 1 || len(latest[0].Data) > 0 || latest[0].Header["ce-id"][0] != "1" {
			t.Errorf("latest without data: %v %+v", err, latest)
		}
		if age := time.Since(rec.Time); age < 0 || age > time.Minute {
			t.Errorf("stored %v ago", age)
		}
	}
}

func TestReadEmptyStream(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	if got := h.read(t, stream.Range{}); got != nil {
		t.Errorf("never used: got %v", got)
	}
	h.publish(t, "push", "push")
	h.remove(t, 1, 2)
	if got := h.read(t, stream.Range{}); got != nil {
		t.Errorf("emptied: got %v", got)
	}
}

func TestReadMissingStream(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	for _, follow := range []bool{false, true} {
		yields := 0
		for rec, err := range stream.Read(t.Context(), h.js, "EVENTS_none", stream.Range{Follow: follow}) {
			yields++
			if !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Errorf("got %+v and %v, want %v", rec, err, jetstream.ErrStreamNotFound)
			}
		}
		if yields != 1 {
			t.Errorf("the error came %d times, want once", yields)
		}
	}
}

// What is stored while Read goes on is not its business, or it might never end.
func TestReadEndsAtNewest(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "push", "pull", "push")
	for _, r := range []stream.Range{{}, {Subject: h.subject("push")}} {
		before := h.read(t, r)
		var got []uint64
		for rec, err := range stream.Read(t.Context(), h.js, h.name, r) {
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			got = append(got, rec.Sequence)
			h.publish(t, "push", "push")
		}
		if diff := cmp.Diff(before, got); diff != "" {
			t.Errorf("sequences of %+v (-want +got):\n%s", r, diff)
		}
	}
}

func TestReadStopsWhenAsked(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "push", "push", "push")
	for _, follow := range []bool{false, true} {
		var got []uint64
		for rec, err := range stream.Read(t.Context(), h.js, h.name, stream.Range{Follow: follow}) {
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			got = append(got, rec.Sequence)
			if len(got) == 2 {
				break
			}
		}
		if !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("follow %t: got %v, want 1 and 2", follow, got)
		}
	}
}

// The rest of a stream may be erased, or expire, while a client reads it.
func TestReadEndsWhenTheRestIsGone(t *testing.T) {
	t.Parallel()
	h := newHistory(t, slices.Repeat([]string{"push"}, 2_000)...) // more than the client takes ahead
	var got []uint64
	for rec, err := range stream.Read(t.Context(), h.js, h.name, stream.Range{}) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if got = append(got, rec.Sequence); len(got) > 1 {
			continue
		}
		s, err := h.js.Stream(t.Context(), h.name)
		if err != nil {
			t.Fatalf("look up stream: %v", err)
		}
		if err := s.Purge(t.Context()); err != nil {
			t.Fatalf("purge: %v", err)
		}
	}
	if len(got) == 0 || len(got) == 2_000 {
		t.Errorf("got %d records of a stream that was purged behind the first", len(got))
	}
}

func TestReadFollow(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "push", "pull", "push")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []uint64
	for rec, err := range stream.Read(ctx, h.js, h.name, stream.Range{Subject: h.subject("push"), Follow: true}) {
		if err != nil {
			t.Fatalf("follow: %v", err)
		}
		switch got = append(got, rec.Sequence); len(got) {
		case 2:
			h.publish(t, "pull", "push") // after all that there was
		case 3:
			h.Restart() // a new server, and all that the old one knew of us is gone
			awaitServer(t, h.Server)
			h.publish(t, "push", "push")
		case 5:
			cancel()
		}
	}
	if diff := cmp.Diff([]uint64{1, 3, 5, 6, 7}, got); diff != "" {
		t.Errorf("sequences (-want +got):\n%s", diff)
	}
}

// While the server is away, the client library waits for it and for nothing else.
func TestReadFollowEndsWithoutServer(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "push")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ended time.Time
	for _, err := range stream.Read(ctx, h.js, h.name, stream.Range{Follow: true}) {
		if err != nil {
			t.Fatalf("follow: %v", err)
		}
		h.Stop()
		time.AfterFunc(3*time.Second, func() { // by then it has noticed
			ended = time.Now()
			cancel()
		})
	}
	if took := time.Since(ended); took > 2*time.Second {
		t.Errorf("ended %v after its context", took)
	}
}

// Half of a history must not look like all of it.
func TestReadSaysWhenConnectionCloses(t *testing.T) {
	t.Parallel()
	h := newHistory(t, slices.Repeat([]string{"push"}, 2_000)...)
	var last error
	got := 0
	for _, err := range stream.Read(t.Context(), h.js, h.name, stream.Range{}) {
		if got++; got == 1 {
			h.Conn().Close()
		}
		last = err
	}
	if got == 2_000 || !errors.Is(last, jetstream.ErrConnectionClosed) {
		t.Errorf("got %d records and %v, want fewer than all and %v", got, last, jetstream.ErrConnectionClosed)
	}
}

// Follow waits on an empty stream, and ends without an error when it is stopped.
func TestReadFollowEmptyStream(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	for _, end := range []func(context.Context) (context.Context, context.CancelFunc){
		func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 100*time.Millisecond)
		},
		func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		},
	} {
		ctx, cancel := end(t.Context())
		for rec, err := range stream.Read(ctx, h.js, h.name, stream.Range{Follow: true}) {
			t.Errorf("got %+v, %v, want nothing", rec, err)
		}
		cancel()
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "push", "push", "push")
	h.remove(t, 2)
	for _, seq := range []uint64{2, 4} {
		if rec, err := stream.Get(t.Context(), h.js, h.name, seq); !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Errorf("get %d: got %+v, %v, want %v", seq, rec, err, jetstream.ErrMsgNotFound)
		}
	}
	if rec, err := stream.Get(t.Context(), h.js, "EVENTS_none", 1); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("get of no stream: got %+v, %v, want %v", rec, err, jetstream.ErrStreamNotFound)
	}
	// Queues have no direct reads: their messages come another way.
	q := h.Layout.QueueFor("ci")
	if err := h.Layout.EnsureQueue(t.Context(), h.js, "ci", q, 1); err != nil {
		t.Fatalf("ensure queue: %v", err)
	}
	msg := nats.NewMsg(q.Subject)
	msg.Header.Set("ce-id", "1")
	msg.Data = []byte("data")
	if _, err := h.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatalf("publish: %v", err)
	}
	rec, err := stream.Get(t.Context(), h.js, q.Stream, 1)
	want := stream.Record{Stream: q.Stream, Subject: q.Subject, Sequence: 1, Time: rec.Time, Header: msg.Header, Data: msg.Data}
	if diff := cmp.Diff(want, rec); err != nil || diff != "" {
		t.Errorf("get of a queue: %v (-want +got):\n%s", err, diff)
	}
	if rec, err := stream.Get(t.Context(), h.js, q.Stream, 2); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("get of a queue: got %+v, %v, want %v", rec, err, jetstream.ErrMsgNotFound)
	}
}

// Streams admit a limited number of consumers, and one that is left behind counts
// until the server finds it idle.
func TestReadersLeaveNoConsumers(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "push", "pull", "push")
	for range 3 {
		h.read(t, stream.Range{})
		h.read(t, stream.Range{Subject: h.subject("none")})
		for range stream.Read(t.Context(), h.js, h.name, stream.Range{Follow: true}) {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		for range stream.Read(ctx, h.js, h.name, stream.Range{Follow: true}) {
			if seen++; seen == 3 { // all there are: it waits for more
				cancel()
			}
		}
		cancel()
		if _, err := stream.Latest(t.Context(), h.js, h.name, h.subject("push"), 0, 1); err != nil {
			t.Fatalf("latest: %v", err)
		}
	}
	testkit.Succeeds(t, "the consumers to go", func() error {
		var names []string
		s, err := h.js.Stream(t.Context(), h.name)
		if err != nil {
			return err
		}
		list := s.ConsumerNames(t.Context())
		for name := range list.Name() {
			names = append(names, name)
		}
		if !slices.Equal(names, []string{stream.RouterConsumer}) {
			return fmt.Errorf("consumers are %v", names)
		}
		return list.Err()
	})
}
