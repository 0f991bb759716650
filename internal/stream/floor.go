package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"
)

// AckFloor asks how far the messages of a stream are settled for one of its
// consumers: all up to the sequence that is returned are. It may be too low, never
// too high: messages that were erased before they were handed out hold it back
// until one behind them is settled (see Erased).
func AckFloor(ctx context.Context, js jetstream.JetStream, name, consumer string) (uint64, error) {
	fields, err := ask(ctx, js, "CONSUMER.INFO."+name+"."+consumer, nil, "ack_floor.stream_seq")
	if err != nil {
		return 0, fmt.Errorf("look up consumer %s of stream %s: %w", consumer, name, err)
	}
	return fields[0].Uint(), nil
}

// Erased reports whether a stream has none of the messages from one sequence to
// another any more. Both must have been stored.
func Erased(ctx context.Context, js jetstream.JetStream, name string, from, to uint64) (bool, error) {
	fields, err := ask(ctx, js, "STREAM.INFO."+name, nil, "state.first_seq", "state.num_deleted")
	if err != nil {
		return false, fmt.Errorf("look up stream %s: %w", name, err)
	}
	from = max(from, fields[0].Uint())
	if from > to {
		return true, nil
	}
	wanted := to - from + 1
	if wanted > fields[1].Uint() {
		return false, nil // so many are not missing
	}
	// The list of all that are missing is long where much was erased.
	fields, err = ask(ctx, js, "STREAM.INFO."+name, []byte(`{"deleted_details":true}`), "state.first_seq", "state.deleted")
	if err != nil {
		return false, fmt.Errorf("look up what was erased of stream %s: %w", name, err)
	}
	from = max(from, fields[0].Uint())
	if from > to {
		return true, nil
	}
	wanted = to - from + 1
	fields[1].ForEach(func(_, sequence gjson.Result) bool {
		if n := sequence.Uint(); n >= from && n <= to {
			wanted--
		}
		return true
	})
	return wanted == 0, nil
}
