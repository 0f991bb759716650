package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

type action struct {
	Named
	httpapi.RawJSON
}

// rotateOptions is v1.RotateOptions with the secret behind the type that shows it to
// nobody.
type rotateOptions struct {
	Overlap *subscription.Duration `json:"overlap"`
	Secret  keyring.Secret         `json:"secret"`
}

type rotated struct{ Body v1.Rotated }

type secrets struct{ Body v1.Secrets }

// lifecycleRoutes are what is done to a subscription beside changing its fields.
func (a *Admin) lifecycleRoutes(api *httpapi.API) {
	httpapi.RegisterBody[v1.PauseOptions](api, huma.Operation{
		OperationID: "pause-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/pause", Tags: []string{"Subscriptions"},
		Summary: "Pause a subscription", Description: "Events go on being matched, and their deliveries wait until it is resumed.",
	}, false, a.pause)
	httpapi.Register(api, huma.Operation{
		OperationID: "resume-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/resume", Tags: []string{"Subscriptions"},
		Summary:     "Resume a subscription",
		Description: "A paused one, whose waiting deliveries are made now, or a disabled one, which has missed the events in between.",
	}, a.resume)
	httpapi.RegisterBody[v1.RotateOptions](api, huma.Operation{
		OperationID: "rotate-secret", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/rotate-secret", Tags: []string{"Subscriptions"},
		Summary: "Give a subscription a new signing secret", Description: "The next attempt is signed by the new secret and, during the overlap, by the old ones too: by ten of them at most, so 409 where an eleventh would have to go on.",
	}, false, a.rotate)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-secret", Method: http.MethodGet, Path: "/v1/subscriptions/{id}/secret", Tags: []string{"Subscriptions"}, Metadata: httpapi.Needs(access.NeedSecrets),
		Summary: "Show the signing secrets of a subscription", Description: "For a receiver to verify signatures with. The audit trail has who has looked.",
	}, a.secrets)
	httpapi.RegisterBody[v1.TestOptions](api, huma.Operation{
		OperationID: "test-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/test", Tags: []string{"Subscriptions"},
		Summary: "Send a test event", DefaultStatus: http.StatusAccepted,
		Description: "An example of an event goes to this subscription only, whatever its filters say. It is signed, retried and recorded like any " +
			"other, and is not stored in an event log: the attempts with the delivery_id of the answer say what became of it.",
	}, false, a.test)
}

func (a *Admin) pause(ctx context.Context, in *action) (*oneSubscription, error) {
	var options v1.PauseOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	return a.setState(ctx, actionPause, in.ID, subscription.Paused, options.Reason)
}

// resume makes sure of the queue first: a subscription may have lost it in a
// deletion that was broken off.
func (a *Admin) resume(ctx context.Context, in *Named) (*oneSubscription, error) {
	sub, err := a.FindSubscription(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.ensureQueue(ctx, sub); err != nil {
		return nil, err
	}
	return a.setState(ctx, actionResume, in.ID, subscription.Active, "")
}

func (a *Admin) setState(ctx context.Context, action, id string, state subscription.State, reason string) (*oneSubscription, error) {
	unlock, err := a.changing.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	updated, err := a.changeRecorded(ctx, action, id, &reason, func(sub *subscription.Subscription) error {
		sub.State, sub.StateReason = state, reason
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answerWith(updated), nil
}

func (a *Admin) rotate(ctx context.Context, in *action) (*rotated, error) {
	var options rotateOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	overlap := subscription.DefaultOverlap
	if options.Overlap != nil {
		overlap = time.Duration(*options.Overlap)
	}
	sub, err := a.FindSubscription(ctx, in.ID)
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
	updated, err := a.changeRecorded(ctx, actionRotate, in.ID, nil, func(sub *subscription.Subscription) error {
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

func (a *Admin) secrets(ctx context.Context, in *Named) (*secrets, error) {
	sub, err := a.FindSubscription(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	look := audit.Record{Action: actionSecret, Target: audit.SubscriptionTarget(sub.ID)}
	if err := a.Record(ctx, look, func() error { return nil }); err != nil {
		return nil, err
	}
	out := &secrets{}
	out.Body.Secrets = []string{}
	for _, key := range sub.ActiveSecrets(time.Now()) {
		out.Body.Secrets = append(out.Body.Secrets, key.Secret.Reveal())
	}
	return out, nil
}

// drop deletes a queue, and the retry timers of the subscription, which would
// otherwise fire into the queue of a later one with the same id. It returns how
// many of each that were.
func (a *Admin) drop(ctx context.Context, id string, queue stream.Queue) (queued, timers uint64, err error) {
	s, err := a.js.Stream(ctx, queue.Stream)
	switch {
	case err == nil:
		queued = s.CachedInfo().State.Msgs
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return 0, 0, fmt.Errorf("look up stream %s: %w", queue.Stream, err)
	}
	// Off the list first: what fails in between leaves a queue that is not on it, and no
	// false alarm.
	if err := a.cfg.Reserve.Do(ctx, func() error { return a.cfg.Inventory.Forget(ctx, queue.Stream) }); err != nil {
		return 0, 0, err
	}
	if err := a.layout.DeleteQueue(ctx, a.js, queue); err != nil {
		return 0, 0, err
	}
	retries, err := a.js.Stream(ctx, a.layout.RetryStream(queue.RetryShard))
	if err != nil {
		return 0, 0, fmt.Errorf("look up retry timers of subscription %s: %w", id, err)
	}
	for _, subject := range [...]string{a.layout.RetryAt(queue.RetryShard, id, "*"), a.layout.RetryDue(queue.RetryShard, id)} {
		info, err := retries.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err != nil {
			return 0, 0, fmt.Errorf("count retry timers of subscription %s: %w", id, err)
		}
		for _, n := range info.State.Subjects {
			timers += n
		}
		if len(info.State.Subjects) == 0 {
			continue
		}
		if err := retries.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return 0, 0, fmt.Errorf("purge retry timers of subscription %s: %w", id, err)
		}
	}
	if timers > 0 { // a purge does not overwrite
		if err := a.layout.ScrubRetries(ctx, a.js, queue.RetryShard); err != nil { // of no consequence for the deletion: the disk may be full
			a.log.Warn("failed to overwrite the retry timers of a deleted subscription, their bytes go later",
				zap.String("subscription_id", id), zap.String("stream", a.layout.RetryStream(queue.RetryShard)), zap.Error(err))
		}
	}
	return queued, timers, a.forgetState(ctx, id)
}
