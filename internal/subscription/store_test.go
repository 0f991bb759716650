package subscription

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription/validation/validationtest"
)

// startStore returns a store on a server of its own.
func startStore(t *testing.T) (*streamtest.Server, *Store) {
	t.Helper()
	server := streamtest.New(t)
	createBucket(t, server.JS(), server.Layout)
	return server, NewStore(server.JS(), server.Layout, testKeyring(t), zap.NewNop())
}

// createBucket makes the bucket as Layout.Ensure does, without the rest.
func createBucket(t *testing.T, js jetstream.JetStream, layout stream.Layout) jetstream.KeyValue {
	t.Helper()
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: layout.SubscriptionsBucket(), History: 5})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func create(t *testing.T, store *Store, s *Subscription) *Subscription {
	t.Helper()
	created, err := store.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func TestStoreLife(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	ctx := t.Context()
	wanted := example(t, "ci")
	created := create(t, store, wanted)
	if created.Queue != server.Layout.QueueFor("ci") || created.Revision == 0 || created.CreatedAt.IsZero() || wanted.Revision != 0 {
		t.Errorf("created: %+v", created)
	}
	got, err := store.Get(ctx, "ci")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(created, got); diff != "" {
		t.Errorf("read back (-created +got):\n%s", diff)
	}
	if got.Endpoint.Query.Reveal() != "token=swordfish" || got.Endpoint.SecretHeaders["Authorization"].Reveal() != "Bearer swordfish" ||
		len(got.ActiveSecrets(time.Now())) != 1 {
		t.Error("secrets are lost")
	}
	if _, err := store.Create(ctx, example(t, "ci")); !errors.Is(err, ErrExists) {
		t.Errorf("create again: got %v, want ErrExists", err)
	}

	got.State, got.StateReason = Paused, "maintenance"
	updated, err := store.Update(ctx, got)
	if err != nil {
		t.Fatal(err)
	}
	if updated.Revision <= created.Revision || updated.UpdatedAt.Before(created.UpdatedAt) || got.Revision != created.Revision {
		t.Errorf("updated: %+v", updated)
	}
	if _, err := store.Update(ctx, got); !errors.Is(err, ErrConflict) {
		t.Errorf("update of an old revision: got %v, want ErrConflict", err)
	}
	if err := store.Delete(ctx, "ci", created.Revision); !errors.Is(err, ErrConflict) {
		t.Errorf("delete of an old revision: got %v, want ErrConflict", err)
	}
	if err := store.Delete(ctx, "ci", updated.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(ctx, "ci"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get after delete: got %v, want ErrNotFound", err)
	}
	if _, err := store.Update(ctx, updated); !errors.Is(err, ErrNotFound) {
		t.Errorf("update after delete: got %v, want ErrNotFound", err)
	}
	if err := store.Delete(ctx, "ci", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete again: got %v, want ErrNotFound", err)
	}
	if _, err := store.Change(ctx, "ci", func(*Subscription) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("change after delete: got %v, want ErrNotFound", err)
	}
	again := create(t, store, example(t, "ci"))
	if again.Revision <= updated.Revision || again.State != Active {
		t.Errorf("created after delete: %+v", again)
	}
	if err := store.Delete(ctx, "ci", 0); err != nil {
		t.Errorf("delete of any revision: %v", err)
	}
}

func TestStoreRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	_, store := startStore(t)
	bad := example(t, "ci")
	bad.Endpoint.URL = "ftp://example.com"
	_, err := store.Create(t.Context(), bad)
	validationtest.Want(t, err, "endpoint.url: must start with https://")
	good := create(t, store, example(t, "ci"))
	bad.Revision, bad.Queue = good.Revision, good.Queue
	_, err = store.Update(t.Context(), bad)
	validationtest.Want(t, err, "endpoint.url: must start with https://")
	if _, err := store.Update(t.Context(), example(t, "new")); err == nil || !strings.Contains(err.Error(), "was not read from the store") {
		t.Errorf("update of what was never stored: got %v", err)
	}
	for _, id := range []string{"", "*", ">", "a.b", "A", "a b"} {
		if _, err := store.Get(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("get %q: got %v, want ErrNotFound", id, err)
		}
		if err := store.Delete(t.Context(), id, 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("delete %q: got %v, want ErrNotFound", id, err)
		}
	}
}

func TestStoreSealsSecrets(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	created := create(t, store, example(t, "ci"))
	for range 3 {
		var err error
		if created, err = store.Change(t.Context(), "ci", func(s *Subscription) error {
			_, err := s.Rotate(StandardTraits(), time.Now(), time.Hour, keyring.Secret{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	secrets := []string{"swordfish"}
	for _, key := range created.Secrets {
		raw, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, strings.TrimPrefix(key.Secret.Reveal(), "whsec_"), string(raw), base64.StdEncoding.EncodeToString([]byte(key.Secret.Reveal())))
	}
	s, err := server.JS().Stream(t.Context(), server.Layout.SubscriptionsStream())
	if err != nil {
		t.Fatal(err)
	}
	for seq := created.Revision; seq > 0; seq-- {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if bytes.Contains(m.Data, []byte(secret)) {
				t.Errorf("record %d shows a secret: %s", seq, m.Data)
			}
		}
	}
	// Deletion takes the history with it.
	if err := store.Delete(t.Context(), "ci", 0); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("after deletion %d records are left, %v, want the mark only", info.State.Msgs, err)
	}
}

func TestStoreWithAnotherKeyring(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	create(t, store, example(t, "ci"))
	other := NewStore(server.JS(), server.Layout, testKeyring(t), zap.NewNop())
	_, err := other.Get(t.Context(), "ci")
	if !errors.Is(err, keyring.ErrKeyring) || !strings.Contains(err.Error(), "subscription ci") || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("got %v, want ErrKeyring that names the subscription", err)
	}
}

// TestStoreRecordsThatWereTamperedWith moves sealed secrets about.
func TestStoreRecordsThatWereTamperedWith(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	kv, err := server.JS().KeyValue(t.Context(), server.Layout.SubscriptionsBucket())
	if err != nil {
		t.Fatal(err)
	}
	create(t, store, example(t, "ci"))
	create(t, store, example(t, "cd"))
	entry, err := kv.Get(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	original := string(entry.Value())
	for name, value := range map[string]string{
		"record of another":   original,
		"secrets of another":  strings.Replace(original, `"id":"ci"`, `"id":"cd"`, 1),
		"secret in the clear": strings.Replace(strings.Replace(original, `"id":"ci"`, `"id":"cd"`, 1), `"query":"[secret]"`, `"query":"a=b"`, 1),
		"unknown dialect":     `{"id":"cd","filters":[{"regexp":"true"}],"endpoint":{"url":"https://example.com"},"queue":{"stream":"a","subject":"b"}}`,
		"empty filter":        `{"id":"cd","filters":[{"exact":{}}],"endpoint":{"url":"https://example.com"},"queue":{"stream":"a","subject":"b"}}`,
		"no queue":            `{"id":"cd","endpoint":{"url":"https://example.com"}}`,
		"not JSON":            `swordfish`, "nothing": ``, "null": `null`,
	} {
		if _, err := kv.Put(t.Context(), "cd", []byte(value)); err != nil {
			t.Fatal(err)
		}
		if s, err := store.Get(t.Context(), "cd"); err == nil || !strings.Contains(err.Error(), "subscription cd") {
			t.Errorf("%s: got %+v, %v, want an error", name, s, err)
		}
	}
	// What a later version adds does not hurt.
	var record map[string]any
	if err := json.Unmarshal([]byte(original), &record); err != nil {
		t.Fatal(err)
	}
	record["rate"] = "10/s"
	b, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "ci", b); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), "ci"); err != nil {
		t.Errorf("an unknown field: %v", err)
	}
}

func TestStoreConcurrentChanges(t *testing.T) {
	t.Parallel()
	server, first := startStore(t)
	create(t, first, example(t, "ci"))
	stores := []*Store{first, NewStore(server.JS(), server.Layout, first.keyring, zap.NewNop())}
	const writers, changes = 6, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range changes {
				_, err := stores[w%2].Change(t.Context(), "ci", func(s *Subscription) error {
					s.Description += fmt.Sprintf("%d.%d ", w, n)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s, err := first.Get(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	if got := len(strings.Fields(s.Description)); got != writers*changes {
		t.Errorf("got %d changes, want %d: %s", got, writers*changes, s.Description)
	}
	refusal := errors.New("no")
	if _, err := first.Change(t.Context(), "ci", func(*Subscription) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("a change that refuses: got %v", err)
	}
}

func TestStoreConcurrentCreates(t *testing.T) {
	t.Parallel()
	_, store := startStore(t)
	results := make(chan error, 8)
	for range cap(results) {
		go func() {
			_, err := store.Create(t.Context(), example(t, "ci"))
			results <- err
		}()
	}
	var created int
	for range cap(results) {
		switch err := <-results; {
		case err == nil:
			created++
		case !errors.Is(err, ErrExists):
			t.Errorf("got %v, want ErrExists", err)
		}
	}
	if created != 1 {
		t.Errorf("%d were created, want 1", created)
	}
}

func TestStoreWithoutBucket(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	store := NewStore(server.JS(), server.Layout, testKeyring(t), zap.NewNop())
	if _, err := store.Get(t.Context(), "ci"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("without a bucket: got %v", err)
	}
	createBucket(t, server.JS(), server.Layout)
	if _, err := store.Get(t.Context(), "ci"); !errors.Is(err, ErrNotFound) {
		t.Errorf("once there is one: got %v, want ErrNotFound", err)
	}
}
