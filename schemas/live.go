package schemas

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
)

// A Live has the catalogue as it is now: the domains that were loaded, and those
// that are registered in the catalog bucket, and follows changes. Each change makes
// a new Catalogue, which is swapped in whole. While the bucket cannot be read, the
// last one stays. Use NewLive.
type Live struct {
	base     *Catalogue
	layout   stream.Layout
	follower *follow.Follower
	log      *zap.Logger

	current atomic.Pointer[Catalogue]
	read    map[string]*reading // by domain; of apply, which is called by one goroutine

	mu      sync.Mutex
	changed chan struct{} // closed when there is a newer catalogue
}

// A reading is what became of a record.
type reading struct {
	entry  follow.Entry
	domain *loaded // nil when err is not
	err    error
}

// NewLive makes a Live, which has the domains of base until Run has read the
// bucket. prefix is the installation's --prefix, empty for none. The connection
// of js needs the NATS permissions of the role view (docs/operations.md). A nil log is
// none.
func NewLive(base *Catalogue, js jetstream.JetStream, prefix string, log *zap.Logger) (*Live, error) {
	layout, err := stream.NewLayout(stream.LayoutConfig{Prefix: prefix})
	if err != nil {
		return nil, fmt.Errorf("follow registered domains: %w", err)
	}
	if log == nil {
		log = zap.NewNop()
	}
	l := &Live{base: base, layout: layout, log: log.Named("schemas"), read: map[string]*reading{}, changed: make(chan struct{})}
	l.current.Store(base)
	l.follower = follow.New(follow.Config{Bucket: layout.CatalogBucket(), Apply: l.apply}, js, l.log)
	return l, nil
}

// Run keeps the catalogue up to date until ctx ends. It returns an error only when
// the connection was closed for good. It can be called once.
func (l *Live) Run(ctx context.Context) error { return l.follower.Run(ctx) }

// Current returns the catalogue as far as it is known here.
func (l *Live) Current() *Catalogue { return l.current.Load() }

// Sync returns a catalogue that has every change which was acknowledged before the
// call. Calls share requests to the server, of which there is at most one in 20 ms
// (but for the first few), however many call. While the server does not answer it
// waits, until ctx ends or Run does.
func (l *Live) Sync(ctx context.Context) (*Catalogue, error) {
	if err := l.follower.Sync(ctx); err != nil {
		return nil, err
	}
	return l.Current(), nil
}

// Changed returns a channel that is closed when there is a newer catalogue.
func (l *Live) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// apply makes a catalogue of what is in the bucket.
func (l *Live) apply(entries map[string]follow.Entry, revision uint64) {
	read := make(map[string]*reading, len(entries))
	next := l.base
	var broken []Broken
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		r := l.reading(name, entries[name])
		read[name] = r
		err := r.err
		if err == nil {
			var found problems
			if next = next.with(r.domain, &found); len(found) > 0 {
				err = &LoadError{Problems: found}
			}
		}
		if err != nil {
			broken = append(broken, Broken{name, entries[name].Revision, err})
		}
	}
	l.read = read
	next = next.without("")
	next.broken, next.revision = broken, revision
	l.report(next)
	l.current.Store(next)
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// reading reads a record, unless that was done before.
func (l *Live) reading(name string, e follow.Entry) *reading {
	if known, ok := l.read[name]; ok && known.entry.Revision == e.Revision && known.entry.Stored.Equal(e.Stored) {
		return known
	}
	r := &reading{entry: e}
	r.domain, r.err = decodeRecord(name, e.Value, e.Revision)
	return r
}

// report logs what is new, once.
func (l *Live) report(next *Catalogue) {
	last := l.Current()
	for _, b := range next.broken {
		if !slices.ContainsFunc(last.broken, func(o Broken) bool { return o.Domain == b.Domain && o.Revision == b.Revision }) {
			l.log.Error("registered domain cannot be used, its events are refused", zap.String("domain", b.Domain), zap.Uint64("revision", b.Revision), zap.Error(b.Err))
		}
	}
	before, now := last.Names(), next.Names()
	known := func(names []string) func(string) bool {
		return func(name string) bool { return slices.Contains(names, name) }
	}
	added := slices.DeleteFunc(slices.Clone(now), known(before))
	removed := slices.DeleteFunc(slices.Clone(before), known(now))
	if len(added)+len(removed) > 0 {
		l.log.Info("domains have changed", zap.Strings("added", added), zap.Strings("removed", removed))
	}
}
