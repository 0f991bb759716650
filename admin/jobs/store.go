package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/subscriptions"
	"github.com/jetpost/jetpost/internal/stream"
)

// A Store has the jobs in the state bucket.
type Store struct {
	js     jetstream.JetStream
	layout stream.Layout
	holder string // this process
	state  *stream.Bucket
}

// NewStore returns the jobs of an installation, for one process.
func NewStore(js jetstream.JetStream, layout stream.Layout) *Store {
	return &Store{js: js, layout: layout, holder: subscriptions.NewID(), state: stream.NewBucket(js, layout.StateBucket())}
}

// Create stores a new job.
func (s *Store) Create(ctx context.Context, record *Record) error {
	kv, err := s.state.Open(ctx)
	if err != nil {
		return err
	}
	value, err := record.encode()
	if err != nil {
		return err
	}
	if record.revision, err = kv.Create(ctx, stream.StateRedrive(record.ID), value); err != nil {
		return fmt.Errorf("store redrive job %s: %w", record.ID, err)
	}
	return nil
}

// Get returns a job, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (*Record, error) {
	entry, err := stream.ReadKey(ctx, s.js, s.layout.StateStream(), s.layout.StateRedriveSubject(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, fmt.Errorf("redrive job %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read redrive job %s: %w", id, err)
	}
	return decode(entry.Value, entry.Revision)
}

// Update stores a job over the revision that was read. The error wraps
// jetstream.ErrKeyRevisionMismatch when it has another one by now.
func (s *Store) Update(ctx context.Context, record *Record) error {
	kv, err := s.state.Open(ctx)
	if err != nil {
		return err
	}
	value, err := record.encode()
	if err != nil {
		return err
	}
	revision, err := kv.Update(ctx, stream.StateRedrive(record.ID), value, record.revision)
	if err != nil {
		return fmt.Errorf("store redrive job %s: %w", record.ID, err)
	}
	record.revision = revision
	return nil
}

// encode drops failures where they would not fit.
func (record *Record) encode() ([]byte, error) {
	for {
		value, err := json.Marshal(record)
		if err != nil {
			return nil, fmt.Errorf("encode redrive job %s: %w", record.ID, err)
		}
		if n := len(record.Failures); len(value) > stream.StateValueSize-512 && n > 0 { // headers count as well
			record.Failures = record.Failures[:n-1]
			continue
		}
		return value, nil
	}
}

func decode(value []byte, revision uint64) (*Record, error) {
	record := &Record{revision: revision}
	if err := json.Unmarshal(value, record); err != nil {
		return nil, fmt.Errorf("decode redrive job: %w", err)
	}
	return record, nil
}

// All returns the jobs, newest first. One that cannot be read is left out.
func (s *Store) All(ctx context.Context) ([]*Record, error) {
	subject := s.layout.StateRedriveSubject("*")
	var records []*Record
	for entry, err := range stream.Read(ctx, s.js, s.layout.StateStream(), stream.Range{Subject: subject}) {
		if err != nil {
			return nil, err
		}
		if record, err := decode(entry.Data, entry.Sequence); err == nil && record.ID != "" {
			records = append(records, record)
		}
	}
	slices.SortFunc(records, func(a, b *Record) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	return records, ctx.Err()
}

// forget deletes the jobs that ended long ago, or before many others.
func (s *Store) forget(ctx context.Context, newestFirst []*Record) error {
	ended := 0
	for _, record := range newestFirst {
		if record.EndedAt == nil {
			continue
		}
		if ended++; ended <= keptJobs && time.Since(*record.EndedAt) < keptJobsFor {
			continue
		}
		state, err := s.js.Stream(ctx, s.layout.StateStream())
		if err == nil {
			err = state.Purge(ctx, jetstream.WithPurgeSubject(s.layout.StateRedriveSubject(record.ID)))
		}
		if err != nil {
			return fmt.Errorf("delete redrive job %s: %w", record.ID, err)
		}
	}
	return nil
}
