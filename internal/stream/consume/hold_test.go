package consume_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/testkit"
)

// acks are what clients tell the server of the messages in their hands.
func (p *pulled) acks() <-chan *nats.Msg {
	p.t.Helper()
	nc, acks := p.server.Connect(), make(chan *nats.Msg, 1000)
	if _, err := nc.ChanSubscribe("$JS.ACK.Q.c.>", acks); err != nil {
		p.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		p.t.Fatal(err)
	}
	return acks
}

// What is in work for long is held, for as long as it takes; what was settled is not, and
// what ends soon costs nothing.
func TestKeepHolding(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{AckWait: stream.AckWait})
	acks := p.acks()
	arrived := make(chan *consume.Message, 10)
	p.run(p.server.Connect(), consume.Pull{Handle: func(_ context.Context, msgs []*consume.Message) {
		release := consume.KeepHolding(msgs...)
		for _, m := range msgs {
			arrived <- m
		}
		if msgs[0].Sequence <= 2 { // soon over
			for _, m := range msgs {
				if err := m.Ack(); err != nil {
					t.Error(err)
				}
			}
			release()
			return
		}
		t.Cleanup(release)
	}})
	p.publish(0, 2)
	for range 2 {
		receive(t, arrived, "message")
		if got := string(receive(t, acks, "ack").Data); got != "+ACK" {
			t.Errorf("the server gets %s, want the ack only", got)
		}
	}
	p.publish(2, 1)
	m := receive(t, arrived, "message")
	for range 4 { // longer than AckWait in all
		if got := string(receive(t, acks, "sign of life").Data); got != "+WPI" {
			t.Fatalf("the server gets %s, want that it is in progress", got)
		}
		if m.Lost() {
			t.Fatal("it is lost although it is held")
		}
	}
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	if got := string(receive(t, acks, "ack").Data); got != "+ACK" {
		t.Errorf("the server gets %s, want the ack", got)
	}
	if err := m.Hold(); err != nil {
		t.Fatal(err)
	}
	p.publish(3, 1)
	if again := receive(t, arrived, "message"); again.Delivered != 1 {
		t.Errorf("message %d was handed out for the %d. time", again.Sequence, again.Delivered)
	}
	if len(acks) > 0 {
		t.Errorf("the server got %s of what was settled", (<-acks).Data)
	}
}

// What the server was not notified of for too long may be with others: it is not handed
// back, and stays lost although the server is notified again.
func TestLost(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{AckWait: time.Minute})
	acks := p.acks()
	arrived := make(chan *consume.Message, 10)
	p.run(p.server.Connect(), consume.Pull{Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			arrived <- m
		}
	}})
	p.publish(0, 1)
	m := receive(t, arrived, "message")
	if m.Lost() {
		t.Fatal("it is lost at once")
	}
	m.Age(stream.AckWait - time.Second)
	if !m.Lost() {
		t.Fatal("it is not lost when the server is about to hand it out again")
	}
	if err := m.Hold(); err != nil {
		t.Fatal(err)
	}
	if got := string(receive(t, acks, "sign of life").Data); got != "+WPI" || !m.Lost() {
		t.Errorf("got %s, lost %v, want it to be lost for good", got, m.Lost())
	}
	if err := m.Nak(0); err != nil {
		t.Fatal(err)
	}
	p.publish(1, 1)
	if next := receive(t, arrived, "message"); next.Sequence == m.Sequence {
		t.Error("it was handed back")
	}
}

// What waits, and the server has heard nothing of for too long, is handed out again, and is
// in hand as before by that. Held on, it would stay lost for good.
func TestHoldWaiting(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{AckWait: 2 * time.Second})
	arrived := make(chan *consume.Message, 10)
	p.run(p.server.Connect(), consume.Pull{Held: consume.NewHeld(stream.AckWait, 4), Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			arrived <- m
		}
	}})
	p.publish(0, 1)
	m := receive(t, arrived, "message")
	m.Age(stream.AckWait - time.Second)
	testkit.Eventually(t, "the message is in hand again", func() bool {
		if err := m.HoldWaiting(); err != nil {
			t.Fatal(err)
		}
		return !m.Lost()
	})
	if len(arrived) > 0 {
		t.Error("its copy is handed on")
	}
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
}

// A process that has stood still drops what was handed to it meanwhile: it is handed
// out again, to whom it was not given before.
func TestPullAfterStall(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{AckWait: time.Second})
	acks := p.acks()
	arrived := make(chan *consume.Message, 10)
	pulse := new(consume.Pulse)
	p.run(p.server.Connect(), consume.Pull{Pulse: pulse, Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			arrived <- m
		}
	}})
	p.publish(0, 1)
	if err := receive(t, arrived, "message").Ack(); err != nil {
		t.Fatal(err)
	}
	receive(t, acks, "ack")
	pulse.Stall()
	p.publish(1, 1)
	m := receive(t, arrived, "message")
	if m.Delivered < 2 {
		t.Errorf("it was handled although it may be with others: handed out for the %d. time", m.Delivered)
	}
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	if got := string(receive(t, acks, "ack").Data); got != "+ACK" {
		t.Errorf("the server got %s of what was dropped", got)
	}
}
