package schemas

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/schema/wording"
	"github.com/jetpost/jetpost/internal/stream"
)

// What a Store answers when it cannot do what it is asked.
var (
	ErrNotFound = errors.New("domain not found")
	ErrConflict = errors.New("domain was changed by another client")
	// ErrReserved is wrapped by the error for a domain that is not registered: it
	// comes with jetpost, or from a folder.
	ErrReserved = errors.New("domain cannot be changed at run time")
	// ErrHasEvents is wrapped by the error for the deletion of a domain whose event
	// log is not empty.
	ErrHasEvents = errors.New("domain has events")
)

// An IncompatibleError says why a new version of a domain is refused.
type IncompatibleError struct {
	Domain   string
	Problems []Incompatibility // at least one
}

// Error names all places in one line.
func (e *IncompatibleError) Error() string {
	problems := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		problems[i] = p.String()
	}
	return "domain " + e.Domain + " would refuse events that it accepted: " + strings.Join(problems, "; ")
}

// A Store keeps registered domains in the catalog bucket.
//
// Every write is made on condition that nothing at all was written to the bucket
// since the catalogue it was checked against: two domains that are registered at
// the same time cannot take the same types.
type Store struct {
	js     jetstream.JetStream
	layout stream.Layout // that of live
	live   *Live
	log    *zap.Logger
	within Within
}

// A Within has something to do around a write: it is called with the domain before and
// after it, nil where there is none, has to call write, and returns its error. What
// could not be read is a Domain with its name only.
type Within func(ctx context.Context, before, after *Domain, write func() error) error

// Within has each write made within w. To be called before the store is used.
func (s *Store) Within(w Within) *Store {
	s.within = w
	return s
}

// NewStore makes a store, of the installation of live, which the caller must keep
// running. The connection of js needs the NATS permissions of the role control
// (docs/operations.md). A nil log is none.
func NewStore(js jetstream.JetStream, live *Live, log *zap.Logger) *Store {
	if log == nil {
		log = zap.NewNop()
	}
	return &Store{
		js: js, layout: live.layout, live: live, log: log.Named("schemas"),
		within: func(_ context.Context, _, _ *Domain, write func() error) error { return write() },
	}
}

// PutOptions change what Put does.
type PutOptions struct {
	// Revision, if not nil, is that which the domain must have; 0 for none. Otherwise
	// Put fails with ErrConflict.
	Revision *uint64
	// May, if not nil, is asked with the revision that the domain has, 0 for none, each
	// time that it may have changed. Put returns its error as it is.
	May func(revision uint64) error
	// Force stores a version that is not compatible.
	Force bool
	// DryRun finds out what would change, and changes nothing.
	DryRun bool
	// StoredEvents is how many of the last stored events the new version is held against,
	// at most MaxStoredEvents; -1: none. Default: DefaultStoredEvents.
	StoredEvents int
	// Before is called once the version is found good, before anybody can see it: to
	// make its event log. Optional.
	Before func(context.Context) error
}

// A Change is what Put has done, or would do.
type Change struct {
	// Domain as it is, or would be.
	Domain Domain
	// Created is true for a domain that was not there, Unchanged for one that was
	// there exactly like this.
	Created, Unchanged bool
	Comparison
}

const (
	putTries       = 20
	requestTimeout = 5 * time.Second
)

// Put registers a domain, or a new version of it. The error is a *LoadError when
// the files cannot be used, an *IncompatibleError when events that were accepted
// would be refused and that is not forced, or wraps ErrReserved or ErrConflict.
// The Change is there with an *IncompatibleError as well.
func (s *Store) Put(ctx context.Context, name string, files Files, options PutOptions) (*Change, error) {
	var stored storedEvents
	for try := 1; ; try++ {
		catalogue, err := s.live.Sync(ctx)
		if err != nil {
			return nil, fmt.Errorf("register domain %s: %w", wording.Cut(name), err)
		}
		change, value, err := catalogue.plan(ctx, name, files, &options)
		if err != nil {
			return nil, err
		}
		if old, exists := catalogue.Domain(name); exists && !change.Unchanged {
			if err := stored.check(ctx, s, &old, change, options.StoredEvents); err != nil {
				return nil, fmt.Errorf("register domain %s: %w", name, err)
			}
		}
		if options.DryRun {
			return change, nil
		}
		if len(change.Incompatible) > 0 && !options.Force {
			return change, &IncompatibleError{name, change.Incompatible}
		}
		if options.Before != nil {
			if err := options.Before(ctx); err != nil {
				return nil, err
			}
		}
		if change.Unchanged {
			return change, nil
		}
		var before *Domain
		if old, readable := catalogue.Domain(name); readable {
			before = &old
		} else if !change.Created {
			before = &Domain{Name: name}
		}
		err = s.within(ctx, before, &change.Domain, func() error {
			var err error
			change.Domain.Revision, err = s.write(ctx, name, value, catalogue.revision)
			return err
		})
		switch {
		case err == nil:
			s.log.Info("domain registered", zap.String("domain", name), zap.Uint64("revision", change.Domain.Revision),
				zap.Bool("created", change.Created), zap.Bool("forced", len(change.Incompatible) > 0))
			return change, nil
		case !errors.Is(err, ErrConflict) || try == putTries:
			return nil, fmt.Errorf("register domain %s: %w", name, err)
		}
		// Another client wrote to the bucket in between: read it again.
		if err := pause(ctx, try); err != nil {
			return nil, fmt.Errorf("register domain %s: %w", name, err)
		}
	}
}

// pause lets those who collide get out of step.
func pause(ctx context.Context, try int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(time.Duration(try) * 5 * time.Millisecond)): //nolint:gosec // jitter
		return nil
	}
}

// plan finds out what files would change.
func (c *Catalogue) plan(ctx context.Context, name string, files Files, options *PutOptions) (*Change, []byte, error) {
	old, exists := c.Domain(name)
	if exists && !old.Registered() {
		return nil, nil, fmt.Errorf("register domain %s: %w: it %s; choose another name", name, ErrReserved, old.origin())
	}
	current := old.Revision
	for _, b := range c.broken {
		if b.Domain == name {
			current = b.Revision
		}
	}
	if options.Revision != nil && *options.Revision != current {
		return nil, nil, fmt.Errorf("register domain %s: %w: it has revision %d, not %d", wording.Cut(name), ErrConflict, current, *options.Revision)
	}
	if options.May != nil {
		if err := options.May(current); err != nil {
			return nil, nil, err
		}
	}
	var found problems
	d := newDomain(ctx, name, files, false, &found)
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("register domain %s: %w", name, err)
	}
	if len(found) > 0 {
		return nil, nil, &LoadError{Problems: found}
	}
	d.Revision, d.UpdatedAt = current, time.Now().UTC().Truncate(time.Millisecond)
	next := c.with(d, &found)
	if len(found) == 0 && len(next.domains)+len(next.broken) > maxDomains {
		found.add(domainFile, "would be of the domain number %d: use at most %d", len(next.domains)+len(next.broken), maxDomains)
	}
	if len(found) > 0 {
		return nil, nil, &LoadError{Problems: found}
	}
	value, err := encodeRecord(&d.Domain)
	if err != nil {
		return nil, nil, err
	}
	change := &Change{Domain: d.Domain, Created: current == 0}
	switch {
	case exists:
		change.Comparison = Compare(&old, &d.Domain)
		change.Unchanged = sameFiles(old.files, d.files)
		if change.Unchanged {
			change.Domain = old
		}
	case current != 0:
		// What it was cannot be read, so nothing can be compared.
		change.Incompatible = append(change.Incompatible, Incompatibility{"", "", "the version that is registered cannot be read, so they cannot be compared"})
	default:
		change.Comparison = Compare(&Domain{TypePrefix: d.TypePrefix, Validation: d.Validation}, &d.Domain)
	}
	if change.Created {
		c.checkSurroundings(&d.Domain, change)
	}
	return change, value, nil
}

// checkSurroundings finds types that an open domain accepted until now.
func (c *Catalogue) checkSurroundings(d *Domain, change *Change) {
	if owner := c.owner(d.TypePrefix); owner != nil && owner.Open {
		change.Incompatible = append(change.Incompatible, Incompatibility{
			domainFile, "/type_prefix", "takes types from the open domain " + owner.Name + ", which accepted all that begin with " + owner.TypePrefix,
		})
	}
}

func sameFiles(a, b Files) bool {
	if len(a) != len(b) {
		return false
	}
	for name, data := range a {
		if other, ok := b[name]; !ok || string(other) != string(data) {
			return false
		}
	}
	return true
}

// write stores a record if nothing was written to the bucket since revision.
func (s *Store) write(ctx context.Context, name string, value []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ack, err := s.js.Publish(ctx, s.layout.CatalogKey(name), value, jetstream.WithExpectLastSequence(revision))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return 0, ErrConflict
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// Get returns a domain, registered or not, with every change that was acknowledged
// before. ErrNotFound. One that cannot be used is an error that says why.
func (s *Store) Get(ctx context.Context, name string) (Domain, error) {
	c, err := s.live.Sync(ctx)
	if err != nil {
		return Domain{}, fmt.Errorf("get domain %s: %w", wording.Cut(name), err)
	}
	if d, ok := c.Domain(name); ok {
		return d, nil
	}
	for _, b := range c.broken {
		if b.Domain == name {
			return Domain{}, fmt.Errorf("get domain %s: %w", name, b.Err)
		}
	}
	return Domain{}, fmt.Errorf("get domain %s: %w", wording.Cut(name), ErrNotFound)
}

// List returns all domains, registered or not, sorted by name, with every change
// that was acknowledged before.
func (s *Store) List(ctx context.Context) ([]Domain, error) {
	c, err := s.live.Sync(ctx)
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	return c.Domains(), nil
}

// Delete removes a registered domain whose event log is empty; revision, if not 0,
// is that which it must have. ErrNotFound, ErrReserved, ErrConflict, ErrHasEvents.
//
// The event log and the routers' consumer on it stay: an event of a producer that
// has not received the deletion yet is kept, and routed when the domain is
// registered again.
func (s *Store) Delete(ctx context.Context, name string, revision uint64) error {
	d, err := s.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if !d.Registered() {
		return fmt.Errorf("delete domain %s: %w: it %s", name, ErrReserved, d.origin())
	}
	if revision != 0 && revision != d.Revision {
		return fmt.Errorf("delete domain %s: %w: it has revision %d, not %d", name, ErrConflict, d.Revision, revision)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := s.checkEmpty(ctx, name); err != nil {
		return fmt.Errorf("delete domain %s: %w", name, err)
	}
	kv, err := s.js.KeyValue(ctx, s.layout.CatalogBucket())
	if err != nil {
		return fmt.Errorf("delete domain %s: %w", name, err)
	}
	err = s.within(ctx, &d, nil, func() error {
		err := kv.Purge(ctx, name, jetstream.LastRevision(d.Revision))
		if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			err = ErrConflict
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete domain %s: %w", name, err)
	}
	s.log.Info("domain deleted", zap.String("domain", name))
	return nil
}

func (s *Store) checkEmpty(ctx context.Context, name string) error {
	log, err := s.js.Stream(ctx, s.layout.EventLog(name))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("look up its event log: %w", err)
	}
	if n := log.CachedInfo().State.Msgs; n > 0 {
		return fmt.Errorf("%w: %d are kept in its event log", ErrHasEvents, n)
	}
	return nil
}
