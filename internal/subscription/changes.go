package subscription

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// Changes are the names of the fields, as the API has them, in which after is another
// wish than before: endpoint.url, secrets. They are sorted. What jetpost writes into
// a subscription itself is not among them, nor is its state.
func Changes(before, after *Subscription) []string {
	var changed []string
	collectChanges(reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem(), "", &changed)
	slices.Sort(changed)
	return changed
}

// same reports whether two versions of a subscription are the same but for when it was
// stored: what people wish for, and what jetpost writes into it.
func same(before, after *Subscription) bool {
	if len(Changes(before, after)) > 0 { // which knows secrets
		return false
	}
	was, is := *before, *after
	was.Revision, was.UpdatedAt, is.Revision, is.UpdatedAt = 0, time.Time{}, 0, time.Time{}
	a, err1 := json.Marshal(&was)
	b, err2 := json.Marshal(&is)
	return err1 == nil && err2 == nil && bytes.Equal(a, b)
}

// ownFields are those that a caller cannot set.
func ownFields() []string {
	return []string{
		"id", "state", "queue", "created_at", "updated_at", "revision",
		"handshake.consent", "handshake.reason", "handshake.origin", "handshake.allowed_rate", "handshake.checked_at",
		"handshake.callback", "handshake.callback_until",
	}
}

// collectChanges goes through the fields of a struct, and those of structs in it that
// are part of the API as objects.
func collectChanges(before, after reflect.Value, path string, changed *[]string) {
	for i := range before.NumField() {
		field := before.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		b, a := before.Field(i), after.Field(i)
		at := path + name
		switch {
		case name == "-", slices.Contains(ownFields(), at):
		case field.Anonymous && name == "":
			collectChanges(b, a, path, changed)
		case field.Type.Kind() == reflect.Struct && !field.Type.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
			collectChanges(b, a, at+".", changed)
		case at == "state_reason" && before.FieldByName("State").String() != after.FieldByName("State").String():
			// belongs to the state
		case !sameValue(b, a):
			*changed = append(*changed, at)
		}
	}
}

// sameValue takes what is empty for what is missing. Secrets are equal when their texts
// are, which DeepEqual follows their pointers for; times and filters are compared as
// they are stored.
func sameValue(b, a reflect.Value) bool {
	if b.Kind() == reflect.Slice || b.Kind() == reflect.Map {
		if b.Len() == 0 && a.Len() == 0 {
			return true
		}
	}
	if was, ok := reflect.TypeAssert[[]SigningKey](b); ok {
		is, _ := reflect.TypeAssert[[]SigningKey](a) // of the same type
		return slices.EqualFunc(was, is, sameKey)
	}
	if filters, ok := reflect.TypeAssert[[]filter.Filter](b); ok {
		was, err1 := json.Marshal(filters)
		is, err2 := json.Marshal(a.Interface())
		return err1 == nil && err2 == nil && string(was) == string(is)
	}
	return reflect.DeepEqual(b.Interface(), a.Interface())
}

func sameKey(a, b SigningKey) bool {
	if (a.ExpiresAt == nil) != (b.ExpiresAt == nil) || a.ExpiresAt != nil && !a.ExpiresAt.Equal(*b.ExpiresAt) {
		return false
	}
	return a.ID == b.ID && a.Secret.Equal(b.Secret)
}
