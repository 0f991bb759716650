package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// The server's API queue drops all that waits in it when it overflows, so only
// so many calls are made at a time (jetstream.md, section 2).
const ensureParallel = 8

// Ensure creates what is missing of the platform: the streams that exist once,
// the event logs of domains, the retry shards, the buckets and the consumers. It
// may be called again and again, by several processes at once. What exists keeps
// its limits, so that an operator's own survive; an existing stream that could
// not work is an error.
func (l Layout) Ensure(ctx context.Context, js jetstream.JetStream, domains []string) error {
	return l.EnsureKnown(ctx, js, domains, Known{})
}

// EnsureKnown is Ensure of an installation that knows what it has: what it has lost is
// left out.
func (l Layout) EnsureKnown(ctx context.Context, js jetstream.JetStream, domains []string, known Known) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(ensureParallel)
	for _, cfg := range l.platformStreams() {
		if !known.lost(cfg.Name) {
			g.Go(func() error { return ensureStream(ctx, js, known.behind(cfg)) })
		}
	}
	for _, cfg := range l.buckets() {
		if !known.lost(BucketStream(cfg.Bucket)) {
			g.Go(func() error { return ensureBucket(ctx, js, cfg) })
		}
	}
	g.Go(func() error { return l.renewMembers(ctx, js) })
	for _, shard := range l.RetryShards() {
		if known.lost(l.RetryStream(shard)) {
			continue
		}
		g.Go(func() error {
			if err := ensureStream(ctx, js, known.behind(l.RetryStreamConfig(shard))); err != nil {
				return err
			}
			return ensureConsumer(ctx, js, l.RetryStream(shard), l.RetryConsumerConfig(shard))
		})
	}
	for _, domain := range domains {
		g.Go(func() error { return l.EnsureKnownEventLog(ctx, js, domain, known) })
	}
	return g.Wait()
}

// AdoptQueues has the consumers of queues that an earlier version has made hand out again
// what is not settled after AckWait. It returns how many there were.
func (l Layout) AdoptQueues(ctx context.Context, js jetstream.JetStream, queues []Queue) (adopted int, err error) {
	var changed atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(ensureParallel / 2) // others wait for the same API
	for _, q := range queues {
		g.Go(func() error {
			is, err := adoptConsumer(ctx, js, q.Stream, q.Consumer)
			if is {
				changed.Add(1)
			}
			return err
		})
	}
	err = g.Wait()
	return int(changed.Load()), err
}

// adoptConsumer reports whether there was anything to change. A consumer that is not
// there is none: its subscription is being deleted, or it is made when it is needed.
func adoptConsumer(ctx context.Context, js jetstream.JetStream, name, consumer string) (changed bool, err error) {
	var cfg jetstream.ConsumerConfig
	err = retryBusy(ctx, func(ctx context.Context) error {
		c, err := js.Consumer(ctx, name, consumer)
		if err == nil {
			cfg = c.CachedInfo().Config
		}
		return err
	})
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up consumer %s of stream %s: %w", consumer, name, err)
	}
	if cfg.AckWait == AckWait {
		return false, nil
	}
	cfg.AckWait = AckWait
	return true, ensureConsumer(ctx, js, name, cfg)
}

// EnsureKnownEventLog is EnsureEventLog of an installation that knows what it has.
func (l Layout) EnsureKnownEventLog(ctx context.Context, js jetstream.JetStream, domain string, known Known) error {
	if known.lost(l.EventLog(domain)) {
		return nil
	}
	if ValidDomain(domain) && known.Last[l.EventLog(domain)] > 0 {
		if err := ensureStream(ctx, js, known.behind(l.EventLogConfig(domain))); err != nil {
			return err
		}
	}
	return l.ensureEventLog(ctx, js, domain, known.Restored)
}

// EnsureMembers creates the bucket of the senders that are alive, if it is missing. A
// single NATS server forgets it when it restarts.
func (l Layout) EnsureMembers(ctx context.Context, js jetstream.JetStream) error {
	return ensureBucket(ctx, js, l.membersConfig())
}

// EnsureEventLog creates the event log of a domain and the routers' consumer on it.
func (l Layout) EnsureEventLog(ctx context.Context, js jetstream.JetStream, domain string) error {
	return l.ensureEventLog(ctx, js, domain, nil)
}

func (l Layout) ensureEventLog(ctx context.Context, js jetstream.JetStream, domain string, restored func(RestoredConsumer)) error {
	if !ValidDomain(domain) {
		return fmt.Errorf("domain %q: use 1 to 63 lower-case letters, digits, dashes and underscores, a letter first", domain)
	}
	if err := ensureStream(ctx, js, l.EventLogConfig(domain)); err != nil {
		return err
	}
	return l.ensureRouter(ctx, js, domain, restored)
}

// EnsureQueue creates the queue of a subscription and the senders' consumer on
// it, or changes how many deliveries may be in flight. It has to be called
// before the subscription is made known, or its first deliveries have no home.
func (l Layout) EnsureQueue(ctx context.Context, js jetstream.JetStream, subscription string, q Queue, inFlight int) error {
	if err := ensureStream(ctx, js, l.QueueConfig(subscription, q)); err != nil {
		return err
	}
	return ensureConsumer(ctx, js, q.Stream, l.SenderConsumerConfig(inFlight))
}

// DeleteQueue removes a subscription's queue with all that waits in it. A queue
// that does not exist is not an error.
func (l Layout) DeleteQueue(ctx context.Context, js jetstream.JetStream, q Queue) error {
	err := retryBusy(ctx, func(ctx context.Context) error { return js.DeleteStream(ctx, q.Stream) })
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete stream %s: %w", q.Stream, err)
	}
	return nil
}

// renewMembers makes the bucket of the senders that are alive anew where an earlier
// version has made it for records that live for another time. What is in it is worth
// nothing: every sender writes its record again at once.
func (l Layout) renewMembers(ctx context.Context, js jetstream.JetStream) error {
	want := l.membersConfig()
	if err := ensureBucket(ctx, js, want); err != nil {
		return err
	}
	var other bool
	err := retryBusy(ctx, func(ctx context.Context) error {
		existing, err := js.Stream(ctx, l.MembersStream())
		if err == nil {
			other = existing.CachedInfo().Config.MaxAge != want.TTL
		}
		return err
	})
	if err == nil && other {
		err = retryBusy(ctx, func(ctx context.Context) error { return js.DeleteStream(ctx, l.MembersStream()) })
	}
	switch {
	case err == nil && !other:
		return nil
	case err != nil && !errors.Is(err, jetstream.ErrStreamNotFound): // deleted by another process meanwhile
		return fmt.Errorf("renew stream %s: %w", l.MembersStream(), err)
	}
	return ensureBucket(ctx, js, want)
}

// ensureStream creates a stream that does not exist, and compares one that does. Another
// process, or another task of this one, may delete it to create it again meanwhile.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	existing, err := createOrLookUp(ctx, js, want.Name, func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, want)
		return err
	})
	if err != nil || existing == nil {
		return err
	}
	if problem := incompatible(existing.CachedInfo().Config, want); problem != "" {
		return fmt.Errorf("stream %s exists with %s: move it away, or use another --prefix", want.Name, problem)
	}
	return nil
}

// createTries bounds how often a stream is created that exists, and is deleted before it can
// be looked up.
const createTries = 5

// createOrLookUp returns the stream that create does not create because it exists; nil when it
// was created.
func createOrLookUp(ctx context.Context, js jetstream.JetStream, name string, create func(context.Context) error) (jetstream.Stream, error) {
	var err error
	for range createTries {
		err = retryBusy(ctx, create)
		if err == nil {
			return nil, nil //nolint:nilnil // there is nothing to compare
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) && !errors.Is(err, jetstream.ErrBucketExists) {
			return nil, fmt.Errorf("create stream %s: %w", name, err)
		}
		var existing jetstream.Stream
		if existing, err = js.Stream(ctx, name); err == nil {
			return existing, nil
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			break
		}
	}
	return nil, fmt.Errorf("look up stream %s: %w", name, err)
}

// incompatible compares what jetpost's guarantees rest on. Limits are left alone.
func incompatible(have, want jetstream.StreamConfig) string {
	switch {
	case have.Retention != want.Retention:
		return fmt.Sprintf("retention %s where jetpost needs %s", have.Retention, want.Retention)
	case have.Discard != want.Discard:
		return fmt.Sprintf("discard policy %s where jetpost needs %s", have.Discard, want.Discard)
	case !slices.Equal(have.Subjects, want.Subjects):
		return fmt.Sprintf("subjects %v where jetpost needs %v", have.Subjects, want.Subjects)
	case have.AllowMsgSchedules != want.AllowMsgSchedules:
		return "the wrong setting for message schedules"
	case have.Storage != want.Storage:
		return fmt.Sprintf("%s storage", have.Storage)
	}
	return ""
}

func ensureConsumer(ctx context.Context, js jetstream.JetStream, name string, want jetstream.ConsumerConfig) error {
	err := retryBusy(ctx, func(ctx context.Context) error {
		_, err := js.CreateOrUpdateConsumer(ctx, name, want)
		return err
	})
	if err != nil {
		return fmt.Errorf("create consumer %s on stream %s: %w", want.Durable, name, err)
	}
	return nil
}

func ensureBucket(ctx context.Context, js jetstream.JetStream, want jetstream.KeyValueConfig) error {
	name := BucketStream(want.Bucket)
	existing, err := createOrLookUp(ctx, js, name, func(ctx context.Context) error {
		_, err := js.CreateKeyValue(ctx, want)
		return err
	})
	if err != nil || existing == nil {
		return err
	}
	if have := existing.CachedInfo().Config.Storage; have != want.Storage {
		return fmt.Errorf("stream %s exists with %s storage: move it away, or use another --prefix", name, have)
	}
	return nil
}

// retryBusy repeats a call that the server was not ready for: a cluster that is
// still electing, a queue of API calls that was full.
func retryBusy(ctx context.Context, call func(context.Context) error) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		callCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if last = call(callCtx); isBusy(last) {
			return struct{}{}, last
		}
		return struct{}{}, backoff.Permanent(last)
	}, backoff.WithBackOff(Pauses(100*time.Millisecond, 10*time.Second)), backoff.WithMaxTries(8), backoff.WithMaxElapsedTime(0))
	if err != nil && ctx.Err() != nil && isBusy(last) {
		return errors.Join(last, ctx.Err())
	}
	return last
}

func isBusy(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	code := api.ErrorCode
	return code == codeNotAvailable || code == codeTooManyRequests || code == codeInsufficientResources
}
