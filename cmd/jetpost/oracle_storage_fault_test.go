package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jetpost/jetpost/internal/stream/inventory"
)

// Faults of the storage that happen while nothing runs, and what may come of each.

// A storageFault takes something from a stream.
type storageFault struct {
	kind   string
	stream string
	does   func(t *testing.T, o *storageOracle, stream string, r *rand.Rand) expectedLoss
}

func (f storageFault) String() string { return f.kind + " of " + f.stream }

// besideIndex is the end of a file that is cut off while the server knows how far the stream
// went.
const besideIndex = "cut end beside the index"

// anyNumber is a number that depends on what the server makes of the damage.
const anyNumber = ^uint64(0)

// An expectedLoss is what jetpost must say of a fault.
type expectedLoss struct {
	stream string
	kinds  []string // one of them; none: nothing is lost
	// maybe: what is history is not read again and again, so it may go unnoticed.
	maybe           bool
	was, now, count uint64
	// unseen is how many of the last messages jetpost may not have seen.
	unseen   uint64
	messages []storedMessage // that are gone
}

// mostStreams are those whose faults are planned; a queue and its retry timers are those
// of the subscriptions that wait.
func mostStreams() []string {
	return []string{"DELIVERIES_waiting", shardOf("later"), "DEADLETTERS", "ATTEMPTS", "AUDIT", "KV_subscriptions", "EVENTS_shop"}
}

// storageFaults are all that there are.
func storageFaults() (all []storageFault) {
	for _, stream := range append(mostStreams(), "DELIVERIES_later", "KV_tokens", "KV_inventory") {
		all = append(all, storageFault{"removal", stream, remove})
	}
	for _, stream := range mostStreams() {
		for _, name := range []string{"meta.inf", "meta.sum"} {
			all = append(all, storageFault{"empty " + name, stream, emptied(name)})
		}
		all = append(all, storageFault{"changed byte", stream, changed}, storageFault{"cut end", stream, cut}, storageFault{besideIndex, stream, cutBesideIndex}, storageFault{"removal of the messages", stream, removeMessages})
	}
	for _, stream := range []string{"DELIVERIES_waiting", "EVENTS_shop"} {
		all = append(all, storageFault{"consumer without description", stream, consumer("meta.inf", nil)})
	}
	for _, stream := range []string{"DELIVERIES_waiting", shardOf("later"), "EVENTS_shop"} {
		all = append(all, storageFault{"damaged consumer", stream, consumer("o.dat", []byte("nonsense"))})
	}
	return append(all, storageFault{"damaged head", "EVENTS_shop", head})
}

func remove(t *testing.T, o *storageOracle, stream string, _ *rand.Rand) expectedLoss {
	t.Helper()
	there := o.messagesOf(t, stream)
	last := o.endOf(t, stream, there)
	if err := os.RemoveAll(o.streamDir(stream)); err != nil {
		t.Fatal(err)
	}
	e := expectedLoss{stream: stream, kinds: []string{inventory.Missing, inventory.Replaced}, was: last, count: last, unseen: o.firedLast(there), messages: there}
	if stream == "KV_inventory" { // it was written while it was being written down
		e.was, e.count, e.now, e.messages = anyNumber, anyNumber, anyNumber, nil
	}
	return e
}

// emptied empties a description: the server leaves the stream out, and its messages are
// where they were.
func emptied(name string) func(*testing.T, *storageOracle, string, *rand.Rand) expectedLoss {
	return func(t *testing.T, o *storageOracle, stream string, _ *rand.Rand) expectedLoss {
		t.Helper()
		there := o.messagesOf(t, stream)
		last := o.endOf(t, stream, there)
		if err := os.Truncate(filepath.Join(o.streamDir(stream), name), 0); err != nil {
			t.Fatal(err)
		}
		return expectedLoss{stream: stream, kinds: []string{inventory.Missing, inventory.Replaced}, was: last, now: anyNumber, count: anyNumber, unseen: o.firedLast(there)}
	}
}

// changed changes a byte of one message. Where it is a record of what was done, no process
// may ever read it.
func changed(t *testing.T, o *storageOracle, stream string, r *rand.Rand) expectedLoss {
	t.Helper()
	text := o.round[r.IntN(len(o.round))]
	e := expectedLoss{stream: stream, kinds: []string{inventory.Damaged}, was: anyNumber, now: anyNumber, count: 1}
	switch stream {
	case "KV_subscriptions":
		text = fmt.Sprintf(`"id":%q`, o.subs[r.IntN(len(o.subs))].id)
	case "AUDIT":
		text = `"action":"subscription.pause"` // the last record, or the one before
		e.kinds, e.count = append(e.kinds, inventory.Altered), anyNumber
	case "DEADLETTERS", "ATTEMPTS", "EVENTS_shop":
		e.maybe = true
	case shardOf("later"): // not all events have a timer
		failed := slices.DeleteFunc(slices.Clone(o.round), func(id string) bool { return !failsFirst(id) })
		text = failed[r.IntN(len(failed))]
	}
	live := liveOf(o.messagesOf(t, stream))
	e.messages = []storedMessage{o.flip(t, stream, text, r)}
	if !slices.Contains(live, e.messages[0].sequence) { // a timer that has fired meanwhile
		e.kinds, e.messages = nil, nil
	}
	return e
}

// cut takes the end of a stream away, and what says how far it went.
func cut(t *testing.T, o *storageOracle, stream string, r *rand.Rand) expectedLoss {
	t.Helper()
	before := o.messagesOf(t, stream)
	was := o.endOf(t, stream, before)
	gone := o.cutOff(t, stream, false, r)
	now := o.endOf(t, stream, o.messagesOf(t, stream))
	e := expectedLoss{stream: stream, kinds: []string{inventory.WentBack}, was: was, now: now, count: was - now, messages: gone}
	o.leaveUnseen(&e, before)
	if stream == "KV_subscriptions" { // keys are lost
		e.kinds, e.was, e.now, e.count = append(e.kinds, inventory.Damaged), anyNumber, anyNumber, anyNumber
	}
	return e
}

// leaveUnseen allows for messages that the server has stored after jetpost has looked where a
// stream ends. Where these are all that is lost, it may notice that there are fewer, or nothing.
func (o *storageOracle) leaveUnseen(e *expectedLoss, before []storedMessage) {
	e.unseen = o.firedLast(before)
	if e.unseen > 0 && e.unseen >= e.was-e.now {
		e.kinds, e.maybe = append(e.kinds, inventory.Damaged), true
		e.was, e.now, e.count, e.unseen = anyNumber, anyNumber, anyNumber, 0
	}
}

// cutBesideIndex takes the end of a stream away of which the server knows how far it went:
// it takes what is gone for deleted.
func cutBesideIndex(t *testing.T, o *storageOracle, stream string, r *rand.Rand) expectedLoss {
	t.Helper()
	before := o.messagesOf(t, stream)
	gone := o.cutOff(t, stream, true, r)
	there, left := liveOf(before), liveOf(o.messagesOf(t, stream))
	e := expectedLoss{stream: stream, kinds: []string{inventory.Damaged}, was: o.endOf(t, stream, before), count: uint64(max(len(there)-len(left), 1)), messages: gone}
	if len(left) > 0 {
		e.now = left[len(left)-1]
	}
	switch {
	case slices.Equal(there, left):
		e.kinds = nil // what says that something was deleted is gone, and nothing else
	case stream == "KV_subscriptions": // keys are lost
		e.was, e.now, e.count = anyNumber, anyNumber, anyNumber
	case stream == shardOf("later"): // some fire while it starts
		e.was, e.now, e.count = anyNumber, anyNumber, anyNumber
	}
	return e
}

func removeMessages(t *testing.T, o *storageOracle, stream string, _ *rand.Rand) expectedLoss {
	t.Helper()
	there := o.messagesOf(t, stream)
	if err := os.RemoveAll(filepath.Join(o.streamDir(stream), "msgs")); err != nil {
		t.Fatal(err)
	}
	was, now := o.endOf(t, stream, there), o.endOf(t, stream, nil) // a stream that was created again still knows where it began
	e := expectedLoss{stream: stream, kinds: []string{inventory.WentBack}, was: was, now: now, count: was - now, messages: there}
	o.leaveUnseen(&e, there)
	if was == now { // it had nothing
		e.kinds = nil
	}
	if stream == "KV_subscriptions" {
		e.kinds, e.was, e.now, e.count = append(e.kinds, inventory.Damaged), anyNumber, anyNumber, anyNumber
	}
	return e
}

// consumer damages the state of what reads a stream: nothing of the stream is lost.
func consumer(name string, content []byte) func(*testing.T, *storageOracle, string, *rand.Rand) expectedLoss {
	return func(t *testing.T, o *storageOracle, stream string, _ *rand.Rand) expectedLoss {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(o.streamDir(stream), "obs", "*", name))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s has no %s of a consumer: %v", stream, name, err)
		}
		for _, path := range found {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return expectedLoss{stream: stream}
	}
}

// head damages the first message of a log, so that the server begins it at 1 again.
func head(t *testing.T, o *storageOracle, stream string, r *rand.Rand) expectedLoss {
	t.Helper()
	there := o.messagesOf(t, stream)
	data, err := os.ReadFile(there[0].block)
	if err != nil {
		t.Fatal(err)
	}
	data[4+r.IntN(8)] ^= 1 // its sequence
	if err := os.WriteFile(there[0].block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return expectedLoss{stream: stream, kinds: []string{inventory.WentBack, inventory.Damaged}, was: anyNumber, now: anyNumber, count: anyNumber, messages: there}
}

// planStorage takes every fault once before it takes one again. A second one beside it is
// of a stream that says nothing of what is owed.
func planStorage(r *rand.Rand, n int) [][]storageFault {
	var plan [][]storageFault
	var deck []storageFault
	second := []string{"DEADLETTERS", "AUDIT", "KV_subscriptions", "KV_tokens"}
	for len(plan) < n {
		if len(deck) == 0 {
			deck = storageFaults()
			r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		faults := []storageFault{deck[0]}
		deck = deck[1:]
		if at := slices.IndexFunc(deck, func(f storageFault) bool { return f.stream != faults[0].stream && slices.Contains(second, f.stream) }); at >= 0 && r.IntN(3) == 0 {
			faults, deck = append(faults, deck[at]), slices.Delete(deck, at, at+1)
		}
		plan = append(plan, faults)
	}
	return plan
}

// livesOf gives each installation some of the faults, each beside what those before have
// left. A file that stays damaged may lose more at the next start, and one that is cut
// beside its index is packed: its installation ends with that.
func livesOf(plan [][]storageFault) (lives [][][]storageFault) {
	const most = 4
	var life [][]storageFault
	for i, faults := range plan {
		life = append(life, faults)
		stays := slices.ContainsFunc(faults, func(f storageFault) bool {
			return f.kind == "changed byte" || f.kind == "damaged head" || f.kind == besideIndex
		})
		if stays || len(life) == most || i == len(plan)-1 {
			lives, life = append(lives, life), nil
		}
	}
	return lives
}
