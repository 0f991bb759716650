package consume

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/stream/budget"
)

// A Message is one message of a consumer, to be settled exactly once.
type Message struct {
	*nats.Msg
	nc        *nats.Conn
	Stream    string
	Sequence  uint64    // in the stream
	Delivered int       // how often the consumer has handed it out, from 1
	Stored    time.Time // when the stream stored it
	Pending   uint64    // how many the consumer had waiting behind it

	known atomic.Int64 // when the server last learnt that it is in hand here, since started
	alive atomic.Int64 // when its holder last said so, whether the server has learnt it or not
	done  atomic.Bool  // it was settled

	held  *Held                  // nil: it is not known what is held
	reply atomic.Pointer[string] // by which it is settled, where that is not Reply: see Held

	share  *budget.Share // of the memory that it holds; nil: none
	weight atomic.Int64  // and how much; 0 when it is settled
}

// newMessage reads the reply subject of a delivered message:
//
//	$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
//	$JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.…            (version 2)
func newMessage(nc *nats.Conn, m *nats.Msg) *Message {
	message := &Message{Msg: m, nc: nc}
	message.renew()
	var tokens [12]string
	n := 0
	for token := range strings.SplitSeq(m.Reply, ".") {
		if n == len(tokens) {
			break
		}
		tokens[n] = token
		n++
	}
	first := 2
	if n > 9 {
		first = 4
	}
	if n < first+7 {
		return message
	}
	message.Stream = tokens[first]
	message.Delivered, _ = strconv.Atoi(tokens[first+2])
	message.Sequence, _ = strconv.ParseUint(tokens[first+3], 10, 64)
	stored, _ := strconv.ParseInt(tokens[first+5], 10, 64)
	message.Stored = time.Unix(0, stored)
	message.Pending, _ = strconv.ParseUint(tokens[first+6], 10, 64)
	return message
}

// Ack settles the message: it is done. The server processes the acks of one
// consumer in the order in which a connection sends them.
func (m *Message) Ack() error {
	return m.nc.Publish(m.settledBy(true), []byte("+ACK"))
}

// settledBy takes note that the message is settled, and returns the subject to say so.
// What is settled stays so where saying it fails: when it is handed out again, that is
// said again.
func (m *Message) settledBy(acked bool) string {
	m.done.Store(true)
	if m.held != nil {
		m.held.settled(m, acked)
	}
	m.Drop()
	return m.currentReply()
}

func (m *Message) currentReply() string {
	if reply := m.reply.Load(); reply != nil {
		return *reply
	}
	return m.Reply
}

// AckSync settles the message and waits until the server has taken note of it,
// and with it of every ack that was sent before on the same connection.
func (m *Message) AckSync(ctx context.Context) error {
	_, err := m.nc.RequestWithContext(ctx, m.settledBy(true), []byte("+ACK"))
	return err
}

// Nak hands the message back, to be delivered again after delay. One that is lost is
// not: others may be working on it.
func (m *Message) Nak(delay time.Duration) error {
	lost, reply := m.Lost(), m.settledBy(false)
	if lost {
		return nil
	}
	if delay <= 0 {
		return m.nc.Publish(reply, []byte("-NAK"))
	}
	return m.nc.Publish(reply, fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds()))
}

// Leave says that nothing more is done with the message here, unless it was settled: when
// it is handed out again it is another one.
func (m *Message) Leave() {
	if !m.done.Load() {
		m.settledBy(false)
	}
}

// InProgress asks the server for another AckWait.
func (m *Message) InProgress() error {
	return m.nc.Publish(m.currentReply(), []byte("+WPI"))
}
