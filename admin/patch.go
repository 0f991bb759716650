package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode"

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
		return mergePatch{}, newProblem(http.StatusBadRequest, "the patch "+err.Error())
	}
	members, ok := value.(map[string]any)
	if !ok {
		return mergePatch{}, invalid("", "a merge patch is a JSON object with the fields to change")
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

// numberMessage says why a number is none of a type of Go.
func numberMessage(t reflect.Type, number string) string {
	switch {
	case t.Kind() != reflect.Float64 && !isWhole(number):
		return "must be a whole number, not " + clipID(number)
	case t.Kind() == reflect.Uint64 && number[0] == '-':
		return "must not be negative"
	}
	return "is out of range"
}

// decodeOptions reads a small body: only fields of v, each of its type and once.
// No body leaves v as it is.
func decodeOptions(b []byte, v any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	if _, err := strict.Value(b); err != nil {
		return newProblem(http.StatusBadRequest, "the body "+err.Error())
	}
	b, err := readTimes(b, reflect.TypeOf(v).Elem())
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err = dec.Decode(v); err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*instantError](err); ok {
		return invalid(wrong.field(b), wrong.message)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text shows no value but numbers
		if number, ok := strings.CutPrefix(wrong.Value, "number "); ok && jsonWord(wrong.Type) == "number" {
			return invalid(jsonPath(wrong.Field), numberMessage(wrong.Type, number))
		}
		return invalid(jsonPath(wrong.Field), "must be a "+jsonWord(wrong.Type)+", not a "+wrong.Value)
	}
	return invalid("", strings.TrimPrefix(err.Error(), "json: "))
}

// jsonPath takes the names of embedded Go types out of the path to a field: a client does
// not know them.
func jsonPath(field string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(field, "."), func(name string) bool {
		return name != "" && unicode.IsUpper(rune(name[0]))
	}), ".")
}
