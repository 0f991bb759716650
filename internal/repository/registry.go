package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
)

// A Registry has the repositories as they are now, and changes them. While the bucket
// cannot be read, what was known last stays. It is safe for concurrent use.
type Registry struct {
	js       jetstream.JetStream
	bucket   string
	follower *follow.Follower
	log      *zap.Logger
	current  atomic.Pointer[Table]
}

// New makes a Registry, which is empty until Run has read the bucket. The connection of
// js needs the permissions of stream.RoleView, and to change anything those of
// stream.RoleControl.
func New(js jetstream.JetStream, layout stream.Layout, log *zap.Logger) *Registry {
	r := &Registry{js: js, bucket: layout.RepositoriesBucket(), log: log.Named("repository")}
	r.current.Store(&Table{})
	r.follower = follow.New(follow.Config{Bucket: r.bucket, Apply: r.apply}, js, r.log)
	return r
}

// Run keeps the registry up to date until ctx ends. It returns an error only when the
// connection was closed for good. It can be called once.
func (r *Registry) Run(ctx context.Context) error { return r.follower.Run(ctx) }

// Current returns the registry as far as it is known here.
func (r *Registry) Current() *Table { return r.current.Load() }

// Len is how many repositories there are, as far as it is known here.
func (r *Registry) Len() int { return r.Current().Len() }

// ClassOf is Table.ClassOf as far as it is known here, for packages without Class.
func (r *Registry) ClassOf(key string) (string, bool) {
	class, known := r.Current().ClassOf(key)
	return string(class), known
}

// Sync returns the registry with every change that was acknowledged before the call.
func (r *Registry) Sync(ctx context.Context) (*Table, error) {
	if err := r.follower.Sync(ctx); err != nil {
		return nil, err
	}
	return r.Current(), nil
}

// apply makes a table of what is in the bucket. A record that cannot be read is left
// out: its repository counts as not registered.
func (r *Registry) apply(entries map[string]follow.Entry, _ uint64) {
	last, next := r.Current(), &Table{repositories: make(map[string]Repository, len(entries))}
	known := make(map[uint64]Repository, last.Len())
	for _, repository := range last.repositories {
		known[repository.revision] = repository
	}
	for name, e := range entries {
		if name == stream.RepositoriesOrigin {
			next.Origin, next.originRevision = string(e.Value), e.Revision
			continue
		}
		repository, ok := known[e.Revision]
		if !ok || stream.RepositoryRecord(repository.Key) != name || !repository.stored.Equal(e.Stored) {
			repository = Repository{}
			if err := json.Unmarshal(e.Value, &repository); err != nil || repository.validate() != nil || stream.RepositoryRecord(repository.Key) != name {
				r.log.Error("a registered repository cannot be read", zap.String("record", name), zap.Error(err))
				continue
			}
			repository.revision, repository.stored = e.Revision, e.Stored
		}
		next.repositories[repository.Key] = repository
	}
	r.current.Store(next)
}

const (
	changeTries    = 20
	requestTimeout = 5 * time.Second
)

// A Change returns the new state of a repository from the current one; nil means none.
// It is called again when another client was faster. Its errors are returned as they are.
type Change func(old *Repository) (*Repository, error)

// Change changes a repository, and returns when it is stored and known here. ErrInvalid,
// ErrClass for another class, ErrNotFound for the deletion of one that is not there. What
// change leaves as it was is not stored again, and keeps its revision.
func (r *Registry) Change(ctx context.Context, key string, change Change) error {
	_, err := r.ChangeWithin(ctx, key, change, func(_, _ *Repository, write func() error) error { return write() })
	return err
}

// ChangeWithin is Change with a function around each write: within is
// called with the repository before and after it, nil where there is none, which it must
// not change; it has to call write, and returns its error. It is not called when there
// is nothing to write. The repository that is stored then is returned, nil after a
// deletion.
func (r *Registry) ChangeWithin(ctx context.Context, key string, change Change,
	within func(before, after *Repository, write func() error) error,
) (stored *Repository, err error) {
	err = r.try(ctx, "repository "+key, func(ctx context.Context, kv jetstream.KeyValue, table *Table) error {
		var old *Repository
		revision := uint64(0)
		if known, ok := table.Get(key); ok {
			old, revision = &known, known.revision
		}
		stored, err = change(old)
		switch {
		case err != nil:
			return err
		case stored == nil && old == nil:
			return fmt.Errorf("repository %q: %w", key, ErrNotFound)
		case stored == nil:
			return within(old, nil, func() error { return kv.Delete(ctx, stream.RepositoryRecord(key), jetstream.LastRevision(revision)) })
		}
		next := *stored
		next.Key, next.revision = key, revision
		stored = &next
		if err := next.validate(); err != nil {
			return err
		}
		value, err := encode(&next)
		switch {
		case err != nil:
			return fmt.Errorf("repository %s: document: %w", key, ErrInvalid)
		case len(value) > stream.MaxRepository:
			return fmt.Errorf("repository %s: %w: it takes %d bytes, at most %d are allowed", key, ErrInvalid, len(value), stream.MaxRepository)
		case old != nil && old.Class != next.Class:
			return fmt.Errorf("%w: it is %s", ErrClass, old.Class)
		case old != nil && next.is(old):
			return nil
		}
		return within(old, stored, func() error {
			next.revision, err = put(ctx, kv, stream.RepositoryRecord(key), value, revision)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return stored, nil
}

// is reports whether it says the same as other.
func (r *Repository) is(other *Repository) bool {
	return r.Key == other.Key && r.Class == other.Class && r.PackageType == other.PackageType && bytes.Equal(r.Document, other.Document)
}

// encode keeps the document as it is, which json.Marshal would escape for HTML.
func encode(r *Repository) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(r)
	return b.Bytes(), err
}

// SetOrigin stores the base URL of the platform; empty: none. ErrInvalid.
func (r *Registry) SetOrigin(ctx context.Context, origin string) error {
	if err := CheckOrigin(origin); err != nil {
		return err
	}
	return r.try(ctx, "base URL", func(ctx context.Context, kv jetstream.KeyValue, table *Table) error {
		if table.Origin == origin {
			return nil
		}
		_, err := put(ctx, kv, stream.RepositoriesOrigin, []byte(origin), table.originRevision)
		return err
	})
}

// put writes a value over the revision that is known, 0: none. It returns the new one.
func put(ctx context.Context, kv jetstream.KeyValue, key string, value []byte, revision uint64) (uint64, error) {
	if revision == 0 {
		return kv.Create(ctx, key, value)
	}
	return kv.Update(ctx, key, value, revision)
}

// try calls write with what is stored now, again while others change it at the same
// time.
func (r *Registry) try(ctx context.Context, what string, write func(context.Context, jetstream.KeyValue, *Table) error) error {
	for try := 1; ; try++ {
		table, err := r.Sync(ctx)
		if err != nil {
			return fmt.Errorf("change %s: %w", what, err)
		}
		err = func() error {
			limited, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			kv, err := r.js.KeyValue(limited, r.bucket)
			if err != nil {
				return fmt.Errorf("open bucket %s: %w", r.bucket, err)
			}
			return write(limited, kv, table)
		}()
		conflict := errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
		switch {
		case err == nil:
			_, _ = r.Sync(ctx) // so that it is known here at once; others learn it a moment later
			return nil
		case !conflict:
			return fmt.Errorf("change %s: %w", what, err)
		case try == changeTries:
			return fmt.Errorf("change %s: %w", what, ErrConflict)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("change %s: %w", what, ctx.Err())
		case <-time.After(rand.N(time.Duration(try) * 5 * time.Millisecond)): //nolint:gosec // jitter
		}
	}
}
