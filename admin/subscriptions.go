package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/precondition"
	"github.com/jetpost/jetpost/admin/show"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
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
	Trial
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
	Trial
	Keeping
	httpapi.RawJSON
}

type deleted struct{ Body v1.Deleted }

// subscriptionRoutes are those that keep subscriptions.
func (a *Admin) subscriptionRoutes(api *httpapi.API) {
	httpapi.RegisterBody[v1.Subscription](api, huma.Operation{
		OperationID: "create-subscription", Method: http.MethodPost, Path: "/v1/subscriptions", Tags: []string{"Subscriptions"},
		Summary: "Create a subscription", DefaultStatus: http.StatusCreated,
		Description: "When this is answered, every event published afterwards is matched with the new subscription. " +
			"The answer has its signing secret, this once.",
		Responses: triedResponse(api),
	}, true, a.create)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-subscriptions", Method: http.MethodGet, Path: "/v1/subscriptions", Tags: []string{"Subscriptions"},
		Summary: "List subscriptions", Description: "In the order of their ids. Pages do not shift when subscriptions come and go.",
	}, a.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-subscription", Method: http.MethodGet, Path: "/v1/subscriptions/{id}", Tags: []string{"Subscriptions"},
		Summary: "Get a subscription",
	}, a.get)
	httpapi.RegisterBody[v1.Subscription](api, huma.Operation{
		OperationID: "replace-subscription", Method: http.MethodPut, Path: "/v1/subscriptions/{id}", Tags: []string{"Subscriptions"},
		Summary:   "Replace a subscription, or create it",
		Responses: map[string]*huma.Response{"201": {Description: "There was none, and it was created. The answer has its signing secret, this once."}},
		Description: "Where there is none of this id it is created, and answered with 201, as by POST. If-Match: * only replaces, If-None-Match: * only creates. " +
			"What is left out gets its default, the state included; secrets stay as they are when they are left out " +
			"or shown as \"" + keyring.Placeholder + "\", unless they would be sent to another origin: see keep_secrets. Takes effect on the next attempt.",
	}, true, a.replace)
	httpapi.RegisterBody[patchSchema](api, huma.Operation{
		OperationID: "change-subscription", Method: http.MethodPatch, Path: "/v1/subscriptions/{id}", Tags: []string{"Subscriptions"},
		Summary: "Change a subscription",
		Description: "A JSON merge patch (RFC 7396): what is left out stays as it is, null removes, and lists are replaced. " +
			"A new endpoint.url takes the place of the whole URL, its secret query included; another delivery.ordered brings the default of " +
			"delivery.max_in_flight with it. Stored secrets are not sent to another origin: see keep_secrets. Takes effect on the next attempt.",
	}, true, a.patch)
	httpapi.Register(api, huma.Operation{
		OperationID: "delete-subscription", Method: http.MethodDelete, Path: "/v1/subscriptions/{id}", Tags: []string{"Subscriptions"},
		Summary: "Delete a subscription", Description: "And the deliveries that wait. Its attempts and dead letters stay readable for as long as they are kept.",
	}, a.remove)
}

func (a *Admin) create(ctx context.Context, in *createRequest) (*createdSubscription, error) {
	sub, err := subscription.Decode(in.RawBody, profile.Traits)
	if err != nil {
		return nil, err
	}
	sub.Managed = subscription.Managed{}
	if in.DryRun {
		return a.tryCreate(ctx, sub)
	}
	created, err := a.CreateSubscription(ctx, sub)
	if err != nil {
		return nil, err
	}
	return answerCreated(created), nil
}

// ensureQueue makes the queue of a subscription. Where it had one that is missing, that
// is a loss and is reported as such.
func (a *Admin) ensureQueue(ctx context.Context, sub *subscription.Subscription) error {
	if err := a.layout.EnsureQueue(ctx, a.js, sub.ID, sub.Queue, sub.Delivery.MaxInFlight); err != nil {
		return err
	}
	return a.cfg.Inventory.Made(ctx, sub.Queue.Stream)
}

func (a *Admin) get(ctx context.Context, in *Named) (*oneSubscription, error) {
	sub, err := a.FindSubscription(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answerWith(sub), nil
}

func (a *Admin) patch(ctx context.Context, in *putRequest) (*oneSubscription, error) {
	if in.KeepSecrets {
		if err := httpapi.Require(ctx, access.NeedMove); err != nil {
			return nil, err
		}
	}
	patch, err := parsePatch(in.RawBody)
	if err != nil {
		return nil, err
	}
	return a.change(ctx, in, patch.apply)
}

func (a *Admin) change(ctx context.Context, in *putRequest, next Change) (*oneSubscription, error) {
	bound := func(sub *subscription.Subscription) (*subscription.Subscription, error) {
		if err := httpapi.MayChange(ctx, "the subscription "+sub.ID, currentOf(sub)); err != nil {
			return nil, err
		}
		return next(sub)
	}
	if in.DryRun {
		return a.tryChange(ctx, in.ID, in.KeepSecrets, bound)
	}
	updated, err := a.changeSubscription(ctx, "", in.ID, in.KeepSecrets, bound)
	if err != nil {
		return nil, err
	}
	return answerWith(updated), nil
}

func (a *Admin) remove(ctx context.Context, in *Named) (*deleted, error) {
	gone, err := a.RemoveSubscription(ctx, "", in.ID, "")
	if err != nil {
		return nil, err
	}
	out := &deleted{}
	out.Body.Queued, out.Body.Retries, out.Body.Dropped = gone.Queued, gone.Retries, gone.Queued+gone.Retries
	return out, nil
}

// check reports everything that is wrong with sub at once: with the fields, with
// the types as the catalogue knows them, with the endpoint as the egress rules
// allow it. old is what it replaces, or nil: an endpoint that was accepted once is
// not looked up again for another change.
func (a *Admin) check(ctx context.Context, sub, old *subscription.Subscription) error {
	var found []subscription.Problem
	unknown := make(map[string]string)
	rules := subscription.Rules{Profiles: profile.Names(), Traits: profile.Traits, Types: func(eventType string) bool {
		if problem := a.typeProblem(eventType); problem != "" {
			unknown[eventType] = problem
		}
		return true // reported below, with more to say
	}}
	if invalid, ok := errors.AsType[*subscription.ValidationError](sub.Validate(rules)); ok {
		found = invalid.Problems
	}
	if sub.Managed.By == "" { // the clients of compatible APIs know no such rule
		found = append(found, sub.ShortSecrets(old)...)
		for _, unfit := range sub.UnfitSecrets(old) {
			if !slices.ContainsFunc(found, func(p subscription.Problem) bool { return p.Field == unfit.Field }) {
				found = append(found, unfit)
			}
		}
	}
	for i, eventType := range sub.Types {
		if problem, ok := unknown[eventType]; ok {
			found = append(found, subscription.Problem{Field: "types[" + strconv.Itoa(i) + "]", Message: problem})
		}
	}
	badURL := false
	for _, p := range found {
		badURL = badURL || p.Field == "endpoint.url"
	}
	newProxy := old == nil || old.Endpoint.Proxy != sub.Endpoint.Proxy
	if !badURL && (newProxy || old.Endpoint.URL != sub.Endpoint.URL) {
		if problem := a.endpointProblem(ctx, &sub.Endpoint); problem != "" {
			found = append(found, subscription.Problem{Field: "endpoint.url", Message: problem})
		}
	}
	const proxyField = "endpoint.proxy"
	reported := slices.ContainsFunc(found, func(p subscription.Problem) bool { return p.Field == proxyField })
	if key := sub.Endpoint.Proxy; key != "" && newProxy && !reported && !a.cfg.Proxies.Has(key) {
		found = append(found, subscription.Problem{Field: proxyField, Message: subscription.ProxyProblem(key)})
	}
	if len(found) > 0 {
		return &subscription.ValidationError{Problems: found}
	}
	return nil
}

// typeProblem says why no event can have a type.
func (a *Admin) typeProblem(eventType string) string { return a.catalogue.Problem(eventType) }

func (a *Admin) endpointProblem(ctx context.Context, endpoint *subscription.Endpoint) string {
	u, err := url.Parse(endpoint.URL)
	if err != nil { // Validate has parsed it
		return "is not a URL"
	}
	check := a.egress.CheckURL
	if endpoint.Proxy != "" {
		check = a.egress.CheckProxied
	}
	if err := check(ctx, u); err != nil {
		return err.Error()
	}
	return ""
}

// etag is the revision in the form of HTTP.
func etag(sub *subscription.Subscription) string {
	return httpapi.RevisionTag(sub.Revision)
}

// currentOf is a subscription as conditions see it.
func currentOf(sub *subscription.Subscription) precondition.Current {
	return precondition.Current{Exists: true, ETag: etag(sub)}
}
