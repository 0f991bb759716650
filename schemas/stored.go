package schemas

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/schema/wording"
	"github.com/jetpost/jetpost/internal/stream"
)

// Bounds of holding stored events against a new version.
const (
	// DefaultStoredEvents is how many of the last events are, where nothing else is asked for.
	DefaultStoredEvents = 1000
	// MaxStoredEvents is how many may be asked for.
	MaxStoredEvents = 10_000
	// maxStoredBytes is how much data they may have together: the newest come last, so that
	// with large events it is fewer.
	maxStoredBytes = 64 << 20
)

// A StoredCheck is what holding stored events against a new version has found.
type StoredCheck struct {
	// Checked is how many events were, Refused how many of them the old version accepts
	// and the new one would refuse.
	Checked, Refused int
}

// checkStored holds the last stored events of a domain against next, its new version. The
// first that it would refuse, though old accepts them, are added to c, with their fields.
// It ends with ctx.
func (s *Store) checkStored(ctx context.Context, old, next *Domain, most int, c *Comparison) error {
	if next.Validation != Enforce || most <= 0 {
		return nil // nothing is refused because of a schema
	}
	name := s.layout.EventLog(old.Name)
	log, err := s.js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("look up the event log of domain %s: %w", old.Name, err)
	}
	state := log.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	from := state.FirstSeq
	if n := uint64(most); state.LastSeq >= from+n { //nolint:gosec // it is positive
		from = state.LastSeq - n + 1
	}
	before, after := typesOf(old), typesOf(next)
	left := maxStoredBytes
	for record, err := range stream.Read(ctx, s.js, name, stream.Range{FromSequence: from}) {
		if err != nil {
			return fmt.Errorf("read stored events of domain %s: %w", old.Name, err)
		}
		if left -= len(record.Data); left < 0 {
			break
		}
		c.Stored.Checked++
		e, err := event.FromCheckedMessage(record.Header, record.Data)
		if err != nil {
			continue // which no version has accepted
		}
		c.checkEvent(before[e.Type], after[e.Type], e, record.Sequence)
	}
	return ctx.Err() // which ends Read without an error
}

// checkEvent holds one stored event against the versions of its type. That a type is gone
// is said by the rules.
func (c *Comparison) checkEvent(was, is *Type, e *event.Event, sequence uint64) {
	if is == nil {
		return
	}
	refused := is.check(e.DataContentType, e.Data)
	if refused == nil || was != nil && was.check(e.DataContentType, e.Data) != nil {
		return
	}
	c.Stored.Refused++
	if c.Stored.Refused > wording.MaxProblems {
		return
	}
	p := refused.Problems[0]
	c.Incompatible = append(c.Incompatible, Incompatibility{
		File: is.Event + schemaSuffix, Field: p.Field,
		Message: fmt.Sprintf("of the stored event %s (sequence %d) would be refused: it %s", quote(e.ID), sequence, p.Message),
	})
}

// storedEvents remembers what was found, for a registration that starts over because
// something else was registered meanwhile.
type storedEvents struct {
	revision uint64 // of the version before; 0: nothing was checked
	found    Comparison
}

// check adds to change what stored events say about it.
func (e *storedEvents) check(ctx context.Context, s *Store, old *Domain, change *Change, most int) error {
	if most == 0 {
		most = DefaultStoredEvents
	}
	if e.revision != old.Revision {
		e.found = Comparison{}
		if err := s.checkStored(ctx, old, &change.Domain, min(most, MaxStoredEvents), &e.found); err != nil {
			return err
		}
		e.revision = old.Revision
	}
	change.Stored = e.found.Stored
	change.Incompatible = append(change.Incompatible, e.found.Incompatible...)
	return nil
}

func typesOf(d *Domain) map[string]*Type {
	types := make(map[string]*Type, len(d.Types))
	for i := range d.Types {
		types[d.Types[i].Name] = &d.Types[i]
	}
	return types
}
