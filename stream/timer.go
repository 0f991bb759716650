package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// HadTimer reports whether a retry timer of that message id was stored, within Dedupe: it
// waits, or has fired. It stores nothing: a message of that id is published which the
// stream refuses, unless it recognises the id before. What it looks at after the id depends
// on whether the stream is replicated; a replicated one must not be asked for the last id:
// it would agree on the message first, and take nothing from then on (NATS 2.15.2).
func (l Layout) HadTimer(ctx context.Context, js jetstream.JetStream, shard, subscription, key, id string) (bool, error) {
	name := l.RetryStream(shard)
	s, err := js.Stream(ctx, name)
	if err != nil {
		return false, fmt.Errorf("look up stream %s: %w", name, err)
	}
	refused, option := codeWrongLastMessageID, jetstream.WithExpectLastMsgID("no message has this id")
	if s.CachedInfo().Config.Replicas > 1 {
		refused, option = jetstream.JSErrCodeStreamWrongLastSequence, jetstream.WithExpectLastSequence(math.MaxInt64)
	}
	probe := nats.NewMsg(l.RetryAt(shard, subscription, key))
	ack, err := js.PublishMsg(ctx, probe, jetstream.WithMsgID(id), option, jetstream.WithRetryAttempts(0))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == refused {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask stream %s for message %s: %w", name, id, err)
	}
	return ack.Duplicate, nil
}

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
