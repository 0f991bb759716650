package subscriptions

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

type action struct {
	Named
	httpapi.RawJSON
}

// rotateOptions is v1.RotateOptions with the secret behind the type that does not show
// it.
type rotateOptions struct {
	Overlap *subscription.Duration `json:"overlap"`
	Secret  keyring.Secret         `json:"secret"`
}

type rotated struct{ Body v1.Rotated }

type tested struct{ Body v1.Tested }

type secrets struct{ Body v1.Secrets }

// lifecycle are the operations on a subscription beside changing its fields.
type lifecycle struct {
	keep   *Keeper
	tester *Tester
}

func (l *lifecycle) register(api *httpapi.API) {
	httpapi.RegisterBody[v1.PauseOptions](api, huma.Operation{
		OperationID: "pause-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/pause", Tags: []string{"Subscriptions"},
		Summary: "Pause a subscription", Description: "Events go on being matched, and their deliveries wait until it is resumed.",
	}, false, l.pause)
	httpapi.Register(api, huma.Operation{
		OperationID: "resume-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/resume", Tags: []string{"Subscriptions"},
		Summary:     "Resume a subscription",
		Description: "A paused one, whose waiting deliveries are made now, or a disabled one, which has missed the events in between.",
	}, l.resume)
	httpapi.RegisterBody[v1.RotateOptions](api, huma.Operation{
		OperationID: "rotate-secret", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/rotate-secret", Tags: []string{"Subscriptions"},
		Summary: "Give a subscription a new signing secret", Description: "The next attempt is signed by the new secret and, during the overlap, by the old ones too: by ten of them at most, so 409 where an eleventh would have to go on.",
	}, false, l.rotate)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-secret", Method: http.MethodGet, Path: "/v1/subscriptions/{id}/secret", Tags: []string{"Subscriptions"}, Metadata: httpapi.Needs(access.NeedSecrets),
		Summary: "Show the signing secrets of a subscription", Description: "For a receiver to verify signatures with. The audit trail has who has looked.",
	}, l.secrets)
	httpapi.RegisterBody[v1.TestOptions](api, huma.Operation{
		OperationID: "test-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/test", Tags: []string{"Subscriptions"},
		Summary: "Send a test event", DefaultStatus: http.StatusAccepted,
		Description: "An example of an event goes to this subscription only, whatever its filters say. It is signed, retried and recorded like any " +
			"other, and is not stored in an event log: the attempts with the delivery_id of the answer say what became of it.",
	}, false, l.test)
}

func (l *lifecycle) pause(ctx context.Context, in *action) (*oneSubscription, error) {
	var options v1.PauseOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	return l.setState(ctx, actionPause, in.ID, subscription.Paused, options.Reason)
}

// resume makes sure of the queue first: a subscription may have lost it in a
// deletion that was broken off.
func (l *lifecycle) resume(ctx context.Context, in *Named) (*oneSubscription, error) {
	sub, err := l.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := l.keep.EnsureQueue(ctx, sub); err != nil {
		return nil, err
	}
	return l.setState(ctx, actionResume, in.ID, subscription.Active, "")
}

func (l *lifecycle) setState(ctx context.Context, action, id string, state subscription.State, reason string) (*oneSubscription, error) {
	unlock, err := l.keep.changing.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	updated, err := l.keep.changeRecorded(ctx, action, id, &reason, func(sub *subscription.Subscription) error {
		sub.State, sub.StateReason = state, reason
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answerWith(updated), nil
}

func (l *lifecycle) rotate(ctx context.Context, in *action) (*rotated, error) {
	var options rotateOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	overlap := subscription.DefaultOverlap
	if options.Overlap != nil {
		overlap = time.Duration(*options.Overlap)
	}
	sub, err := l.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if sub.Managed.By != "" {
		return nil, httpapi.NewProblem(http.StatusConflict, "subscription "+sub.ID+" is kept through the "+sub.Managed.By+" API, under "+sub.Managed.Name+": give it another secret there")
	}
	traits, _ := profile.Traits(sub.Profile)
	now := time.Now()
	// Made once, so that a repeated change has the same.
	secret := options.Secret
	if secret.IsZero() {
		secret = sub.NextSecret(traits, now)
	}
	if traits.Secrets != subscription.SigningKeys {
		if options.Overlap != nil && overlap != 0 {
			return nil, httpapi.Invalid("overlap", "is not possible: the profile "+sub.Profile+" sends one secret or signature, so the new one takes effect with the next attempt")
		}
		overlap = 0
	}
	if problem := rotateProblem(traits, overlap, secret); problem != nil {
		return nil, problem
	}
	updated, err := l.keep.changeRecorded(ctx, actionRotate, in.ID, nil, func(sub *subscription.Subscription) error {
		_, err := sub.Rotate(traits, now, overlap, secret)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &rotated{}
	out.Body.PublicKey = updated.Secrets[0].PublicKey
	out.Body.Secret, out.Body.OldValidUntil = secret.Reveal(), now.Add(overlap).UTC()
	return out, nil
}

func rotateProblem(traits subscription.Traits, overlap time.Duration, secret keyring.Secret) error {
	if overlap < 0 || overlap > subscription.MaxOverlap {
		return httpapi.Invalid("overlap", fmt.Sprintf("is %s: use 0s to %s", subscription.Duration(overlap), subscription.Duration(subscription.MaxOverlap)))
	}
	if secret.IsPlaceholder() {
		return httpapi.Invalid("secret", keyring.Placeholder+" stands for a secret: leave it out to have one made")
	}
	if err := traits.CheckSecret(secret); err != nil {
		return httpapi.Invalid("secret", err.Error())
	}
	if problem := subscription.TooShort(secret); problem != "" {
		return httpapi.Invalid("secret", problem)
	}
	if problem := subscription.Unfit(secret); problem != "" {
		return httpapi.Invalid("secret", problem)
	}
	return nil
}

func (l *lifecycle) secrets(ctx context.Context, in *Named) (*secrets, error) {
	sub, err := l.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	look := audit.Record{Action: actionSecret, Target: audit.SubscriptionTarget(sub.ID)}
	if err := l.keep.trail.Around(ctx, look, func() error { return nil }); err != nil {
		return nil, err
	}
	out := &secrets{}
	out.Body.Secrets = []string{}
	for _, key := range sub.ActiveSecrets(time.Now()) {
		out.Body.Secrets = append(out.Body.Secrets, key.Secret.Reveal())
	}
	return out, nil
}

func (l *lifecycle) test(ctx context.Context, in *action) (*tested, error) {
	var options v1.TestOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	sub, err := l.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	e, err := l.tester.Send(ctx, sub, options.Type)
	if err != nil {
		return nil, err
	}
	out := &tested{}
	out.Body.DeliveryID, out.Body.EventID = delivery.ID(sub.ID, e.Source, e.ID), e.ID
	out.Body.EventType, out.Body.State = e.Type, string(sub.State)
	return out, nil
}
