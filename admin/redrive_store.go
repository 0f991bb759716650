package admin

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

// redrives are the jobs in the state bucket, and what this process knows of them.
type redrives struct {
	js     jetstream.JetStream
	layout stream.Layout
	holder string        // this process
	woken  chan struct{} // there is a new job
	state  *stream.Bucket
}

func newRedrives(js jetstream.JetStream, layout stream.Layout) *redrives {
	return &redrives{js: js, layout: layout, holder: subscriptions.NewID(), woken: make(chan struct{}, 1), state: stream.NewBucket(js, layout.StateBucket())}
}

func (r *redrives) nudge() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

func (r *redrives) create(ctx context.Context, record *redriveRecord) error {
	kv, err := r.state.Open(ctx)
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

// get returns a job, or errNoJob.
func (r *redrives) get(ctx context.Context, id string) (*redriveRecord, error) {
	entry, err := stream.ReadKey(ctx, r.js, r.layout.StateStream(), r.layout.StateRedriveSubject(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, fmt.Errorf("redrive job %s: %w", id, errNoJob)
	}
	if err != nil {
		return nil, fmt.Errorf("read redrive job %s: %w", id, err)
	}
	return decodeRedrive(entry.Value, entry.Revision)
}

// update stores a job over the revision that was read. The error wraps
// jetstream.ErrKeyRevisionMismatch when it has another one by now.
func (r *redrives) update(ctx context.Context, record *redriveRecord) error {
	kv, err := r.state.Open(ctx)
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
func (record *redriveRecord) encode() ([]byte, error) {
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

func decodeRedrive(value []byte, revision uint64) (*redriveRecord, error) {
	record := &redriveRecord{revision: revision}
	if err := json.Unmarshal(value, record); err != nil {
		return nil, fmt.Errorf("decode redrive job: %w", err)
	}
	return record, nil
}

// all returns the jobs, newest first. One that cannot be read is left out.
func (r *redrives) all(ctx context.Context) ([]*redriveRecord, error) {
	subject := r.layout.StateRedriveSubject("*")
	var records []*redriveRecord
	for entry, err := range stream.Read(ctx, r.js, r.layout.StateStream(), stream.Range{Subject: subject}) {
		if err != nil {
			return nil, err
		}
		if record, err := decodeRedrive(entry.Data, entry.Sequence); err == nil && record.ID != "" {
			records = append(records, record)
		}
	}
	slices.SortFunc(records, func(a, b *redriveRecord) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	return records, ctx.Err()
}

// forget deletes the jobs that ended long ago, or before many others.
func (r *redrives) forget(ctx context.Context, newestFirst []*redriveRecord) error {
	ended := 0
	for _, record := range newestFirst {
		if record.EndedAt == nil {
			continue
		}
		if ended++; ended <= keptJobs && time.Since(*record.EndedAt) < keptJobsFor {
			continue
		}
		state, err := r.js.Stream(ctx, r.layout.StateStream())
		if err == nil {
			err = state.Purge(ctx, jetstream.WithPurgeSubject(r.layout.StateRedriveSubject(record.ID)))
		}
		if err != nil {
			return fmt.Errorf("delete redrive job %s: %w", record.ID, err)
		}
	}
	return nil
}
