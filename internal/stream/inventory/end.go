package inventory

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/stream"
)

// A server whose file of a stream has lost its end, and that still knows from another file
// how far the stream went, keeps the last sequence and takes the messages behind the cut for
// deleted. So where nothing deletes messages, fewer of them say that the end is lost:
//
//	event logs, ATTEMPTS, AUDIT     after each start of the server; from their beginning
//	                                messages go by age, which is not counted
//	subscriptions, domains          after each start of the server: what a bucket has stored
//	                                last is always there. Without it an older revision may
//	                                have come back
//	DEADLETTERS, queues, RETRIES    after a stop of this process, when no other one of
//	                                jetpost was connected: until it starts again, nothing
//	                                takes messages from them
//
// After a kill the latter are not distinguished from what was settled.

// isLog reports whether nothing takes messages from the end of a stream.
func (i *Inventory) isLog(name string) bool {
	kind, _ := i.layout.KindOf(name)
	return kind == stream.KindEventLog || name == i.layout.Attempts() || name == i.layout.Audit()
}

// isSettled reports whether messages leave a stream only while jetpost works.
func (i *Inventory) isSettled(name string) bool {
	return name == i.layout.DeadLetters() || i.layout.IsWorkQueue(name, stream.SenderConsumer)
}

// mayHaveLostEnd reports whether it is worth looking where a stream ends.
func (i *Inventory) mayHaveLostEnd(name string, was Stream, now *stream.Shape) bool {
	if !i.restarted.Load() || now.Last < was.Last {
		return false
	}
	if i.layout.NeedsAll(name) {
		return now.Last > 0
	}
	if was.Messages == 0 {
		return false
	}
	exact := i.exact.Load() && i.isSettled(name)
	return exact && was.Kept > 0 || (exact || i.isLog(name)) && i.fewer(name, was, now) > 0
}

// endLost is how many messages a stream has lost with its end, at least: kept is the newest
// that is there.
func (i *Inventory) endLost(name string, was Stream, now *stream.Shape, kept uint64) uint64 {
	unreadable := kept == 0 && now.Messages > 0 // the newest is damaged: see FindDamage
	if i.layout.NeedsAll(name) {
		if unreadable {
			return 0
		}
		return now.Last - min(kept, now.Last)
	}
	fewer := i.fewer(name, was, now)
	if unreadable {
		return fewer
	}
	if i.isSettled(name) && now.Last == was.Last && kept < was.Kept {
		return max(fewer, 1) // with the end it may be lost that others were deleted
	}
	if kept >= now.Last {
		return 0
	}
	return fewer
}

// fewer is how many messages a stream has fewer than it must have.
func (i *Inventory) fewer(name string, was Stream, now *stream.Shape) uint64 {
	had := was.Messages
	if i.isLog(name) {
		had += now.Last - was.Last
	}
	if now.Messages == 0 {
		if now.AgedOut() {
			return 0
		}
		return had
	}
	if now.First > was.First {
		had -= min(had, now.First-was.First)
	}
	return had - min(had, now.Messages)
}

// seeEnds takes note of the newest messages of the streams from which they leave only while
// jetpost works.
func (i *Inventory) seeEnds(ctx context.Context) error {
	var mu sync.Mutex
	kept := map[string]uint64{}
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, name := range i.names(false) {
		if s, _ := i.Seen(name); s.Messages == 0 || !i.isSettled(name) {
			continue
		}
		g.Go(func() error {
			last, err := stream.LastKept(ctx, i.js, name)
			mu.Lock()
			defer mu.Unlock()
			kept[name] = last
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for key, d := range i.docs {
		next := d.clone() // others may be reading it
		for name, s := range next.Streams {
			s.Kept = kept[name]
			next.Streams[name] = s
		}
		i.docs[key] = next
	}
	return nil
}
