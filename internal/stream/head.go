package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Head is where a stream ends.
type Head struct {
	Last     uint64 // sequence of the last message there ever was: it may be erased
	Created  time.Time
	Replicas int
}

// ReadHead asks the leader of a stream where it ends. It is asked for every batch
// of events and deliveries, so it reads three fields of the answer, where the
// client library would decode and keep all of it.
func ReadHead(ctx context.Context, js jetstream.JetStream, name string) (Head, error) {
	fields, err := ask(ctx, js, "STREAM.INFO."+name, nil, "state.last_seq", "created", "config.num_replicas")
	if err != nil {
		return Head{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return Head{Last: fields[0].Uint(), Created: fields[1].Time(), Replicas: int(fields[2].Int())}, nil
}
