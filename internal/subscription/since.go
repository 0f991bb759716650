package subscription

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// WantsSince is since when a subscription wants the same events as now, as far back as
// the bucket has its earlier revisions.
func (s *Store) WantsSince(ctx context.Context, id string) (time.Time, error) {
	kv, err := s.bucket(ctx)
	if err != nil {
		return time.Time{}, err
	}
	history, err := kv.History(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return time.Time{}, fmt.Errorf("get subscription %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read earlier revisions of subscription %s: %w", id, err)
	}
	var now *Subscription
	var since time.Time
	for _, entry := range slices.Backward(history) {
		if entry.Operation() != jetstream.KeyValuePut {
			break
		}
		then, err := decodeRecord(id, entry.Revision(), entry.Value(), s.keyring)
		if err != nil {
			break // it is not known what it wanted then
		}
		if now == nil {
			now = then
		}
		if !reflect.DeepEqual(now.Types, then.Types) || !reflect.DeepEqual(now.Filters, then.Filters) || now.State.Matches() != then.State.Matches() {
			break
		}
		since = then.UpdatedAt
	}
	if now == nil {
		return time.Time{}, fmt.Errorf("get subscription %s: %w", id, ErrNotFound)
	}
	return since, nil
}
