package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxRebuilt bounds the timers that RebuildRetries keeps in memory, in bytes.
const maxRebuilt = 64 << 20

// RebuildRetries makes the stream of a shard anew where messages of it are damaged, with
// the retry timers that can be read. A damaged message cannot be deleted: the server counts
// it until it starts again, and may lose what is in the same block when it reads that
// again. Before the stream is deleted and after it was made, changing is called with false
// and true. What is not kept, because it cannot be read, is more than 64 MiB, has fired or
// comes meanwhile, is found by reconciling, which has to follow. It returns how many timers
// were kept; rebuilt is false where there is no damage.
func (l Layout) RebuildRetries(ctx context.Context, js jetstream.JetStream, shard string, changing func(made bool) error) (kept int, rebuilt bool, err error) {
	name := l.RetryStream(shard)
	damaged, err := FindDamage(ctx, js, name, 0)
	if err != nil || len(damaged) == 0 {
		return 0, false, err
	}
	timers, last, err := l.readTimers(ctx, js, shard)
	if err != nil {
		return 0, false, err
	}
	if err := changing(false); err != nil {
		return 0, false, err
	}
	err = retryBusy(ctx, func(ctx context.Context) error { return js.DeleteStream(ctx, name) })
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) { // another process may be faster
		return 0, false, fmt.Errorf("delete stream %s: %w", name, err)
	}
	cfg := l.RetryStreamConfig(shard)
	cfg.FirstSeq = last + 1 // sequences do not come again
	if err := ensureStream(ctx, js, cfg); err != nil {
		return 0, true, err
	}
	if err := beginBehind(ctx, js, name, last); err != nil {
		return 0, true, err
	}
	if err := ensureConsumer(ctx, js, name, l.RetryConsumerConfig(shard)); err != nil {
		return 0, true, err
	}
	if err := changing(true); err != nil {
		return 0, true, err
	}
	for _, timer := range timers {
		_, err := js.PublishMsg(ctx, timer)
		if IsWrongSequence(err) { // a newer one is there
			continue
		}
		if err != nil {
			return kept, true, fmt.Errorf("store a retry timer in stream %s again: %w", name, err)
		}
		kept++
	}
	return kept, true, nil
}

// beginBehind makes sure that a stream that was created again begins behind the last message
// of the one before it. Another process that ensures the streams may have created it, without
// knowing where it has to begin; what it has got since is found by reconciling.
func beginBehind(ctx context.Context, js jetstream.JetStream, name string, last uint64) error {
	s, err := js.Stream(ctx, name)
	if err == nil && s.CachedInfo().State.FirstSeq <= last {
		err = s.Purge(ctx, jetstream.WithPurgeSequence(last+1))
	}
	if err != nil {
		return fmt.Errorf("have stream %s begin at %d: %w", name, last+1, err)
	}
	return nil
}

// readTimers reads the timers of a shard that can be read, and where the stream ends.
func (l Layout) readTimers(ctx context.Context, js jetstream.JetStream, shard string) (timers []*nats.Msg, last uint64, err error) {
	name := l.RetryStream(shard)
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	last = s.CachedInfo().State.LastSeq
	subjects, size := l.RetryAt(shard, "*", "*"), 0
	for sequence := uint64(1); sequence <= last && size < maxRebuilt; sequence++ {
		m, err := s.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(subjects))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read stream %s: %w", name, err)
		}
		sequence, size = m.Sequence, size+len(m.Data)
		h := maps.Clone(m.Header)
		h[headerLastOfSubject] = []string{"0"}
		timers = append(timers, &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data})
	}
	return timers, last, nil
}
