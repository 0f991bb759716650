// Package membership decides which subscriptions a sender pulls for.
//
// Each live sender writes a record into the bucket members, and follows those of the
// others. Rendezvous hashing over them (package internal/subscription/members) says who owns
// a subscription; Ownership turns that into decisions about workers.
package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
)

const (
	// readPatience is how long workers wait at the start until the other senders are known.
	// Then this sender pulls for all subscriptions.
	readPatience = 5 * time.Second
	// cleanPatience is how long a sender may take at its start to delete the records of dead
	// ones: less than its own record lasts.
	cleanPatience = 4 * time.Second
	// drainPatience is how long a sender that stops waits until the others are notified, and
	// until its record is deleted.
	drainPatience = 2 * time.Second
)

// NewID returns the id of a sender, valid for as long as it runs.
func NewID() string { return "snd-" + strings.ToLower(rand.Text()[:13]) }

// Config of a Membership.
type Config struct {
	// Self is the record of this sender. Required.
	Self members.Member
	// Heartbeat is how often the record is written, at least twice within
	// stream.MembersTTL. Required.
	Heartbeat time.Duration
	// Members shows how many senders there are, 0 while that is not known. Required.
	Members prometheus.Gauge
}

// A Membership publishes the record of this sender, and follows those of the others.
//
// It fails open. While the others are not known, or this sender's record cannot be written,
// so that the others may take it for dead and do its work, it owns all subscriptions. While
// the watch of the bucket is lost, the last view of it counts.
type Membership struct {
	heartbeat time.Duration
	gauge     prometheus.Gauge
	nc        *nats.Conn
	js        jetstream.JetStream
	layout    stream.Layout
	log       *zap.Logger

	mu      sync.Mutex
	self    members.Member
	visible *members.Set // as last read; nil: never
	written time.Time    // when the own record was
	alone   bool         // the own record cannot be written
	opened  bool         // reading the others has had enough time
	held    bool         // missing senders still count, for now
	single  bool         // there is certainly no other sender
	current *members.Set // by which ownership is decided; nil: not known yet
	changed chan struct{}

	writing sync.Mutex // one write at a time, so that the last one counts
	kv      jetstream.KeyValue
}

// New returns the membership of a sender.
func New(cfg Config, nc *nats.Conn, js jetstream.JetStream, layout stream.Layout, log *zap.Logger) *Membership {
	return &Membership{
		heartbeat: cfg.Heartbeat, gauge: cfg.Members, nc: nc, js: js, layout: layout, log: log,
		self: cfg.Self, changed: make(chan struct{}),
	}
}

// get returns the set by which ownership is decided, nil while it is not known, and a
// channel that is closed when the set changes.
func (m *Membership) get() (*members.Set, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current, m.changed
}

// IsAlone reports whether there is certainly no other sender.
func (m *Membership) IsAlone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.single
}

// Leads reports whether this sender does the work with a name that one sender does for all.
// It is every sender while the others are not known: the work must bear that.
func (m *Membership) Leads(name string) bool {
	set, _ := m.get()
	if set == nil {
		return true
	}
	live := set.Live()
	if len(live) == 0 {
		return true
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, name)                             // never fails
	return live[int(h.Sum32()%uint32(len(live)))] == m.self.ID //nolint:gosec // a count
}

// owns reports whether this sender pulls for sub, as of set.
func (m *Membership) owns(set *members.Set, sub *subscription.Subscription) bool {
	return set.Owns(m.self.ID, sub)
}

// record is the record to write.
func (m *Membership) record() members.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self
}

// update changes what is known, and makes the set that follows from it the current one.
func (m *Membership) update(change func(*Membership)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
	if m.visible == nil && !m.opened && !m.alone {
		return
	}
	next, failsOpen := m.visible, m.visible == nil || m.alone
	switch {
	case failsOpen:
		next = members.NewSet(nil)
	case m.held && m.current != nil:
		next = next.WithMissing(m.current)
	}
	next = next.With(m.self)
	after := next.Live()
	m.single = !failsOpen && len(after) == 1
	m.gauge.Set(float64(len(after)))
	if failsOpen {
		m.gauge.Set(0)
	}
	var before []string
	if m.current != nil {
		before = m.current.Live()
	}
	if slices.Equal(before, after) {
		return
	}
	m.current = next
	close(m.changed)
	m.changed = make(chan struct{})
	without := func(all, some []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(id string) bool { return slices.Contains(some, id) })
	}
	m.log.Info("senders that share the subscriptions changed", zap.String("member", m.self.ID), zap.Int("members", len(after)),
		zap.Strings("joined", without(after, before)), zap.Strings("left", without(before, after)))
}

// Run keeps this sender's record in the bucket, and follows those of the others,
// until ctx ends.
func (m *Membership) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	m.beat(ctx) // first, so that the others begin to hand over
	m.deleteDead(ctx)
	follower := follow.New(follow.Config{
		Bucket: m.layout.MembersBucket(),
		Apply: func(entries map[string]follow.Entry, _ uint64) {
			m.update(func(m *Membership) { m.visible = members.FromEntries(entries) })
		},
		// A watch that has stopped without an error would keep dead senders alive.
		Check: m.heartbeat,
	}, m.js, m.log)
	running.Go(func() { _ = follower.Run(ctx) }) // fails when the connection is closed

	reconnected := m.nc.StatusChanged(nats.CONNECTED)
	defer m.nc.RemoveStatusListener(reconnected)
	open := time.NewTimer(readPatience)
	defer open.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	tick := time.NewTicker(m.heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-open.C:
			m.update(func(m *Membership) {
				if m.opened = true; m.visible == nil {
					m.log.Warn("failed to read the other senders, pulling the deliveries of all subscriptions")
				}
			})
			continue
		case <-settled.C:
			m.update(func(m *Membership) { m.held = false })
			continue
		case <-reconnected:
			// All records may have expired while NATS was away, and are written again one by
			// one: judged by those that exist now, this sender would pull everything.
			m.update(func(m *Membership) { m.held, m.written = true, time.Now() })
			settled.Reset(m.heartbeat + m.heartbeat/2)
		case <-tick.C:
		}
		m.beat(ctx)
	}
}

// beat writes the record, and records whether that succeeded.
func (m *Membership) beat(ctx context.Context) {
	if !m.nc.IsConnected() {
		return // nothing can be pulled either
	}
	limited, cancel := context.WithTimeout(ctx, max(m.heartbeat, time.Second))
	defer cancel()
	err := m.write(limited)
	if ctx.Err() != nil {
		return
	}
	m.update(func(m *Membership) {
		if err == nil {
			if m.alone {
				m.log.Info("wrote member record again, sharing the subscriptions")
			}
			m.written, m.alone = time.Now(), false
			return
		}
		if !m.alone && (time.Since(m.written) > stream.MembersTTL || errors.Is(err, errNoBucket)) {
			m.log.Warn("failed to write member record, pulling the deliveries of all subscriptions", zap.Error(err))
			m.alone = true
		}
	})
}

// deleteDead deletes the records of senders that have died on this machine, such as the one
// that crashed before this was started, so that the others need not wait until they expire.
// Another machine of the same name does no harm: a sender that lives writes its record
// again.
func (m *Membership) deleteDead(ctx context.Context) {
	self := m.record()
	if self.PID == 0 || self.Host == "" || !m.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(m.heartbeat, cleanPatience))
	defer cancel()
	set, err := members.Read(ctx, m.js, m.layout)
	if err != nil {
		return // the records expire
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	for _, other := range set.All() {
		if other.Host != self.Host || other.ID == self.ID || other.PID == 0 || m.kv == nil {
			continue
		}
		if other.PID != self.PID && !processEnded(other.PID) { // in containers all have the same
			continue
		}
		if err := members.Delete(ctx, m.kv, other.ID); err == nil {
			m.log.Info("deleted the member record of a sender that has died on this machine", zap.String("member", other.ID))
		}
	}
}

// processEnded reports whether there is certainly no process of that id.
func processEnded(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer func() { _ = p.Release() }()
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// errNoBucket says that there is no bucket, and that creating it failed.
var errNoBucket = errors.New("the members bucket does not exist")

// missing reports whether err says that there is no bucket.
func missing(err error) bool {
	return errors.Is(err, jetstream.ErrBucketNotFound) || stream.ClassifyPublish(err) == stream.Missing
}

// write writes the record, and creates the bucket where there is none.
func (m *Membership) write(ctx context.Context) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	for try := 1; ; try++ {
		err := m.put(ctx)
		if err == nil || try == 2 || !missing(err) {
			return err
		}
		if err := m.layout.EnsureMembers(ctx, m.js); err != nil {
			if ctx.Err() != nil { // the bucket may exist
				return err
			}
			return fmt.Errorf("%w: %w", errNoBucket, err)
		}
	}
}

func (m *Membership) put(ctx context.Context) error {
	if m.kv == nil {
		kv, err := m.js.KeyValue(ctx, m.layout.MembersBucket())
		if err != nil {
			return err
		}
		m.kv = kv
	}
	record := m.record()
	return members.Put(ctx, m.kv, &record)
}

// Drain notifies the others that this sender stops, so that they begin before it ends.
func (m *Membership) Drain(ctx context.Context) {
	m.mu.Lock()
	m.self.Draining = true
	m.mu.Unlock()
	if !m.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainPatience)
	defer cancel()
	if err := m.write(ctx); err != nil {
		m.log.Warn("failed to write that this sender stops; its member record expires in "+stream.MembersTTL.String(), zap.Error(err))
	}
}

// Leave deletes the record.
func (m *Membership) Leave(ctx context.Context) {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.kv == nil || !m.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainPatience)
	defer cancel()
	if err := members.Delete(ctx, m.kv, m.self.ID); err != nil {
		m.log.Warn("failed to delete member record; it expires in "+stream.MembersTTL.String(), zap.Error(err))
	}
}
