package story

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
)

// searchDepth is how many events of each log are looked at for one page of a search.
// Logs have no index of sources and ids.
const searchDepth = 5000

// searches reports whether a request asks for what subjects do not tell.
func (in *eventsRequest) searches() bool { return in.Source != "" || in.ID != "" }

// isOf reports whether a message is an event that a search wants. One that cannot be
// read has neither source nor id.
func (in *eventsRequest) isOf(r *stream.Record) bool {
	e, err := event.FromCheckedMessage(r.Header, r.Data)
	return err == nil && in.wantsEvent(e)
}

func (in *eventsRequest) wantsEvent(e *event.Event) bool {
	return (in.Source == "" || in.Source == e.Source) && (in.ID == "" || in.ID == e.ID)
}

// A searched is what was found in a part of a log.
type searched struct {
	records []stream.Record // in the order of the search
	bytes   int             // of their data
	next    uint64          // from where to go on: before it or, oldest first, from it on
	back    time.Time       // when the last event was stored that was looked at
	end     bool            // there are no more
	last    uint64          // the last one that a page took
}

// search looks at up to searchDepth events of a log before a sequence, newest first,
// until it has found limit of them.
func (l *Logs) search(ctx context.Context, s source, in *eventsRequest, before uint64, limit int) (searched, error) {
	found := searched{next: before}
	headers, err := stream.LatestHeaders(ctx, l.js, s.log, s.subject, before, searchDepth)
	if err != nil {
		return found, err
	}
	found.end = len(headers) < searchDepth
	for i := range headers {
		if err := l.look(ctx, in, &headers[i], &found); err != nil {
			return found, err
		}
		if found.next = headers[i].Sequence; len(found.records) == limit || found.bytes >= partBytes {
			found.end = false
			break
		}
	}
	return found, nil
}

// searchForward is search in the other direction, from a sequence or a time on.
func (l *Logs) searchForward(ctx context.Context, s source, in *eventsRequest, from uint64, at time.Time, limit int) (searched, error) {
	found := searched{next: from, end: true}
	r := stream.Range{Subject: s.subject, FromSequence: from, HeadersOnly: true}
	if from == 0 {
		r.FromTime = at
	}
	looked := 0
	for record, err := range stream.Read(ctx, l.js, s.log, r) {
		if err != nil {
			return found, err
		}
		if !in.ToTime.IsZero() && !record.Time.Before(in.ToTime.Time) {
			break
		}
		if err := l.look(ctx, in, &record, &found); err != nil {
			return found, err
		}
		found.next = record.Sequence + 1
		if looked++; looked == searchDepth || len(found.records) == limit || found.bytes >= partBytes {
			found.end = false
			break
		}
	}
	return found, ctx.Err()
}

// look keeps a message that is wanted, with its data. The attributes of an event in
// structured mode are in the data, too.
func (l *Logs) look(ctx context.Context, in *eventsRequest, header *stream.Record, found *searched) error {
	found.back = header.Time
	if e, err := event.FromCheckedMessage(header.Header, nil); err == nil && !in.wantsEvent(e) {
		return nil
	}
	record, err := stream.Get(ctx, l.js, header.Stream, header.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // erased meanwhile
	}
	if err != nil {
		return err
	}
	if in.isOf(&record) {
		found.records = append(found.records, record)
		found.bytes += len(record.Data)
	}
	return nil
}

// searchHistory reads one page of a search. A log whose part was not searched to its
// end may hold what comes before that which others have found: the page ends there.
func (l *Logs) searchHistory(ctx context.Context, sources []source, in *eventsRequest) (v1.Page[v1.StoredEvent], error) {
	at, err := l.startOf(ctx, sources, in)
	if err != nil {
		return v1.Page[v1.StoredEvent]{}, err
	}
	parts := make([]searched, len(sources))
	searching, searchCtx := errgroup.WithContext(ctx)
	searching.SetLimit(historyParallel)
	for i, s := range sources {
		searching.Go(func() error {
			var err error
			if at.Oldest {
				parts[i], err = l.searchForward(searchCtx, s, in, at.Next[s.domain], at.From, in.Limit+1)
			} else {
				parts[i], err = l.search(searchCtx, s, in, max(at.Next[s.domain], 1), in.Limit+1)
			}
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				parts[i], err = searched{end: true, next: 1}, nil // a domain without a log has no events
			}
			return err
		})
	}
	if err := searching.Wait(); err != nil {
		return v1.Page[v1.StoredEvent]{}, err
	}
	found := v1.Page[v1.StoredEvent]{Items: []v1.StoredEvent{}}
	for len(found.Items) < in.Limit {
		i := pickSearched(parts, at.Oldest)
		if i < 0 {
			break
		}
		record := &parts[i].records[0]
		found.Items = append(found.Items, sources[i].show(record))
		parts[i].last, parts[i].records = record.Sequence, parts[i].records[1:]
	}
	for i, s := range sources {
		part := &parts[i]
		switch {
		case len(part.records) == 0:
			at.Next[s.domain] = max(part.next, 1)
			if part.end && !at.Oldest {
				at.Next[s.domain] = 1 // nothing is before it
			}
		case part.last > 0 && at.Oldest:
			at.Next[s.domain] = part.last + 1
		case part.last > 0:
			at.Next[s.domain] = part.last
		}
		if !part.end || len(part.records) > 0 {
			found.NextCursor = "more"
		}
	}
	if found.NextCursor != "" {
		found.NextCursor = at.cursor()
	}
	return found, nil
}

// pickSearched returns the part whose first record is next; -1 when there is none, or
// when a part that is not searched to its end may have one that comes before it.
func pickSearched(parts []searched, oldest bool) int {
	sooner := time.Time.After
	if oldest {
		sooner = time.Time.Before
	}
	next := -1
	for i := range parts {
		if len(parts[i].records) > 0 && (next < 0 || sooner(parts[i].records[0].Time, parts[next].records[0].Time)) {
			next = i
		}
	}
	for i := range parts {
		if next >= 0 && len(parts[i].records) == 0 && !parts[i].end && sooner(parts[i].back, parts[next].records[0].Time) {
			return -1
		}
	}
	return next
}

// A foundEvent is one that was looked for by its source and id.
type foundEvent struct {
	domain string
	record stream.Record
}

// findEvent returns the newest event of some logs with a source and an id; nil when it
// is not among those that were searched, which are all, or those since a time.
func (l *Logs) findEvent(ctx context.Context, sources []source, from, id string) (found *foundEvent, since time.Time, err error) {
	wanted := &eventsRequest{Source: from, ID: id}
	deadline := time.Now().Add(time.Duration(traceTime * float64(l.timeout)))
	for _, s := range sources {
		before := uint64(0)
		for {
			part, err := l.search(ctx, s, wanted, before, 1)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				break
			}
			if err != nil {
				return nil, time.Time{}, err
			}
			if len(part.records) > 0 {
				if found == nil || part.records[0].Time.After(found.record.Time) {
					found = &foundEvent{s.domain, part.records[0]}
				}
				break
			}
			if part.end {
				break
			}
			if before = part.next; time.Now().After(deadline) {
				if part.back.After(since) {
					since = part.back
				}
				break
			}
		}
	}
	return found, since, nil
}
