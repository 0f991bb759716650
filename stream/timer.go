package stream

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// CancelTimer deletes the retry timer at RetryAt, and reports whether there was one.
// One that has fired is not a timer any more.
func (l Layout) CancelTimer(ctx context.Context, nc *nats.Conn, shard, subscription, key string) (bool, error) {
	name, at := l.RetryStream(shard), l.RetryAt(shard, subscription, key)
	request, err := json.Marshal(map[string]string{"filter": at})
	if err != nil {
		return false, err
	}
	// Not by the client library, which would look the stream up first.
	reply, err := nc.RequestWithContext(ctx, apiPrefix+"STREAM.PURGE."+name, request)
	if err != nil {
		return false, fmt.Errorf("purge %s: %w", at, err)
	}
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Purged uint64              `json:"purged"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return false, fmt.Errorf("purge %s: %w", at, err)
	}
	if answer.Error != nil {
		return false, fmt.Errorf("purge %s: %w", at, answer.Error)
	}
	return answer.Purged > 0, nil
}
