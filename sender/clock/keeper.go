package clock

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	// tick is how often a Keeper checks whether this machine's clock was set, which costs
	// nothing. The server's is read every maxAge.
	tick = time.Second
	// retryPause is between two tries to correct what was stored.
	retryPause = 5 * time.Second
	// stateTimeout bounds reading or writing the record.
	stateTimeout = 3 * time.Second
)

// A Keeper notices when the clock of the NATS server is set. Timers and ack waits are kept
// there by the time of day: set back by two hours, each would end two hours late, and set
// forward, too early. Senders agree under the key clock.server by how much it was set, and
// correct what was stored before:
//
//	clock ─► set by -2h ─► clock.server: -2h ─┬─► retry timers are moved
//	                                          ├─► ack waits begin again (set back only)
//	                                          └─► breakers, rates, heads of ordered queues:
//	                                              when they are read, see stream.Mark
type Keeper struct {
	clock  *Clock
	js     jetstream.JetStream
	layout stream.Layout
	state  *stream.Bucket
	view   *subscription.View
	log    *zap.Logger
	set    prometheus.Counter
}

// NewKeeper returns a keeper. state is the bucket on which senders agree, set counts how
// often the clock was set.
func NewKeeper(js jetstream.JetStream, layout stream.Layout, state *stream.Bucket, view *subscription.View, log *zap.Logger, set prometheus.Counter) *Keeper {
	k := &Keeper{js: js, layout: layout, state: state, view: view, log: log, set: set}
	k.clock = New(k.read)
	k.clock.agree = k.agree
	return k
}

// Clock is the clock that k keeps.
func (k *Keeper) Clock() *Clock { return k.clock }

// read asks the server for its time.
func (k *Keeper) read(ctx context.Context) (time.Time, error) {
	now, _, err := stream.ServerTime(ctx, k.js, k.layout.RetryStream(k.layout.RetryShards()[0]))
	return now, err
}

// A settingRecord is the value under clock.server.
type settingRecord struct {
	Setting

	// Corrected is the By up to which everything was corrected.
	Corrected time.Duration `json:"corrected"`
	// Latest is the latest time that the clock has shown before it was set, at any time:
	// Before is what it was when it was set last.
	Latest time.Time `json:"latest,omitzero"`
}

// wasSet records that the clock shows a time, after it was set by so much.
func (r *settingRecord) wasSet(shows time.Time, by time.Duration) {
	r.At, r.Before = shows.UTC(), shows.Add(-by).UTC()
	if r.Before.After(r.Latest) {
		r.Latest = r.Before
	}
}

// explains reports whether something can have been stored at a time before the clock was
// set: then it is no sign of another setting.
func (r *settingRecord) explains(stored time.Time) bool {
	return stored.Sub(r.Before) <= time.Second || stored.Sub(r.Latest) <= time.Second
}

func (k *Keeper) readRecord(ctx context.Context) (record settingRecord, revision uint64, kv jetstream.KeyValue, err error) {
	if kv, err = k.state.Open(ctx); err != nil {
		return record, 0, nil, err
	}
	e, err := kv.Get(ctx, stream.StateClock)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return record, 0, kv, nil
	case err != nil:
		return record, 0, nil, fmt.Errorf("read key %s: %w", stream.StateClock, err)
	}
	_ = json.Unmarshal(e.Value(), &record) // what cannot be read is written anew
	return record, e.Revision(), kv, nil
}

// changeRecord stores what change makes of the record, as often as it takes, and
// returns what is stored. change says whether there is something to store.
func (k *Keeper) changeRecord(ctx context.Context, change func(*settingRecord) bool) (settingRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	for {
		record, revision, kv, err := k.readRecord(ctx)
		if err != nil || !change(&record) {
			return record, err
		}
		value, err := json.Marshal(record)
		if err != nil {
			return record, err
		}
		if revision == 0 {
			_, err = kv.Create(ctx, stream.StateClock, value)
		} else {
			_, err = kv.Update(ctx, stream.StateClock, value, revision)
		}
		if err == nil {
			return record, nil
		}
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !errors.Is(err, jetstream.ErrKeyExists) {
			return record, fmt.Errorf("write key %s: %w", stream.StateClock, err)
		}
	}
}

// agree replaces the setting of a reading of the server's clock, which was set by so much
// before it. Several senders notice the same, each a little later or less exactly: they
// take what the first has written.
func (k *Keeper) agree(ctx context.Context, read *Reading, by time.Duration) error {
	if by == 0 { // at the start
		ctx, cancel := context.WithTimeout(ctx, stateTimeout)
		defer cancel()
		record, _, _, err := k.readRecord(ctx)
		if err == nil {
			read.Setting = record.Setting
		}
		return err
	}
	isNew := false
	record, err := k.changeRecord(ctx, func(r *settingRecord) bool {
		sum := by
		if read.Mark.Origin == "" || read.Mark.Origin == r.Mark.Origin {
			sum += read.Mark.By
		}
		if isNew = (r.Mark.By - sum).Abs() > stream.LeastSet; !isNew {
			return false
		}
		if r.Mark.Origin == "" {
			r.Mark.Origin = strings.ToLower(rand.Text()[:13])
		}
		r.Mark.By = sum
		r.wasSet(read.server, by)
		return true
	})
	if err != nil {
		return err
	}
	if isNew {
		k.log.Warn("clock of the NATS server was set, correcting what is stored by it", zap.Duration("by", by))
	}
	k.set.Inc()
	read.Setting = record.Setting
	return nil
}

// Run notices when the clock of the NATS server is set, and corrects what is stored by it,
// until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var done *stream.Mark // nil: not known yet
	failed := false
	for ; ctx.Err() == nil; Pause(ctx, tick) {
		err := k.keepCorrect(ctx, &done)
		if err != nil && !failed && ctx.Err() == nil {
			k.log.Warn("failed to correct what is stored by the clock of the NATS server, will retry", zap.Error(err))
		}
		if failed = err != nil; failed {
			Pause(ctx, retryPause)
		}
	}
}

// keepCorrect corrects what is to be corrected; done is the setting up to which that was
// done.
func (k *Keeper) keepCorrect(ctx context.Context, done **stream.Mark) error {
	if *done == nil { // a sender that has ended may have left things half corrected
		if err := k.noticeSetBack(ctx); err != nil {
			return err
		}
		record, _, _, err := k.readRecord(ctx)
		if err != nil {
			return err
		}
		*done = &stream.Mark{Origin: record.Mark.Origin, By: record.Corrected}
	}
	read, err := k.clock.At(ctx)
	if err != nil || read.Mark == **done {
		return err
	}
	if err := k.correct(ctx, **done, read.Mark); err != nil {
		return err
	}
	*done = &read.Mark
	return nil
}

// noticeSetBack notices, when a sender starts, that the clock was set back while no sender
// ran: something was stored in the future. It was set back by at least that much, so
// nothing fires too early.
func (k *Keeper) noticeSetBack(ctx context.Context) error {
	read, err := k.clock.At(ctx)
	if err != nil {
		return err
	}
	record, _, _, err := k.readRecord(ctx)
	if err != nil {
		return err
	}
	var ahead time.Duration
	names := []string{k.layout.StateStream(), k.layout.Attempts()}
	for _, shard := range k.layout.RetryShards() {
		names = append(names, k.layout.RetryStream(shard))
	}
	for i, name := range names {
		now, last, err := stream.ServerTime(ctx, k.js, name)
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", name, err)
		}
		if i == 0 || !record.explains(last) { // the first is written whenever the clock is set
			ahead = max(ahead, last.Sub(now))
		}
	}
	if ahead <= stream.LeastSet || read.Mark != record.Mark {
		return nil
	}
	return k.clock.set(ctx, -ahead)
}

// correct corrects what was stored by an earlier setting of the clock.
func (k *Keeper) correct(ctx context.Context, from, to stream.Mark) error {
	by, moved := to.Since(from), 0
	if by < 0 {
		if err := k.renewPending(ctx); err != nil {
			return err
		}
	}
	for _, shard := range k.layout.RetryShards() {
		n, err := k.layout.MoveTimers(ctx, k.js, shard, to)
		if moved += n; err != nil {
			return err
		}
	}
	_, err := k.changeRecord(ctx, func(r *settingRecord) bool {
		if r.Mark != to || r.Corrected == to.By {
			return false
		}
		r.Corrected = to.By
		return true
	})
	if err != nil {
		return err
	}
	k.log.Info("corrected what is stored by the clock of the NATS server", zap.Duration("by", by), zap.Int("timers", moved))
	return nil
}

// renewPending lets the ack waits of all queues, and of the timers that have fired, begin
// again: also those of paused subscriptions and of those that others own.
func (k *Keeper) renewPending(ctx context.Context) error {
	for _, shard := range k.layout.RetryShards() {
		if err := stream.RenewPending(ctx, k.js, k.layout.RetryStream(shard), stream.SenderConsumer); err != nil {
			return err
		}
	}
	snapshot, err := k.view.Sync(ctx) // at the start there may be none yet
	if err != nil {
		return err
	}
	for _, sub := range snapshot.All() {
		if err := stream.RenewPending(ctx, k.js, sub.Queue.Stream, sub.Queue.Consumer); err != nil {
			return err
		}
	}
	return nil
}
