package inventory

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// A Stream is one that the installation has.
type Stream struct {
	// Created is when it was made. One that was made later is another one.
	Created time.Time `json:"created"`
	// Last is the sequence of the last message there ever was, when it was last looked at.
	Last uint64 `json:"last"`
	// First and Messages are where it began and how many messages it had then.
	First    uint64 `json:"first,omitempty"`
	Messages uint64 `json:"messages,omitempty"`
	// Kept is the newest message that it had when all had stopped; 0 when that is not known.
	Kept uint64 `json:"kept,omitempty"`
	// Keys is how many keys it has had, of a bucket that keeps them.
	Keys uint64 `json:"keys,omitempty"`
	// Lost is how many messages the server has said that it has lost.
	Lost uint64 `json:"lost,omitempty"`
	// Unreadable is how many messages were found to be damaged where the server has not
	// noticed it: see FindDamage.
	Unreadable uint64 `json:"unreadable,omitempty"`
	// Hash is that of the last message, of the audit trail.
	Hash string `json:"hash,omitempty"`
}

// Why a stream is not what it was.
const (
	Missing  = "missing"   // it is not there
	Replaced = "replaced"  // another one is in its place, which was made later
	WentBack = "went_back" // it ends earlier than it has ended
	Damaged  = "damaged"   // messages of it are lost, and it goes on behind them
	Altered  = "altered"   // another message is in the place of the last one
	Foreign  = "foreign"   // it belongs to another installation than the data folder
)

// A Loss is what is not there any more of a stream.
type Loss struct {
	Stream string `json:"stream" doc:"The stream that has lost something." example:"KV_subscriptions"`
	Kind   string `json:"kind" enum:"missing,replaced,went_back,damaged,altered,foreign" doc:"missing: the stream is not there; replaced: another one is in its place; went_back: it ends earlier than it has ended; damaged: messages in the middle or at the end of it are lost, and it goes on behind them; altered: its last message is another one; foreign: the data folder belongs to another installation."`
	Detail string `json:"detail" doc:"The same for people."`
	// Was and Now are the last sequences, or of buckets the numbers of keys.
	Was   uint64 `json:"was" doc:"The last sequence that it is known to have had; where keys of a bucket are lost, how many it had."`
	Now   uint64 `json:"now" doc:"What it has of that."`
	Count uint64 `json:"count" doc:"How many messages, or keys of a bucket, are known to be lost; 0 where that is not known."`
	// Made is when the stream was made that is not there any more.
	Made  time.Time `json:"made,omitzero"`
	Hash  string    `json:"hash,omitempty" doc:"Of the last record that the audit trail is known to have had."`
	Found time.Time `json:"found" doc:"When it was noticed."`
	// Unreadable is how many messages are damaged, those that were known before included.
	Unreadable uint64 `json:"-"`
	// Accepted is when the loss was accepted, and By the principal that accepted it.
	Accepted time.Time `json:"accepted,omitzero" doc:"When it was accepted; missing while it is not."`
	By       string    `json:"by,omitempty" doc:"Who has accepted it."`
	// Reconciled is when the deliveries that were lost with it were made again.
	Reconciled time.Time `json:"reconciled,omitzero" doc:"When the deliveries that were lost with it were looked for, and made again."`
	Remade     uint64    `json:"remade,omitempty" doc:"How many deliveries were made again."`
}

// Open reports whether the loss was not accepted yet.
func (l *Loss) Open() bool { return l.Accepted.IsZero() }

// maxAccepted is how many accepted losses are remembered.
const maxAccepted = 100

// maxUnpacked bounds a document that was packed, in bytes.
const maxUnpacked = 64 << 20

// A document is a part of the inventory, as it is stored.
type document struct {
	// Installation is the id of the installation: random, and the same in all documents.
	Installation string `json:"installation"`
	// Version grows with each change but that of what Streams have last been seen to have.
	Version uint64            `json:"version"`
	Streams map[string]Stream `json:"streams,omitempty"`
	Losses  []Loss            `json:"losses,omitempty"`
}

func (d *document) clone() *document {
	c := *d
	c.Streams, c.Losses = maps.Clone(d.Streams), slices.Clone(d.Losses)
	if c.Streams == nil {
		c.Streams = map[string]Stream{}
	}
	return &c
}

func (d *document) encode() ([]byte, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode inventory: %w", err)
	}
	if len(data) > stream.MaxInventory { // a power loss may take something of thousands of queues
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, err1 := w.Write(data)
		if err := errors.Join(err1, w.Close()); err != nil {
			return nil, fmt.Errorf("encode inventory: %w", err)
		}
		data = packed.Bytes()
	}
	if len(data) > stream.MaxInventory {
		return nil, fmt.Errorf("encode inventory: %d bytes for %d streams are more than %d", len(data), len(d.Streams), stream.MaxInventory)
	}
	return data, nil
}

func decode(data []byte) (*document, error) {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) { // as encode does
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("read inventory: %w", err)
		}
		if data, err = io.ReadAll(io.LimitReader(r, maxUnpacked)); err != nil {
			return nil, fmt.Errorf("read inventory: %w", err)
		}
	}
	d := &document{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	if d.Installation == "" || d.Version == 0 {
		return nil, errors.New("read inventory: it has no installation or no version")
	}
	return d.clone(), nil
}

// newest is the later one of two versions of a document, nil for none. What streams
// were last seen to have is taken from both.
func newest(a, b *document) *document {
	if a == nil || b != nil && b.Version > a.Version {
		a, b = b, a
	}
	if a == nil || b == nil {
		return a
	}
	merged := a.clone()
	for name, s := range merged.Streams {
		if other, ok := b.Streams[name]; ok && other.Created.Equal(s.Created) && b.Version == a.Version && other.later(&s) {
			merged.Streams[name] = other
		}
	}
	return merged
}

// later reports whether s was seen after other: at one end, messages only go away.
func (s *Stream) later(other *Stream) bool {
	return s.Last > other.Last || s.Last == other.Last && s.Messages < other.Messages
}

func (d *document) same(other *document) bool {
	if other == nil || d.Version != other.Version {
		return false
	}
	mine, err1 := d.encode()
	theirs, err2 := other.encode()
	return err1 == nil && err2 == nil && bytes.Equal(mine, theirs)
}

// The keys of documents: the streams that exist once and the event logs, the queues by
// a hash of their names, and what is lost.
const (
	keyPlatform = "platform"
	keyLosses   = "losses"
	queueShards = 16
)

func queueKey(n uint32) string { return fmt.Sprintf("queues_%02d", n) }

func allKeys() []string {
	keys := []string{keyPlatform, keyLosses}
	for n := range uint32(queueShards) {
		keys = append(keys, queueKey(n))
	}
	return keys
}

// keyOf is the document that lists a stream.
func keyOf(layout stream.Layout, name string) string {
	if kind, _ := layout.KindOf(name); kind != stream.KindQueue {
		return keyPlatform
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return queueKey(h.Sum32() % queueShards)
}
