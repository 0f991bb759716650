package subscriptions

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/precondition"
	"github.com/jetpost/jetpost/admin/show"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

type replaceRequest struct {
	Named
	Preview
	Keeping
	httpapi.RawJSON
}

// replaceTries is how often a subscription may come and go while it is put.
const replaceTries = 10

// replace makes the subscription what the body says, whether there is one or not: who
// declares what there shall be need not ask first.
func (o *operations) replace(ctx context.Context, in *replaceRequest) (*createdSubscription, error) {
	if in.KeepSecrets {
		if err := httpapi.Require(ctx, access.NeedMove); err != nil {
			return nil, err
		}
	}
	wanted, err := subscription.Decode(in.RawBody, profile.Traits)
	if err != nil {
		return nil, err
	}
	wanted.Managed = subscription.Managed{}
	if wanted.ID != "" && wanted.ID != in.ID {
		return nil, httpapi.Invalid("id", "is "+strconv.Quote(wanted.ID)+", but the path names "+in.ID+": an id cannot be changed")
	}
	for try := 1; ; try++ {
		out, err := o.put(ctx, in, wanted)
		again := errors.Is(err, subscription.ErrExists) || errors.Is(err, subscription.ErrNotFound)
		if !again || try == replaceTries {
			return out, err
		}
	}
}

// put replaces the subscription if there is one, and creates it otherwise.
func (o *operations) put(ctx context.Context, in *replaceRequest, wanted *subscription.Subscription) (*createdSubscription, error) {
	_, err := o.keep.store.Get(ctx, in.ID)
	switch {
	case err == nil:
		changed, err := o.change(ctx, &putRequest{in.Named, in.Preview, in.Keeping, in.RawJSON}, func(*subscription.Subscription) (*subscription.Subscription, error) {
			return wanted.Clone(), nil
		})
		if err != nil {
			return nil, err
		}
		return &createdSubscription{Status: http.StatusOK, ETag: changed.ETag, Body: changed.Body}, nil
	case !errors.Is(err, subscription.ErrNotFound):
		return nil, err
	}
	if err := httpapi.MayChange(ctx, "the subscription "+in.ID, precondition.Current{}); err != nil {
		return nil, err
	}
	next := wanted.Clone()
	next.ID = in.ID
	if in.DryRun {
		return o.previewCreate(ctx, next)
	}
	created, err := o.keep.Create(ctx, next)
	if err != nil {
		return nil, err
	}
	return answerCreated(created), nil
}

// answerCreated shows the secret that was made, this once.
func answerCreated(created *subscription.Subscription) *createdSubscription {
	out := &createdSubscription{
		Status: http.StatusCreated, ETag: etag(created), Location: "/v1/subscriptions/" + created.ID, Body: show.Subscription(created),
	}
	if len(created.Secrets) > 0 {
		out.Body.Secret = created.Secrets[0].Secret.Reveal()
	}
	return out
}
