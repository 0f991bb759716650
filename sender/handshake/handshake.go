// Package handshake asks receivers for their consent (CloudEvents Web Hooks 1.0.2,
// section 4).
package handshake

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/prometheus/client_golang/prometheus"

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
	// openFor is how long a request stays open whose result is not written: the sender that
	// made it has ended.
	openFor = 2 * time.Minute
)

// Asks reports whether the receiver is to be asked, now or later. After a denial it is asked
// again only where deliveries wait for its consent.
func Asks(h *subscription.Handshake) bool {
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

// Config of an Asker.
type Config struct {
	// Origin is the name under which receivers are asked, the same for all senders.
	Origin string
	// PublicURL is where the API is reached; empty: receivers are not asked to call back.
	PublicURL string
	// UserAgent of the requests.
	UserAgent string
	// Results counts the requests, by result.
	Results *prometheus.CounterVec
}

// An Asker asks receivers for their consent. The record of the subscription has the state,
// so that several senders do not interfere: the one that asks writes that first, and the
// others wait while a response can still arrive.
//
//	pending ──► being asked ──► allowed
//	   ▲             │ ├──────► waits for the callback ──► allowed, or denied when it is late
//	   │ no answer   │ └──────► denied
//	   └─────────────┘             │
//	   ▲───────────────────────────┘ required only, an hour to a day later
type Asker struct {
	cfg    Config
	client *transport.Client
	view   *subscription.View
	store  *subscription.Store
	trail  *audit.Trail
	log    *zap.Logger
}

// New returns an asker.
func New(cfg Config, client *transport.Client, view *subscription.View, store *subscription.Store, trail *audit.Trail, log *zap.Logger) *Asker {
	return &Asker{cfg: cfg, client: client, view: view, store: store, trail: trail, log: log}
}

// progress is what one sender knows of the requests to one receiver.
type progress struct {
	seen     moment    // the last state of the handshake
	since    time.Time // of that state: steps of the clock do not matter to it
	asked    time.Time // when this sender has asked last
	failures int       // requests in a row without an answer, by any sender
	denials  int
	notUntil time.Time // after a failure, and when an overloaded receiver asks for a delay
}

// moment is a state of the handshake, from one request to the next.
type moment struct {
	checked time.Time
	consent subscription.Consent
}

// Run asks for the consent of a subscription's receiver, as often as needed, until ctx ends.
// A request under way is completed while work lasts.
func (a *Asker) Run(ctx, work context.Context, id string) {
	var p progress
	for ctx.Err() == nil {
		changed := a.view.Changed()
		sub, ok := a.view.Snapshot().Get(id)
		if !ok || !Asks(&sub.Handshake) { // the caller is about to stop this
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		timer := time.NewTimer(time.Until(p.due(sub)))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
			a.ask(work, &p, sub)
			if _, err := a.view.Sync(ctx); err != nil {
				clock.Pause(ctx, time.Second)
			}
		}
		timer.Stop()
	}
}

// due is when the receiver is to be asked next, or, where its callback is awaited,
// when that is late.
func (p *progress) due(sub *subscription.Subscription) time.Time {
	h := &sub.Handshake
	if now := (moment{h.CheckedAt, h.Consent}); now != p.seen {
		p.note(now)
	}
	var next time.Time // a new request: at once
	switch {
	case h.CheckedAt.IsZero():
	case waitsForCallback(h):
		next = p.since.Add(h.CallbackUntil.Sub(h.CheckedAt))
	case h.Consent == subscription.Denied:
		next = p.since.Add(spread(grow(minDeniedDelay, maxDeniedDelay, p.denials-1)))
	default:
		wait := grow(minAskDelay, maxAskDelay, p.failures-1)
		if !h.CheckedAt.Equal(p.asked) { // another sender asks, or did when it ended
			wait = max(wait, time.Duration(sub.Endpoint.Timeout)+10*time.Second)
		}
		next = p.since.Add(spread(wait))
	}
	if next.After(p.notUntil) {
		return next
	}
	return p.notUntil
}

// note counts failures and denials.
func (p *progress) note(now moment) {
	switch {
	case now.checked.IsZero(): // a new request
		*p = progress{}
	case now.consent == subscription.Denied:
		p.failures = 0
		p.denials++
	default:
		p.failures++ // until there is an answer
	}
	p.seen, p.since = now, time.Now()
	// What lies ahead was written by another clock, or before this one was set back.
	if age := p.since.Sub(now.checked); !now.checked.IsZero() && age > 0 {
		p.since = p.since.Add(-age)
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

// errOvertaken says that the record has changed.
var errOvertaken = errors.New("the handshake has changed meanwhile")

// ask makes the request, or denies when the callback is late.
func (a *Asker) ask(ctx context.Context, p *progress, seen *subscription.Subscription) {
	log := a.log.With(zap.String("subscription_id", seen.ID))
	if waitsForCallback(&seen.Handshake) {
		err := a.answer(ctx, seen, func(h *subscription.Handshake) {
			h.Deny("the receiver has not called back in time", time.Now().UTC())
		})
		p.failed(log, err)
		return
	}
	asked, token, err := a.open(ctx, seen)
	if err != nil {
		p.failed(log, err)
		return
	}
	p.asked = asked.Handshake.CheckedAt
	got, err := a.options(ctx, asked, token)
	found := judgeAnswer(&asked.Handshake, got, err)
	p.notUntil = time.Now().Add(min(found.retryAfter, transport.MaxRetryAfter))
	a.cfg.Results.WithLabelValues(string(found.kind)).Inc()
	log.Info("asked receiver for its consent", zap.String("endpoint_host", hostOf(asked)), zap.String("result", string(found.kind)),
		zap.Int("status", got.Status), zap.String("reason", found.reason))
	p.failed(log, a.answer(ctx, asked, found.write))
}

// failed plans another try when the state could not be stored. Of several senders all but
// one are overtaken.
func (p *progress) failed(log *zap.Logger, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errOvertaken):
		p.notUntil = time.Now().Add(spread(100 * time.Millisecond))
	default:
		p.notUntil = time.Now().Add(minAskDelay)
		log.Warn("failed to store the state of a handshake, will retry", zap.Error(err))
	}
}

// open stores that the receiver is being asked. The hash of the token must be stored before
// the request: the receiver may call back before it responds.
func (a *Asker) open(ctx context.Context, seen *subscription.Subscription) (asked *subscription.Subscription, token string, err error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	asked, err = a.store.Change(ctx, seen.ID, func(s *subscription.Subscription) error {
		if !unchanged(s, seen) {
			return errOvertaken
		}
		h := &s.Handshake
		h.Consent, h.Reason, h.Origin, h.CheckedAt = subscription.Pending, "the receiver is being asked", a.cfg.Origin, now
		h.Callback, h.CallbackUntil, token = "", time.Time{}, ""
		if a.cfg.PublicURL != "" {
			token = h.NewCallback(now.Add(openFor))
		}
		return nil
	})
	if errors.Is(err, subscription.ErrNotFound) {
		err = errOvertaken
	}
	return asked, token, err
}

// answer changes the handshake, if it is still the one that was seen. The receiver's answer
// is on the audit trail; the request is not.
func (a *Asker) answer(ctx context.Context, seen *subscription.Subscription, change func(*subscription.Handshake)) error {
	_, err := a.store.ChangeWithin(ctx, seen.ID, func(s *subscription.Subscription) error {
		if !unchanged(s, seen) {
			return errOvertaken
		}
		change(&s.Handshake)
		return nil
	}, func(before, after *subscription.Subscription, write func() error) error {
		if before.Handshake.Consent == after.Handshake.Consent {
			return write()
		}
		r := audit.OfSubscription("subscription.consent", before, after)
		r.Reason = after.Handshake.Reason
		return a.trail.Around(ctx, r, write)
	})
	if errors.Is(err, subscription.ErrNotFound) {
		return errOvertaken
	}
	return err
}

// unchanged reports whether the handshake of now is that of seen. A changed URL or rate makes
// it another one: see Subscription.Inherit.
func unchanged(now, seen *subscription.Subscription) bool {
	a, b := &now.Handshake, &seen.Handshake
	return a.Mode == b.Mode && a.Rate == b.Rate && a.Consent == b.Consent && a.CheckedAt.Equal(b.CheckedAt) && a.Callback == b.Callback &&
		now.Endpoint.URL == seen.Endpoint.URL && now.Endpoint.Query.Equal(seen.Endpoint.Query)
}
