package subscription

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/stream"
)

// What a Store answers when it cannot do what it is asked.
var (
	ErrNotFound = errors.New("subscription not found")
	ErrExists   = errors.New("subscription exists already")
	ErrConflict = errors.New("subscription was changed by another request")
)

// A Store keeps subscriptions in the key-value bucket, their secrets sealed. Every
// change names the revision that it changes, so that of two at the same time one
// fails. It is safe for concurrent use.
type Store struct {
	js      jetstream.JetStream
	layout  stream.Layout
	keyring *keyring.Keyring
	log     *zap.Logger

	kv *stream.Bucket

	leader bool // see ReadingLeader
}

// NewStore makes a store. The bucket is looked up when it is first needed; it is
// made by stream.Layout.Ensure.
func NewStore(js jetstream.JetStream, layout stream.Layout, keyring *keyring.Keyring, log *zap.Logger) *Store {
	return &Store{js: js, kv: stream.NewBucket(js, layout.SubscriptionsBucket()), layout: layout, keyring: keyring, log: log.Named("subscription")}
}

// ReadingLeader returns the same store, but one that asks the leader of the bucket:
// what it reads is never older than a write that was answered before, through whichever process
// it was made. Its connection must be allowed to (stream.RoleControl).
func (s *Store) ReadingLeader() *Store {
	return &Store{js: s.js, kv: s.kv, layout: s.layout, keyring: s.keyring, log: s.log, leader: true}
}

// Keyring is what the store seals secrets with.
func (s *Store) Keyring() *keyring.Keyring { return s.keyring }

// requestTimeout bounds one read or write: an answer that was lost with the
// connection never comes, however long the caller would wait.
const requestTimeout = 5 * time.Second

func (s *Store) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.kv.Open(ctx)
}

// Create stores a new subscription, with its defaults filled in, and returns it as
// it is stored. Its queue must exist already (Layout.QueueFor, EnsureQueue), or
// its first deliveries have no home. ErrExists; a *ValidationError when it could
// not work.
func (s *Store) Create(ctx context.Context, sub *Subscription) (*Subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now := time.Now().UTC().Truncate(time.Millisecond)
	created := sub.Clone()
	created.withDefaults(StandardTraits())
	created.CreatedAt, created.UpdatedAt = now, now
	if created.Queue == (stream.Queue{}) {
		created.Queue = s.layout.QueueFor(created.ID)
	}
	if err := created.Validate(Rules{}); err != nil {
		return nil, fmt.Errorf("create subscription %s: %w", plain.Clip(created.ID), err)
	}
	kv, value, err := s.prepare(ctx, created)
	if err != nil {
		return nil, fmt.Errorf("create subscription %s: %w", created.ID, err)
	}
	revision, err := kv.Create(ctx, created.ID, value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		err = ErrExists
	}
	if err != nil {
		return nil, fmt.Errorf("create subscription %s: %w", created.ID, err)
	}
	created.Revision = revision
	s.log.Info("subscription created", zap.String("subscription_id", created.ID), zap.Uint64("revision", revision))
	return created, nil
}

func (s *Store) prepare(ctx context.Context, sub *Subscription) (jetstream.KeyValue, []byte, error) {
	kv, err := s.bucket(ctx)
	if err != nil {
		return nil, nil, err
	}
	value, err := encodeRecord(sub, s.keyring)
	return kv, value, err
}

// Get returns a subscription, which is the caller's to change. ErrNotFound. On a
// cluster it may be a moment old (see ReadingLeader); the revision that a change needs
// tells.
func (s *Store) Get(ctx context.Context, id string) (*Subscription, error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("get subscription %q: %w", plain.Clip(id), ErrNotFound)
	}
	e, err := s.entry(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("get subscription %s: %w", id, err)
	}
	return decodeRecord(id, e.Revision, e.Value, s.keyring)
}

// entry returns the record of a subscription, or ErrNotFound.
func (s *Store) entry(ctx context.Context, id string) (stream.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var e stream.Key
	var err error
	if s.leader {
		e, err = stream.ReadKey(ctx, s.js, s.layout.SubscriptionsStream(), s.layout.SubscriptionKey(id))
	} else if kv, opened := s.bucket(ctx); opened != nil {
		err = opened
	} else if found, got := kv.Get(ctx, id); got != nil {
		err = got
	} else {
		e = stream.Key{Value: found.Value(), Revision: found.Revision()}
	}
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = ErrNotFound
	}
	return e, err
}

// Update stores sub, a changed copy of what Get or a Snapshot returned, provided
// that the record still has sub.Revision. It returns what is stored. ErrConflict
// when it has another one, ErrNotFound when it was deleted, a *ValidationError
// when sub could not work.
func (s *Store) Update(ctx context.Context, sub *Subscription) (*Subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	updated := sub.Clone()
	updated.withDefaults(StandardTraits())
	updated.UpdatedAt = time.Now().UTC().Truncate(time.Millisecond)
	if err := updated.Validate(Rules{}); err != nil {
		return nil, fmt.Errorf("update subscription %s: %w", plain.Clip(sub.ID), err)
	}
	if sub.Revision == 0 || sub.Queue == (stream.Queue{}) { // revision 0 would create
		return nil, fmt.Errorf("update subscription %s: it was not read from the store", sub.ID)
	}
	kv, value, err := s.prepare(ctx, updated)
	if err != nil {
		return nil, fmt.Errorf("update subscription %s: %w", sub.ID, err)
	}
	revision, err := kv.Update(ctx, sub.ID, value, sub.Revision)
	if err != nil {
		return nil, fmt.Errorf("update subscription %s: %w", sub.ID, s.conflict(ctx, sub.ID, err))
	}
	updated.Revision = revision
	s.log.Info("subscription updated", zap.String("subscription_id", sub.ID), zap.Uint64("revision", revision), zap.String("state", string(updated.State)))
	return updated, nil
}

// conflict turns the error of a compare-and-set into ErrConflict or ErrNotFound.
func (s *Store) conflict(ctx context.Context, id string, err error) error {
	if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return err
	}
	if _, err := s.entry(ctx, id); errors.Is(err, ErrNotFound) {
		return ErrNotFound
	}
	return ErrConflict
}

// Change reads a subscription, lets change work on it and stores it, again from
// the start while others change it at the same time. An error of change ends it
// and is returned as it is. What change leaves as it was is not stored again, and
// keeps its revision.
func (s *Store) Change(ctx context.Context, id string, change func(*Subscription) error) (*Subscription, error) {
	return s.ChangeWithin(ctx, id, change, func(_, _ *Subscription, write func() error) error { return write() })
}

// ChangeWithin is Change for who has something to do around each write: within is
// called with the subscription before and after it, which it must not change, has to
// call write, and returns its error. It is not called when there is nothing to write.
func (s *Store) ChangeWithin(ctx context.Context, id string, change func(*Subscription) error,
	within func(before, after *Subscription, write func() error) error,
) (*Subscription, error) {
	for try := 1; ; try++ {
		sub, err := s.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		before := sub.Clone()
		if err := change(sub); err != nil {
			return nil, err
		}
		if same(before, sub) {
			return before, nil
		}
		var updated *Subscription
		err = within(before, sub, func() error {
			var err error
			updated, err = s.Update(ctx, sub)
			return err
		})
		if !errors.Is(err, ErrConflict) || try == changeTries {
			return updated, err
		}
		// What Get returns may be a moment old on a cluster: wait for it to
		// catch up, and out of step with the others.
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("change subscription %s: %w", id, ctx.Err())
		case <-time.After(rand.N(time.Duration(try) * 5 * time.Millisecond)): //nolint:gosec // jitter
		}
	}
}

const changeTries = 50

// Delete removes a subscription and the history of its record, provided that it
// still has that revision; 0 stands for any. ErrNotFound, ErrConflict. Its queue
// is for the caller to delete.
func (s *Store) Delete(ctx context.Context, id string, revision uint64) error {
	if !ValidID(id) {
		return fmt.Errorf("delete subscription %q: %w", plain.Clip(id), ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	kv, err := s.bucket(ctx)
	if err != nil {
		return fmt.Errorf("delete subscription %s: %w", id, err)
	}
	if _, err := s.entry(ctx, id); err != nil {
		return fmt.Errorf("delete subscription %s: %w", id, err)
	}
	var opts []jetstream.KVDeleteOpt
	if revision != 0 {
		opts = append(opts, jetstream.LastRevision(revision))
	}
	// Purge, since the records before this one hold the secrets too.
	if err := kv.Purge(ctx, id, opts...); err != nil {
		return fmt.Errorf("delete subscription %s: %w", id, s.conflict(ctx, id, err))
	}
	s.log.Info("subscription deleted", zap.String("subscription_id", id))
	return nil
}

// Broken is a stored record that cannot be used. No event matches it, and nothing
// of it is delivered.
type Broken struct {
	ID       string
	Revision uint64
	Err      error
}
