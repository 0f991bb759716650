package sender

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/transport"
)

// When a receiver is asked again.
const (
	// After a question that got no answer: growing, and spread by a fifth.
	minAskDelay, maxAskDelay = 5 * time.Second, time.Hour
	// After a denial, where deliveries wait for the consent.
	minDeniedDelay, maxDeniedDelay = time.Hour, 24 * time.Hour
	// callbackFor is how long the receiver may take to call back.
	callbackFor = 24 * time.Hour
	// openFor is how long a question stays open that nobody writes an answer to: the
	// sender that has asked it is gone.
	openFor = 2 * time.Minute
)

// asks reports whether there is something to ask, now or later. A receiver that
// has denied is asked again only where deliveries wait for its consent.
func asks(h *subscription.Handshake) bool {
	switch h.Consent {
	case subscription.Pending:
		return true
	case subscription.Denied:
		return h.Blocks()
	case subscription.Allowed:
	}
	return false
}

// waitsForCallback reports whether the receiver has been asked, and is to answer
// by calling back.
func waitsForCallback(h *subscription.Handshake) bool {
	return h.Consent == subscription.Pending && h.Callback != "" && h.CallbackUntil.Sub(h.CheckedAt) > openFor
}

// An asker asks the receiver of one subscription for its consent (CloudEvents Web
// Hooks 1.0.2, section 4). The record of the subscription says where things stand,
// so that several senders do not get in each other's way: who asks writes that
// down first, and the others leave it alone while an answer can still come.
//
//	pending ──► being asked ──► allowed
//	   ▲             │ ├──────► waits for the callback ──► allowed, or denied when it is late
//	   │ no answer   │ └──────► denied
//	   └─────────────┘             │
//	   ▲───────────────────────────┘ required only, an hour to a day later
type asker struct {
	seen     moment    // where the handshake was last
	since    time.Time // when that was: steps of the clock do not matter to it
	asked    time.Time // when this sender has asked last
	failures int       // questions in a row that got no answer, whoever asked
	denials  int
	notUntil time.Time // after a failure, and what a receiver has asked for that is overloaded
}

// moment is a state of the handshake, from one question to the next.
type moment struct {
	checked time.Time
	consent subscription.Consent
}

// askForConsent asks as often as it takes, until ctx ends. A question under way is
// brought to its end while work lasts.
func (l *lane) askForConsent(ctx, work context.Context) {
	var a asker
	for ctx.Err() == nil {
		changed := l.view.Changed()
		sub, ok := l.view.Snapshot().Get(l.id)
		if !ok || !asks(&sub.Handshake) { // the lane is about to be stopped
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		timer := time.NewTimer(time.Until(a.due(sub)))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
			l.ask(work, &a, sub)
			if _, err := l.view.Sync(ctx); err != nil {
				clock.Pause(ctx, time.Second)
			}
		}
		timer.Stop()
	}
}

// due is when the receiver is to be asked next, or, where its callback is awaited,
// when that is late.
func (a *asker) due(sub *subscription.Subscription) time.Time {
	h := &sub.Handshake
	if now := (moment{h.CheckedAt, h.Consent}); now != a.seen {
		a.note(now)
	}
	var next time.Time // a new question: at once
	switch {
	case h.CheckedAt.IsZero():
	case waitsForCallback(h):
		next = a.since.Add(h.CallbackUntil.Sub(h.CheckedAt))
	case h.Consent == subscription.Denied:
		next = a.since.Add(spread(grow(minDeniedDelay, maxDeniedDelay, a.denials-1)))
	default:
		wait := grow(minAskDelay, maxAskDelay, a.failures-1)
		if !h.CheckedAt.Equal(a.asked) { // another sender is at it, or was when it ended
			wait = max(wait, time.Duration(sub.Endpoint.Timeout)+10*time.Second)
		}
		next = a.since.Add(spread(wait))
	}
	if next.After(a.notUntil) {
		return next
	}
	return a.notUntil
}

// note counts what has happened.
func (a *asker) note(now moment) {
	switch {
	case now.checked.IsZero(): // a new question
		*a = asker{}
	case now.consent == subscription.Denied:
		a.failures = 0
		a.denials++
	default:
		a.failures++ // until there is an answer
	}
	a.seen, a.since = now, time.Now()
	// What lies ahead was written by another clock, or before this one was set back.
	if age := a.since.Sub(now.checked); !now.checked.IsZero() && age > 0 {
		a.since = a.since.Add(-age)
	}
}

// grow is a delay doubled n times.
func grow(shortest, longest time.Duration, n int) time.Duration {
	return min(shortest<<min(max(n, 0), 16), longest)
}

// spread makes a delay longer or shorter by up to a fifth.
func spread(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1) //nolint:gosec // jitter
}

// errOvertaken says that the record is no longer what it was.
var errOvertaken = errors.New("the handshake has gone on meanwhile")

// ask does what is due.
func (l *lane) ask(ctx context.Context, a *asker, seen *subscription.Subscription) {
	log := l.log.With(zap.String("subscription_id", l.id))
	if waitsForCallback(&seen.Handshake) {
		err := l.answer(ctx, seen, func(h *subscription.Handshake) {
			h.Deny("the receiver has not called back in time", time.Now().UTC())
		})
		a.failed(log, err)
		return
	}
	asked, token, err := l.open(ctx, seen)
	if err != nil {
		a.failed(log, err)
		return
	}
	a.asked = asked.Handshake.CheckedAt
	got, err := l.options(ctx, asked, token)
	found := judgeAnswer(&asked.Handshake, got, err)
	a.notUntil = time.Now().Add(min(found.retryAfter, transport.MaxRetryAfter))
	l.metrics.handshake(found.kind)
	log.Info("receiver asked for its consent", zap.String("endpoint_host", hostOf(asked)), zap.String("result", string(found.kind)),
		zap.Int("status", got.Status), zap.String("reason", found.reason))
	a.failed(log, l.answer(ctx, asked, found.write))
}

// failed sees to it that what could not be written down is tried again, and not too
// soon. Of several senders all but one are overtaken.
func (a *asker) failed(log *zap.Logger, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errOvertaken):
		a.notUntil = time.Now().Add(spread(100 * time.Millisecond))
	default:
		a.notUntil = time.Now().Add(minAskDelay)
		log.Warn("cannot write down where the handshake stands, will try again", zap.Error(err))
	}
}

// open writes down that the receiver is being asked. The hash of the token must be
// stored before: the receiver may call back before it answers.
func (l *lane) open(ctx context.Context, seen *subscription.Subscription) (asked *subscription.Subscription, token string, err error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	asked, err = l.store.Change(ctx, l.id, func(s *subscription.Subscription) error {
		if !sameQuestion(s, seen) {
			return errOvertaken
		}
		h := &s.Handshake
		h.Consent, h.Reason, h.Origin, h.CheckedAt = subscription.Pending, "the receiver is being asked", l.cfg.Origin, now
		h.Callback, h.CallbackUntil, token = "", time.Time{}, ""
		if l.cfg.PublicURL != "" {
			token = h.NewCallback(now.Add(openFor))
		}
		return nil
	})
	if errors.Is(err, subscription.ErrNotFound) {
		err = errOvertaken
	}
	return asked, token, err
}

// answer changes the handshake, if it is still the one that was seen. What the
// receiver has said is on the audit trail; that it was asked is not.
func (l *lane) answer(ctx context.Context, seen *subscription.Subscription, change func(*subscription.Handshake)) error {
	_, err := l.store.ChangeWithin(ctx, l.id, func(s *subscription.Subscription) error {
		if !sameQuestion(s, seen) {
			return errOvertaken
		}
		change(&s.Handshake)
		return nil
	}, func(before, after *subscription.Subscription, write func() error) error {
		if before.Handshake.Consent == after.Handshake.Consent {
			return write()
		}
		r := audit.OfSubscription(actionConsent, before, after)
		r.Reason = after.Handshake.Reason
		return l.trail.Around(ctx, r, write)
	})
	if errors.Is(err, subscription.ErrNotFound) {
		return errOvertaken
	}
	return err
}

// sameQuestion reports whether the handshake of now is where it was in seen. A
// changed URL or rate makes it another one: see Subscription.Inherit.
func sameQuestion(now, seen *subscription.Subscription) bool {
	a, b := &now.Handshake, &seen.Handshake
	return a.Mode == b.Mode && a.Rate == b.Rate && a.Consent == b.Consent && a.CheckedAt.Equal(b.CheckedAt) && a.Callback == b.Callback &&
		now.Endpoint.URL == seen.Endpoint.URL && now.Endpoint.Query.Equal(seen.Endpoint.Query)
}
