package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the files of NATS say of a stream while nothing runs, read without any code of
// jetpost or of the server.

// A storedMessage is one record of a block. Of what was deleted since there may be some.
type storedMessage struct {
	sequence uint64
	deletion bool // it says that its sequence was deleted
	block    string
	from, to int // in the block
	bytes    []byte
}

const (
	recordHead, recordSum = 22, 8
	headersBit            = uint32(1) << 31
	deletionBits          = uint64(3) << 62
)

// messagesOf reads the blocks of a stream, in order, each as far as it makes sense.
func (s *server) messagesOf(tb testing.TB, stream string) []storedMessage {
	tb.Helper()
	var all []storedMessage
	for _, block := range s.blocksOf(tb, stream) {
		data, err := os.ReadFile(block)
		if err != nil {
			tb.Fatal(err)
		}
		if bytes.HasPrefix(data, []byte("cmp")) {
			tb.Fatalf("%s is packed: this test writes too much", block)
		}
		for at := 0; at+recordHead+recordSum <= len(data); {
			length := int(binary.LittleEndian.Uint32(data[at:]) &^ headersBit)
			if length < recordHead+recordSum || at+length > len(data) {
				break
			}
			sequence := binary.LittleEndian.Uint64(data[at+4:])
			all = append(all, storedMessage{
				sequence: sequence &^ deletionBits, deletion: sequence&deletionBits != 0, block: block, from: at, to: at + length, bytes: data[at : at+length],
			})
			at += length
		}
	}
	return all
}

// blocksOf are the files with the messages of a stream, the oldest first.
func (s *server) blocksOf(tb testing.TB, stream string) []string {
	tb.Helper()
	blocks, err := filepath.Glob(filepath.Join(s.streamDir(stream), "msgs", "*.blk"))
	if err != nil {
		tb.Fatal(err)
	}
	number := func(path string) (n int) { _, _ = fmt.Sscanf(filepath.Base(path), "%d.blk", &n); return n }
	slices.SortFunc(blocks, func(a, b string) int { return number(a) - number(b) })
	return blocks
}

// endOf is the last sequence that a stream with these messages ever had, or the one before its
// first: one that was created again begins behind where it ended, and its description says so.
func (s *server) endOf(tb testing.TB, stream string, messages []storedMessage) (last uint64) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(s.streamDir(stream), "meta.inf"))
	if err != nil {
		tb.Fatal(err)
	}
	var description struct {
		FirstSeq uint64 `json:"first_seq"`
	}
	if err := json.Unmarshal(text, &description); err != nil {
		tb.Fatalf("the description of %s: %v", stream, err)
	}
	last = max(description.FirstSeq, 1) - 1
	for i := range messages {
		last = max(last, messages[i].sequence)
	}
	return last
}

// firedLast is how many of the last messages of a stream are retry timers that have fired
// since the program was told to stop. The server stores them by itself, also after jetpost has
// looked where the stream ends.
func (o *storageOracle) firedLast(messages []storedMessage) (fired uint64) {
	stored := map[uint64]storedMessage{}
	last := uint64(0)
	for _, m := range messages {
		if last = max(last, m.sequence); !m.deletion {
			stored[m.sequence] = m
		}
	}
	for ; last > 0; last-- {
		m, ok := stored[last]
		if !ok || !strings.Contains(subjectOf(m), ".due.") || m.stored().Before(o.stopping) {
			break
		}
		fired++
	}
	return fired
}

// stored is when a message was stored.
func (m *storedMessage) stored() time.Time {
	return time.Unix(0, int64(binary.LittleEndian.Uint64(m.bytes[12:]))) //nolint:gosec // a time
}

// liveOf are the sequences of the messages that are not deleted.
func liveOf(messages []storedMessage) (live []uint64) {
	there := map[uint64]bool{}
	for i := range messages {
		there[messages[i].sequence] = !messages[i].deletion
	}
	for sequence, is := range there {
		if is {
			live = append(live, sequence)
		}
	}
	slices.Sort(live)
	return live
}

// flip changes one byte of the last message that has a text.
func (s *server) flip(tb testing.TB, stream, text string, r *rand.Rand) storedMessage {
	tb.Helper()
	for _, m := range slices.Backward(s.messagesOf(tb, stream)) {
		if m.deletion || !bytes.Contains(m.bytes, []byte(text)) {
			continue
		}
		data, err := os.ReadFile(m.block)
		if err != nil {
			tb.Fatal(err)
		}
		// In what it says, and not in how long it is: the server would take the rest of the block for lost.
		at := m.from + bytes.LastIndex(m.bytes, []byte(text)) + r.IntN(len(text))
		data[at] ^= 1 << r.IntN(8)
		if err := os.WriteFile(m.block, data, 0o600); err != nil {
			tb.Fatal(err)
		}
		return m
	}
	tb.Fatalf("%s has no message with %q", stream, text)
	return storedMessage{}
}

// cutOff takes the end of a stream away, in the middle of a message or between two. It
// returns the messages that are gone. With kept the server has still what it has written
// down to start faster, and in it how far the stream went.
func (s *server) cutOff(tb testing.TB, stream string, kept bool, r *rand.Rand) (gone []storedMessage) {
	tb.Helper()
	before := s.messagesOf(tb, stream)
	last := before[len(before)-1].block
	of := slices.DeleteFunc(slices.Clone(before), func(m storedMessage) bool { return m.block != last })
	from := of[r.IntN(len(of))]
	if err := os.Truncate(from.block, int64(from.from+r.IntN(from.to-from.from))); err != nil {
		tb.Fatal(err)
	}
	if !kept {
		if err := os.Remove(filepath.Join(s.streamDir(stream), "msgs", "index.db")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			tb.Fatal(err)
		}
	}
	for _, m := range of {
		if m.from >= from.from {
			gone = append(gone, m)
		}
	}
	return gone
}

// shardOf is the stream with the retry timers of a subscription.
func shardOf(subscription string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(subscription)) // never fails
	return fmt.Sprintf("RETRIES_%02d", h.Sum32()%8)
}
