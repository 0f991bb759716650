package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/jetpost/jetpost/profile"
	"github.com/jetpost/jetpost/subscription"
)

// maxDepth bounds the nesting of what is decoded into maps.
const maxDepth = 32

// A mergePatch is a JSON merge patch (RFC 7396) for a subscription.
type mergePatch struct {
	members map[string]any
}

func parsePatch(b []byte) (mergePatch, error) {
	value, err := decodeStrict(b)
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
	stored, err := decodeStrict(text)
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

// decodeStrict decodes JSON as it stands: numbers keep their digits, and a member
// that is given twice is an error.
func decodeStrict(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	value, err := decodeValue(dec, 1)
	if err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("is not valid JSON: %w at byte %d", syntax, syntax.Offset)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("is not valid JSON: it ends too early")
		}
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has something after its end")
	}
	return value, nil
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("is nested deeper than %d levels", maxDepth)
	}
	if delimiter == '[' {
		elements := []any{}
		for dec.More() {
			element, err := decodeValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			elements = append(elements, element)
		}
		_, err = dec.Token()
		return elements, err
	}
	members := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // the key of an object is always a string
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("has %q twice", name)
		}
		if members[name], err = decodeValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return members, err
}

// decodeOptions reads a small body: only fields of v, each of its type and once.
// No body leaves v as it is.
func decodeOptions(b []byte, v any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	if _, err := decodeStrict(b); err != nil {
		return newProblem(http.StatusBadRequest, "the body "+err.Error())
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text shows no value but numbers
		return invalid(wrong.Field, "must be a "+wrong.Type.String()+", not a "+wrong.Value)
	}
	return invalid("", strings.TrimPrefix(err.Error(), "json: "))
}
