package consume

import (
	"slices"
	"sync"
	"time"
)

// How long a message may be in the hands of a process. One that is killed or stands still
// keeps what it has in hand for AckWait, then others get it (design, section 16). So a
// process that works for longer on a message tells the server in time:
//
//	0 ──────── 2 s ──────── 4.5 s ──── 6 s ─────────── 8 s
//	handed out │ InProgress │ again    │ lost without  │ others get it
//
// What ends within HoldAfter costs nothing.
const (
	// HoldAfter is from when on the server is notified that a message is in progress.
	HoldAfter = 2 * time.Second
	// HoldEvery is how often it is notified from then on.
	HoldEvery = 2500 * time.Millisecond
	// lostAfter is from when on a message of which the server was not notified is taken for
	// lost: others may get it any moment.
	lostAfter = 6 * time.Second
)

// started makes times monotonic: steps of the clock must not make messages lost.
var started = time.Now()

// Hold asks the server for another AckWait. It does nothing for a message that was
// settled.
func (m *Message) Hold() error {
	if m.done.Load() {
		return nil
	}
	lost := m.Lost()
	m.alive.Store(int64(time.Since(started)))
	if err := m.InProgress(); err != nil {
		return err
	}
	if !lost { // otherwise others may have it already
		m.renew()
	}
	return nil
}

// HoldWaiting is Hold for a message that nothing has been begun with. One that is lost is
// not held any longer: the server hands it out again, and with the copy it is in hand as
// before (see Held). Held on, it would stay lost, and wait for the ack wait when its turn
// comes.
func (m *Message) HoldWaiting() error {
	if m.Lost() {
		m.alive.Store(int64(time.Since(started)))
		return nil
	}
	return m.Hold()
}

// renew takes note that the server has just handed the message out to this process, or
// learnt that it has it.
func (m *Message) renew() {
	now := int64(time.Since(started))
	m.known.Store(now)
	m.alive.Store(now)
}

// Unheld is how long ago the server last learnt that the message is in hand here.
func (m *Message) Unheld() time.Duration { return time.Since(started) - time.Duration(m.known.Load()) }

// Lost reports whether others may have the message by now: this process has stood still,
// or was cut off, for too long. What has not been begun with it must not be begun.
func (m *Message) Lost() bool { return m.Unheld() > lostAfter }

// KeepHolding tells the server again and again that messages are in work, until release
// is called or they are settled. It takes over from when they were handed out, and does
// nothing before HoldAfter from then.
func KeepHolding(msgs ...*Message) (release func()) {
	if len(msgs) == 0 {
		return func() {}
	}
	var mu sync.Mutex
	released := false
	msgs = slices.Clone(msgs) // those of a batch are in a slice that is used again
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(max(HoldAfter-msgs[0].Unheld(), 0), func() {
		mu.Lock()
		defer mu.Unlock()
		if released {
			return
		}
		for _, m := range msgs {
			_ = m.Hold() // failing that, others get it: as after a crash
		}
		timer.Reset(HoldEvery)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		released = true
		timer.Stop()
	}
}
