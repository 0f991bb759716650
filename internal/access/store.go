package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// What a Store answers when it cannot do what it is asked.
var (
	ErrNotFound = errors.New("token not found")
	ErrConflict = errors.New("token was changed by another client")
	ErrTooMany  = errors.New("there are too many tokens")
)

const (
	maxTokens      = 10_000 // every process with an API keeps all of them
	requestTimeout = 5 * time.Second
)

// A Store keeps tokens in their bucket. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	layout stream.Layout
	live   *Live
	log    *zap.Logger
}

// NewStore makes a store on a connection with the permissions of
// stream.RoleControl. live must be kept running by the caller.
func NewStore(js jetstream.JetStream, layout stream.Layout, live *Live, log *zap.Logger) *Store {
	return &Store{js: js, layout: layout, live: live, log: log.Named("access")}
}

// Make checks a token that is to be created, and gives it its id, its text and the
// time. Nothing is stored. A *FieldError says what is wrong.
func (s *Store) Make(t Token) (made Token, text string, err error) {
	if err := t.validate(); err != nil {
		return Token{}, "", err
	}
	t.ID, text = newText()
	t.hash = hashOf(text)
	t.CreatedAt, t.ExpiresAt = time.Now().UTC().Truncate(time.Millisecond), t.ExpiresAt.UTC()
	t.Domains, t.LastUsed = slices.Clone(t.Domains), time.Time{}
	return t, text, nil
}

// Create stores a token from Make. When it returns, every process with an API lets
// its holder in. ErrTooMany.
func (s *Store) Create(ctx context.Context, t Token) error {
	all, err := s.live.sync(ctx)
	if err == nil && len(all) >= maxTokens {
		err = fmt.Errorf("%w: revoke some of the %d", ErrTooMany, len(all))
	}
	if err != nil {
		return fmt.Errorf("create token: %w", err)
	}
	value, err := t.encode()
	if err != nil {
		return fmt.Errorf("create token: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	kv, err := s.js.KeyValue(ctx, s.layout.TokensBucket())
	if err == nil {
		_, err = kv.Create(ctx, t.ID, value)
	}
	if err != nil {
		return fmt.Errorf("create token: %w", err)
	}
	s.log.Info("token created", zap.String("token_id", t.ID), zap.String("role", string(t.Role)), zap.String("actor", t.CreatedBy))
	return nil
}

// Get returns a token with every change that was acknowledged before. ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Token, error) {
	all, err := s.live.sync(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("get token: %w", err)
	}
	k := all[id]
	if k == nil {
		return Token{}, fmt.Errorf("get token: %w", ErrNotFound) // it may be a text, which must not be shown
	}
	return k.copy(), nil
}

// copy is the caller's to change.
func (k *known) copy() Token {
	t := k.Token
	t.Domains = slices.Clone(t.Domains)
	return t
}

// List returns all tokens, the oldest first, with every change that was acknowledged
// before. A record that cannot be read is invalid and left out.
func (s *Store) List(ctx context.Context) ([]Token, error) {
	all, err := s.live.sync(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	list := make([]Token, 0, len(all))
	for _, k := range all {
		list = append(list, k.copy())
	}
	slices.SortFunc(list, func(a, b Token) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// EveryToken stands for the ids of all tokens.
const EveryToken = "*"

// LastUsed returns when the token of an id, or EveryToken, was last used, by id, as far
// as that was noted.
func (s *Store) LastUsed(ctx context.Context, id string) (map[string]time.Time, error) {
	used := map[string]time.Time{}
	if id != EveryToken && !validID(id) {
		return used, nil
	}
	for r, err := range stream.Read(ctx, s.js, s.layout.StateStream(), stream.Range{Subject: s.layout.StateUsedSubject(id)}) {
		if err != nil {
			return nil, fmt.Errorf("read when tokens were used: %w", err)
		}
		if at, err := time.Parse(time.RFC3339, string(r.Data)); err == nil { // a mark of deletion has none
			used[s.layout.StateUsedToken(r.Subject)] = at
		}
	}
	return used, nil
}

// Replace stores the new name and the new end of a token, which is otherwise as it
// was when it was read. ErrNotFound, ErrConflict, or a *FieldError.
func (s *Store) Replace(ctx context.Context, t Token) (Token, error) {
	if err := t.validate(); err != nil {
		return Token{}, err
	}
	t.ExpiresAt = t.ExpiresAt.UTC()
	value, err := t.encode()
	if err != nil {
		return Token{}, fmt.Errorf("change token %s: %w", t.ID, err)
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	kv, err := s.js.KeyValue(limited, s.layout.TokensBucket())
	if err == nil {
		t.revision, err = kv.Update(limited, t.ID, value, t.revision)
	}
	if err := s.settle(ctx, err); err != nil {
		return Token{}, fmt.Errorf("change token %s: %w", t.ID, err)
	}
	s.log.Info("token changed", zap.String("token_id", t.ID), zap.Uint64("revision", t.revision))
	return t, nil
}

// Revoke deletes a token that was read before: it is invalid from then on, here at
// once and on other processes when they hear of it, within moments. ErrConflict.
func (s *Store) Revoke(ctx context.Context, t Token) error {
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	kv, err := s.js.KeyValue(limited, s.layout.TokensBucket())
	if err == nil {
		err = kv.Purge(limited, t.ID, jetstream.LastRevision(t.revision))
	}
	if err := s.settle(ctx, err); err != nil {
		return fmt.Errorf("revoke token %s: %w", t.ID, err)
	}
	s.log.Info("token revoked", zap.String("token_id", t.ID))
	if state, err := s.js.KeyValue(limited, s.layout.StateBucket()); err == nil {
		_ = state.Purge(limited, stream.StateUsed(t.ID)) // it is small and harmless
	}
	return nil
}

// settle waits until this process knows a change, too, and puts what NATS says in
// our words.
func (s *Store) settle(ctx context.Context, err error) error {
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return ErrConflict
	}
	if err != nil {
		return err
	}
	return s.live.follower.Sync(ctx)
}
