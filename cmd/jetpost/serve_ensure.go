package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/admin/upkeep"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/schemas"
)

const (
	// ensureEvery is between two tries while something is in the way.
	ensureEvery = time.Second
	// ensureTimeout bounds one try: a stream whose files are damaged may never answer.
	ensureTimeout = 30 * time.Second
)

// newInventory is the list of streams. Only an admin keeps it.
func (c *serveCmd) newInventory(js jetstream.JetStream, layout stream.Layout, log *zap.Logger) *inventory.Inventory {
	cfg := inventory.Config{Reader: !c.has(roleAdmin)}
	if !cfg.Reader {
		name := "installation.json"
		if c.Prefix != "" {
			name = "installation-" + c.Prefix + ".json"
		}
		cfg.File, cfg.Alone = filepath.Join(c.Data, name), c.alone
	}
	return inventory.New(cfg, js, layout, log)
}

// An ensuring makes sure that all streams are there before anything works with them.
type ensuring struct {
	*serveCmd // the settings

	js         jetstream.JetStream
	layout     stream.Layout
	streams    *inventory.Inventory
	domains    []string
	registered atomic.Pointer[schemas.Live] // nil: they are not known yet; requests read it
	log        *zap.Logger

	mu       sync.Mutex
	restored []stream.RestoredConsumer // when nothing works yet

	opened   bool
	accepted bool // --accept-loss was followed
}

// errHeld is wrapped by the reason why jetpost waits for an operator.
var errHeld = errors.New("a loss blocks the start until it is accepted")

// ensure creates what is missing in NATS, if this process is an admin, or waits
// until an admin has. Where something is lost that should be there, it waits until
// that is accepted.
func (n *ensuring) ensure(ctx context.Context, front *frontHandler, desk *upkeep.Storage) error {
	for waited := false; ; waited = true {
		err := n.try(ctx, desk)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		held := errors.Is(err, errHeld)
		// What the server refuses, or does not answer, because its files are damaged, is
		// logged while the process keeps waiting. Every other error ends the start.
		_, refused := errors.AsType[*jetstream.APIError](err)
		if n.NATS == "" && !held && !refused && stream.FaultOf(err) == stream.NoFault {
			return err
		}
		front.waitFor(err)
		if !waited {
			n.log.Error("startup is waiting", zap.Error(err))
			if n.listening != nil && held {
				n.listening("")
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(ensureEvery):
		}
	}
}

func (n *ensuring) try(ctx context.Context, desk *upkeep.Storage) error {
	ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
	defer cancel()
	if n.opened && n.has(roleAdmin) {
		if err := n.streams.Check(ctx, false); err != nil {
			return err
		}
	}
	if !n.opened || !n.has(roleAdmin) {
		if err := n.streams.Open(ctx); err != nil {
			return err
		}
		n.opened = true
	}
	if err := n.accept(ctx, desk); err != nil {
		return err
	}
	if len(n.streams.Blocking()) > 0 {
		return fmt.Errorf("%w: %w", errHeld, n.streams.Ready(ctx))
	}
	if n.has(roleAdmin) {
		return n.restore(ctx)
	}
	needed := []string{n.layout.SubscriptionsBucket(), n.layout.CatalogBucket()}
	if n.has(roleProducer) {
		needed = append(needed, n.layout.TokensBucket(), n.layout.RepositoriesBucket())
	}
	for _, bucket := range needed {
		if _, err := n.js.KeyValue(ctx, bucket); err != nil {
			return err
		}
	}
	return nil
}

// accept follows --accept-loss, once.
func (n *ensuring) accept(ctx context.Context, desk *upkeep.Storage) error {
	if n.accepted || len(n.AcceptLoss) == 0 || !n.has(roleAdmin) {
		return nil
	}
	ctx = access.With(ctx, access.Principal{})
	_, unknown := n.streams.Pending(n.AcceptLoss)
	for _, name := range unknown {
		n.log.Warn("--accept-loss names a stream without a known loss: jetpost storage shows the losses", zap.String("stream", name))
	}
	known, _ := n.streams.Pending(n.AcceptLoss)
	for _, loss := range known {
		if _, err := desk.Accept(ctx, "--accept-loss", loss.Stream); err != nil {
			return err
		}
	}
	n.accepted = true
	return nil
}

// restore makes what is missing and may be made, and puts it on the list.
func (n *ensuring) restore(ctx context.Context) error {
	if err := n.layout.EnsureKnown(ctx, n.js, n.domains, n.known()); err != nil {
		return err
	}
	if registered := n.registered.Load(); registered != nil {
		return n.ensureRegistered(ctx, registered)
	}
	return n.streams.Note(ctx)
}

// known is what is known of the streams, and of their files where they are this process's.
func (n *ensuring) known() stream.Known {
	known := n.streams.Known()
	known.Restored = func(r stream.RestoredConsumer) {
		n.mu.Lock()
		n.restored = append(n.restored, r)
		n.mu.Unlock()
	}
	if n.NATS == "" {
		known.Kept = func(name string) bool { return embedded.KeepsMessages(filepath.Join(n.Data, "nats"), name) }
	}
	return known
}

// ensureRegistered makes sure of the event logs of registered domains, also after a
// restore from a backup that did not have them.
func (n *ensuring) ensureRegistered(ctx context.Context, registered *schemas.Live) error {
	now, err := registered.Sync(ctx)
	if err != nil {
		return err
	}
	known := n.known()
	g, limited := errgroup.WithContext(ctx)
	g.SetLimit(8) // as Layout.Ensure
	for _, domain := range now.Names() {
		g.Go(func() error { return n.layout.EnsureKnownEventLog(limited, n.js, domain, known) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return n.streams.Note(ctx)
}

// suspected are the streams that the embedded server has reported as damaged. Its
// reports start before they have a receiver.
type suspected struct {
	mu    sync.Mutex
	names []string
	next  func(string)

	discarded [][2]string // consumers whose state is damaged, by stream
}

// discard records a consumer that starts over.
func (s *suspected) discard(name, consumer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discarded = append(s.discarded, [2]string{name, consumer})
}

// passDiscarded passes the consumers that start over to next.
func (s *suspected) passDiscarded(next func(name, consumer string)) {
	s.mu.Lock()
	discarded := s.discarded
	s.discarded = nil
	s.mu.Unlock()
	for _, d := range discarded {
		next(d[0], d[1])
	}
}

func (s *suspected) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		s.next(name)
	} else if !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
}

// pass passes all streams to next, and later ones.
func (s *suspected) pass(next func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
	for _, name := range s.names {
		next(name)
	}
}
