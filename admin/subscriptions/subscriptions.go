// Package subscriptions keeps subscriptions: it creates, changes, lists and deletes them,
// pauses and resumes them, rotates their secrets, asks receivers for consent, shows what
// waits for them, and repairs their queues.
//
// It reads and writes the subscriptions bucket, and makes and deletes queues. It serves the
// native API; the compatible APIs use its Keeper, Tester and Sweeper.
//
// It promises that after a change was answered every event published later is matched with
// it, wherever the router runs; that a subscription which is known has a queue; that no
// answer shows a secret, except those whose purpose it is; and that a change is on the audit
// trail before it takes effect.
package subscriptions

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/precondition"
	"github.com/jetpost/jetpost/admin/show"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

// oneSubscription is an answer with a subscription.
type oneSubscription struct {
	ETag string `header:"ETag" doc:"The revision, for If-Match."`
	Body v1.Subscription
}

// createdSubscription is the answer to what makes one, or would.
type createdSubscription struct {
	Status   int
	ETag     string `header:"ETag" doc:"The revision, for If-Match."`
	Location string `header:"Location" doc:"Where the new subscription is."`
	Body     v1.Subscription
}

type createRequest struct {
	Preview
	httpapi.RawJSON
}

func answerWith(sub *subscription.Subscription) *oneSubscription {
	return &oneSubscription{ETag: etag(sub), Body: show.Subscription(sub)}
}

// A Named is a request about one subscription. Like the other parts of requests it
// is exported because huma looks only into embedded types that are.
type Named struct {
	ID string `path:"id" doc:"The id of the subscription."`
}

// Keeping is a request that may have stored secrets sent where they were not sent before.
type Keeping struct {
	KeepSecrets bool `query:"keep_secrets" doc:"Keep the stored secrets although the change has them sent to another origin (scheme, host or port), or through a proxy that can read them. Without it such a change has to bring the secrets again, or is answered 422 with the fields. Only a token with the role admin may say so; the audit trail has it."`
}

type putRequest struct {
	Named
	Preview
	Keeping
	httpapi.RawJSON
}

type deleted struct{ Body v1.Deleted }

// Register adds the operations of subscriptions to an API.
func Register(api *httpapi.API, keep *Keeper, tester *Tester, handshakes *Handshakes, deadLetters *delivery.DeadLetters) {
	(&operations{keep}).register(api)
	(&lifecycle{keep, tester}).register(api)
	handshakes.register(api)
	(&breakers{keep}).register(api)
	(&backlogs{keep, deadLetters}).register(api)
}

// operations create, list, change and delete subscriptions.
type operations struct{ keep *Keeper }

func (o *operations) register(api *httpapi.API) {
	httpapi.RegisterBody[v1.Subscription](api, huma.Operation{
		OperationID: "create-subscription", Method: http.MethodPost, Path: "/v1/subscriptions", Tags: []string{"Subscriptions"},
		Summary: "Create a subscription", DefaultStatus: http.StatusCreated,
		Description: "When this is answered, every event published afterwards is matched with the new subscription. " +
			"The answer has its signing secret, this once.",
		Responses: previewResponse(api),
	}, true, o.create)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-subscriptions", Method: http.MethodGet, Path: "/v1/subscriptions", Tags: []string{"Subscriptions"},
		Summary: "List subscriptions", Description: "In the order of their ids. Pages do not shift when subscriptions come and go.",
	}, o.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-subscription", Method: http.MethodGet, Path: "/v1/subscriptions/{id}", Tags: []string{"Subscriptions"},
		Summary: "Get a subscription",
	}, o.get)
	httpapi.RegisterBody[v1.Subscription](api, huma.Operation{
		OperationID: "replace-subscription", Method: http.MethodPut, Path: "/v1/subscriptions/{id}", Tags: []string{"Subscriptions"},
		Summary:   "Replace a subscription, or create it",
		Responses: map[string]*huma.Response{"201": {Description: "There was none, and it was created. The answer has its signing secret, this once."}},
		Description: "Where there is none of this id it is created, and answered with 201, as by POST. If-Match: * only replaces, If-None-Match: * only creates. " +
			"What is left out gets its default, the state included; secrets stay as they are when they are left out " +
			"or shown as \"" + keyring.Placeholder + "\", unless they would be sent to another origin: see keep_secrets. Takes effect on the next attempt.",
	}, true, o.replace)
	httpapi.RegisterBody[patchSchema](api, huma.Operation{
		OperationID: "change-subscription", Method: http.MethodPatch, Path: "/v1/subscriptions/{id}", Tags: []string{"Subscriptions"},
		Summary: "Change a subscription",
		Description: "A JSON merge patch (RFC 7396): what is left out stays as it is, null removes, and lists are replaced. " +
			"A new endpoint.url takes the place of the whole URL, its secret query included; another delivery.ordered brings the default of " +
			"delivery.max_in_flight with it. Stored secrets are not sent to another origin: see keep_secrets. Takes effect on the next attempt.",
	}, true, o.patch)
	httpapi.Register(api, huma.Operation{
		OperationID: "delete-subscription", Method: http.MethodDelete, Path: "/v1/subscriptions/{id}", Tags: []string{"Subscriptions"},
		Summary: "Delete a subscription", Description: "And the deliveries that wait. Its attempts and dead letters stay readable for as long as they are kept.",
	}, o.remove)
}

func (o *operations) create(ctx context.Context, in *createRequest) (*createdSubscription, error) {
	sub, err := subscription.Decode(in.RawBody, profile.Traits)
	if err != nil {
		return nil, err
	}
	sub.Managed = subscription.Managed{}
	if in.DryRun {
		return o.previewCreate(ctx, sub)
	}
	created, err := o.keep.Create(ctx, sub)
	if err != nil {
		return nil, err
	}
	return answerCreated(created), nil
}

func (o *operations) get(ctx context.Context, in *Named) (*oneSubscription, error) {
	sub, err := o.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answerWith(sub), nil
}

func (o *operations) patch(ctx context.Context, in *putRequest) (*oneSubscription, error) {
	if in.KeepSecrets {
		if err := httpapi.Require(ctx, access.NeedMove); err != nil {
			return nil, err
		}
	}
	patch, err := parsePatch(in.RawBody)
	if err != nil {
		return nil, err
	}
	return o.change(ctx, in, patch.apply)
}

func (o *operations) change(ctx context.Context, in *putRequest, next Change) (*oneSubscription, error) {
	bound := func(sub *subscription.Subscription) (*subscription.Subscription, error) {
		if err := httpapi.MayChange(ctx, "the subscription "+sub.ID, currentOf(sub)); err != nil {
			return nil, err
		}
		return next(sub)
	}
	if in.DryRun {
		return o.previewChange(ctx, in.ID, in.KeepSecrets, bound)
	}
	updated, err := o.keep.changeSubscription(ctx, "", in.ID, in.KeepSecrets, bound)
	if err != nil {
		return nil, err
	}
	return answerWith(updated), nil
}

func (o *operations) remove(ctx context.Context, in *Named) (*deleted, error) {
	removed, err := o.keep.Remove(ctx, "", in.ID, "")
	if err != nil {
		return nil, err
	}
	out := &deleted{}
	out.Body.Queued, out.Body.Retries, out.Body.Dropped = removed.Queued, removed.Retries, removed.Queued+removed.Retries
	return out, nil
}

// etag is the revision in the form of HTTP.
func etag(sub *subscription.Subscription) string {
	return httpapi.RevisionTag(sub.Revision)
}

// currentOf is a subscription as conditions see it.
func currentOf(sub *subscription.Subscription) precondition.Current {
	return precondition.Current{Exists: true, ETag: etag(sub)}
}
