package inventory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// vital are the streams that are read before anything is routed by them.
func (i *Inventory) vital() []string {
	return []string{
		i.layout.SubscriptionsStream(), i.layout.CatalogStream(), i.layout.TokensStream(), i.layout.RepositoriesStream(),
	}
}

// maxFailed is after how many streams that cannot be read no others are.
const maxFailed = 5

// FindDamage reads streams, and finds messages in them that are damaged without the server
// noticing. They are a loss.
func (i *Inventory) FindDamage(ctx context.Context, names ...string) error {
	if i == nil || i.cfg.Reader {
		return nil
	}
	var failed []error
	for _, name := range names {
		if err := i.findDamage(ctx, name); err != nil { // the others are read all the same
			failed = append(failed, err)
		}
		if ctx.Err() != nil || len(failed) == maxFailed {
			break
		}
	}
	return errors.Join(failed...)
}

func (i *Inventory) findDamage(ctx context.Context, name string) error {
	was, listed := i.Seen(name)
	if !listed {
		return nil
	}
	unreadable, err := stream.FindDamage(ctx, i.js, name, i.unread(ctx, name))
	if errors.Is(err, jetstream.ErrStreamNotFound) || stream.FaultOf(err) == stream.FaultMissing {
		return nil // see Check
	}
	if err != nil {
		return err
	}
	n := uint64(len(unreadable))
	if n < was.Unreadable { // they are deleted
		return i.markUnreadable(ctx, Loss{Stream: name, Unreadable: n})
	}
	if n == was.Unreadable {
		return nil
	}
	return i.lose(ctx, Loss{
		Stream: name, Kind: Damaged, Was: was.Last, Now: was.Last, Count: n - was.Unreadable, Unreadable: n,
		Detail: fmt.Sprintf("its file is damaged: %s cannot be read", numbered(unreadable)),
	})
}

// unread is where to begin to read a stream: of an event log, with what is not routed
// yet. The rest is history, and may be very long.
func (i *Inventory) unread(ctx context.Context, name string) uint64 {
	kind, domain := i.layout.KindOf(name)
	if kind != stream.KindEventLog {
		return 0
	}
	routing, err := i.layout.ReadRouting(ctx, i.js, domain)
	if err != nil {
		return 0
	}
	return routing.Settled + 1
}

// Suspect has a stream read soon. It is called when the server reports damage.
func (i *Inventory) Suspect(name string) {
	if kind, _ := i.layout.KindOf(name); kind == stream.KindOther || kind == stream.KindMemory {
		return
	}
	i.mu.Lock()
	i.suspects[name] = true
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// keepLooking reads streams, now and then, and those that are suspect soon, until ctx
// ends.
func (i *Inventory) keepLooking(ctx context.Context) {
	tick := time.NewTicker(i.cfg.DamageEvery)
	defer tick.Stop()
	names := i.readable()
	for {
		if err := i.FindDamage(ctx, names...); err != nil && ctx.Err() == nil {
			i.log.Warn("cannot read streams in search of damage, will try again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			names = slices.Concat(i.vital(), i.readable())
		case <-i.wake:
			i.mu.Lock()
			names = slices.Sorted(maps.Keys(i.suspects))
			clear(i.suspects)
			i.mu.Unlock()
		}
	}
}

// readable are the streams that are read now and then, whatever the server says: queues,
// retry timers, event logs and the audit trail. A timer that cannot be read never fires.
func (i *Inventory) readable() []string {
	return slices.DeleteFunc(i.names(false), func(name string) bool {
		kind, _ := i.layout.KindOf(name)
		return kind == stream.KindPlatform && name != i.layout.Audit() && !i.layout.IsWorkQueue(name, stream.SenderConsumer)
	})
}

// numbered names the first few of some messages.
func numbered(sequences []uint64) string {
	const most = 3
	var names []string
	for _, n := range sequences[:min(most, len(sequences))] {
		names = append(names, strconv.FormatUint(n, 10))
	}
	text := "message " + strings.Join(names, ", ")
	if more := len(sequences) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
