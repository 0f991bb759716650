package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// The reserve is this many messages of this size: 2 MiB. Settling leaves half of them to
// the audit trail, without which nothing could be deleted.
const (
	reserveChunks = 16
	reserveChunk  = 128 << 10
	trailChunks   = reserveChunks / 2
)

// reserveRest is for how long room for settling is not requested again when none was left.
const reserveRest = 2 * time.Second

// ReserveStream is the stream that keeps room for what makes room.
func (l Layout) ReserveStream() string { return l.stream("RESERVE") }

// reserveSubject is the subject of a chunk, with * that of all of them.
func (l Layout) reserveSubject(chunk string) string { return l.subject("reserve", chunk) }

func (l Layout) reserveConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: l.ReserveStream(), Subjects: []string{l.reserveSubject("*")},
		Description: "jetpost: room for the audit trail and for settling when the store is full",
		Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage, Replicas: l.replicas,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, MaxMsgSize: reserveChunk + 4<<10, MaxConsumers: 1,
	}
}

// A Reserve is room in the store of NATS that is taken while there is enough, and given
// back for what makes room when there is none: a store that is full can only be emptied
// by what is on the audit trail first, and by deliveries that leave their queues when
// their attempts are recorded. Both have to be written. It is safe for concurrent use. A
// nil Reserve is empty.
type Reserve struct {
	js     jetstream.JetStream
	layout Layout
	log    *zap.Logger

	mu sync.Mutex // one at a time

	settling chan struct{} // held by the one who settles with what is given back
	none     time.Time     // when nothing was left for settling; guarded by settling
}

// NewReserve returns the reserve of an installation. js is on a connection with the
// permissions of RoleControl, or of RoleSender for what is settled.
func NewReserve(js jetstream.JetStream, layout Layout, log *zap.Logger) *Reserve {
	return &Reserve{js: js, layout: layout, log: log.Named("storage"), settling: make(chan struct{}, 1)}
}

// Fill takes what is missing of the reserve, as far as there is room.
func (r *Reserve) Fill(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ensureStream(ctx, r.js, r.layout.reserveConfig()); err != nil {
		return err
	}
	reserved, err := SubjectCounts(ctx, r.js, r.layout.ReserveStream(), r.layout.reserveSubject("*"))
	if err != nil {
		return err
	}
	for n := range reserveChunks {
		subject := r.layout.reserveSubject(strconv.Itoa(n))
		if reserved[subject] > 0 {
			continue
		}
		data := make([]byte, reserveChunk)
		_, _ = rand.Read(data) // never fails; nothing that could be compressed
		if _, err := r.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data}, jetstream.WithExpectStream(r.layout.ReserveStream()), jetstream.WithRetryAttempts(0)); err != nil {
			return fmt.Errorf("keep room for the audit trail: %w", err)
		}
	}
	return nil
}

type makesRoom struct{}

// MakesRoom marks what is done within ctx as something that makes room: it may use the
// reserve.
func MakesRoom(ctx context.Context) context.Context {
	return context.WithValue(ctx, makesRoom{}, true)
}

// Do does a part of something. When it fails because the store is full, and the whole
// makes room (MakesRoom), a part of the reserve is given back and it is done again, until
// it succeeds or nothing is left.
func (r *Reserve) Do(ctx context.Context, write func() error) error {
	err := write()
	for err != nil && FaultOf(err) == FaultStorage && r != nil && ctx.Value(makesRoom{}) != nil {
		// Enough for some records even if others write meanwhile.
		if spent, spendErr := r.spend(ctx, 2, 0); spendErr != nil || !spent {
			return errors.Join(err, spendErr)
		}
		err = write()
	}
	return err
}

// Settle stores something without which a delivery cannot be settled: its attempt, the
// timer of its retry, its dead letter. When it fails because the store is full, a part of
// the reserve is given back and it is done again. One at a time does so, with as little as
// it takes: what is settled leaves its queue, and is room for the next.
func (r *Reserve) Settle(ctx context.Context, write func() error) error {
	err := write()
	if r == nil || FaultOf(err) != FaultStorage {
		return err
	}
	select {
	case r.settling <- struct{}{}:
		defer func() { <-r.settling }()
	case <-ctx.Done():
		return err
	}
	if time.Since(r.none) < reserveRest {
		return err
	}
	for {
		if err = write(); FaultOf(err) != FaultStorage {
			return err
		}
		spent, spendErr := r.spend(ctx, 1, trailChunks)
		if spendErr != nil || !spent {
			r.none = time.Now()
			return errors.Join(err, spendErr)
		}
	}
}

// spend gives up to n chunks of the reserve back, but for those that are to be left. It
// reports whether there was one.
func (r *Reserve) spend(ctx context.Context, n, leave int) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reserved, err := SubjectCounts(ctx, r.js, r.layout.ReserveStream(), r.layout.reserveSubject("*"))
	if n = min(n, len(reserved)-leave); errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && n <= 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s, err := r.js.Stream(ctx, r.layout.ReserveStream())
	if err != nil {
		return false, err
	}
	for _, subject := range slices.Sorted(maps.Keys(reserved))[:n] {
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return false, fmt.Errorf("give back room: %w", err)
		}
	}
	r.log.Warn("the storage of NATS is full: a part of what is kept free for the audit trail and for settling is used", zap.Int("left", len(reserved)-n))
	return true, nil
}
