package inventory

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/stream"
)

// All stands for all streams that have lost something, in Accept.
const All = "all"

// lose writes a loss down, once, and goes on with the stream as it is now.
func (i *Inventory) lose(ctx context.Context, loss Loss) error {
	loss.Found = time.Now().UTC().Truncate(time.Microsecond)
	fresh := false
	err := i.change(ctx, keyLosses, func(d *document) bool {
		at := slices.IndexFunc(d.Losses, func(l Loss) bool { return l.Stream == loss.Stream && l.Open() })
		if fresh = at < 0; fresh {
			d.Losses = append(d.Losses, loss)
			return true
		}
		known := &d.Losses[at]
		if known.Kind == loss.Kind && loss.Kind == Missing || known.Detail == loss.Detail {
			return false
		}
		newer := loss
		loss.Found, loss.Was = known.Found, max(loss.Was, known.Was)
		loss.Count, loss.Now = max(loss.Count, known.Count), min(loss.Now, known.Now)
		if loss.Hash == "" {
			loss.Hash = known.Hash
		}
		if known.Kind == Missing && loss.Kind == Replaced {
			loss.Detail = known.Detail + "; " + loss.Detail
			loss.Count, loss.Now = newer.Count, newer.Now
		}
		*known = loss
		fresh = true
		return true
	})
	if err != nil {
		return err
	}
	if fresh {
		i.log.Error("a stream has lost what it had: jetpost is not ready until that is accepted",
			zap.String("stream", loss.Stream), zap.String("reason", loss.Detail), zap.String("kind", loss.Kind), zap.Uint64("was", loss.Was), zap.Uint64("now", loss.Now))
	}
	if loss.Unreadable > 0 {
		return i.markUnreadable(ctx, loss)
	}
	if loss.Kind != Missing || slices.Contains(i.inventoryStreams(), loss.Stream) {
		if err := i.replace(ctx, loss.Stream); err != nil {
			return err
		}
	}
	i.announce()
	return nil
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

// replace puts a stream on the list as it is now; what is not there goes off it.
func (i *Inventory) replace(ctx context.Context, name string) error {
	now, err := stream.ReadShape(ctx, i.js, name)
	missing := errors.Is(err, jetstream.ErrStreamNotFound)
	if err != nil && !missing {
		return err
	}
	var s Stream
	if !missing {
		if s, err = i.shapeOf(ctx, name, &now); err != nil {
			return err
		}
	}
	return i.change(ctx, keyOf(i.layout, name), func(d *document) bool {
		if missing {
			delete(d.Streams, name)
			return true
		}
		if was := d.Streams[name]; was.Created.Equal(s.Created) {
			s.Unreadable = was.Unreadable
		}
		d.Streams[name] = s
		return true
	})
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
	for _, name := range missing {
		if err == nil {
			err = i.replace(ctx, name)
		}
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
