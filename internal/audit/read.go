package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// ErrNotFound is wrapped by the error for a record that is not there.
var ErrNotFound = errors.New("audit record not found")

// A Head is where the trail ends.
type Head struct {
	// Sequence of the last record there ever was; 0 when there was none.
	Sequence uint64 `json:"sequence"`
	// Hash of that record. Empty when it is there no more.
	Hash string `json:"hash"`
	// At is when it was written.
	At time.Time `json:"at,omitzero"`
}

// An Entry is a record with its hash.
type Entry struct {
	Record

	// Hash is that of the record as it is stored: see Hash.
	Hash string `json:"hash"`
}

// A Filter says which records to list. The zero value says all.
type Filter struct {
	Action string    // exact, or all of a kind of thing: subscription.*
	Target string    // exact, or all that begin alike: subscriptions/*
	Actor  string    // exact
	From   time.Time // written at this time or later
	To     time.Time // written before this time
}

// Validate says what is wrong with f.
func (f *Filter) Validate() error {
	if f.Action == "" {
		return nil
	}
	if action := strings.TrimSuffix(f.Action, ".*"); !actionPattern.MatchString(action) && !actionPattern.MatchString(action+".x") {
		return errors.New("is not an action: use one like subscription.create, or subscription.*")
	}
	return nil
}

// subject is where records of the action are.
func (f *Filter) subject(layout stream.Layout) string {
	if f.Action == "" {
		return layout.AuditSubject(">")
	}
	if kind, all := strings.CutSuffix(f.Action, ".*"); all {
		return layout.AuditSubject(kind + ".>")
	}
	return layout.AuditSubject(f.Action)
}

func (f *Filter) wants(r *Record) bool {
	if start, all := strings.CutSuffix(f.Target, "*"); f.Target != "" && r.Target != f.Target && (!all || !strings.HasPrefix(r.Target, start)) {
		return false
	}
	return (f.Actor == "" || r.Actor == f.Actor) && (f.From.IsZero() || !r.At.Before(f.From)) && (f.To.IsZero() || r.At.Before(f.To))
}

// Head asks where the trail ends.
func (t *Trail) Head(ctx context.Context) (Head, error) {
	end, err := stream.ReadEnd(ctx, t.js, t.layout.Audit())
	if err != nil {
		return Head{}, err
	}
	head := Head{Sequence: end.Sequence}
	if end.Record != nil {
		head.Hash, head.At = Hash(end.Record.Data), entry(end.Record).At
	}
	return head, nil
}

// Get returns one record. ErrNotFound.
func (t *Trail) Get(ctx context.Context, sequence uint64) (Entry, error) {
	record, err := stream.GetFromLeader(ctx, t.js, t.layout.Audit(), sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || sequence == 0 {
		return Entry{}, fmt.Errorf("audit record %d: %w", sequence, ErrNotFound)
	}
	if err != nil {
		return Entry{}, err
	}
	return entry(record), nil
}

// entry is a record as it is shown. One that cannot be read, which another program must
// have put there, says so.
func entry(stored *stream.Record) Entry {
	r, err := Decode(stored.Data)
	if err != nil {
		r = Record{At: stored.Time.UTC(), Failed: err.Error()}
	}
	r.Sequence = stored.Sequence
	return Entry{Record: r, Hash: Hash(stored.Data)}
}

const (
	// clockSlack is by how much the clock of who writes a record may differ from that
	// of the NATS server.
	clockSlack = 10 * time.Minute
	// firstChunk is how many records of a page are read first, and lastChunk how
	// many at most at a time.
	firstChunk = 256
	lastChunk  = 8192
)

// Latest returns up to limit records, newest first, that are older than the one at
// sequence before (0: from the newest).
func (t *Trail) Latest(ctx context.Context, f *Filter, before uint64, limit int) ([]Entry, error) {
	if !f.To.IsZero() {
		newer, err := t.firstAfter(ctx, f.To.Add(clockSlack))
		if err != nil {
			return nil, err
		}
		if newer > 0 && (before == 0 || newer < before) {
			before = newer
		}
	}
	var found []Entry
	for chunk := max(firstChunk, min(limit, lastChunk)); ; chunk = min(4*chunk, lastChunk) {
		wanted := newest{filter: f, limit: limit - len(found)}
		records, err := stream.LatestLooked(ctx, t.js, t.layout.Audit(), f.subject(t.layout), before, chunk, wanted.look)
		if err != nil {
			return nil, err
		}
		for i := range records {
			if !f.From.IsZero() && records[i].Time.Before(f.From.Add(-clockSlack)) {
				return found, nil
			}
			e, ok := wanted.take(records[i].Sequence)
			if !ok {
				continue
			}
			if found = append(found, e); len(found) == limit {
				return found, nil
			}
		}
		if len(records) < chunk || records[len(records)-1].Sequence <= 1 {
			return found, ctx.Err()
		}
		before = records[len(records)-1].Sequence
	}
}

// newest keeps the newest records that a filter wants, of those that it is shown, oldest
// first. What a search passes over must not fill the memory: a record may have
// hundreds of kilobytes.
type newest struct {
	filter *Filter
	limit  int
	kept   []Entry // oldest first
	last   uint64  // sequence that was shown last
}

func (n *newest) look(record *stream.Record) {
	if record.Sequence <= n.last { // it starts over, further back
		n.kept = nil
	}
	n.last = record.Sequence
	e := entry(record)
	if !n.filter.wants(&e.Record) {
		return
	}
	if len(n.kept) >= n.limit {
		n.kept[0] = Entry{}
		n.kept = n.kept[1:]
	}
	n.kept = append(n.kept, e)
}

// take takes the newest one out, if it is that of a sequence.
func (n *newest) take(sequence uint64) (Entry, bool) {
	if len(n.kept) == 0 || n.kept[len(n.kept)-1].Sequence != sequence {
		return Entry{}, false
	}
	e := n.kept[len(n.kept)-1]
	n.kept = n.kept[:len(n.kept)-1]
	return e, true
}

// firstAfter is the sequence of the first record that was stored at a time or later, 0
// when there is none.
func (t *Trail) firstAfter(ctx context.Context, at time.Time) (uint64, error) {
	for record, err := range stream.Read(ctx, t.js, t.layout.Audit(), stream.Range{FromTime: at, HeadersOnly: true}) {
		return record.Sequence, err
	}
	return 0, ctx.Err()
}

// Follow yields records as they are stored, from sequence on (0: from the oldest),
// until ctx ends.
func (t *Trail) Follow(ctx context.Context, f *Filter, from uint64) iter.Seq2[Entry, error] {
	r := stream.Range{Subject: f.subject(t.layout), FromSequence: from, Follow: true}
	return func(yield func(Entry, error) bool) {
		for record, err := range stream.Read(ctx, t.js, t.layout.Audit(), r) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if e := entry(&record); f.wants(&e.Record) && !yield(e, nil) {
				return
			}
		}
	}
}

// Export yields the records from one sequence to another as they are stored, oldest
// first; 0 stands for the oldest, and for the newest. An error is yielded once, as the
// last thing; the end of ctx is one.
func (t *Trail) Export(ctx context.Context, from, to uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for record, err := range stream.Read(ctx, t.js, t.layout.Audit(), stream.Range{FromSequence: from}) {
			if err != nil {
				yield(nil, err)
				return
			}
			if to > 0 && record.Sequence > to || !yield(record.Data, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}
