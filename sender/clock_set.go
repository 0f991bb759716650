package sender

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// The clock of the NATS server may be set, forward or back. Timers and ack waits are
// kept there by the time of day: set back by two hours, each of them would end two hours
// late, and set forward, too early. Senders notice, agree under the key clock.server by
// how much it was set, and correct what was stored before:
//
//	clock ─► set by -2h ─► clock.server: -2h ─┬─► retry timers are moved
//	                                          ├─► ack waits begin again (set back only)
//	                                          └─► breakers, turns, heads of ordered queues:
//	                                              when they are read, see stream.Mark
const (
	// clockTick is how often a sender looks whether its own clock was set, which costs
	// nothing. The server's is read every clockAge.
	clockTick = time.Second
	// clockRetry is between two tries to correct what was stored.
	clockRetry = 5 * time.Second
	// earlyTimer is by how much too early a timer may fire and be taken for due.
	earlyTimer = 30 * time.Second
)

// A clockRecord is the value under clock.server.
type clockRecord struct {
	setting

	// Corrected is the By up to which everything was corrected.
	Corrected time.Duration `json:"corrected"`
	// Latest is the latest time that the clock has shown before it was set, at any time:
	// Before is what it was when it was set last.
	Latest time.Time `json:"latest,omitzero"`
}

// wasSet notes that the clock shows a time, after it was set by so much.
func (r *clockRecord) wasSet(shows time.Time, by time.Duration) {
	r.At, r.Before = shows.UTC(), shows.Add(-by).UTC()
	if r.Before.After(r.Latest) {
		r.Latest = r.Before
	}
}

// explains reports whether something can have been stored at a time before the clock was
// set, as far as is known: then it says nothing about another setting.
func (r *clockRecord) explains(stored time.Time) bool {
	return stored.Sub(r.Before) <= time.Second || stored.Sub(r.Latest) <= time.Second
}

func (s *Sender) readClockRecord(ctx context.Context) (record clockRecord, revision uint64, kv jetstream.KeyValue, err error) {
	if kv, err = s.state.Open(ctx); err != nil {
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

// changeClockRecord stores what change makes of the record, as often as it takes, and
// returns what is stored. change says whether there is something to store.
func (s *Sender) changeClockRecord(ctx context.Context, change func(*clockRecord) bool) (clockRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	for {
		record, revision, kv, err := s.readClockRecord(ctx)
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

// agreeOnClock changes the setting of a reading of the server's clock, which was set by
// so much before it. Several senders notice the same, each a little later or less exactly
// than another: they take what the first has written down.
func (s *Sender) agreeOnClock(ctx context.Context, read *reading, by time.Duration) error {
	if by == 0 { // at the start
		ctx, cancel := context.WithTimeout(ctx, stateTimeout)
		defer cancel()
		record, _, _, err := s.readClockRecord(ctx)
		if err == nil {
			read.setting = record.setting
		}
		return err
	}
	isNew := false
	record, err := s.changeClockRecord(ctx, func(r *clockRecord) bool {
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
		s.log.Warn("the clock of the NATS server was set, correcting what waits by it", zap.Duration("by", by))
	}
	s.metrics.clockSet.Inc()
	read.setting = record.setting
	return nil
}

// followClock notices when the clock of the NATS server is set, and corrects what is
// stored by it, until ctx ends.
func (s *Sender) followClock(ctx context.Context) {
	var done *stream.Mark // nil: not known yet
	failed := false
	for ; ctx.Err() == nil; pause(ctx, clockTick) {
		err := s.keepCorrect(ctx, &done)
		if err != nil && !failed && ctx.Err() == nil {
			s.log.Warn("cannot correct what waits by the clock of the NATS server, will keep trying", zap.Error(err))
		}
		if failed = err != nil; failed {
			pause(ctx, clockRetry)
		}
	}
}

// keepCorrect corrects what there is to correct; done is up to which setting that was
// done.
func (s *Sender) keepCorrect(ctx context.Context, done **stream.Mark) error {
	if *done == nil { // a sender that has ended may have left things half corrected
		if err := s.noticeSetBack(ctx); err != nil {
			return err
		}
		record, _, _, err := s.readClockRecord(ctx)
		if err != nil {
			return err
		}
		*done = &stream.Mark{Origin: record.Mark.Origin, By: record.Corrected}
	}
	read, err := s.clock.at(ctx)
	if err != nil || read.Mark == **done {
		return err
	}
	if err := s.correct(ctx, **done, read.Mark); err != nil {
		return err
	}
	*done = &read.Mark
	return nil
}

// noticeSetBack finds out, when a sender starts, that the clock was set back while none
// was running: something was stored in the future. By how much it was set is not known,
// but that it was at least by this; then nothing comes too early.
func (s *Sender) noticeSetBack(ctx context.Context) error {
	read, err := s.clock.at(ctx)
	if err != nil {
		return err
	}
	record, _, _, err := s.readClockRecord(ctx)
	if err != nil {
		return err
	}
	var ahead time.Duration
	names := []string{s.layout.StateStream(), s.layout.Attempts()}
	for _, shard := range s.layout.RetryShards() {
		names = append(names, s.layout.RetryStream(shard))
	}
	for i, name := range names {
		now, last, err := stream.ServerTime(ctx, s.js, name)
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
	return s.clock.set(ctx, -ahead)
}

// correct corrects what was stored by an earlier setting of the clock.
func (s *Sender) correct(ctx context.Context, from, to stream.Mark) error {
	by, moved := to.Since(from), 0
	if by < 0 {
		if err := s.renewPending(ctx); err != nil {
			return err
		}
	}
	for _, shard := range s.layout.RetryShards() {
		n, err := s.layout.MoveTimers(ctx, s.js, shard, to)
		if moved += n; err != nil {
			return err
		}
	}
	_, err := s.changeClockRecord(ctx, func(r *clockRecord) bool {
		if r.Mark != to || r.Corrected == to.By {
			return false
		}
		r.Corrected = to.By
		return true
	})
	if err != nil {
		return err
	}
	s.log.Info("what waits by the clock of the NATS server was corrected", zap.Duration("by", by), zap.Int("timers", moved))
	return nil
}

// renewPending lets the ack waits of all queues, and of the timers that have fired, begin
// again. Subscriptions that others own, or that are paused, have had deliveries handed out.
func (s *Sender) renewPending(ctx context.Context) error {
	for _, shard := range s.layout.RetryShards() {
		if err := stream.RenewPending(ctx, s.js, s.layout.RetryStream(shard), stream.SenderConsumer); err != nil {
			return err
		}
	}
	snapshot, err := s.view.Sync(ctx) // at the start there may be none yet
	if err != nil {
		return err
	}
	for _, sub := range snapshot.All() {
		if err := stream.RenewPending(ctx, s.js, sub.Queue.Stream, sub.Queue.Consumer); err != nil {
			return err
		}
	}
	return nil
}

// planned is a time of this machine by the clock of the NATS server, which lets timers
// fire, and by which setting of it. Where that is not known they are taken for the same.
func (s *Sender) planned(ctx context.Context, at time.Time) (time.Time, stream.Mark) {
	read, err := s.clock.at(ctx)
	if err != nil {
		return at, stream.Mark{}
	}
	return read.there(at), read.Mark
}

// isEarly reports whether a timer has fired too early, because the clock was set forward,
// and when it is due.
func (s *Sender) isEarly(ctx context.Context, m *stream.Message) (due time.Time, mark stream.Mark, early bool) {
	planned, by, known := stream.TimerMark(m.Header)
	if !known {
		return time.Time{}, stream.Mark{}, false
	}
	for _, at := range []func(context.Context) (reading, error){s.clock.at, s.clock.afresh} {
		read, err := at(ctx)
		if err != nil {
			return time.Time{}, stream.Mark{}, false
		}
		if due, mark = planned.Add(read.Mark.Since(by)), read.Mark; due.Sub(read.now()) <= earlyTimer {
			return due, mark, false
		}
	}
	// By the same setting it is the server that fires too early: it would again.
	return due, mark, mark != by
}
