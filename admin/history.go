package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/stream"
)

// historyParallel is how many event logs are read at a time.
const historyParallel = 8

// A position is where a page of events ends: for each domain the sequence before
// which the next page goes on or, oldest first, from which it does. As a cursor it
// is the base64 of its JSON.
type position struct {
	Oldest bool              `json:"o,omitempty"` // the order: oldest first
	Next   map[string]uint64 `json:"n"`
	From   time.Time         `json:"t,omitzero"` // for domains that are not in Next
}

func (p position) cursor() string {
	text, _ := json.Marshal(p) // always can
	return base64.RawURLEncoding.EncodeToString(text)
}

// startOf is the position of a request: that of its cursor, or the beginning.
func startOf(in *eventsRequest) (position, error) {
	if in.Cursor == "" {
		return position{Oldest: in.FromSeq > 0 || !in.FromTime.IsZero(), Next: map[string]uint64{}, From: in.FromTime}, nil
	}
	var p position
	text, err := base64.RawURLEncoding.DecodeString(in.Cursor)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil || p.Next == nil || !usableTime(p.From) {
		return position{}, invalid("cursor", "is not the next_cursor of a page")
	}
	return p, nil
}

// history reads one page. Each log gives up to a page of its own, and these are
// merged by the time of storing; within a log its own order counts.
func (a *Admin) history(ctx context.Context, sources []source, in *eventsRequest) (page[storedEvent], error) {
	at, err := startOf(in)
	if err != nil {
		return page[storedEvent]{}, err
	}
	if in.FromSeq > 0 && in.Cursor == "" {
		at.Next[sources[0].domain] = in.FromSeq
	}
	parts := make([][]stream.Record, len(sources))
	starts := make([]uint64, len(sources))
	reading, readCtx := errgroup.WithContext(ctx)
	reading.SetLimit(historyParallel)
	for i, s := range sources {
		reading.Go(func() error {
			var err error
			if at.Oldest {
				parts[i], err = a.oldest(readCtx, s, at.Next[s.domain], at.From, in.Limit+1)
			} else {
				parts[i], starts[i], err = a.newest(readCtx, s, at.Next[s.domain], in.Limit+1)
			}
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil // a domain without a log has no events
			}
			return err
		})
	}
	if err := reading.Wait(); err != nil {
		return page[storedEvent]{}, err
	}
	for i, s := range sources {
		if !at.Oldest && starts[i] > 0 { // pages must not shift when events are added
			at.Next[s.domain] = starts[i]
		}
	}
	found := page[storedEvent]{Items: []storedEvent{}}
	for {
		i := pick(parts, at.Oldest)
		if i < 0 {
			return found, nil
		}
		if len(found.Items) == in.Limit {
			found.NextCursor = at.cursor()
			return found, nil
		}
		record := &parts[i][0]
		found.Items = append(found.Items, sources[i].show(record))
		at.Next[sources[i].domain] = record.Sequence
		if at.Oldest {
			at.Next[sources[i].domain]++
		}
		parts[i] = parts[i][1:]
	}
}

// pick returns the part whose first record is next, or -1 when all are empty.
func pick(parts [][]stream.Record, oldest bool) int {
	sooner := time.Time.After
	if oldest {
		sooner = time.Time.Before
	}
	next := -1
	for i := range parts {
		if len(parts[i]) > 0 && (next < 0 || sooner(parts[i][0].Time, parts[next][0].Time)) {
			next = i
		}
	}
	return next
}

// newest returns up to limit records before a sequence (0: from the newest), and
// before which that was.
func (a *Admin) newest(ctx context.Context, s source, before uint64, limit int) (records []stream.Record, from uint64, err error) {
	if before == 0 {
		if before, err = a.nextSequence(ctx, s.log); err != nil {
			return nil, 0, err
		}
	}
	records, err = stream.Latest(ctx, a.js, s.log, s.subject, before, limit)
	return records, before, err
}

// oldest returns up to limit records from a sequence on or, when that is 0, from
// a time on.
func (a *Admin) oldest(ctx context.Context, s source, from uint64, at time.Time, limit int) ([]stream.Record, error) {
	r := stream.Range{Subject: s.subject, FromSequence: from}
	if from == 0 {
		r.FromTime = at
	}
	var records []stream.Record
	for record, err := range stream.Read(ctx, a.js, s.log, r) {
		if err != nil {
			return nil, err
		}
		if records = append(records, record); len(records) == limit {
			break
		}
	}
	return records, ctx.Err()
}
