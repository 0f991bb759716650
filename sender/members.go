package sender

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
)

const (
	// memberPatience is how long lanes wait at the beginning for the other senders to be
	// known. Then this one pulls everything.
	memberPatience = 5 * time.Second
	// buryPatience is how long a sender may take at its start to look for the dead: less
	// than its own record lasts.
	buryPatience = 4 * time.Second
	// drainPatience is how long a sender that is being stopped waits until the others
	// know, and until its record is away.
	drainPatience = 2 * time.Second
)

// newMemberID names a sender for as long as it runs.
func newMemberID() string { return "snd-" + strings.ToLower(rand.Text()[:13]) }

// membership is what a sender says of itself to the others, and what it knows of them.
//
// It fails open. While the others are not known, or the own record cannot be written, so
// that they may take this sender for dead and do its work, it owns everything. While the
// watch of the bucket is lost, the last view of it counts.
type membership struct {
	mu      sync.Mutex
	self    members.Member
	visible *members.Set // as last read; nil: never
	written time.Time    // when the own record was
	alone   bool         // it cannot be
	opened  bool         // enough time was given to reading the others
	held    bool         // who is missing is not, for now
	single  bool         // there is certainly no other
	current *members.Set // by which ownership goes; nil: not known yet
	changed chan struct{}

	writing sync.Mutex // one write at a time, so that the last one counts
	kv      jetstream.KeyValue
}

func newMembership(self members.Member) *membership {
	return &membership{self: self, changed: make(chan struct{})}
}

// get returns the set by which ownership goes, nil while it is not known yet, and what is
// closed when there is another.
func (m *membership) get() (*members.Set, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current, m.changed
}

// isAlone reports whether there is certainly no other sender.
func (m *membership) isAlone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.single
}

// owns reports whether this sender pulls for sub, as of set.
func (m *membership) owns(set *members.Set, sub *subscription.Subscription) bool {
	return set.Owns(m.self.ID, sub)
}

// record is what there is to write.
func (m *membership) record() members.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self
}

// update changes what is known, and makes the set that follows from it the current one.
func (s *Sender) updateMembers(change func(*membership)) {
	m := s.members
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
	s.metrics.members.Set(float64(len(after)))
	if failsOpen {
		s.metrics.members.Set(0)
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
	s.log.Info("the senders that share the subscriptions have changed", zap.String("member", m.self.ID), zap.Int("members", len(after)),
		zap.Strings("joined", without(after, before)), zap.Strings("left", without(before, after)))
}

// takePart keeps this sender's record in the bucket, and follows those of the others,
// until ctx ends.
func (s *Sender) takePart(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	s.beat(ctx) // first, so that the others begin to make room
	s.buryDead(ctx)
	follower := stream.NewFollower(stream.FollowConfig{
		Bucket: s.layout.MembersBucket(),
		Apply: func(entries map[string]stream.Entry, _ uint64) {
			s.updateMembers(func(m *membership) { m.visible = members.FromEntries(entries) })
		},
		// A watch that stands still without noticing would keep the dead alive.
		Check: s.cfg.Heartbeat,
	}, s.js, s.log)
	running.Go(func() { _ = follower.Run(ctx) }) // fails when the connection is closed for good

	reconnected := s.nc.StatusChanged(nats.CONNECTED)
	defer s.nc.RemoveStatusListener(reconnected)
	open := time.NewTimer(memberPatience)
	defer open.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	tick := time.NewTicker(s.cfg.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-open.C:
			s.updateMembers(func(m *membership) {
				if m.opened = true; m.visible == nil {
					s.log.Warn("the other senders cannot be seen, pulling the deliveries of all subscriptions")
				}
			})
			continue
		case <-settled.C:
			s.updateMembers(func(m *membership) { m.held = false })
			continue
		case <-reconnected:
			// The records of all may have gone while NATS was away, and come back one after
			// the other: who went by what is there now would pull everything for a moment.
			s.updateMembers(func(m *membership) { m.held, m.written = true, time.Now() })
			settled.Reset(s.cfg.Heartbeat + s.cfg.Heartbeat/2)
		case <-tick.C:
		}
		s.beat(ctx)
	}
}

// beat writes the record, and takes note of whether that works.
func (s *Sender) beat(ctx context.Context) {
	if !s.nc.IsConnected() {
		return // nothing can be pulled either, so it does not matter who would
	}
	limited, cancel := context.WithTimeout(ctx, max(s.cfg.Heartbeat, time.Second))
	defer cancel()
	err := s.writeMember(limited)
	if ctx.Err() != nil {
		return
	}
	s.updateMembers(func(m *membership) {
		if err == nil {
			if m.alone {
				s.log.Info("this sender's record can be written again, sharing the subscriptions")
			}
			m.written, m.alone = time.Now(), false
			return
		}
		if !m.alone && (time.Since(m.written) > stream.MembersTTL || errors.Is(err, errNoBucket)) {
			s.log.Warn("this sender's record cannot be written, pulling the deliveries of all subscriptions", zap.Error(err))
			m.alone = true
		}
	})
}

// buryDead takes away the records of senders that have died on this machine, as the one
// before this has that crashed and was started again: nobody need wait for their end. A
// machine of the same name, whose processes cannot be seen from here, does not matter:
// who is alive writes his record again.
func (s *Sender) buryDead(ctx context.Context) {
	self := s.members.record()
	if self.PID == 0 || self.Host == "" || !s.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(s.cfg.Heartbeat, buryPatience))
	defer cancel()
	set, err := members.Read(ctx, s.js, s.layout)
	if err != nil {
		return // they go by themselves
	}
	s.members.writing.Lock()
	defer s.members.writing.Unlock()
	for _, m := range set.All() {
		if m.Host != self.Host || m.ID == self.ID || m.PID == 0 || s.members.kv == nil {
			continue
		}
		if m.PID != self.PID && !processIsGone(m.PID) { // in containers all have the same
			continue
		}
		if err := members.Delete(ctx, s.members.kv, m.ID); err == nil {
			s.log.Info("a sender has died on this machine, its work can be taken over", zap.String("member", m.ID))
		}
	}
}

// processIsGone reports whether there is certainly no process of that id.
func processIsGone(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer func() { _ = p.Release() }()
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// errNoBucket says that there is no bucket, and that none can be made.
var errNoBucket = errors.New("there is nothing to write it to")

// missing reports whether err says that there is no bucket.
func missing(err error) bool {
	return errors.Is(err, jetstream.ErrBucketNotFound) || stream.ClassifyPublish(err) == stream.Missing
}

// writeMember writes the record, into a new bucket where there is none.
func (s *Sender) writeMember(ctx context.Context) error {
	m := s.members
	m.writing.Lock()
	defer m.writing.Unlock()
	for try := 1; ; try++ {
		err := s.putMember(ctx)
		if err == nil || try == 2 || !missing(err) {
			return err
		}
		if err := s.layout.EnsureMembers(ctx, s.js); err != nil {
			if ctx.Err() != nil { // a server that is busy may have it
				return err
			}
			return fmt.Errorf("%w: %w", errNoBucket, err)
		}
	}
}

func (s *Sender) putMember(ctx context.Context) error {
	m := s.members
	if m.kv == nil {
		kv, err := s.js.KeyValue(ctx, s.layout.MembersBucket())
		if err != nil {
			return err
		}
		m.kv = kv
	}
	record := m.record()
	return members.Put(ctx, m.kv, &record)
}

// drain tells the others that this sender stops, so that they begin before it ends.
func (s *Sender) drain(ctx context.Context) {
	s.members.mu.Lock()
	s.members.self.Draining = true
	s.members.mu.Unlock()
	if !s.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainPatience)
	defer cancel()
	if err := s.writeMember(ctx); err != nil {
		s.log.Warn("cannot tell the other senders that this one stops, they will notice", zap.Error(err))
	}
}

// leave takes the record away.
func (s *Sender) leave(ctx context.Context) {
	m := s.members
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.kv == nil || !s.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainPatience)
	defer cancel()
	if err := members.Delete(ctx, m.kv, m.self.ID); err != nil {
		s.log.Warn("cannot take this sender's record away, it goes by itself", zap.Error(err))
	}
}
