package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// maxRenewed bounds for how many messages RenewPending asks.
const maxRenewed = 1 << 20

// RenewPending has the ack wait of everything that a consumer has handed out, or was
// handed back with a delay, begin now. The server counts from a time of day, so after its
// clock was set back by two hours all of it would wait for two hours more. What has been
// handed back with a delay waits for the ack wait instead; nothing is handed out before
// it would have been. A consumer that does not exist has nothing.
func RenewPending(ctx context.Context, js jetstream.JetStream, name, consumer string) error {
	fields, err := ask(ctx, js, "CONSUMER.INFO."+name+"."+consumer, nil,
		"num_ack_pending", "ack_floor.stream_seq", "delivered.stream_seq", "delivered.consumer_seq")
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up consumer %s of stream %s: %w", consumer, name, err)
	}
	if fields[0].Uint() == 0 {
		return nil
	}
	first, last := fields[1].Uint()+1, fields[2].Uint()
	if last-first >= maxRenewed { // the newest wait the longest
		first = last - maxRenewed + 1
	}
	for sequence := first; sequence <= last; sequence++ {
		// The subject of an ack, see newMessage. The server takes no notice when it is of
		// a message that is not waited for.
		subject := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.0.0", name, consumer, sequence, fields[3].Uint())
		if err := js.Conn().Publish(subject, []byte("+WPI")); err != nil {
			return fmt.Errorf("renew what consumer %s of stream %s has handed out: %w", consumer, name, err)
		}
	}
	return nil
}

// A PendingWatch finds what a consumer has handed out, and will not hand out again in
// time. It is for one goroutine.
//
// The server keeps the time of day at which it has handed a message out. When its clock is
// set forward and back before anybody has read it (WatchClock), and when that happens
// beside a crash, such a message waits until the clock shows that time again. Nothing says
// so, but that the consumer neither hands out nor settles anything.
type PendingWatch struct {
	js             jetstream.JetStream
	name, consumer string

	settled, handed uint64
	since           time.Time // since when they are what they are; zero: nothing is pending
}

// NewPendingWatch watches a consumer of the stream name.
func NewPendingWatch(js jetstream.JetStream, name, consumer string) *PendingWatch {
	return &PendingWatch{js: js, name: name, consumer: consumer}
}

// Look has the ack waits of a consumer begin again, see RenewPending, when for two of them
// nothing of what it has handed out was settled or handed out again. That is no harm to
// those that hold their messages for so long. A consumer that does not exist has nothing.
func (w *PendingWatch) Look(ctx context.Context) error {
	fields, err := ask(ctx, w.js, "CONSUMER.INFO."+w.name+"."+w.consumer, nil, "num_ack_pending", "ack_floor.consumer_seq", "delivered.consumer_seq")
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		w.since = time.Time{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up consumer %s of stream %s: %w", w.consumer, w.name, err)
	}
	settled, handed := fields[1].Uint(), fields[2].Uint()
	switch {
	case fields[0].Uint() == 0:
		w.since = time.Time{}
	case w.since.IsZero() || settled != w.settled || handed != w.handed:
		w.settled, w.handed, w.since = settled, handed, time.Now()
	case time.Since(w.since) >= 2*AckWait:
		w.since = time.Now()
		return RenewPending(ctx, w.js, w.name, w.consumer)
	}
	return nil
}
