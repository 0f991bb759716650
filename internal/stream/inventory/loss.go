package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// All stands for all streams that have lost something, in Accept.
const All = "all"

// lose writes losses of different streams down, each once, and goes on with the streams
// as they are now. They are written together: after a power loss there may be one for
// each queue.
func (i *Inventory) lose(ctx context.Context, losses ...Loss) error {
	if len(losses) == 0 {
		return nil
	}
	found := time.Now().UTC().Truncate(time.Microsecond)
	var fresh []Loss
	err := i.change(ctx, keyLosses, func(d *document) bool {
		fresh = nil
		for _, loss := range losses {
			loss.Found = found
			if noteLoss(d, &loss) {
				fresh = append(fresh, loss)
			}
		}
		return len(fresh) > 0
	})
	if err != nil {
		return err
	}
	for n := range fresh {
		l := &fresh[n]
		i.log.Error("a stream has lost what it had: jetpost is not ready until that is accepted",
			zap.String("stream", l.Stream), zap.String("reason", l.Detail), zap.String("kind", l.Kind), zap.Uint64("was", l.Was), zap.Uint64("now", l.Now))
	}
	var other []string
	for _, loss := range losses {
		switch {
		case loss.Unreadable > 0:
			if err := i.markUnreadable(ctx, loss); err != nil {
				return err
			}
		case loss.Kind != Missing || slices.Contains(i.inventoryStreams(), loss.Stream):
			other = append(other, loss.Stream)
		}
	}
	if err := i.replace(ctx, other...); err != nil {
		return err
	}
	i.announce()
	return nil
}

// WentBack is for who finds by other means than the list that a stream ends earlier than it
// has: it has had a message was at least. The list may be some minutes older than that.
// What was noticed in the streams since Open is known already.
func (i *Inventory) WentBack(ctx context.Context, name string, was uint64) error {
	if i == nil || i.cfg.Reader {
		return nil
	}
	if _, listed := i.Seen(name); !listed {
		return nil
	}
	now, err := stream.ReadShape(ctx, i.js, name)
	if err != nil || now.Last >= was {
		return err
	}
	i.mu.Lock()
	opened := i.opened
	i.mu.Unlock()
	for _, l := range i.LostHeads(name) {
		if l.Kind == WentBack && !l.Found.Before(opened) {
			return nil
		}
	}
	return i.lose(ctx, Loss{Stream: name, Kind: WentBack, Was: was, Now: now.Last, Count: was - now.Last, Detail: endsEarlier(now.Last, was)})
}

func endsEarlier(now, was uint64) string {
	return fmt.Sprintf("it ends with message %d, and has had %d: the last %d or more are lost", now, was, was-now)
}

// noteLoss puts a loss into the document, and reports whether it is news. One that is not
// accepted yet grows by what is lost since; loss is as it stands there then.
func noteLoss(d *document, loss *Loss) bool {
	at := slices.IndexFunc(d.Losses, func(l Loss) bool { return l.Stream == loss.Stream && l.Open() })
	if at < 0 && slices.ContainsFunc(d.Losses, func(l Loss) bool { return l.covers(loss) }) {
		return false
	}
	if at < 0 {
		d.Losses = append(d.Losses, *loss)
		return true
	}
	known := &d.Losses[at]
	if known.Kind == loss.Kind && loss.Kind == Missing || known.Detail == loss.Detail {
		return false
	}
	newer := *loss
	loss.Found, loss.Was = known.Found, max(loss.Was, known.Was)
	loss.Count, loss.Now = max(loss.Count, known.Count), min(loss.Now, known.Now)
	if loss.Hash == "" {
		loss.Hash = known.Hash
	}
	if known.Kind == Missing && loss.Kind == Replaced {
		loss.Detail = known.Detail + "; " + loss.Detail
		loss.Count, loss.Now = newer.Count, newer.Now
	}
	*known = *loss
	return true
}

// acceptedBefore is for how long an accepted loss may be noticed again, by who has begun to
// look before: a queue is made anew while its loss is accepted.
const acceptedBefore = time.Minute

// covers reports whether l, which was accepted a moment ago, is the loss of the same stream:
// of one that was missing, and in whose place another one is now.
func (l *Loss) covers(loss *Loss) bool {
	isLost := func(kind string) bool { return kind == Missing || kind == Replaced }
	return l.Stream == loss.Stream && isLost(l.Kind) && isLost(loss.Kind) && !loss.Made.IsZero() && l.Made.Equal(loss.Made) &&
		!l.Open() && loss.Found.Sub(l.Accepted).Abs() < acceptedBefore
}

// markUnreadable takes note of how many damaged messages are known, so that they are no
// loss again.
func (i *Inventory) markUnreadable(ctx context.Context, loss Loss) error {
	defer i.announce()
	return i.change(ctx, keyOf(i.layout, loss.Stream), func(d *document) bool {
		s, listed := d.Streams[loss.Stream]
		s.Unreadable = loss.Unreadable
		if listed {
			d.Streams[loss.Stream] = s
		}
		return listed
	})
}

// Reconcilable are the losses with which deliveries may be lost that were not looked
// for yet: of queues and of retry timers.
func (i *Inventory) Reconcilable() []Loss {
	if i == nil {
		return nil
	}
	return slices.DeleteFunc(i.Losses(), func(l Loss) bool {
		return !l.Reconciled.IsZero() || !i.layout.IsWorkQueue(l.Stream, stream.SenderConsumer)
	})
}

// Reconciled takes note that the deliveries that were lost with a loss were made again.
func (i *Inventory) Reconciled(ctx context.Context, loss Loss, remade uint64) error {
	return i.change(ctx, keyLosses, func(d *document) bool {
		at := slices.IndexFunc(d.Losses, func(l Loss) bool {
			return l.Stream == loss.Stream && l.Found.Equal(loss.Found) && l.Detail == loss.Detail
		})
		if at < 0 {
			return false
		}
		d.Losses[at].Reconciled, d.Losses[at].Remade = time.Now().UTC().Truncate(time.Microsecond), d.Losses[at].Remade+remade
		return true
	})
}

// replace puts streams on the list as they are now; what is not there goes off it.
func (i *Inventory) replace(ctx context.Context, names ...string) error {
	keys := map[string]map[string]*Stream{} // nil: it is not there
	for _, name := range names {
		now, err := stream.ReadShape(ctx, i.js, name)
		missing := errors.Is(err, jetstream.ErrStreamNotFound)
		if err != nil && !missing {
			return err
		}
		key := keyOf(i.layout, name)
		if keys[key] == nil {
			keys[key] = map[string]*Stream{}
		}
		if keys[key][name] = nil; missing {
			continue
		}
		s, err := i.shapeOf(ctx, name, &now)
		if err != nil {
			return err
		}
		keys[key][name] = &s
	}
	for key, streams := range keys {
		if err := i.change(ctx, key, func(d *document) bool { return replaceIn(d, streams) }); err != nil {
			return err
		}
	}
	return nil
}

func replaceIn(d *document, streams map[string]*Stream) bool {
	for name, s := range streams {
		if s == nil {
			delete(d.Streams, name)
			continue
		}
		now := *s
		if was := d.Streams[name]; was.Created.Equal(now.Created) {
			now.Unreadable = was.Unreadable
		}
		d.Streams[name] = now
	}
	return len(streams) > 0
}

// Pending are the losses that Accept would accept: those of the named streams, or of
// all. unknown are names of streams that have lost nothing.
func (i *Inventory) Pending(names []string) (losses []Loss, unknown []string) {
	open := i.open()
	for _, name := range names {
		if name == All {
			return open, nil
		}
		at := slices.IndexFunc(open, func(l Loss) bool { return l.Stream == name })
		if at < 0 {
			unknown = append(unknown, name)
		} else if !slices.ContainsFunc(losses, func(l Loss) bool { return l.Stream == name }) {
			losses = append(losses, open[at])
		}
	}
	return losses, unknown
}

// Accept says that what the named streams have lost may be lost. What is missing can be
// made anew then.
func (i *Inventory) Accept(ctx context.Context, by string, names ...string) error {
	at := time.Now().UTC().Truncate(time.Microsecond)
	var missing []string
	err := i.change(ctx, keyLosses, func(d *document) bool {
		missing = nil
		changed := false
		for n := range d.Losses {
			if l := &d.Losses[n]; l.Open() && slices.Contains(names, l.Stream) {
				l.Accepted, l.By, changed = at, by, true
				if l.Kind == Missing {
					missing = append(missing, l.Stream)
				}
			}
		}
		d.Losses = forgetOld(d.Losses)
		return changed
	})
	if err == nil {
		err = i.replace(ctx, missing...)
	}
	i.writeFile()
	return err
}

// forgetOld keeps the latest of those that were accepted.
func forgetOld(losses []Loss) []Loss {
	extra := -maxAccepted
	for _, l := range losses {
		if !l.Open() {
			extra++
		}
	}
	return slices.DeleteFunc(losses, func(l Loss) bool {
		if l.Open() || extra <= 0 {
			return false
		}
		extra--
		return true
	})
}

// LostHeads are the losses of one stream, accepted or not, and what was last seen of
// it, for who wants to prove that it is whole.
func (i *Inventory) LostHeads(name string) []Loss {
	return slices.DeleteFunc(i.Losses(), func(l Loss) bool { return l.Stream != name })
}
