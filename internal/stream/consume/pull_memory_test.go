package consume_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/testkit"
)

// publishSizes stores one message of each size, which begins with its number.
func (p *pulled) publishSizes(sizes ...int) {
	p.t.Helper()
	for i, size := range sizes {
		data := append(fmt.Appendf(nil, "%-10d", i), bytes.Repeat([]byte("x"), size)...)
		if _, err := p.js.Publish(p.t.Context(), "q", data); err != nil {
			p.t.Fatal(err)
		}
	}
}

// within is what the messages of a test may take: their bytes.
func within(s *budget.Share) consume.Memory { return consume.Memory{Share: s, Times: 1} }

// Whatever their sizes, all messages come, once, and those in hand never take more than
// the share may have and what an idle request may bring beside it.
func TestPullKeepsToItsMemory(t *testing.T) {
	t.Parallel()
	const allowed = 2 << 20
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 5000})
	var sizes []int
	for i := range 120 {
		sizes = append(sizes, []int{10, 50_000, 200, 250_000, 33_000, 7_000}[i%6])
	}
	p.publishSizes(sizes...)
	b := budget.New(allowed)
	all, most := newTally(), int64(0)
	var mu sync.Mutex
	var inHand int64
	p.run(p.server.Connect(), consume.Pull{Memory: within(b.Share(0)), Handle: func(ctx context.Context, msgs []*consume.Message) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range msgs {
			inHand += int64(len(m.Data))
		}
		most = max(most, inHand)
		for _, m := range msgs { // each is settled a little later, beside the others
			time.AfterFunc(5*time.Millisecond, func() {
				mu.Lock()
				inHand -= int64(len(m.Data))
				mu.Unlock()
				all.take(ctx, []*consume.Message{m})
			})
		}
	}})
	all.await(t, len(sizes), 30*time.Second)
	if n := all.repeats(); n > 0 {
		t.Errorf("%d messages came again", n)
	}
	mu.Lock()
	defer mu.Unlock()
	if limit := int64(allowed/2 + 64<<10); most > limit {
		t.Errorf("messages of %d bytes were in hand at a time, want at most %d", most, limit)
	}
}

// A pull whose messages are not settled leaves the others theirs, and takes no more
// than its part, although its consumer would hand out more.
func TestPullLeavesMemoryToOthers(t *testing.T) {
	t.Parallel()
	p, other := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 5000}), newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 5000})
	sizes := make([]int, 60)
	for i := range sizes {
		sizes[i] = 50_000
	}
	p.publishSizes(sizes...)
	other.publishSizes(sizes...)
	b := budget.New(2 << 20)
	held := make(chan *consume.Message, len(sizes))
	p.run(p.server.Connect(), consume.Pull{Memory: within(b.Share(0)), Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			held <- m
		}
	}})
	first := receive(t, held, "message")
	all := newTally()
	other.run(other.server.Connect(), consume.Pull{Memory: within(b.Share(0)), Handle: all.take})
	all.await(t, len(sizes), 30*time.Second)
	if n := len(held) + 1; n*50_000 > 1<<20 {
		t.Errorf("%d messages of 50 kB are in hand, of a budget of 2 MiB", n)
	}
	_ = first.Ack()
	took := newTally()
	for took.len() < len(sizes)-1 { // what is settled makes room for the rest
		took.take(t.Context(), []*consume.Message{receive(t, held, "message")})
	}
	if n := took.repeats(); n > 0 {
		t.Errorf("%d messages came again", n)
	}
}

// Memory is given back by whatever ends a message, once, and when the pull ends.
func TestPullGivesMemoryBack(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 5000})
	p.publishSizes(1000, 2000, 3000, 50_000)
	b := budget.New(1 << 20)
	came := make(chan *consume.Message, 16)
	stop := p.run(p.server.Connect(), consume.Pull{Memory: within(b.Share(0)), Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			came <- m
		}
	}})
	for i := range 4 {
		m := receive(t, came, "message")
		if b.Used() == 0 {
			t.Error("a message in hand takes no memory")
		}
		end := []func() error{m.Ack, func() error { return m.AckSync(t.Context()) }, func() error { return m.Nak(time.Hour) }, func() error { m.Drop(); return nil }}[i]
		for range 2 { // the second time changes nothing
			if err := end(); err != nil && i != 1 {
				t.Error(err)
			}
		}
	}
	stop()
	if used := b.Used(); used != 0 {
		t.Errorf("%d bytes are in use after the end, want none", used)
	}
}

// What is on its way to a stream is bounded in bytes, by stream: one that does not
// answer leaves room for others, and time gives its memory back.
func TestPublishingWithinMemory(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{})
	nc := p.server.Connect()
	b := budget.New(1 << 20)
	js, err := stream.JetStreamWithin(nc, b)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := nc.SubscribeSync("silent") // takes publishes and answers none
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 50_000)
	to := func(subject, name string) *nats.Msg {
		return &nats.Msg{Subject: subject, Header: nats.Header{stream.HeaderExpectedStream: {name}}, Data: data}
	}
	stuck := 0
	for ; stuck < 30; stuck++ {
		if _, err := js.PublishMsgAsync(to("silent", "SILENT"), jetstream.WithRetryAttempts(0)); err != nil {
			break
		}
	}
	if stuck == 0 || stuck*len(data) > 1<<19 {
		t.Errorf("%d publishes of 50 kB wait for an answer, within a budget of 1 MiB", stuck)
	}
	for range 40 {
		future, err := js.PublishMsgAsync(to("q", "Q"))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-future.Ok():
		case err := <-future.Err():
			t.Fatal(err)
		}
	}
	if err := silent.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, func() (bool, string) {
		return b.Used() == 0, fmt.Sprintf("%d bytes are still in use, of publishes whose time is up", b.Used())
	})
}

// A stream that has not answered for long is waited for once: who publishes to others too
// goes on with them. When it answers again, what comes next is published.
func TestPublishingPastAStalledStream(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{})
	nc := p.server.Connect()
	js, err := stream.JetStreamWithin(nc, budget.New(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	silent, err := nc.SubscribeSync("silent") // takes publishes and answers none before the test lets it
	if err != nil {
		t.Fatal(err)
	}
	publish := func() (jetstream.PubAckFuture, error) {
		m := &nats.Msg{Subject: "silent", Header: nats.Header{stream.HeaderExpectedStream: {"SILENT"}}, Data: make([]byte, 50_000)}
		return js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0))
	}
	var latest jetstream.PubAckFuture
	for future, err := publish(); err == nil; future, err = publish() {
		latest = future
	}
	for range 20 { // the first of these would wait until the time of the latest is up
		if _, err := publish(); err == nil {
			t.Fatal("something was published beyond what there is room for")
		}
	}
	select {
	case err := <-latest.Err():
		t.Fatalf("publishing has waited for a stream that does not answer until %v", err)
	default:
	}
	answer := func() {
		m, err := silent.NextMsgWithContext(t.Context())
		if err == nil {
			err = m.Respond([]byte(`{"stream":"SILENT","seq":1}`))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	answer()
	testkit.Succeeds(t, "a stream that answers is published to", func() error { _, err := publish(); return err })
}
