package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/internal/subscription/strict"
	"github.com/jetpost/jetpost/internal/timestamp"
)

// An Instant is a time in a request, as RFC 3339 allows it. What the standard library
// reads is more in some places and less in others.
type Instant struct{ time.Time }

// UnmarshalText reads a parameter.
func (i *Instant) UnmarshalText(text []byte) (err error) {
	if i.Time, err = timestamp.Parse(string(text)); err != nil {
		return errors.New("must be a time such as " + timestamp.Example + ": " + err.Error())
	}
	return nil
}

// UnmarshalJSON reads a member of a body. null is as if it were not there.
func (i *Instant) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) != nil {
		return &instantError{slices.Clone(b), "must be a time such as " + timestamp.Example + ", in a string"}
	}
	if err := i.UnmarshalText([]byte(text)); err != nil {
		return &instantError{slices.Clone(b), err.Error()}
	}
	return nil
}

// An instantError is about a member of a body, which encoding/json does not name.
type instantError struct {
	raw     []byte // its value
	message string
}

// Error is the message.
func (e *instantError) Error() string { return e.message }

// field is the name of the member.
func (e *instantError) field(body []byte) string {
	members, _ := strict.Object(body) // it has been read as one
	for _, m := range members {
		if bytes.Equal(bytes.TrimSpace(m.Value), e.raw) {
			return m.Name
		}
	}
	return ""
}

// readTimes writes the times in a body as encoding/json reads them, for the fields of a
// struct type that are times. The error is a *problem that names the field.
func readTimes(body []byte, t reflect.Type) ([]byte, error) {
	names := timeFields(t)
	var members map[string]json.RawMessage
	if len(names) == 0 || json.Unmarshal(body, &members) != nil {
		return body, nil //nolint:nilerr // who decodes it says what it is
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		known := slices.ContainsFunc(names, func(known string) bool { return strings.EqualFold(known, name) })
		if !known || string(members[name]) == "null" {
			continue
		}
		var at Instant
		if err := at.UnmarshalJSON(members[name]); err != nil {
			return nil, Invalid(name, err.Error())
		}
		members[name] = []byte(strconv.Quote(at.Format(time.RFC3339Nano)))
	}
	return json.Marshal(members)
}

// timeFields are the names in JSON of the fields that are times.
func timeFields(t reflect.Type) (names []string) {
	for _, field := range reflect.VisibleFields(t) {
		if field.Type == reflect.TypeFor[time.Time]() || field.Type == reflect.TypeFor[*time.Time]() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

// instantFormat stands for date-time until requests have been checked against the schema:
// the HTTP library would check the format by its own rules.
const instantFormat = "instant"

// Schema describes it.
func (*Instant) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: instantFormat}
}

// describeInstants gives times in requests the format that clients know.
func describeInstants(document *huma.OpenAPI) {
	for _, item := range document.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			for _, parameter := range op.Parameters {
				if parameter.Schema != nil && parameter.Schema.Format == instantFormat {
					described := *parameter.Schema // the other one checks requests
					described.Format = "date-time"
					parameter.Schema = &described
				}
			}
		}
	}
	for _, schema := range document.Components.Schemas.Map() {
		for _, property := range schema.Properties {
			if property.Format == instantFormat {
				property.Format = "date-time"
			}
		}
	}
}

// instantMessage is what is wrong with a parameter, as Instant says it.
func instantMessage(found string) (message string, ok bool) {
	if message, ok = strings.CutPrefix(found, "invalid value: must be a time such as "); !ok {
		return "", false
	}
	return "must be a time such as " + message + "; in a URL write %2B for +", true
}

// CheckTimes reports a span of time that the NATS server cannot count, or that is empty.
func CheckTimes(from, to time.Time) error {
	switch {
	case !UsableTime(from):
		return Invalid("from", "is out of range: use a time from 1970 to 2261")
	case !UsableTime(to):
		return Invalid("to", "is out of range: use a time from 1970 to 2261")
	case !from.IsZero() && !to.IsZero() && !from.Before(to):
		return Invalid("to", "is not after from")
	}
	return nil
}

// UsableTime reports whether at is not given or can be counted in nanoseconds, as
// the NATS server does: it would take a later one for one long ago.
func UsableTime(at time.Time) bool {
	return at.IsZero() || at.Year() >= 1970 && at.Year() <= 2261
}
