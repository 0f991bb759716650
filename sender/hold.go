package sender

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
)

// Between two tries to store something, doubling.
const (
	firstStorePause = 250 * time.Millisecond
	longStorePause  = 10 * time.Second
)

// attemptWhenPossible makes the request of a delivery as soon as this machine can. Until
// then the delivery is held: it is no fault of the receiver's, and no attempt. err says
// that the request cannot be rendered; a is nil when the delivery was handed back.
func (l *lane) attemptWhenPossible(ctx context.Context, u *underway) (a *delivery.Attempt, wait time.Duration, err error) {
	for pauseFor := firstStorePause; ; pauseFor = min(2*pauseFor, longStorePause) {
		request, body, err := u.e.render(u.d, u.number(), time.Now())
		if err != nil {
			return nil, 0, err
		}
		if u.m.Lost() {
			l.leave(1)
			return nil, 0, nil
		}
		a, wait = l.attempt(ctx, u, request, body)
		if a == nil {
			l.leave(1)
			return nil, 0, nil
		}
		if !u.held {
			return a, wait, nil
		}
		// A probe gives its lease up: another sender's machine may be able to. And what has
		// changed meanwhile is looked at as it would be for a delivery that comes.
		again := !u.trial && pause(ctx, pauseFor/2+rand.N(pauseFor)) //nolint:gosec // jitter
		if sub, ok := l.view.Snapshot().Get(l.id); !again || !ok || sub.Revision != u.e.sub.Revision || !l.mayServe(sub) || !l.admits() {
			l.nak(u.m, time.Second)
			return nil, 0, nil
		}
	}
}

func isMachineError(err error) bool {
	_, ok := errors.AsType[*machineError](err)
	return ok
}

// CheckMachine returns nil, or why this machine cannot make requests.
func (s *Sender) CheckMachine(context.Context) error { return s.clients.machine.check() }

// warnOfConnections says with the figures that more requests may be under way than there
// may be connections, once for as many.
func (s *Sender) warnOfConnections(lanes map[string]*lane) {
	inFlight := 0
	for _, l := range lanes {
		inFlight += l.terms.batch
	}
	if s.cfg.Connections <= 0 || inFlight <= max(s.cfg.Connections, 2*s.warned) {
		return
	}
	s.warned = inFlight
	s.log.Info("more requests may be under way than there may be connections, those beyond are held: raise the limit of open files (ulimit -n, LimitNOFILE) or lower max_in_flight",
		zap.Int("in_flight", inFlight), zap.Int("subscriptions", len(lanes)), zap.Int("connections", s.cfg.Connections))
}

// insist stores what has to outlive a delivery, and tries until it is stored or ctx
// ends. A delivery whose request was made, and which cannot be settled, waits here: handed
// back, it would be requested again and again. It counts as in flight, so a subscription
// makes no more requests than that until something can be stored again. what names it in the log, streamName where it belongs.
func (l *lane) insist(ctx context.Context, u *underway, what, streamName string, store func(context.Context) error) error {
	for pauseFor, failed := firstStorePause, false; ; pauseFor = min(2*pauseFor, longStorePause) {
		err := l.reserve.Settle(ctx, func() error { return store(ctx) })
		if err == nil {
			l.cfg.Health.Stored(streamName)
			return nil
		}
		l.cfg.Health.Failed(streamName, err)
		if !failed {
			l.log.Warn("cannot store "+what+", its delivery is held and not settled", zap.String("stream", streamName),
				zap.String("subscription_id", l.id), zap.String("delivery_id", u.d.ID), zap.Error(err))
		}
		failed = true
		if !pause(ctx, pauseFor) {
			return err
		}
	}
}
