package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A Preview is a request that may be made only to see what it would do.
type Preview struct {
	DryRun bool `query:"dry_run" doc:"Only find out what would be refused, or else what the subscription would be and in which fields it would differ (dry_run.changes). Nothing is changed."`
}

// previewResponse describes the answer to what would create something.
func previewResponse(api *httpapi.API) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "What dry_run has found out.",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: api.SchemaOf(reflect.TypeFor[v1.Subscription]())},
		},
	}}
}

// otherSecrets are the fields of those that are added, removed or another one.
func otherSecrets(field string, before, after map[string]keyring.Secret) []string {
	all := maps.Clone(before)
	if all == nil {
		all = map[string]keyring.Secret{}
	}
	maps.Copy(all, after)
	var other []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !before[name].Equal(after[name]) {
			other = append(other, field+"."+name)
		}
	}
	return other
}

// previewCreate is Keeper.Create, except that nothing is made.
func (o *operations) previewCreate(ctx context.Context, sub *subscription.Subscription) (*createdSubscription, error) {
	if err := o.keep.prepare(ctx, sub); err != nil {
		return nil, err
	}
	if _, err := o.keep.store.Get(ctx, sub.ID); err == nil {
		return nil, fmt.Errorf("create subscription %s: %w", sub.ID, subscription.ErrExists)
	} else if !errors.Is(err, subscription.ErrNotFound) {
		return nil, err
	}
	out := &createdSubscription{Status: http.StatusOK, Body: show.Subscription(sub)}
	out.Body.DryRun = &v1.TrialResult{Changes: []string{}}
	return out, nil
}

// previewChange is Keeper.Change of the native API, except that nothing is stored.
func (o *operations) previewChange(ctx context.Context, id string, keepSecrets bool, change Change) (*oneSubscription, error) {
	sub, err := o.keep.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	old, _, err := o.keep.apply(ctx, "", id, sub, keepSecrets, change)
	if err != nil {
		return nil, err
	}
	changes := []string{}
	for _, field := range subscription.Changes(old, sub) {
		switch field { // which of them cannot be seen in any answer
		case "endpoint.secret_headers":
			changes = append(changes, otherSecrets(field, old.Endpoint.SecretHeaders, sub.Endpoint.SecretHeaders)...)
		case "template.secrets":
			changes = append(changes, otherSecrets(field, old.Template.Secrets, sub.Template.Secrets)...)
		default:
			changes = append(changes, field)
		}
	}
	if old.State != sub.State {
		changes = append(changes, "state")
	}
	out := answerWith(sub)
	out.Body.DryRun = &v1.TrialResult{Changes: changes}
	return out, nil
}
