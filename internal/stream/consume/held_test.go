package consume_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// heldQueue is a work queue with a consumer, and what a pull with a Held was given.
type heldQueue struct {
	t       *testing.T
	nc      *nats.Conn
	js      jetstream.JetStream
	handled chan *consume.Message
}

func newHeldQueue(t *testing.T, ackWait, patience time.Duration) *heldQueue {
	t.Helper()
	nc := streamtest.New(t).Conn()
	js, err := stream.JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	q := &heldQueue{t: t, nc: nc, js: js, handled: make(chan *consume.Message, 16)}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "Q", Subjects: []string{"q"}, Retention: jetstream.WorkQueuePolicy}); err != nil {
		t.Fatal(err)
	}
	q.consume(ackWait)
	pull := consume.Pull{Stream: "Q", Consumer: "c", Held: consume.NewHeld(patience, 4), Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			q.handled <- m
		}
	}}
	go func() { _ = pull.Run(t.Context(), nc) }()
	return q
}

// consume makes the consumer: once more after forget, with no memory of the first.
func (q *heldQueue) consume(ackWait time.Duration) {
	q.t.Helper()
	_, err := q.js.CreateConsumer(q.t.Context(), "Q", jetstream.ConsumerConfig{
		Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 100,
	})
	if err != nil {
		q.t.Fatal(err)
	}
}

func (q *heldQueue) put(text string) {
	q.t.Helper()
	if _, err := q.js.Publish(q.t.Context(), "q", []byte(text)); err != nil {
		q.t.Fatal(err)
	}
}

func (q *heldQueue) next() *consume.Message {
	q.t.Helper()
	select {
	case m := <-q.handled:
		return m
	case <-testkit.Timeout():
		q.t.Fatal("no message is handed on")
		return nil
	}
}

func (q *heldQueue) awaitLeft(n uint64) {
	q.t.Helper()
	testkit.Eventually(q.t, fmt.Sprintf("%d messages are left", n), func() bool {
		s, err := q.js.Stream(q.t.Context(), "Q")
		return err == nil && s.CachedInfo().State.Msgs == n
	})
}

// awaitHandedOut returns when the consumer has handed out so many, copies included.
func (q *heldQueue) awaitHandedOut(n uint64) {
	q.t.Helper()
	testkit.Eventually(q.t, fmt.Sprintf("%d messages are handed out", n), func() bool {
		c, err := q.js.Consumer(q.t.Context(), "Q", "c")
		return err == nil && c.CachedInfo().Delivered.Consumer >= n
	})
}

// A consumer that has forgotten what it handed out, as after a crash, hands it out again.
// Who has it in hand is not given the copy, and settles the message all the same; what was
// acknowledged is acknowledged again.
func TestHeldAfterForgetting(t *testing.T) {
	t.Parallel()
	q := newHeldQueue(t, time.Minute, time.Minute)
	q.put("in hand")
	q.put("handed back")
	inHand, back := q.next(), q.next()
	if err := q.js.DeleteConsumer(t.Context(), "Q", "c"); err != nil {
		t.Fatal(err)
	}
	q.consume(time.Minute)
	q.awaitHandedOut(2)
	if err := back.Nak(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if m := q.next(); string(m.Data) != "handed back" || m == back {
		t.Fatalf("got %q, want the one that was handed back", m.Data)
	} else if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	q.awaitLeft(1)
	if err := inHand.Ack(); err != nil { // by the reply of the copy
		t.Fatal(err)
	}
	q.awaitLeft(0)
	if len(q.handled) != 0 {
		t.Errorf("%d copies were handed on", len(q.handled))
	}
}

// A message whose holder has said nothing for the ack wait is handed on: it may have been
// dropped.
func TestHeldAndDropped(t *testing.T) {
	t.Parallel()
	q := newHeldQueue(t, 200*time.Millisecond, 100*time.Millisecond)
	q.put("dropped")
	q.next()
	m := q.next()
	if m.Delivered < 2 {
		t.Errorf("it was handed out %d times", m.Delivered)
	}
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	q.awaitLeft(0)
}

// An acknowledgement that was lost is made again when the message comes again, and the
// message is not handed on.
func TestHeldLostAck(t *testing.T) {
	t.Parallel()
	q := newHeldQueue(t, 300*time.Millisecond, time.Minute)
	q.put("acknowledged, and lost")
	m := q.next()
	lost := *m.Msg
	lost.Reply = "nowhere"
	m.Msg = &lost
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	q.awaitLeft(0)
	if len(q.handled) != 0 {
		t.Errorf("%d copies were handed on", len(q.handled))
	}
}

// A pull that ends hands back what is on its way, but for copies of what is still in hand:
// the server would give that to another process, which would do it too.
func TestHeldIsNotHandedBack(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{AckWait: time.Minute})
	nc, acks := p.server.Connect(), p.acks()
	pull, came := consume.Pull{Held: consume.NewHeld(time.Minute, 4)}, make(chan *consume.Message, 2)
	pull.Handle = func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			came <- m
		}
	}
	stop := p.run(nc, pull)
	p.publish(0, 1)
	m := receive(t, came, "message")
	stop()
	arrivals := make(chan *nats.Msg, 1)
	sub, err := nc.ChanSubscribe(nc.NewInbox(), arrivals)
	if err != nil {
		t.Fatal(err)
	}
	arrivals <- &nats.Msg{Reply: m.Reply, Data: m.Data}
	consume.HandBack(&pull, nc, sub, arrivals)
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	if got := string(receive(t, acks, "ack").Data); got != "+ACK" {
		t.Errorf("the server gets %s, want the ack only", got)
	}
}
