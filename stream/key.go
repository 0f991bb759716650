package stream

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Key is what a bucket has under a key.
type Key struct {
	Value    []byte
	Revision uint64
}

// codeMessageNotFound is the answer of the API where there is no such message.
const codeMessageNotFound jetstream.ErrorCode = 10037

// ReadKey asks the leader of a bucket's stream for what it has under the subject of a
// key; jetstream.ErrKeyNotFound when that is nothing. Every write that was answered
// before is in it, where the library's Get may ask a replica that lags behind.
func ReadKey(ctx context.Context, js jetstream.JetStream, name, subject string) (Key, error) {
	request, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return Key{}, fmt.Errorf("encode request: %w", err)
	}
	m, err := js.Conn().RequestWithContext(ctx, apiPrefixOf(js)+"STREAM.MSG.GET."+name, request)
	if err != nil {
		return Key{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return Key{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == codeMessageNotFound:
		return Key{}, jetstream.ErrKeyNotFound
	case answer.Error != nil:
		return Key{}, fmt.Errorf("read stream %s: %w", name, answer.Error)
	case answer.Message == nil:
		return Key{}, fmt.Errorf("read stream %s: %w", name, errNotAnAnswer)
	}
	if len(answer.Message.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(answer.Message.Header)
		if err != nil {
			return Key{}, fmt.Errorf("read stream %s: %w", name, err)
		}
		if header.Get(headerKVOperation) != "" || header.Get(jetstream.MarkerReasonHeader) != "" { // deleted, or gone by its age
			return Key{}, jetstream.ErrKeyNotFound
		}
	}
	return Key{Value: answer.Message.Data, Revision: answer.Message.Sequence}, nil
}

// headerKVOperation is set on what deletes a key.
const headerKVOperation = "KV-Operation"
