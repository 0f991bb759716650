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

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// The reserve is this many messages of this size: 2 MiB.
const (
	reserveChunks = 16
	reserveChunk  = 128 << 10
)

// ReserveStream is the stream that keeps room for what makes room.
func (l Layout) ReserveStream() string { return l.stream("RESERVE") }

// reserveSubject is the subject of a chunk, with * that of all of them.
func (l Layout) reserveSubject(chunk string) string { return l.subject("reserve", chunk) }

func (l Layout) reserveConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: l.ReserveStream(), Subjects: []string{l.reserveSubject("*")},
		Description: "jetpost: room for the audit trail when the store is full",
		Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage, Replicas: l.replicas,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, MaxMsgSize: reserveChunk + 4<<10, MaxConsumers: 1,
	}
}

// A Reserve is room in the store of NATS that is taken while there is enough, and given
// back for what makes room when there is none: a store that is full can only be emptied
// by what is on the audit trail first, and that has to be written. It is safe for
// concurrent use. A nil Reserve is empty.
type Reserve struct {
	js     jetstream.JetStream
	layout Layout
	log    *zap.Logger

	mu sync.Mutex // one at a time
}

// NewReserve returns the reserve of an installation. js is on a connection with the
// permissions of RoleControl.
func NewReserve(js jetstream.JetStream, layout Layout, log *zap.Logger) *Reserve {
	return &Reserve{js: js, layout: layout, log: log.Named("storage")}
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
	there, err := SubjectCounts(ctx, r.js, r.layout.ReserveStream(), r.layout.reserveSubject("*"))
	if err != nil {
		return err
	}
	for n := range reserveChunks {
		subject := r.layout.reserveSubject(strconv.Itoa(n))
		if there[subject] > 0 {
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
		if spent, spendErr := r.spend(ctx); spendErr != nil || !spent {
			return errors.Join(err, spendErr)
		}
		err = write()
	}
	return err
}

// spend gives a part of the reserve back, and reports whether there was one.
func (r *Reserve) spend(ctx context.Context) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there, err := SubjectCounts(ctx, r.js, r.layout.ReserveStream(), r.layout.reserveSubject("*"))
	if err != nil || len(there) == 0 {
		return false, err
	}
	s, err := r.js.Stream(ctx, r.layout.ReserveStream())
	if err != nil {
		return false, err
	}
	// Enough for some records even if others write meanwhile.
	for _, subject := range slices.Sorted(maps.Keys(there))[:min(2, len(there))] {
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return false, fmt.Errorf("give back room: %w", err)
		}
	}
	r.log.Warn("the storage of NATS is full: a part of what is kept free for the audit trail is used", zap.Int("left", len(there)-min(2, len(there))))
	return true, nil
}
