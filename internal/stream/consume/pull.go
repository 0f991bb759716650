// Package consume takes messages from consumers and holds them while they are worked on.
//
// A Pull requests messages in batches and hands them to a handler. Held and KeepHolding keep
// the server from handing a message out again while it is in hand; a Pulse notices that the
// process has stood still, so that it may not be any more.
package consume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

// Pull takes messages from a durable consumer for as long as ctx lives.
//
// It keeps up to two pull requests open, each on a subscription of its own that
// lives as long as Pull:
//
//	slot 0   request ──► messages ──► request ──► …
//	slot 1        request ──► messages ──► request ──► …     (only while slot 0 is busy)
//
// so that one is waiting at the server while the other is being worked off. A
// request that ends (its batch is full, it expired, the server answered with a
// status, heartbeats stopped, the connection came back) is followed by the next
// one; no count is kept that could drift and stall. This is the Fetch loop of
// jetstream.md, fact 15, without its gap: a Fetch that is abandoned loses what was
// on the way to it until AckWait has passed, here it is handed back at once.
type Pull struct {
	Stream   string
	Consumer string
	// Batch is the most messages a request asks for. Default: 256.
	Batch int
	// Handle gets what has arrived, at least one message, oldest first, in a slice
	// that is reused. It is called from two goroutines. While it runs nothing more
	// is taken from its slot, so it may block to slow things down. Every message
	// must be settled.
	Handle func(context.Context, []*Message)
	// Alone reports whether no other process takes messages from this consumer. Then a
	// request that nothing comes for stays open for long, which is cheap. Otherwise it ends
	// soon: the server goes on answering one of a process that stands still. Default: never.
	Alone func() bool
	// Pulse says when this process has stood still. What has come meanwhile is dropped, not
	// handled and not handed back: others have it, or will soon. Optional.
	Pulse *Pulse
	// OnError is called with why a request failed, once per kind of failure until one
	// succeeds again. Optional.
	OnError func(error)
	// Held recognizes messages that are handed out again although this process has them,
	// or has acknowledged them: Handle does not get those. Optional.
	Held *Held
	// Once ends Run after Handle was called once. No more is taken than it is given;
	// what else may be on its way is handed back.
	Once bool
	// Memory bounds what the messages take. Default: by their number only.
	Memory Memory
}

const (
	pullExpiry     = 4 * time.Second
	pullLongExpiry = 30 * time.Second // of slot 0 of a process that is alone
	pullHeartbeat  = 10 * time.Second // in that time: an idle consumer costs one message
	pullMaxBytes   = 8 << 20          // larger answers trip the server's slow consumer limits
	pullOverdue    = time.Second      // how long after its expiry a request is taken for lost
)

// errStalled ends a slot's subscription: what may still come to it is too old.
var errStalled = errors.New("this process has stood still")

// ErrConsumerMissing is given to OnError while the consumer does not exist.
var ErrConsumerMissing = errors.New("the stream or its consumer does not exist")

// Run pulls until ctx ends. What arrived by then and was not handled is handed
// back to the server. The error is nil unless the connection is closed.
func (p Pull) Run(ctx context.Context, nc *nats.Conn) error {
	if p.Batch == 0 {
		p.Batch = 256
	}
	g, ctx := errgroup.WithContext(ctx)
	busy := make(chan struct{}, 1)
	g.Go(func() error { return p.slots(ctx, nc, busy, false) })
	if !p.Once {
		g.Go(func() error { return p.slots(ctx, nc, busy, true) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("pull from consumer %s of stream %s: %w", p.Consumer, p.Stream, err)
	}
	return nil
}

type pullRequest struct {
	Expires   time.Duration `json:"expires"`
	Batch     int           `json:"batch"`
	MaxBytes  int           `json:"max_bytes"`
	Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`
	NoWait    bool          `json:"no_wait,omitempty"`
}

// ask is the next request of a slot, and how long it may be silent before it must be
// taken for lost.
func (p Pull) ask(helper bool) (request pullRequest, patience time.Duration) {
	request = pullRequest{Expires: pullExpiry, Batch: p.Batch, MaxBytes: pullMaxBytes}
	if helper || p.Alone == nil || !p.Alone() {
		return request, pullExpiry + pullOverdue
	}
	request.Expires, request.Heartbeat = pullLongExpiry, pullHeartbeat
	return request, 2*pullHeartbeat + pullOverdue
}

// slots runs one of the two loops, on a new subscription whenever the process has stood
// still.
func (p Pull) slots(ctx context.Context, nc *nats.Conn, busy chan struct{}, helper bool) error {
	for ctx.Err() == nil {
		if err := p.slot(ctx, nc, busy, helper); !errors.Is(err, errStalled) {
			return err
		}
	}
	return nil
}

// slot is one of the two loops. The helper asks only after the other slot has said
// through busy that a whole batch came, and rests again when nothing comes.
func (p Pull) slot(ctx context.Context, nc *nats.Conn, busy chan struct{}, helper bool) error {
	arrivals := make(chan *nats.Msg, 2*p.Batch+64) // all of two requests: the client drops what does not fit
	sub, err := nc.ChanSubscribe(nc.NewInbox(), arrivals)
	if err != nil {
		return err
	}
	asked := time.Now()
	defer func() {
		if p.Pulse.StalledSince(asked) {
			_ = sub.Unsubscribe() // to hand it back would take it away from others
			return
		}
		p.handBack(nc, sub, arrivals)
	}()
	reconnected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(reconnected)

	plan := &plan{pull: &p, helper: helper}
	defer plan.forgo()
	subject := "$JS.API.CONSUMER.MSG.NEXT." + p.Stream + "." + p.Consumer
	silence := time.NewTimer(pullExpiry) // fires when the request must be taken for lost
	defer silence.Stop()
	wait := newPullPauses(p.OnError)
	batch := make([]*Message, 0, p.Batch)
	for idle := helper; ; {
		if idle && !p.rest(ctx, nc, busy, arrivals, plan, batch, asked) {
			return nil
		}
		if p.Pulse.StalledSince(asked) {
			return errStalled
		}
		request, patience, err := plan.next(ctx)
		if err != nil {
			return nil // ctx has ended while there was no memory
		}
		asked = time.Now()
		if err := nc.PublishRequest(subject, sub.Subject, request); err != nil && nc.IsClosed() {
			return err
		} // any other failure ends in silence, and then another request
		silence.Reset(patience)
		received := 0
		var ended error
		for ended == nil && received < plan.asked {
			select {
			case <-ctx.Done():
				return nil
			case <-reconnected:
				ended = errExpired
			case <-silence.C:
				ended = errExpired
			case m := <-arrivals:
				if p.Pulse.StalledSince(asked) {
					return errStalled
				}
				var copies int
				batch, copies, ended = p.collect(nc, m, arrivals, plan, batch[:0])
				received += len(batch) + copies
				if len(batch) > 0 {
					p.Handle(ctx, batch)
					if p.Once {
						return nil
					}
				}
				silence.Reset(patience)
			}
		}
		if received > 0 {
			wait.reset()
		}
		plan.ended(received, ended)
		if received >= p.Batch && !helper {
			select {
			case busy <- struct{}{}:
			default:
			}
		}
		idle = helper && received == 0
		if ended != nil && !wait.pause(ctx, ended) {
			return nil
		}
	}
}

// rest waits until the other slot is busy, and reports whether to go on. Messages
// may come nevertheless: for a request that was taken for lost with the connection
// and has reached the server after all.
func (p Pull) rest(ctx context.Context, nc *nats.Conn, busy <-chan struct{}, arrivals <-chan *nats.Msg, plan *plan, batch []*Message, asked time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-busy:
			return true
		case m := <-arrivals:
			if p.Pulse.StalledSince(asked) {
				continue
			}
			if batch, _, _ = p.collect(nc, m, arrivals, plan, batch[:0]); len(batch) > 0 {
				p.Handle(ctx, batch)
			}
		}
	}
}

// collect takes m and all that has arrived behind it, but for copies of what is held.
// ended is non-nil when a status says that the request is over.
func (p Pull) collect(nc *nats.Conn, m *nats.Msg, arrivals <-chan *nats.Msg, plan *plan, batch []*Message) (messages []*Message, copies int, ended error) {
	for {
		switch isStatus, status := statusOf(m); {
		case !isStatus:
			if message := newMessage(nc, m); p.Held == nil || p.Held.take(message) {
				plan.arrived(message)
				batch = append(batch, message)
			} else {
				copies++
			}
		case status != nil:
			return batch, copies, status
		}
		if len(batch)+copies >= p.Batch {
			return batch, copies, nil
		}
		select {
		case next, ok := <-arrivals:
			if !ok {
				return batch, copies, nil
			}
			m = next
		default:
			return batch, copies, nil
		}
	}
}

// errExpired ends a request in the ordinary way.
var errExpired = errors.New("pull request ended")

// statusOf tells a status of the server from a message. A nil status is a
// heartbeat.
func statusOf(m *nats.Msg) (isStatus bool, status error) {
	if len(m.Data) > 0 || strings.HasPrefix(m.Reply, "$JS.ACK.") {
		return false, nil
	}
	switch code := m.Header.Get("Status"); code {
	case "":
		return false, nil
	case "100": // heartbeat, or flow control that pull consumers do not have
		return true, nil
	case "404", "408": // nothing there, expired
		return true, errExpired
	case "409":
		description := m.Header.Get("Description")
		if description == "Batch Completed" { // counted already, and the next request is out
			return true, nil
		}
		if strings.Contains(description, "Consumer Deleted") {
			return true, ErrConsumerMissing
		}
		if strings.Contains(description, "MaxBytes") { // the rest comes with the next request
			return true, errTooLarge
		}
		return true, fmt.Errorf("server: 409 %s", description)
	case "503":
		return true, ErrConsumerMissing
	default:
		return true, fmt.Errorf("server: %s %s", code, m.Header.Get("Description"))
	}
}

// handBack ends a slot: it gives up the subscription and returns to the server
// what was already on its way, but for copies of what is held.
func (p Pull) handBack(nc *nats.Conn, sub *nats.Subscription, arrivals <-chan *nats.Msg) {
	closed := sub.StatusChanged(nats.SubscriptionClosed)
	if !nc.IsConnected() || sub.Drain() != nil {
		_ = sub.Unsubscribe()
		return // the connection is lost, and with it the deliveries: AckWait brings them back
	}
	back := func(m *nats.Msg) {
		if isStatus, _ := statusOf(m); !isStatus {
			message := newMessage(nc, m)
			if p.Held != nil && !p.Held.take(message) {
				return
			}
			// With a delay, if only a token one: the server keeps it through a
			// restart. Without, a server that stops with this process would sit on
			// the message until its AckWait is over.
			_ = message.Nak(time.Millisecond)
		}
	}
	timeout := time.NewTimer(5 * time.Second)
	defer timeout.Stop()
	for open := true; open; {
		select {
		case m := <-arrivals:
			back(m)
		case <-closed:
			open = false
		case <-timeout.C:
			open = false
		}
	}
	for {
		select {
		case m := <-arrivals:
			back(m)
		default:
			return
		}
	}
}

// pullPauses spaces out requests that fail, and reports a failure once.
type pullPauses struct {
	delay   time.Duration
	last    string
	onError func(error)
}

func newPullPauses(onError func(error)) *pullPauses { return &pullPauses{onError: onError} }

func (b *pullPauses) reset() { b.delay, b.last = 0, "" }

// pause reports whether to go on.
func (b *pullPauses) pause(ctx context.Context, err error) bool {
	if errors.Is(err, errExpired) {
		b.reset()
		return true
	}
	if text := err.Error(); text != b.last && b.onError != nil {
		b.last = text
		b.onError(err)
	}
	b.delay = min(max(2*b.delay, 100*time.Millisecond), 2*time.Second)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(b.delay):
		return true
	}
}
