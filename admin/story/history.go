package story

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/stream"
)

const (
	// historyParallel is how many event logs are read at a time.
	historyParallel = 8
	// partBytes is how much data of one event log a page takes, and pageBytes that of all
	// of them: a page of large events ends early.
	partBytes = 2 << 20
	pageBytes = 8 << 20
)

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

// startOf is the position of a request: that of its cursor, or the beginning. Newest
// first it says for every log from where, so that pages do not shift when events are
// added.
func (l *Logs) startOf(ctx context.Context, sources []source, in *eventsRequest) (position, error) {
	if in.Cursor != "" {
		var p position
		text, err := base64.RawURLEncoding.DecodeString(in.Cursor)
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil || p.Next == nil || !httpapi.UsableTime(p.From) {
			return position{}, httpapi.BadCursor()
		}
		return p, nil
	}
	p := position{Oldest: in.FromSeq > 0 || !in.FromTime.IsZero(), Next: map[string]uint64{}, From: in.FromTime.Time}
	if in.FromSeq > 0 {
		p.Next[sources[0].domain] = in.FromSeq
	}
	if p.Oldest {
		return p, nil
	}
	starts := make([]uint64, len(sources))
	reading, readCtx := errgroup.WithContext(ctx)
	reading.SetLimit(historyParallel)
	for i, s := range sources {
		reading.Go(func() error {
			var err error
			if starts[i], err = l.nextSequence(readCtx, s.log); err == nil && !in.ToTime.IsZero() {
				starts[i], err = l.sequenceAt(readCtx, s.log, in.ToTime.Time, starts[i])
			}
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil // a domain without a log has no events
			}
			return err
		})
	}
	err := reading.Wait()
	for i, s := range sources {
		p.Next[s.domain] = max(starts[i], 1)
	}
	return p, err
}

// sequenceAt is that of the first event that a log has stored at a time or later;
// otherwise where there is none.
func (l *Logs) sequenceAt(ctx context.Context, log string, at time.Time, otherwise uint64) (uint64, error) {
	for record, err := range stream.Read(ctx, l.js, log, stream.Range{FromTime: at, HeadersOnly: true}) {
		if err != nil || !record.Time.Before(at) {
			return record.Sequence, err
		}
	}
	return otherwise, ctx.Err()
}

// history reads one page. Each log gives up to a page of its own, and these are
// merged by the time of storing; within a log its own order counts. Where a log had
// more, and what it gave is used up, the page ends: that may come next.
func (l *Logs) history(ctx context.Context, sources []source, in *eventsRequest) (v1.Page[v1.StoredEvent], error) {
	at, err := l.startOf(ctx, sources, in)
	if err != nil {
		return v1.Page[v1.StoredEvent]{}, err
	}
	parts, cut := make([][]stream.Record, len(sources)), make([]bool, len(sources))
	reading, readCtx := errgroup.WithContext(ctx)
	reading.SetLimit(historyParallel)
	for i, s := range sources {
		reading.Go(func() error {
			var err error
			if at.Oldest {
				parts[i], cut[i], err = l.oldest(readCtx, s, at.Next[s.domain], in, at.From)
			} else if before := at.Next[s.domain]; before > 1 { // nothing is before the first
				parts[i], cut[i], err = stream.LatestWithin(readCtx, l.js, s.log, s.subject, before, in.Limit+1, partBytes)
			}
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil // a domain without a log has no events
			}
			return err
		})
	}
	if err := reading.Wait(); err != nil {
		return v1.Page[v1.StoredEvent]{}, err
	}
	found := v1.Page[v1.StoredEvent]{Items: []v1.StoredEvent{}}
	for bytes, usedUp := 0, false; ; {
		i := pick(parts, at.Oldest)
		if i < 0 && !usedUp {
			return found, nil
		}
		if len(found.Items) == in.Limit || usedUp || bytes >= pageBytes {
			found.NextCursor = at.cursor()
			return found, nil
		}
		record := &parts[i][0]
		found.Items = append(found.Items, sources[i].show(record))
		at.Next[sources[i].domain] = record.Sequence
		if at.Oldest {
			at.Next[sources[i].domain]++
		}
		bytes += len(record.Data)
		parts[i] = parts[i][1:]
		usedUp = cut[i] && len(parts[i]) == 0
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

// oldest returns the records of a page, and one more, from a sequence on or, when that
// is 0, from a time on. cut reports that there may be more, and the data of these is
// enough.
func (l *Logs) oldest(ctx context.Context, s source, from uint64, in *eventsRequest, at time.Time) (records []stream.Record, cut bool, err error) {
	r := stream.Range{Subject: s.subject, FromSequence: from}
	if from == 0 {
		r.FromTime = at
	}
	bytes := 0
	for record, err := range stream.Read(ctx, l.js, s.log, r) {
		if err != nil {
			return nil, false, err
		}
		if !in.ToTime.IsZero() && !record.Time.Before(in.ToTime.Time) {
			break
		}
		if records = append(records, record); len(records) == in.Limit+1 {
			break
		}
		if bytes += len(record.Data); bytes >= partBytes {
			cut = true
			break
		}
	}
	return records, cut, ctx.Err()
}

// nextSequence is the number that the next record of a stream will have.
func (l *Logs) nextSequence(ctx context.Context, name string) (uint64, error) {
	s, err := l.js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return s.CachedInfo().State.LastSeq + 1, nil
}
