// Package inventory knows which streams an installation has, so that one that is not
// there any more, or has less than it had, is noticed and not made anew as if nothing
// had been.
//
//	            ┌─ bucket inventory ── its copy ── file in the data folder ─┐
//	streams ──► compare ──► losses ──► /readyz, log, metrics, events       (the same list)
//	                          │
//	                          └── accepted by a person ──► made anew, on the audit trail
//
// The list is a few documents, each with a version. It is kept three times: where one
// place is lost or has gone back, the highest version tells. Of the last message of each
// stream it knows what was seen some seconds ago, so a number of lost messages may be
// too low, never too high.
//
// What belongs to it is said by those who make and delete streams: Made and Forget.
package inventory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// Config says where and how often. The zero value keeps no file.
type Config struct {
	// File is the path of the copy in the data folder. Default: there is none.
	File string
	// Every is how often the streams that exist once and the event logs are looked at.
	// Default: 5 s.
	Every time.Duration
	// QueuesEvery is how often all queues are. Default: 10 min.
	QueuesEvery time.Duration
	// DamageEvery is how often the messages of queues and of the audit trail, and the
	// events that are not routed yet, are read, in search of damaged ones. Default: 6 h,
	// and when Run begins.
	DamageEvery time.Duration
	// Store is how often the list in NATS gets what the streams have; the file has it
	// each time they are looked at. Default: 1 min.
	Store time.Duration
	// Alone reports, when all has stopped, whether no other process takes anything from the
	// streams until the next start. Default: others may.
	Alone func() bool
	// Reader: this process only reads what is lost, in a role that may do no more.
	Reader bool
}

func (c Config) withDefaults() Config {
	if c.Every == 0 {
		c.Every = 5 * time.Second
	}
	if c.QueuesEvery == 0 {
		c.QueuesEvery = 10 * time.Minute
	}
	if c.DamageEvery == 0 {
		c.DamageEvery = 6 * time.Hour
	}
	if c.Store == 0 {
		c.Store = time.Minute
	}
	return c
}

// An Inventory is the list of the streams of an installation. It is safe for concurrent
// use. A nil Inventory knows nothing and accepts every report. Use New.
type Inventory struct {
	cfg    Config
	js     jetstream.JetStream
	layout stream.Layout
	log    *zap.Logger

	writing sync.Mutex // one change of this process at a time

	restarted atomic.Bool // the server may have been started again since the streams were seen
	exact     atomic.Bool // nothing has taken anything from them since

	mu           sync.Mutex
	installation string
	unsettled    bool // installation was made here, and is not stored yet: another process may be faster
	docs         map[string]*document
	opened       time.Time // when Open has begun
	stored       time.Time // when the list in NATS has last got what the streams have
	written      string    // the file as it was written
	notified     map[string]bool
	tell         func(Loss)
	unowned      []Unowned
	suspects     map[string]bool // streams that are to be read soon
	wake         chan struct{}   // there are suspects
}

// An Unowned is a queue without a subscription.
type Unowned struct {
	Stream       string `json:"stream" doc:"The queue."`
	Subscription string `json:"subscription_id" doc:"The id of the subscription that it was made for. One that is created with this id gets what waits in it."`
	Messages     uint64 `json:"messages" doc:"How many deliveries wait in it."`
}

// New returns an inventory, which knows nothing until Open. js is on a connection with
// the permissions of stream.RoleControl, or of stream.RoleView for a Reader.
func New(cfg Config, js jetstream.JetStream, layout stream.Layout, log *zap.Logger) *Inventory {
	return &Inventory{
		cfg: cfg.withDefaults(), js: js, layout: layout, log: log.Named("inventory"),
		docs: map[string]*document{}, notified: map[string]bool{}, suspects: map[string]bool{}, wake: make(chan struct{}, 1),
	}
}

// Open reads the list, or makes one of what there is, and compares it with the streams.
// It has to be called before streams are ensured. It may be called again when it has
// failed.
func (i *Inventory) Open(ctx context.Context) error {
	if i == nil {
		return nil
	}
	if i.cfg.Reader {
		return i.refresh(ctx, keyLosses)
	}
	i.mu.Lock()
	i.opened = time.Now().UTC().Truncate(time.Microsecond)
	i.mu.Unlock()
	file, stopped, err := readFile(i.cfg.File)
	if err != nil {
		// The list in NATS tells as well. The file is written again.
		i.log.Error("the list of streams in the data folder cannot be read", zap.String("file", i.cfg.File), zap.Error(err))
	}
	found, err := i.readAll(ctx, 0)
	if err != nil {
		return err
	}
	copied, err := i.readAll(ctx, 1)
	if err != nil {
		return err
	}
	if err := i.layout.EnsureInventory(ctx, i.js); err != nil {
		return err
	}
	foreign := i.choose(found, copied, file)
	if i.installation == "" {
		if err := i.adopt(ctx); err != nil {
			return err
		}
	}
	if err := i.writeBack(ctx, found, copied); err != nil {
		return err
	}
	if foreign != "" {
		if err := i.lose(ctx, Loss{
			Stream: i.layout.InventoryStreams()[0], Kind: Foreign,
			Detail: fmt.Sprintf("the data folder belongs to installation %s, and NATS has the streams of installation %s: see whether both are the right ones", foreign, i.installation),
		}); err != nil {
			return err
		}
	}
	i.restarted.Store(true)
	if stopped && foreign == "" {
		i.exact.Store(true)
	}
	if err := i.Check(ctx, true); err != nil {
		return err
	}
	i.restarted.Store(false)
	i.exact.Store(false)
	return i.FindDamage(ctx, i.vital()...)
}

// choose takes of each document the highest version. The list in NATS says which
// installation it is, where it is there; it returns the id of another one that the file
// is of.
func (i *Inventory) choose(found, copied, file map[string]*document) (foreign string) {
	id := ""
	for _, docs := range []map[string]*document{found, copied, file} {
		if d := docs[keyPlatform]; id == "" && d != nil {
			id = d.Installation
		}
	}
	if d := file[keyPlatform]; d != nil && d.Installation != id {
		foreign = d.Installation
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.installation = id
	for _, docs := range []map[string]*document{found, copied, file} {
		for key, d := range docs {
			if d.Installation == id {
				i.docs[key] = newest(i.docs[key], d)
			}
		}
	}
	return foreign
}

// adopt begins a list with the streams that there are: none, or those of an earlier
// version of jetpost.
func (i *Inventory) adopt(ctx context.Context) error {
	names, err := i.layout.OwnStreams(ctx, i.js)
	if err != nil {
		return err
	}
	err = i.change(ctx, keyPlatform, func(d *document) bool { return d.Version == 0 })
	if err != nil {
		return err
	}
	if n := len(names) - len(i.layout.InventoryStreams()); n > 0 {
		i.log.Info("made the list of the streams that there are", zap.String("installation", i.ID()), zap.Int("streams", n))
	}
	return i.note(ctx, names)
}

// writeBack gives both buckets what another place has known better.
func (i *Inventory) writeBack(ctx context.Context, found, copied map[string]*document) error {
	i.mu.Lock()
	docs := maps.Clone(i.docs)
	i.mu.Unlock()
	for key, d := range docs {
		for which, there := range []map[string]*document{found, copied} {
			if have := there[key]; have != nil && have.Installation == d.Installation && have.Version >= d.Version {
				continue
			}
			if err := i.put(ctx, which, key, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// ID is the id of the installation.
func (i *Inventory) ID() string {
	if i == nil {
		return ""
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.installation
}

// Losses are all that were noticed, accepted ones included, the latest last.
func (i *Inventory) Losses() []Loss {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if d := i.docs[keyLosses]; d != nil {
		return slices.Clone(d.Losses)
	}
	return nil
}

// Open losses are those that were not accepted yet.
func (i *Inventory) open() []Loss {
	return slices.DeleteFunc(i.Losses(), func(l Loss) bool { return !l.Open() })
}

// Blocking are the losses with which nothing may be routed, sent or accepted: a stream
// that everything needs is missing, or one has less than it had that decides about
// others.
func (i *Inventory) Blocking() []Loss {
	return slices.DeleteFunc(i.open(), func(l Loss) bool { return !i.blocks(&l) })
}

func (i *Inventory) blocks(l *Loss) bool {
	if kind, _ := i.layout.KindOf(l.Stream); kind == stream.KindQueue {
		return false
	}
	if slices.Contains(i.inventoryStreams(), l.Stream) { // it was restored from its copies
		return l.Kind == Foreign
	}
	return l.Kind == Missing || i.layout.NeedsAll(l.Stream)
}

func (i *Inventory) inventoryStreams() []string {
	names := i.layout.InventoryStreams()
	return names[:]
}

// Known is what Layout.EnsureKnown has to know.
func (i *Inventory) Known() stream.Known {
	known := stream.Known{Lost: map[string]bool{}, Last: map[string]uint64{}}
	if i == nil {
		return known
	}
	for _, l := range i.Losses() {
		if l.Kind == Missing && l.Open() {
			known.Lost[l.Stream] = true
		}
		if l.Kind == Missing {
			known.Last[l.Stream] = max(known.Last[l.Stream], l.Was)
		}
	}
	return known
}

// Ready says what is lost, and what to do about it; nil when nothing is.
func (i *Inventory) Ready(context.Context) error {
	if i == nil {
		return nil
	}
	open := i.open()
	if len(open) == 0 {
		return nil
	}
	const most = 5
	var texts, names []string
	for n, l := range open {
		if n == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(open)-most))
			break
		}
		texts, names = append(texts, l.Stream+": "+l.Detail), append(names, l.Stream)
	}
	return errors.New(strings.Join(texts, "; ") + ". Restore it from a backup, or go on without: jetpost storage accept-loss " +
		strings.Join(names, " ") + ", or jetpost serve --accept-loss " + strings.Join(names, ","))
}

// Seen is what is known of a stream; false when it is not on the list.
func (i *Inventory) Seen(name string) (Stream, bool) {
	if i == nil {
		return Stream{}, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if d := i.docs[keyOf(i.layout, name)]; d != nil {
		s, ok := d.Streams[name]
		return s, ok
	}
	return Stream{}, false
}

// Queues are the subscriptions whose queues are on the list, by the names of the queues.
func (i *Inventory) Queues() map[string]string {
	queues := map[string]string{}
	if i == nil {
		return queues
	}
	for _, name := range i.names(false) {
		if kind, of := i.layout.KindOf(name); kind == stream.KindQueue {
			queues[name] = of
		}
	}
	return queues
}

// names are the streams on the list, or those that exist once and the event logs.
func (i *Inventory) names(platform bool) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var names []string
	for key, d := range i.docs {
		if key == keyPlatform || !platform {
			names = slices.AppendSeq(names, maps.Keys(d.Streams))
		}
	}
	slices.Sort(names)
	return names
}

// SetUnowned takes note of the queues that no subscription has, and says so in the log
// where that is new. They are kept.
func (i *Inventory) SetUnowned(queues []Unowned) {
	if i == nil {
		return
	}
	i.mu.Lock()
	was := i.unowned
	i.unowned = queues
	i.mu.Unlock()
	for _, q := range queues {
		if !slices.ContainsFunc(was, func(w Unowned) bool { return w.Stream == q.Stream }) {
			i.log.Error("a queue has no subscription; it is kept, and a subscription that is created with its id gets what waits in it",
				zap.String("stream", q.Stream), zap.String("subscription_id", q.Subscription), zap.Uint64("messages", q.Messages))
		}
	}
}

// UnownedQueues are those that SetUnowned was last given.
func (i *Inventory) UnownedQueues() []Unowned {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.unowned)
}

// Tell has f called with each loss that is noticed, also with those that were noticed
// before and are not accepted yet.
func (i *Inventory) Tell(f func(Loss)) {
	if i == nil {
		return
	}
	i.mu.Lock()
	i.tell = f
	i.mu.Unlock()
	i.announce()
}

func (i *Inventory) announce() {
	open := i.open()
	i.mu.Lock()
	tell := i.tell
	var fresh []Loss
	for _, l := range open {
		if fact := l.Stream + l.Found.String(); tell != nil && !i.notified[fact] {
			i.notified[fact] = true
			fresh = append(fresh, l)
		}
	}
	i.mu.Unlock()
	for _, l := range fresh {
		tell(l)
	}
}

func newID() string { return strings.ToLower(rand.Text()) }
