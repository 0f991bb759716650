package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

const (
	// probeEvery is between two probes, at least: many replicas that are asked often
	// must not become a load.
	probeEvery = 3 * time.Second
	// probeTimeout is how long a healthy server may take to store a few bytes.
	probeTimeout = 1500 * time.Millisecond
	// faultPatience is for how long a stream may take nothing before that is a fault:
	// an election is over by then.
	faultPatience = 3 * time.Second
	// faultMemory is for how long a failure counts that is not reported again. A process
	// that gets no work while it is not ready would never find out otherwise.
	faultMemory = 15 * time.Second
)

// A Health is what a process knows of whether NATS stores what it is given. The
// connection may be fine, and JetStream answer, while a disk is full or a stream has
// stopped after a write error.
//
// It knows by two ways: services tell it of what they could not store, and when it is
// asked it stores a few bytes itself, in the bucket state. It is safe for concurrent
// use. A nil Health knows nothing and accepts every report.
type Health struct {
	js    jetstream.JetStream
	probe string // subject
	log   *zap.Logger
	now   func() time.Time

	failing atomic.Bool // there are faults
	mu      sync.Mutex
	faults  map[string]*lasting // by stream

	probing sync.Mutex // one at a time
	probed  time.Time
	found   error
}

// lasting is what is wrong with a stream.
type lasting struct {
	since, last time.Time
	err         error
}

// NewHealth returns the Health of a process. The connection of js is in role, which
// has to be RoleView or RoleControl; the zero role makes no probes.
func NewHealth(js jetstream.JetStream, layout Layout, role Role, log *zap.Logger) *Health {
	h := &Health{js: js, log: log.Named("storage"), now: time.Now, faults: make(map[string]*lasting)}
	if role != "" {
		h.probe = layout.StateProbeSubject(role)
	}
	return h
}

// Failed takes note that a stream has not stored something. Refusals that say nothing
// about storage, and a connection that is lost, which shows elsewhere, do not count;
// nor does a limit that a stream was given on purpose.
func (h *Health) Failed(stream string, err error) {
	if h == nil || err == nil || errors.Is(err, context.Canceled) {
		return
	}
	switch FaultOf(err) {
	case NoFault, FaultDisconnected, FaultLimit:
		return
	case FaultSilent, FaultLeaderless, FaultStorage, FaultMissing, FaultFiles:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	f := h.faults[stream]
	if f == nil || now.Sub(f.last) > faultMemory {
		f = &lasting{since: now}
		h.faults[stream] = f
	}
	f.last, f.err = now, err
	h.failing.Store(true)
}

// Stored takes note that a stream has stored something. It costs next to nothing
// while all is well.
func (h *Health) Stored(stream string) {
	if h == nil || !h.failing.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.faults[stream]; f != nil && f.lasts(h.now()) {
		h.log.Info("stream takes writes again", zap.String("stream", stream), zap.Duration("after", h.now().Sub(f.since)))
	}
	delete(h.faults, stream)
	h.failing.Store(len(h.faults) > 0)
}

// lasts reports whether it is more than a moment's trouble.
func (f *lasting) lasts(now time.Time) bool {
	return FaultOf(f.err) == FaultStorage || now.Sub(f.since) >= faultPatience
}

// Check returns nil while NATS stores what it is given, or what is wrong and what to
// do about it.
func (h *Health) Check(ctx context.Context) error {
	var wrong []string
	if err := h.tryOut(ctx); err != nil {
		wrong = append(wrong, err.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	for _, name := range slices.Sorted(maps.Keys(h.faults)) {
		f := h.faults[name]
		if now.Sub(f.last) > faultMemory {
			delete(h.faults, name)
			continue
		}
		if f.lasts(now) {
			wrong = append(wrong, fmt.Sprintf("stream %s stores nothing since %s: %s", name, f.since.UTC().Format(time.RFC3339), explain(f.err)))
		}
	}
	h.failing.Store(len(h.faults) > 0)
	if len(wrong) == 0 {
		return nil
	}
	const most = 5 // one cause can have many
	if more := len(wrong) - most; more > 0 {
		wrong = append(wrong[:most], fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(wrong, "; "))
}

// tryOut stores a few bytes, or has done so a moment ago.
func (h *Health) tryOut(ctx context.Context) error {
	if h.probe == "" {
		return nil
	}
	h.probing.Lock()
	defer h.probing.Unlock()
	if age := time.Since(h.probed); h.probed.IsZero() || age >= probeEvery || age < 0 {
		// Not bound to the one who asks: others get the answer too.
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		asked := h.now()
		msg := &nats.Msg{Subject: h.probe, Data: []byte(h.now().UTC().Format(time.RFC3339Nano))}
		_, err := h.js.PublishMsg(within, msg, jetstream.WithRetryAttempts(0))
		h.probed, h.found = time.Now(), nil
		if err != nil {
			h.found = fmt.Errorf("NATS does not store what it is given: %s", explain(err))
		} else {
			h.roomSince(asked)
		}
	}
	return h.found
}

// roomSince forgets that the server was full before: it is full for all streams, or
// for none.
func (h *Health) roomSince(asked time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.faults, func(_ string, f *lasting) bool { return FaultOf(f.err) == FaultStorage && f.last.Before(asked) })
}

// explain says what an error means, for people.
func explain(err error) string {
	f := FaultOf(err)
	if f == NoFault {
		return err.Error()
	}
	return f.String() + " (" + f.Advice() + ")"
}
