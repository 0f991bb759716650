package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"
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
	prefix := jetstream.DefaultAPIPrefix
	if options := js.Options(); options.APIPrefix != "" {
		prefix = options.APIPrefix
	} else if options.Domain != "" {
		prefix = "$JS." + options.Domain + ".API."
	}
	m, err := js.Conn().RequestWithContext(ctx, prefix+"STREAM.INFO."+name, nil)
	if err != nil {
		return Head{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	fields := gjson.GetManyBytes(m.Data, "error.description", "state.last_seq", "created", "config.num_replicas")
	if fields[0].Exists() {
		return Head{}, fmt.Errorf("look up stream %s: %s", name, fields[0].String())
	}
	if !fields[1].Exists() {
		return Head{}, fmt.Errorf("look up stream %s: %w", name, errNotAnAnswer)
	}
	return Head{Last: fields[1].Uint(), Created: fields[2].Time(), Replicas: int(fields[3].Int())}, nil
}

var errNotAnAnswer = errors.New("the server's answer has no state")
