package story

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
)

// PlacedEvent is a request for one event.
type PlacedEvent struct {
	Domain   string `path:"domain" maxLength:"63" doc:"The event's domain." example:"git"`
	Sequence uint64 `path:"sequence" doc:"Its place in the domain's event log, which lists and the answer to publishing show." example:"42"`
}

type oneEvent struct{ Body v1.StoredEvent }

func (l *Logs) get(ctx context.Context, in *PlacedEvent) (*oneEvent, error) {
	record, err := l.Stored(ctx, in.Domain, in.Sequence)
	if err != nil {
		return nil, err
	}
	return &oneEvent{source{domain: in.Domain}.show(&record)}, nil
}

// Stored reads an event as its log has it.
func (l *Logs) Stored(ctx context.Context, domain string, sequence uint64) (stream.Record, error) {
	if !stream.ValidDomain(domain) {
		return stream.Record{}, fmt.Errorf("event %d of %q: %w", sequence, domain, ErrNoEvent)
	}
	if !access.PrincipalOf(ctx).Sees(domain) {
		return stream.Record{}, noDomain(domain)
	}
	record, err := stream.Get(ctx, l.js, l.layout.EventLog(domain), sequence)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = noDomain(domain)
	case errors.Is(err, jetstream.ErrMsgNotFound), sequence == 0:
		err = fmt.Errorf("event %d of %s: %w", sequence, domain, ErrNoEvent)
	}
	return record, err
}

// ErrNoEvent is the error of looking for an event that is not stored.
var ErrNoEvent = errors.New("no such event is stored")

func noDomain(domain string) error {
	return fmt.Errorf("%s: there is no such domain: GET /v1/domains lists them: %w", domain, ErrNoEvent)
}
