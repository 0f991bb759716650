package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

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
// One that has fired is not a timer any more, and one at a sequence of below or above
// (0: any) is another one, that was stored later.
func (l Layout) CancelTimer(ctx context.Context, nc *nats.Conn, shard, subscription, key string, below uint64) (bool, error) {
	name, at := l.RetryStream(shard), l.RetryAt(shard, subscription, key)
	request, err := json.Marshal(struct {
		Filter string `json:"filter"`
		Below  uint64 `json:"seq,omitempty"`
	}{at, below})
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

// MoveTimers has the retry timers of a shard fire when they are due by the clock as it is
// set now, where that is another setting than that by which they were stored. It returns
// how many there were of those. Several may do so at a time: a timer that has fired, was
// cancelled or moved meanwhile stays as it is.
func (l Layout) MoveTimers(ctx context.Context, js jetstream.JetStream, shard string, now Mark) (moved int, err error) {
	name := l.RetryStream(shard)
	s, err := js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	timers := l.RetryAt(shard, "*", "*")
	for sequence := uint64(1); ; sequence++ {
		m, err := s.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(timers))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return moved, nil
		}
		if err != nil {
			return moved, fmt.Errorf("read stream %s: %w", name, err)
		}
		sequence = m.Sequence
		next := l.movedTimer(m, now)
		if next == nil {
			continue
		}
		_, err = js.PublishMsg(ctx, next)
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
			continue
		}
		if err != nil {
			return moved, fmt.Errorf("move retry timer %d of stream %s: %w", m.Sequence, name, err)
		}
		moved++
	}
}

// movedTimer is the timer that replaces m, nil where m is right.
func (l Layout) movedTimer(m *jetstream.RawStreamMsg, now Mark) *nats.Msg {
	due, mark, known := TimerMark(m.Header)
	if !known {
		var err error
		if due, err = scheduledFor(m.Header); err != nil {
			return nil // the server does not fire it either
		}
	}
	by := now.Since(mark)
	if by == 0 {
		return nil
	}
	h := maps.Clone(m.Header)
	h[headerLastOfSubject] = []string{strconv.FormatUint(m.Sequence, 10)}
	PlanTimer(h, due.Add(by), now)
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}

// PlanTimer makes h, the headers of a retry timer, those of one that is due at another
// time. Its message id must be another one too: the stream remembers the first.
func PlanTimer(h nats.Header, due time.Time, mark Mark) {
	h[HeaderSchedule] = []string{"@at " + due.UTC().Format(time.RFC3339Nano)}
	if id := h.Get(HeaderMessageID); id != "" {
		h[HeaderMessageID] = []string{id + ":" + strconv.FormatInt(due.UnixNano(), 36)}
	}
	mark.SetTimer(h, due)
}
