package consume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// A pulled is a work queue of its own server, to be pulled from.
type pulled struct {
	t        *testing.T
	server   *streamtest.Server
	js       jetstream.JetStream
	consumer jetstream.ConsumerConfig
}

func newPulled(t *testing.T, cfg jetstream.ConsumerConfig) *pulled {
	t.Helper()
	p := &pulled{t: t, server: streamtest.New(t), consumer: cfg}
	p.consumer.Durable, p.consumer.AckPolicy, p.consumer.MaxDeliver = "c", jetstream.AckExplicitPolicy, -1
	var err error
	if p.js, err = stream.JetStream(p.server.Conn()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "Q", Subjects: []string{"q"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, MaxConsumers: 2,
	}); err != nil {
		t.Fatal(err)
	}
	p.createConsumer()
	return p
}

func (p *pulled) createConsumer() {
	p.t.Helper()
	if _, err := p.js.CreateConsumer(p.t.Context(), "Q", p.consumer); err != nil {
		p.t.Fatal(err)
	}
}

// publish stores n messages that carry their number, from first on. A server that
// has just started may refuse them, or be gone with its answer: they have ids.
func (p *pulled) publish(first, n int) {
	p.t.Helper()
	left := make(map[int]jetstream.PubAckFuture, n)
	for i := first; i < first+n; i++ {
		left[i] = nil
	}
	for deadline := time.Now().Add(30 * time.Second); len(left) > 0; {
		var last error
		for _, i := range slices.Sorted(maps.Keys(left)) {
			future, err := p.js.PublishAsync("q", []byte(strconv.Itoa(i)), jetstream.WithMsgID(strconv.Itoa(i)))
			if err != nil {
				p.t.Fatal(err)
			}
			left[i] = future
		}
		p.published()
		for i, future := range left {
			select {
			case <-future.Ok():
				delete(left, i)
			case last = <-future.Err():
			}
		}
		if time.Now().After(deadline) && len(left) > 0 {
			p.t.Fatalf("%d messages are not stored in 30 s: %v", len(left), last)
		}
	}
}

func (p *pulled) published() {
	p.t.Helper()
	select {
	case <-p.js.PublishAsyncComplete():
	case <-testkit.Timeout():
		p.t.Fatal("the messages are not stored in time")
	}
}

// run starts pulling on nc. stop ends it and waits for its end.
func (p *pulled) run(nc *nats.Conn, pull consume.Pull) (stop func()) {
	p.t.Helper()
	pull.Stream, pull.Consumer = "Q", "c"
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- pull.Run(ctx, nc) }()
	stopped := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				p.t.Errorf("pull: %v", err)
			}
		case <-testkit.Timeout():
			p.t.Error("the pull has not ended in time")
		}
	})
	p.t.Cleanup(stopped)
	return stopped
}

// A tally counts what has arrived, by its content.
type tally struct {
	mu    sync.Mutex
	seen  map[string]int
	grown chan struct{}
}

func newTally() *tally { return &tally{seen: make(map[string]int), grown: make(chan struct{}, 1)} }

// take counts and acks.
func (c *tally) take(_ context.Context, msgs []*consume.Message) {
	c.mu.Lock()
	for _, m := range msgs {
		c.seen[string(m.Data[:min(len(m.Data), 10)])]++
		_ = m.Ack() // lost with the connection: it comes again
	}
	c.mu.Unlock()
	select {
	case c.grown <- struct{}{}:
	default:
	}
}

func (c *tally) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// await waits until n different messages have come.
func (c *tally) await(t *testing.T, n int, within time.Duration) {
	t.Helper()
	late := testkit.TimeoutAfter(within)
	for c.len() < n {
		select {
		case <-c.grown:
		case <-late:
			t.Fatalf("got %d of %d messages in %s", c.len(), n, within)
		}
	}
}

// repeats is how many arrivals were not the first of their message.
func (c *tally) repeats() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n int
	for _, times := range c.seen {
		n += times - 1
	}
	return n
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	return testkit.Receive(t, from, what)
}

// A failures collects the calls of OnError.
type failures struct {
	mu  sync.Mutex
	all []error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func (f *failures) count(kind error) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	var n int
	for _, err := range f.all {
		if errors.Is(err, kind) {
			n++
		}
	}
	return n
}

func TestPull(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 5000})
	began := time.Now()
	p.publish(0, 3000)
	all := newTally()
	var concurrent, highest, wrong atomic.Int32
	p.run(p.server.Connect(), consume.Pull{Batch: 100, Handle: func(ctx context.Context, msgs []*consume.Message) {
		highest.Store(max(highest.Load(), concurrent.Add(1)))
		defer concurrent.Add(-1)
		if len(msgs) == 0 || len(msgs) > 100 || !slices.IsSortedFunc(msgs, func(a, b *consume.Message) int { return int(a.Sequence) - int(b.Sequence) }) {
			wrong.Add(1)
		}
		for _, m := range msgs {
			if m.Stream != "Q" || m.Delivered != 1 || string(m.Data) != strconv.FormatUint(m.Sequence-1, 10) || m.Pending > 3000-m.Sequence ||
				m.Stored.Before(began.Add(-time.Second)) || m.Stored.After(time.Now().Add(time.Second)) {
				wrong.Add(1)
			}
		}
		all.take(ctx, msgs)
	}})
	all.await(t, 3000, 20*time.Second)
	if all.repeats() > 0 || wrong.Load() > 0 || highest.Load() > 2 {
		t.Errorf("got %d repeats, %d wrong messages or batches, %d calls at once; want none, none, at most 2", all.repeats(), wrong.Load(), highest.Load())
	}
	p.publish(3000, 1) // after it has come to rest
	all.await(t, 3001, 5*time.Second)
}

// What a puller holds when it stops is another's at once: what it was handling,
// what it had received, and what was on its way.
func TestPullHandsBack(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 2000, AckWait: time.Minute})
	p.publish(0, 1000)
	holding := make(chan struct{}, 2)
	stop := p.run(p.server.Connect(), consume.Pull{Batch: 200, Handle: func(ctx context.Context, msgs []*consume.Message) {
		holding <- struct{}{}
		<-ctx.Done()
		for _, m := range msgs {
			if err := m.Nak(0); err != nil {
				t.Error(err)
			}
		}
	}})
	receive(t, holding, "message")
	began := time.Now()
	stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %s", took)
	}
	all := newTally()
	p.run(p.server.Connect(), consume.Pull{Handle: all.take})
	all.await(t, 1000, 5*time.Second-time.Since(began))
}

// Once gives what one request has brought, no more than was asked for, and leaves the
// rest for others.
func TestPullOnce(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{AckWait: time.Minute})
	p.publish(0, 20)
	for range 5 {
		calls, got := 0, 0
		pull := consume.Pull{Stream: "Q", Consumer: "c", Batch: 2, Once: true, Handle: func(_ context.Context, msgs []*consume.Message) {
			calls++
			got += len(msgs)
			for _, m := range msgs {
				_ = m.Ack()
			}
		}}
		if err := pull.Run(t.Context(), p.server.Connect()); err != nil {
			t.Fatal(err)
		}
		if calls != 1 || got < 1 || got > 2 {
			t.Errorf("%d calls with %d messages, want one with 1 or 2", calls, got)
		}
	}
	all := newTally() // what was handed back comes at once, not after AckWait
	p.run(p.server.Connect(), consume.Pull{Handle: all.take})
	all.await(t, 10, 20*time.Second)
}

func TestPullStopsWithoutServer(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{})
	all := newTally()
	p.publish(0, 1)
	nc := p.server.Connect()
	stop := p.run(nc, consume.Pull{Handle: all.take})
	all.await(t, 1, 5*time.Second)
	lost := nc.StatusChanged(nats.RECONNECTING)
	p.server.Stop()
	receive(t, lost, "loss of the connection")
	began := time.Now()
	stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestPullClosedConnection(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{})
	nc := p.server.Connect()
	nc.Close()
	err := consume.Pull{Stream: "Q", Consumer: "c", Handle: newTally().take}.Run(t.Context(), nc)
	if !errors.Is(err, nats.ErrConnectionClosed) || !strings.Contains(err.Error(), "consumer c of stream Q") {
		t.Errorf("got %v, want an error that names the consumer and wraps ErrConnectionClosed", err)
	}
}

func TestPullSurvivesRestart(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 100, AckWait: 2 * time.Second}) // what is lost on the way comes back
	all := newTally()
	p.run(p.server.Connect(), consume.Pull{Batch: 50, Handle: all.take})
	p.publish(0, 2000)
	all.await(t, 500, 20*time.Second)
	p.server.Restart()
	all.await(t, 2000, 20*time.Second)
	if got := all.repeats(); got > 100 {
		t.Errorf("%d messages came again, want no more than may be unsettled", got)
	}
	p.server.Restart() // while it rests
	p.publish(2000, 1)
	// A server that was stopped right after acks may have forgotten them: what it
	// takes for pending then counts against MaxAckPending until AckWait has passed.
	all.await(t, 2001, 20*time.Second)
}

// A slot that asks just before it hears that the connection is a new one takes its
// request for lost. What comes for it is handled nevertheless, and not only when
// AckWait has passed.
func TestPullReconnects(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 1000, AckWait: 5 * time.Minute})
	all := newTally()
	nc := p.server.Connect()
	entered := make(chan struct{}, 2)
	gates := map[string]chan struct{}{"1": make(chan struct{}), "2": make(chan struct{})}
	p.run(nc, consume.Pull{Batch: 1, Handle: func(ctx context.Context, msgs []*consume.Message) {
		if gate := gates[string(msgs[0].Data)]; gate != nil {
			entered <- struct{}{}
			<-gate
		}
		all.take(ctx, msgs)
	}})
	p.publish(0, 1) // a whole batch, so that both slots ask
	all.await(t, 1, 20*time.Second)
	p.publish(1, 1) // one slot has it in hand until the end
	receive(t, entered, "message")
	p.publish(2, 1) // the other one meanwhile
	receive(t, entered, "message")
	back := nc.StatusChanged(nats.CONNECTED)
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	receive(t, back, "connection")
	close(gates["2"])
	all.await(t, 2, 20*time.Second)
	p.publish(3, 1)
	all.await(t, 3, 20*time.Second)
	close(gates["1"])
	all.await(t, 4, 20*time.Second)
}

// The consumer is deleted and made again, and then its stream: the pull says so
// once and goes on by itself.
func TestPullMissingConsumer(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{})
	all, failed := newTally(), new(failures)
	reported := make(chan struct{}, 10)
	onError := func(err error) {
		failed.add(err)
		reported <- struct{}{}
	}
	p.run(p.server.Connect(), consume.Pull{Handle: all.take, OnError: onError})
	p.publish(0, 10)
	all.await(t, 10, 5*time.Second)
	for n := 1; n <= 2; n++ {
		if err := p.js.DeleteConsumer(t.Context(), "Q", "c"); err != nil {
			t.Fatal(err)
		}
		receive(t, reported, "report of the missing consumer")
		p.publish(10*n, 10)
		select { // several requests fail meanwhile
		case <-testkit.TimeoutAfter(700 * time.Millisecond):
		case <-reported:
			t.Errorf("got errors %v, want one of each kind", failed.all)
		}
		p.createConsumer()
		all.await(t, 10*n+10, 5*time.Second)
		if got := failed.count(consume.ErrConsumerMissing); got != n {
			t.Errorf("the missing consumer was reported %d times, want %d", got, n)
		}
	}
}

// A request for more than may be unsettled gets what may, and the rest as room is
// made; never more.
func TestPullBeyondMaxAckPending(t *testing.T) {
	t.Parallel()
	const limit = 10
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: limit, AckWait: time.Minute})
	p.publish(0, 300)
	all := newTally()
	var unsettled, highest atomic.Int32
	work := make(chan *consume.Message, 1000)
	for range limit {
		go func() {
			for m := range work {
				unsettled.Add(-1) // before the ack: the next may come at once
				all.take(t.Context(), []*consume.Message{m})
			}
		}()
	}
	t.Cleanup(func() { close(work) })
	stop := p.run(p.server.Connect(), consume.Pull{Handle: func(_ context.Context, msgs []*consume.Message) {
		highest.Store(max(highest.Load(), unsettled.Add(int32(len(msgs))))) //nolint:gosec // small
		for _, m := range msgs {
			work <- m
		}
	}})
	all.await(t, 300, 20*time.Second)
	stop()
	if got := highest.Load(); got > limit || all.repeats() > 0 {
		t.Errorf("got %d unsettled at once and %d repeats, want at most %d and none", got, all.repeats(), limit)
	}
}

func TestPullBigMessages(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 1000, AckWait: time.Minute})
	const n, size = 500, 256 << 10
	body := bytes.Repeat([]byte("x"), size)
	for i := range n {
		if _, err := p.js.PublishAsync("q", append(fmt.Appendf(nil, "%010d", i), body[10:]...), jetstream.WithStallWait(20*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	p.published()
	failed := new(failures)
	nc := p.server.Connect(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { failed.add(err) }))
	all := newTally()
	p.run(nc, consume.Pull{OnError: failed.add, Handle: func(ctx context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			if len(m.Data) != size {
				failed.add(fmt.Errorf("message %d has %d bytes", m.Sequence, len(m.Data)))
			}
		}
		all.take(ctx, msgs)
	}})
	all.await(t, n, 30*time.Second)
	if len(failed.all) > 0 || nc.Stats().Reconnects > 0 || all.repeats() > 0 {
		t.Errorf("got errors %v, %d reconnects, %d repeats, want none", failed.all, nc.Stats().Reconnects, all.repeats())
	}
}

// The server works off the acks of a connection in their order, so that the last
// one confirms those before it.
func TestAckSyncConfirmsEarlierAcks(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{MaxAckPending: 1000, AckWait: time.Minute})
	const n = 500
	p.publish(0, n)
	received := make(chan *consume.Message, n)
	p.run(p.server.Connect(), consume.Pull{Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			received <- m
		}
	}})
	for i := range n {
		m := receive(t, received, "message")
		if i < n-1 {
			if err := m.Ack(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := m.AckSync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	consumer, err := p.js.Consumer(t.Context(), "Q", "c")
	if err != nil {
		t.Fatal(err)
	}
	if got := consumer.CachedInfo(); got.NumAckPending != 0 || got.NumPending != 0 || got.AckFloor.Stream != n {
		t.Errorf("after the last ack %d are unsettled, %d pending, settled up to %d, want 0, 0, %d", got.NumAckPending, got.NumPending, got.AckFloor.Stream, n)
	}
}

func TestSettleOtherwise(t *testing.T) {
	t.Parallel()
	// A process that shares its machine may stand still between two signs of life.
	const ackWait, sign, signs = 4 * time.Second, 500 * time.Millisecond, 10
	p := newPulled(t, jetstream.ConsumerConfig{AckWait: ackWait})
	arrived := make(chan *consume.Message, 10)
	p.run(p.server.Connect(), consume.Pull{Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			arrived <- m
		}
	}})
	next := func(delivered int) *consume.Message {
		t.Helper()
		m := receive(t, arrived, "message")
		if m.Delivered != delivered {
			t.Errorf("it arrives for the %d. time, want the %d.", m.Delivered, delivered)
		}
		return m
	}
	p.publish(0, 1)
	if err := next(1).Nak(0); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := next(2).Nak(1500 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	m := next(3)
	// The server rounds the delay of a nak down to seconds.
	if waited := time.Since(began); waited < 500*time.Millisecond || waited > 8*time.Second {
		t.Errorf("it came back after %s, want 1.5 s", waited)
	}
	began = time.Now()
	for range signs { // longer than AckWait in all
		select {
		case again := <-arrived:
			t.Fatalf("it was handed out for the %d. time while in progress", again.Delivered)
		case <-testkit.TimeoutAfter(sign):
			if err := m.InProgress(); err != nil {
				t.Fatal(err)
			}
		}
	}
	next(4)
	if waited := time.Since(began); waited < signs*sign+ackWait-sign {
		t.Errorf("it came back after %s, want AckWait after the last sign of life", waited)
	}
}

// An idle pull of a process that is alone costs next to nothing: it asks every thirty seconds, and the
// server shows every ten that it is there. TestPullStatuses has the numbers; here
// is that nothing else goes to and fro, also after work for both slots.
func TestPullIdleCost(t *testing.T) {
	t.Parallel()
	p := newPulled(t, jetstream.ConsumerConfig{})
	nc := p.server.Connect()
	all := newTally()
	p.publish(0, 500)
	p.run(nc, consume.Pull{Batch: 50, Handle: all.take, Alone: func() bool { return true }})
	all.await(t, 500, 10*time.Second)
	before := nc.Stats()
	testkit.Pause(t.Context(), 3*time.Second) // time is the subject
	after := nc.Stats()
	if in, out := after.InMsgs-before.InMsgs, after.OutMsgs-before.OutMsgs; in+out > 4 {
		t.Errorf("in 3 s %d messages came and %d went, want hardly any", in, out)
	}
}

// A script plays the server: it answers requests as configured.
type script struct {
	requests chan *nats.Msg
	nc       *nats.Conn
}

// playServer answers on the subject of a consumer that does not exist.
func playServer(t *testing.T) (*script, *nats.Conn) {
	t.Helper()
	server := streamtest.New(t)
	s := &script{requests: make(chan *nats.Msg, 1000), nc: server.Connect()}
	if _, err := s.nc.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT.Q.c", s.requests); err != nil {
		t.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return s, server.Connect()
}

func (s *script) status(t *testing.T, request *nats.Msg, code, description string) {
	t.Helper()
	m := nats.NewMsg(request.Reply)
	m.Header["Status"], m.Header["Description"] = []string{code}, []string{description}
	if err := s.nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
}

func TestPullStatuses(t *testing.T) {
	t.Parallel()
	s, nc := playServer(t)
	failed := new(failures)
	p := &pulled{t: t}
	stop := p.run(nc, consume.Pull{Handle: newTally().take, OnError: failed.add})
	first := receive(t, s.requests, "request")
	if got, want := string(first.Data), `{"expires":4000000000,"batch":256,"max_bytes":8388608}`; got != want {
		t.Errorf("got request %s, want 256 messages of 8 MiB at most, waiting for 4 s: %s", got, want)
	}
	s.status(t, first, "100", "Idle Heartbeat") // these two end nothing
	s.status(t, first, "409", "Batch Completed")
	for n, tt := range []struct {
		code, description string
		want              string // reported; empty: an ordinary end
	}{
		{"408", "Request Timeout", ""},
		{"404", "No Messages", ""},
		{"409", "Message Size Exceeds MaxBytes", ""},
		{"409", "Exceeded MaxWaiting", "server: 409 Exceeded MaxWaiting"},
		{"409", "Exceeded MaxWaiting", ""}, // reported already
		{"409", "Leadership Change", "server: 409 Leadership Change"},
		{"503", "", consume.ErrConsumerMissing.Error()},
		{"409", "Consumer Deleted", ""}, // the same
		{"408", "Request Timeout", ""},  // works again
		{"503", "", consume.ErrConsumerMissing.Error()},
		{"418", "Teapot", "server: 418 Teapot"},
	} {
		before := len(failed.all)
		s.status(t, first, tt.code, tt.description)
		first = receive(t, s.requests, "request") // another one follows
		var reported []string
		failed.mu.Lock()
		for _, err := range failed.all[before:] {
			reported = append(reported, err.Error())
		}
		failed.mu.Unlock()
		if got := strings.Join(reported, ", "); got != tt.want {
			t.Errorf("%d: status %s %s: reported %q, want %q", n, tt.code, tt.description, got, tt.want)
		}
	}
	stop()
	if len(s.requests) > 0 {
		t.Errorf("%d requests too many", len(s.requests))
	}
	// Who is alone asks seldom.
	p.run(nc, consume.Pull{Handle: newTally().take, Alone: func() bool { return true }})
	got, want := string(receive(t, s.requests, "request").Data), `{"expires":30000000000,"batch":256,"max_bytes":8388608,"idle_heartbeat":10000000000}`
	if got != want {
		t.Errorf("got request %s, want it to wait for 30 s with a heartbeat every 10 s: %s", got, want)
	}
}
