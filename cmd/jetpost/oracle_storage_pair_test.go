package main

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/stream/inventory"
)

// A queue whose description is damaged is not created again where its subscription is lost too.
// Its files stay, and once both losses are accepted the process is ready.
func TestQueueAndSubscriptionsAreLost(t *testing.T) {
	t.Parallel()
	o := newStorageOracle(t, rand.New(rand.NewPCG(1, 2000)))
	o.suffer(t, []storageFault{{"empty meta.inf", "DELIVERIES_waiting", emptied("meta.inf")}, {"removal", "KV_subscriptions", remove}})
	o.report(t, 1, 0)
}

// Retry timers that fire while jetpost stops are stored by the server after jetpost has looked
// where their stream ends: so many messages fewer are reported when it is lost.
func TestFiredWhileStopping(t *testing.T) {
	t.Parallel()
	o := &storageOracle{stopping: time.Now()}
	stored := func(sequence uint64, subject string, after time.Duration) storedMessage {
		b := make([]byte, recordHead, recordHead+len(subject))
		binary.LittleEndian.PutUint64(b[12:], uint64(o.stopping.Add(after).UnixNano())) //nolint:gosec // positive
		binary.LittleEndian.PutUint16(b[20:], uint16(len(subject)))                     //nolint:gosec // short
		return storedMessage{sequence: sequence, bytes: append(b, subject...)}
	}
	messages := []storedMessage{
		stored(16, "retries.01.due.later", -time.Second), stored(17, "retries.01.at.later.a", -time.Second), stored(18, "retries.01.due.later", -time.Second),
		stored(19, "retries.01.due.later", time.Millisecond),
		{sequence: 17, deletion: true},
		stored(20, "retries.01.due.later", time.Millisecond),
	}
	if got := o.firedLast(messages); got != 2 {
		t.Fatalf("%d have fired, want 2", got)
	}
	e := expectedLoss{kinds: []string{inventory.WentBack}, was: 20, count: 20}
	o.leaveUnseen(&e, messages)
	for was, want := range map[uint64]bool{17: false, 18: true, 19: true, 20: true, 21: false} {
		if got := e.allows(inventory.Loss{Kind: inventory.WentBack, Was: was, Count: was}); got != want {
			t.Errorf("a loss of all up to %d is allowed: %t, want %t", was, got, want)
		}
	}
	if e.allows(inventory.Loss{Kind: inventory.WentBack, Was: 20, Count: 18}) {
		t.Error("a number of lost messages that does not fit is allowed")
	}
}
