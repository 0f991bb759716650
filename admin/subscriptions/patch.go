package subscriptions

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/strict"
)

// A mergePatch is a JSON merge patch (RFC 7396) for a subscription.
type mergePatch struct {
	members map[string]any
}

func parsePatch(b []byte) (mergePatch, error) {
	value, err := strict.Value(b)
	if err != nil {
		return mergePatch{}, httpapi.NewProblem(http.StatusBadRequest, "the patch "+err.Error())
	}
	members, ok := value.(map[string]any)
	if !ok {
		return mergePatch{}, httpapi.Invalid("", "a merge patch is a JSON object with the fields to change")
	}
	return mergePatch{members}, nil
}

// apply returns what becomes of sub, whose secrets are placeholders in it.
func (p mergePatch) apply(sub *subscription.Subscription) (*subscription.Subscription, error) {
	text, err := json.Marshal(sub)
	if err != nil {
		return nil, fmt.Errorf("encode subscription %s: %w", sub.ID, err)
	}
	stored, err := strict.Value(text)
	if err != nil {
		return nil, fmt.Errorf("decode subscription %s: %w", sub.ID, err)
	}
	target, ok := stored.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("decode subscription %s: not an object", sub.ID)
	}
	// The query is a part of the URL that is stored apart: a URL without one means
	// that there shall be none, and must not be sent the secrets of another.
	if changes, ok := p.members["endpoint"].(map[string]any); ok {
		if _, url := changes["url"]; url {
			if endpoint, ok := target["endpoint"].(map[string]any); ok {
				delete(endpoint, "query")
			}
		}
	}
	// Without a word about max_in_flight, who changes ordered gets its default.
	if changes, ok := p.members["delivery"].(map[string]any); ok {
		_, mentioned := changes["max_in_flight"]
		if wanted, ok := changes["ordered"]; ok && !mentioned && (wanted == true) != sub.Delivery.Ordered {
			if delivery, ok := target["delivery"].(map[string]any); ok {
				delete(delivery, "max_in_flight")
			}
		}
	}
	merged, err := json.Marshal(merge(target, p.members))
	if err != nil {
		return nil, fmt.Errorf("encode subscription %s: %w", sub.ID, err)
	}
	return subscription.Decode(merged, profile.Traits)
}

// merge is MergePatch of RFC 7396, section 2.
func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = merge(object[name], value)
	}
	return object
}

// patchSchema stands for a merge patch in the description of the API: nothing in it is
// required, and everything may be null.
type patchSchema struct{}

// Schema is an object.
func (patchSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Description: "The fields of a Subscription to change; null removes.",
		Examples:    []any{map[string]any{"description": "Builds of main.", "labels": map[string]any{"team": "anvil"}}},
	}
}
