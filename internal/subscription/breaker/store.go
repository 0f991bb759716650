package breaker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// ErrOvertaken says that a record is no longer what it was.
var ErrOvertaken = errors.New("the breaker has changed meanwhile")

// Read returns the record of a subscription and its revision; closed and 0 when
// there is none. kv is the state bucket.
func Read(ctx context.Context, kv jetstream.KeyValue, id string) (Record, uint64, error) {
	e, err := kv.Get(ctx, stream.StateBreaker(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Record{State: Closed}, 0, nil
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("read breaker of subscription %s: %w", id, err)
	}
	return Parse(e.Value()), e.Revision(), nil
}

// Parse reads a stored record. One that cannot be read is closed: it fails open,
// since the next failures write it anew.
func Parse(value []byte) Record {
	var r Record
	if json.Unmarshal(value, &r) != nil || r.State != Open && r.State != HalfOpen {
		r.State = Closed
	}
	return r
}

// Write stores r over the record of that revision; 0 is none. It returns the new
// revision, or ErrOvertaken.
func Write(ctx context.Context, kv jetstream.KeyValue, id string, r *Record, over uint64) (uint64, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	var revision uint64
	if over == 0 {
		revision, err = kv.Create(ctx, stream.StateBreaker(id), value)
	} else {
		revision, err = kv.Update(ctx, stream.StateBreaker(id), value, over)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch), errors.Is(err, jetstream.ErrKeyExists):
		return 0, ErrOvertaken
	case err != nil:
		return 0, fmt.Errorf("write breaker of subscription %s: %w", id, err)
	}
	return revision, nil
}

// Change stores what change makes of the record, as often as it takes. change says
// whether there is something to store.
func Change(ctx context.Context, kv jetstream.KeyValue, id string, change func(Record) (Record, bool)) (Record, error) {
	for {
		r, revision, err := Read(ctx, kv, id)
		if err != nil {
			return Record{}, err
		}
		next, wanted := change(r)
		if !wanted {
			return r, nil
		}
		_, err = Write(ctx, kv, id, &next, revision)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, ErrOvertaken) || ctx.Err() != nil {
			return Record{}, err
		}
	}
}
