package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/stream"
)

// confirm is how long a stream has to be behind before that is a loss: a leader that
// was elected a moment ago may still have to read what it has.
const (
	confirm      = 4 * time.Second
	confirmEvery = 400 * time.Millisecond
	parallel     = 8 // as Layout.Ensure
	askTimeout   = 5 * time.Second
)

// Run looks at the streams, now and then, until ctx ends, and writes down what they
// have. A Reader reads what is lost.
func (i *Inventory) Run(ctx context.Context) error {
	if i == nil {
		return nil
	}
	var looking sync.WaitGroup
	if !i.cfg.Reader {
		looking.Go(func() { i.keepLooking(ctx) })
	}
	defer looking.Wait()
	tick := time.NewTicker(i.cfg.Every)
	defer tick.Stop()
	queues, reconnects := time.Now(), i.js.Conn().Stats().Reconnects
	for {
		select {
		case <-ctx.Done():
			if !i.cfg.Reader {
				i.last(ctx)
			}
			return nil
		case <-tick.C:
		}
		if i.cfg.Reader {
			_ = i.refresh(ctx, keyLosses) // what is known stays
			continue
		}
		// A server that was started again may have lost the end of any queue, and what comes
		// now would hide that.
		now := i.js.Conn().Stats().Reconnects
		i.restarted.Store(now != reconnects)
		all := now != reconnects || time.Since(queues) >= i.cfg.QueuesEvery
		if all {
			queues = time.Now()
		}
		if err := i.Check(ctx, all); err == nil {
			reconnects = now
		} else if ctx.Err() == nil {
			i.log.Warn("cannot compare the streams with the list of them, will try again", zap.Error(err))
		}
		i.mu.Lock()
		due := time.Since(i.stored) >= i.cfg.Store
		i.mu.Unlock()
		if due {
			i.storeHeads(ctx)
		}
	}
}

// last writes down where the streams end when everything has stopped.
func (i *Inventory) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	if err := i.Check(ctx, true); err != nil {
		i.log.Debug("cannot see where the streams end", zap.Error(err))
	}
	alone := i.cfg.Alone != nil && i.cfg.Alone()
	if alone {
		if err := i.seeEnds(ctx); err != nil {
			i.log.Debug("cannot see the newest messages of the streams", zap.Error(err))
			alone = false
		}
	}
	i.storeHeads(ctx)
	i.writeAs(alone)
}

// Check compares the streams with the list, all of them or those that exist once and
// the event logs, and writes down what they have. What is lost is no error.
func (i *Inventory) Check(ctx context.Context, all bool) error {
	if i == nil || i.cfg.Reader {
		return nil
	}
	keys := []string{keyPlatform, keyLosses}
	if all {
		keys = allKeys()
	}
	for _, key := range keys {
		if err := i.refresh(ctx, key); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
	}
	losses, whole, err := i.compareAll(ctx, i.names(!all))
	for since := time.Now(); time.Since(since) < confirm && slices.ContainsFunc(losses, behind); {
		if err := pause(ctx, confirmEvery); err != nil {
			return err
		}
		var names []string
		for n := range losses {
			if behind(losses[n]) {
				names = append(names, losses[n].Stream)
			}
		}
		losses = slices.DeleteFunc(losses, behind)
		still, caughtUp, again := i.compareAll(ctx, names)
		losses, whole, err = append(losses, still...), append(whole, caughtUp...), errors.Join(err, again)
	}
	err = errors.Join(err, i.found(ctx, whole))
	slices.SortFunc(losses, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(len(a.Stream), len(b.Stream)), strings.Compare(a.Stream, b.Stream))
	})
	err = errors.Join(err, i.lose(ctx, losses...))
	i.writeFile()
	return err
}

// behind reports whether a loss may be that of a leader that is still reading.
func behind(l Loss) bool { return l.Kind == WentBack }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// compareAll looks at streams side by side. whole are those that are what they should
// be; one that does not answer is neither lost nor whole: who writes to it says so.
func (i *Inventory) compareAll(ctx context.Context, names []string) (losses []Loss, whole []string, err error) {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, name := range names {
		g.Go(func() error {
			loss, err := i.compare(ctx, name)
			if err != nil && stream.FaultOf(err) == stream.NoFault {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if loss != nil {
				losses = append(losses, *loss)
			} else if err == nil {
				whole = append(whole, name)
			}
			return nil
		})
	}
	err = g.Wait()
	return losses, whole, err
}

// found ends the losses of streams that are there again, with all that they had: they
// were restored, or the server has not been able to read them for a while.
func (i *Inventory) found(ctx context.Context, whole []string) error {
	back := func(l Loss) bool { return l.Open() && l.Kind == Missing && slices.Contains(whole, l.Stream) }
	open := slices.DeleteFunc(i.open(), func(l Loss) bool { return !back(l) })
	if len(open) == 0 {
		return nil
	}
	for _, l := range open {
		i.log.Info("a stream that was missing is there again", zap.String("stream", l.Stream))
	}
	return i.change(ctx, keyLosses, func(d *document) bool {
		n := len(d.Losses)
		d.Losses = slices.DeleteFunc(d.Losses, back)
		return len(d.Losses) < n
	})
}

// compare looks at one stream. Nil: it is what it should be.
func (i *Inventory) compare(ctx context.Context, name string) (*Loss, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	was, listed := i.Seen(name)
	if !listed {
		return nil, nil //nolint:nilnil // it was deleted meanwhile
	}
	loss, now, err := i.against(ctx, name, was)
	if err == nil && loss != nil {
		// Another admin may have deleted it, or made it anew, since the list was read. It
		// says so on the list before it deletes.
		if err := i.refresh(ctx, keyOf(i.layout, name)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, err
		}
		newest, listed := i.Seen(name)
		if !listed {
			return nil, nil //nolint:nilnil // it was deleted
		}
		if newest != was {
			loss, now, err = i.against(ctx, name, newest)
		}
	}
	if err != nil {
		return nil, err
	}
	if loss == nil {
		return nil, i.seen(ctx, name, &now)
	}
	if slices.Contains(i.inventoryStreams(), name) {
		loss.Detail += "; its copies have what it had"
	}
	return loss, nil
}

// against compares a stream with what it was.
func (i *Inventory) against(ctx context.Context, name string, was Stream) (*Loss, stream.Shape, error) {
	now, err := stream.ReadShape(ctx, i.js, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if slices.Contains(i.inventoryStreams(), name) {
			if err := i.layout.EnsureInventory(ctx, i.js); err != nil { // it holds nothing that is not in other places
				return nil, now, err
			}
		}
		return &Loss{Stream: name, Kind: Missing, Was: was.Last, Count: was.Last, Hash: was.Hash, Made: was.Created, Detail: "it is missing" + upTo(was.Last)}, now, nil
	}
	if err != nil {
		return nil, now, err
	}
	loss, err := i.difference(ctx, name, was, &now)
	return loss, now, err
}

// difference says what a stream has lost since it was seen last.
func (i *Inventory) difference(ctx context.Context, name string, was Stream, now *stream.Shape) (*Loss, error) {
	loss := &Loss{Stream: name, Was: was.Last, Now: now.Last, Hash: was.Hash}
	switch {
	case !was.Created.Equal(now.Created) && now.Messages > 0 && now.Last >= was.Last:
		// A server that cannot read the description of a stream leaves its files where they
		// are, and finds them when the stream is made again.
		loss.Kind, loss.Count, loss.Made = Replaced, 0, was.Created
		loss.Detail = fmt.Sprintf("it was made anew at %s, over its old files, which have messages up to %d", now.Created.Format(time.RFC3339), now.Last)
	case !was.Created.Equal(now.Created):
		loss.Kind, loss.Count, loss.Made = Replaced, was.Last, was.Created
		loss.Detail = fmt.Sprintf("it was made anew at %s, and what it had is gone%s", now.Created.Format(time.RFC3339), upTo(was.Last))
	case now.Last < was.Last:
		loss.Kind, loss.Count = WentBack, was.Last-now.Last
		loss.Detail = endsEarlier(now.Last, was.Last)
	case i.layout.NeedsAll(name) && now.Subjects < was.Keys:
		loss.Kind, loss.Was, loss.Now, loss.Count = Damaged, was.Keys, now.Subjects, was.Keys-now.Subjects
		loss.Detail = fmt.Sprintf("it has %d keys, and has had %d: %d or more are lost", now.Subjects, was.Keys, was.Keys-now.Subjects)
	case now.Lost > was.Lost:
		loss.Kind, loss.Count = Damaged, now.Lost-was.Lost
		loss.Detail = fmt.Sprintf("its file is damaged, and the NATS server has lost %d messages", now.Lost-was.Lost)
	case i.mayHaveLostEnd(name, was, now):
		kept, err := stream.LastKept(ctx, i.js, name)
		if err != nil {
			return nil, err
		}
		if loss.Count = i.endLost(name, was, now, kept); loss.Count == 0 {
			return nil, nil //nolint:nilnil // it was deleted
		}
		loss.Kind, loss.Now = Damaged, kept
		loss.Detail = fmt.Sprintf("its file is damaged: its end is gone, %d messages or more behind %d and up to %d", loss.Count, kept, now.Last)
	case name == i.layout.Audit() && was.Hash != "":
		hash, err := stream.HashAt(ctx, i.js, name, was.Last)
		if err != nil {
			return nil, err
		}
		if hash == was.Hash || hash == "" && now.First > was.Last {
			return nil, nil //nolint:nilnil // it is what it was
		}
		loss.Kind = Altered
		loss.Detail = fmt.Sprintf("its record %d is not the one that it was", was.Last)
	default:
		return nil, nil //nolint:nilnil // it is what it was
	}
	return loss, nil
}

func upTo(last uint64) string {
	if last == 0 {
		return ""
	}
	return fmt.Sprintf(", with all messages up to %d", last)
}

// seen takes note of what a stream has.
func (i *Inventory) seen(ctx context.Context, name string, now *stream.Shape) error {
	s, err := i.shapeOf(ctx, name, now)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	d := i.docs[keyOf(i.layout, name)]
	if d == nil {
		return nil
	}
	if was, listed := d.Streams[name]; listed && was.Created.Equal(s.Created) && s.Last >= was.Last {
		if was.Last == s.Last && was.Hash != "" {
			s.Hash = was.Hash // nothing was written: it may have aged out
		}
		s.Unreadable, s.Created = was.Unreadable, was.Created
		if s == was {
			return nil
		}
		next := d.clone() // others may be reading it
		next.Streams[name] = s
		i.docs[keyOf(i.layout, name)] = next
	}
	return nil
}

func (i *Inventory) shapeOf(ctx context.Context, name string, now *stream.Shape) (Stream, error) {
	s := Stream{Created: now.Created, First: now.First, Last: now.Last, Messages: now.Messages, Lost: now.Lost}
	if i.layout.NeedsAll(name) {
		s.Keys = now.Subjects
	}
	var err error
	if name == i.layout.Audit() {
		s.Hash, err = stream.HashAt(ctx, i.js, name, now.Last)
	}
	return s, err
}

// note puts streams on the list, as they are now. Those that are on it stay as they are.
func (i *Inventory) note(ctx context.Context, names []string) error {
	found := map[string]map[string]Stream{}
	for _, name := range names {
		if kind, _ := i.layout.KindOf(name); kind == stream.KindMemory || kind == stream.KindOther {
			continue
		}
		now, err := stream.ReadShape(ctx, i.js, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		s, err := i.shapeOf(ctx, name, &now)
		if err != nil {
			return err
		}
		key := keyOf(i.layout, name)
		if found[key] == nil {
			found[key] = map[string]Stream{}
		}
		found[key][name] = s
	}
	for key, streams := range found {
		err := i.change(ctx, key, func(d *document) bool {
			added := false
			for name, s := range streams {
				if _, listed := d.Streams[name]; !listed {
					d.Streams[name], added = s, true
				}
			}
			return added
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Note puts all streams of the installation on the list that are not, after they were
// ensured.
func (i *Inventory) Note(ctx context.Context) error {
	if i == nil || i.cfg.Reader {
		return nil
	}
	names, err := i.layout.OwnStreams(ctx, i.js)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { _, listed := i.Seen(name); return listed })
	if err := i.note(ctx, names); err != nil {
		return err
	}
	i.writeFile()
	return nil
}

// Made is to be called when a stream was made, or was there. Where the list has another
// one, what that had is lost.
func (i *Inventory) Made(ctx context.Context, name string) error {
	if i == nil || i.cfg.Reader {
		return nil
	}
	was, listed := i.Seen(name)
	if !listed {
		return i.note(ctx, []string{name})
	}
	now, err := stream.ReadShape(ctx, i.js, name)
	if err != nil || now.Created.Equal(was.Created) {
		return err
	}
	if err := i.refresh(ctx, keyOf(i.layout, name)); err != nil { // another process may have made it
		return err
	}
	if was, listed = i.Seen(name); !listed || now.Created.Equal(was.Created) {
		return i.note(ctx, []string{name})
	}
	loss, err := i.difference(ctx, name, was, &now)
	if err != nil || loss == nil {
		return err
	}
	return i.lose(ctx, *loss)
}

// Forget takes a stream off the list. It is to be called before the stream is deleted.
func (i *Inventory) Forget(ctx context.Context, name string) error {
	if i == nil || i.cfg.Reader {
		return nil
	}
	return i.change(ctx, keyOf(i.layout, name), func(d *document) bool {
		_, listed := d.Streams[name]
		delete(d.Streams, name)
		return listed
	})
}
