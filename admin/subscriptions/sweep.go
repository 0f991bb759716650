package subscriptions

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	// sweepTimeout bounds what is done about one queue.
	sweepTimeout = 30 * time.Second
	// queuesEvery is how often all queues are looked at, unless there are so many that
	// it would cost too much, or Config.SweepEvery is less.
	queuesEvery = time.Minute
	queueCost   = 60 * time.Millisecond
)

// SweeperConfig is what a Sweeper is made with. All fields but Inventory and Reserve are
// required.
type SweeperConfig struct {
	// Every is how often all queues are looked at, at least.
	Every time.Duration
	// CheckQueue repairs the queue of a subscription, and reports whether it is missing.
	CheckQueue func(context.Context, *subscription.Subscription) (missing bool, err error)
	// Reconcile is called after the queues were looked at.
	Reconcile func(context.Context)
	// Inventory is the list of the queues that there are. Default: none.
	Inventory *inventory.Inventory
	// Reserve is storage that is kept. Default: none.
	Reserve *stream.Reserve
}

// A Sweeper repairs the queues of all subscriptions: see Run.
type Sweeper struct {
	cfg     SweeperConfig
	keep    *Keeper
	tester  *Tester
	repairs []func(context.Context) // see OnSweep
	damaged chan struct{}           // see Soon
}

// NewSweeper returns a Sweeper for the subscriptions of keep.
func NewSweeper(cfg SweeperConfig, keep *Keeper, tester *Tester) *Sweeper {
	return &Sweeper{cfg: cfg, keep: keep, tester: tester, damaged: make(chan struct{}, 1)}
}

// OnSweep has repair called when Run begins and whenever the queues are looked at, for
// what an API that was killed has left incomplete. It is to be called before Run.
func (s *Sweeper) OnSweep(repair func(ctx context.Context)) { s.repairs = append(s.repairs, repair) }

// Run looks at all queues, periodically and after each reconnect, until ctx ends. It repairs
// them after faults that neither routers nor senders can see:
//
//   - A NATS server that was killed, or whose disk has failed, may have lost messages
//     of a queue, or that they were taken off it, and not where its consumer stands:
//     see SweeperConfig.CheckQueue.
//   - A queue that was deleted by hand holds up the routers of all domains whose
//     events the subscription wants.
//
// Compatible APIs repair what is theirs at the same times: see OnSweep.
//
// Any number of admins may do so at a time.
func (s *Sweeper) Run(ctx context.Context) {
	nc := s.keep.js.Conn()
	var repaired time.Time
	for {
		reconnects, queues := nc.Stats().Reconnects, 0
		if time.Since(repaired) >= s.cfg.Every {
			for _, repair := range s.repairs {
				repair(ctx)
			}
			repaired = time.Now()
		}
		if snapshot, err := s.keep.view.Sync(ctx); err == nil {
			for _, sub := range snapshot.All() {
				queues++
				if ctx.Err() == nil && !s.tester.sweep(ctx, sub) {
					s.Sweep(ctx, sub)
				}
			}
			s.FindUnowned(ctx, snapshot)
		}
		s.cfg.Reconcile(ctx)
		if err := s.cfg.Reserve.Fill(ctx); err != nil && ctx.Err() == nil {
			s.keep.log.Warn("cannot keep room for the audit trail, will try again", zap.Error(err))
		}
		if !s.rest(ctx, nc, reconnects, queues) {
			return
		}
	}
}

// rest waits until the queues are to be looked at again: soon, when the
// connection was made anew or streams have lost something. It reports whether to go on.
func (s *Sweeper) rest(ctx context.Context, nc *nats.Conn, reconnects uint64, queues int) bool {
	rest := time.NewTimer(min(s.cfg.Every, max(queuesEvery, time.Duration(queues)*queueCost)))
	defer rest.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for nc.Stats().Reconnects == reconnects {
		select {
		case <-ctx.Done():
			return false
		case <-rest.C:
			return true
		case <-s.damaged:
			return true
		case <-look.C:
		}
	}
	return true
}

// Soon has the queues looked at within a second, because streams have lost something.
func (s *Sweeper) Soon() {
	select {
	case s.damaged <- struct{}{}:
	default: // it is asked for already
	}
}

// FindUnowned finds the queues of subscriptions that are not there, which is what is
// left when the subscriptions are lost. They are kept, and reported.
func (s *Sweeper) FindUnowned(ctx context.Context, snapshot *subscription.Snapshot) {
	owned := make(map[string]bool)
	for _, sub := range snapshot.All() {
		owned[sub.Queue.Stream] = true
	}
	for _, broken := range snapshot.Broken() {
		owned[s.keep.layout.QueueFor(broken.ID).Stream] = true
	}
	var unowned []inventory.Unowned
	for name, id := range s.cfg.Inventory.Queues() {
		if owned[name] {
			continue
		}
		shape, err := stream.ReadShape(ctx, s.keep.js, name)
		if err != nil || shape.Last == 0 { // of a subscription that was never created
			continue
		}
		unowned = append(unowned, inventory.Unowned{Stream: name, Subscription: id, Messages: shape.Messages})
	}
	slices.SortFunc(unowned, func(a, b inventory.Unowned) int { return strings.Compare(a.Stream, b.Stream) })
	s.cfg.Inventory.SetUnowned(unowned)
}

// Sweep repairs one queue. What fails is tried again the next time.
func (s *Sweeper) Sweep(ctx context.Context, sub *subscription.Subscription) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	missing, err := s.cfg.CheckQueue(ctx, sub)
	if missing {
		err = s.keep.restoreQueue(ctx, sub.ID)
	}
	if err != nil && ctx.Err() == nil {
		s.keep.log.Warn("failed to check a queue, will try again", zap.String("subscription_id", sub.ID), zap.Error(err))
	}
}
