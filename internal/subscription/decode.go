package subscription

import (
	"cmp"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/subscription/strict"
	"github.com/jetpost/jetpost/internal/subscription/validation"
	"github.com/jetpost/jetpost/internal/timestamp"
)

// MaxSize is the most bytes that Decode reads.
const MaxSize = 256 << 10

// Decode reads a subscription as a user wrote it. An error is a *ValidationError
// that names each field which is unknown, given twice or of the wrong type, and
// each filter that cannot be evaluated.
//
// Beside the fields of Subscription there is "secret": a signing secret to use
// instead of one that is made (a placeholder is ignored, it stands for the one in
// use). Fields that jetpost sets are accepted, so that what was read can be sent
// back, and are overruled by Store and Inherit. Defaults are not filled in, except
// for delivery.retry and delivery.breaker, where a jitter and a time of 0 must be
// distinguished from none: see SetDefaults.
// These are the ones that traits has for the profile; nil has those of
// StandardTraits for all of them.
func Decode(b []byte, traits func(profile string) (Traits, bool)) (*Subscription, error) {
	var found validation.Problems
	if len(b) > MaxSize {
		found.Add("", "is larger than %d bytes", MaxSize)
		return nil, found.Err()
	}
	var in struct {
		Subscription
		Secret keyring.Secret `json:"secret"`
	}
	defaults := StandardTraits()
	if traits != nil {
		if of, known := traits(cmp.Or(gjson.GetBytes(b, "profile").String(), DefaultProfile)); known {
			defaults = of
		}
	}
	in.Delivery.Retry, in.Delivery.Jitter = defaults.Retry, defaults.Jitter
	in.Delivery.Breaker = DefaultBreaker()
	decodeStrict(b, reflect.ValueOf(&in).Elem(), "", &found)
	if !in.Secret.IsZero() && !in.Secret.IsPlaceholder() {
		if len(in.Secrets) > 0 {
			found.Add("secret", "is given together with secrets: give one of them, and to change the secret of a subscription rotate it")
		}
		in.Secrets = []SigningKey{{Secret: in.Secret}}
	}
	if err := found.Err(); err != nil {
		return nil, err
	}
	return &in.Subscription, nil
}

// decodeStrict is json.Unmarshal without its leniency: names are compared by
// case, and a name that is not a field, or comes twice, is a problem. v can be set.
func decodeStrict(raw json.RawMessage, v reflect.Value, field string, found *validation.Problems) {
	if field != "" && strict.Kind(raw) == "null" {
		return // as if it were not there
	}
	if f, ok := reflect.TypeAssert[*filter.Filter](v.Addr()); ok {
		*f = filter.Parse(raw, field, found)
		return
	}
	if _, ok := reflect.TypeAssert[json.Unmarshaler](v.Addr()); ok {
		decodeLeaf(raw, v, field, found)
		return
	}
	switch v.Kind() { //nolint:exhaustive // the others are leaves
	case reflect.Struct:
		decodeStruct(raw, v, field, found)
	case reflect.Slice:
		elements, err := strict.Array(raw)
		if err != nil {
			found.Add(field, "%s", err)
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(elements), len(elements)))
		for i, element := range elements {
			decodeStrict(element, v.Index(i), validation.Index(field, i), found)
		}
	case reflect.Map:
		members, err := strict.Object(raw)
		if err != nil {
			found.Add(field, "%s", err)
			return
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), len(members)))
		for _, m := range members {
			value := reflect.New(v.Type().Elem()).Elem()
			decodeStrict(m.Value, value, validation.Join(field, m.Name), found)
			v.SetMapIndex(reflect.ValueOf(m.Name), value)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		decodeStrict(raw, v.Elem(), field, found)
	default:
		decodeLeaf(raw, v, field, found)
	}
}

func decodeStruct(raw json.RawMessage, v reflect.Value, field string, found *validation.Problems) {
	members, err := strict.Object(raw)
	if err != nil {
		found.Add(field, "%s", err)
		return
	}
	fields := structFields(v)
	for _, m := range members {
		i := slices.IndexFunc(fields, func(f structField) bool { return f.name == m.Name })
		if i < 0 {
			names := make([]string, len(fields))
			for i := range fields {
				names[i] = fields[i].name
			}
			found.Add(validation.Join(field, m.Name), "is not a field: use %s", strings.Join(names, ", "))
			continue
		}
		decodeStrict(m.Value, fields[i].value, validation.Join(field, m.Name), found)
	}
}

type structField struct {
	name  string
	value reflect.Value
}

// structFields are the fields of a struct by their names in JSON, those of an
// embedded struct without a name included.
func structFields(v reflect.Value) []structField {
	var fields []structField
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" {
			fields = append(fields, structFields(v.Field(i))...)
			continue
		}
		fields = append(fields, structField{name, v.Field(i)})
	}
	return fields
}

func decodeLeaf(raw json.RawMessage, v reflect.Value, field string, found *validation.Problems) {
	if at, ok := reflect.TypeAssert[*time.Time](v.Addr()); ok && string(raw) != "null" {
		decodeTime(raw, at, field, found)
		return
	}
	err := json.Unmarshal(raw, v.Addr().Interface())
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
	case errors.As(err, &wrongType) && isBeyond(raw, v.Kind()):
		found.Add(field, "is out of range")
	case errors.As(err, &wrongType):
		found.Add(field, "must be %s, not %s", describe(v.Kind()), strict.Kind(raw))
	default:
		found.Add(field, "%s", err)
	}
}

// isBeyond reports whether raw is a number of the right kind, but too large for it.
func isBeyond(raw json.RawMessage, kind reflect.Kind) bool {
	text := strings.TrimSpace(string(raw))
	switch kind { //nolint:exhaustive // the others are no numbers
	case reflect.Int, reflect.Uint64:
		return text != "" && strings.Trim(text, "0123456789") == ""
	case reflect.Float64:
		return strict.Kind(raw) == "a number"
	}
	return false
}

// decodeTime reads what RFC 3339 allows, which is more than encoding/json does.
func decodeTime(raw json.RawMessage, at *time.Time, field string, found *validation.Problems) {
	var text string
	err := json.Unmarshal(raw, &text)
	if err != nil {
		found.Add(field, "must be an RFC 3339 time, such as %s, not %s", timestamp.Example, strict.Kind(raw))
		return
	}
	if *at, err = timestamp.Parse(text); err != nil {
		found.Add(field, "must be an RFC 3339 time, such as %s: %s", timestamp.Example, err)
	}
}

func describe(kind reflect.Kind) string {
	switch kind { //nolint:exhaustive // the others are not used in a subscription
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	default:
		return "a " + kind.String()
	}
}
