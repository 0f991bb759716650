package subscriptions

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

type oneBreaker struct{ Body v1.BreakerState }

// breakers are the operations of circuit breakers. Senders open and close them: see
// package breaker.
type breakers struct{ keep *Keeper }

func (b *breakers) register(api *httpapi.API) {
	httpapi.Register(api, huma.Operation{
		OperationID: "get-breaker", Method: http.MethodGet, Path: "/v1/subscriptions/{id}/breaker", Tags: []string{"Subscriptions"},
		Summary: "Show the circuit breaker of a subscription", Description: "Whether its deliveries are held back because the endpoint is down.",
	}, b.get)
	httpapi.Register(api, huma.Operation{
		OperationID: "reset-breaker", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/breaker/reset", Tags: []string{"Subscriptions"},
		Summary: "Close the circuit breaker of a subscription", Description: "Deliveries that wait are made at once. When the endpoint still fails, it opens again.",
	}, b.reset)
}

func (b *breakers) get(ctx context.Context, in *Named) (*oneBreaker, error) {
	sub, err := b.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	kv, err := b.keep.stateBucket(ctx)
	if err != nil {
		return nil, err
	}
	r, _, err := breaker.Read(ctx, kv, sub.ID)
	if err != nil {
		return nil, err
	}
	return &oneBreaker{showBreaker(sub, r)}, nil
}

func (b *breakers) reset(ctx context.Context, in *Named) (*oneBreaker, error) {
	sub, err := b.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	kv, err := b.keep.stateBucket(ctx)
	if err != nil {
		return nil, err
	}
	r, _, err := breaker.Read(ctx, kv, sub.ID)
	if err != nil || r.State == breaker.Closed {
		return &oneBreaker{showBreaker(sub, r)}, err
	}
	wasClosed := true
	was := r
	err = b.keep.trail.Around(ctx, audit.Record{
		Action: actionBreaker, Target: audit.SubscriptionTarget(sub.ID) + "/breaker", Before: audit.State(showBreaker(sub, r)),
	}, func() error {
		var err error
		r, err = breaker.Change(ctx, kv, sub.ID, func(r breaker.Record) (breaker.Record, bool) {
			wasClosed, was = r.State == breaker.Closed, r
			return r.Close(time.Now().UTC(), "closed by hand"), !wasClosed
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if !wasClosed {
		if was.Target == breaker.TargetOf(sub) { // not of another endpoint
			b.keep.cfg.Events.Publish(operational.Closed(sub, &was, &r, actorOf(ctx)))
		}
		b.keep.log.Info("breaker closed by hand", zap.String("subscription_id", sub.ID))
	}
	return &oneBreaker{showBreaker(sub, r)}, nil
}

func showBreaker(sub *subscription.Subscription, r breaker.Record) v1.BreakerState {
	target := breaker.TargetOf(sub)
	if r.Target != target { // of another endpoint
		r = breaker.Record{}
	}
	out := v1.BreakerState{
		State: string(breaker.Closed), Since: r.Since, DownSince: r.DownSince, Reason: r.Reason, LastStatus: r.LastStatus, LastError: r.LastError,
		LastFailure: r.LastFailure, Failures: r.Failures, Successes: r.Successes, Opened: r.Opened,
	}
	switch {
	case sub.Delivery.BreakerTerms().Mode != subscription.BreakerOn:
		return v1.BreakerState{State: subscription.BreakerOff}
	case !r.IsClosed(target):
		out.State, out.Backoff, out.NextProbe = string(r.State), v1.Duration(r.Backoff), r.NextProbe
		out.Probing = r.Lease.By != "" && r.Lease.Until.After(time.Now())
	}
	return out
}
