// Package event is the CloudEvent that jetpost carries, and its codecs: NATS messages in
// binary and structured mode, the JSON format, batches, and events of the CloudEvents SDK.
// What is valid is CloudEvents 1.0.2, see Event.Validate. Data stays as it is, byte for
// byte.
package event

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// SpecVersion is the only CloudEvents version that jetpost carries.
const SpecVersion = "1.0"

// ErrInvalidEvent is wrapped by every error that says why something is not a
// CloudEvent jetpost can carry.
var ErrInvalidEvent = errors.New("not a valid CloudEvent")

// An Event is one CloudEvent 1.0 as jetpost carries it: every attribute in its
// canonical string form (CloudEvents 1.0.2, section "Type System") and the data
// as the exact bytes that were published. Events are not changed once made, so
// they may be shared between goroutines.
type Event struct {
	ID              string
	Source          string
	Type            string
	Subject         string // optional
	Time            string // optional, RFC 3339, as published
	DataContentType string // optional
	DataSchema      string // optional
	Extensions      []Attribute
	Data            []byte
}

// An Attribute is an extension attribute of an event.
type Attribute struct {
	Name  string // [a-z0-9]+
	Value string // canonical string form
}

// Attribute returns the context attribute of that name, and whether the event
// has it. An empty optional attribute counts as absent: CloudEvents forbids
// empty values.
func (e *Event) Attribute(name string) (string, bool) {
	var value string
	switch name {
	case "specversion":
		value = SpecVersion
	case "id":
		value = e.ID
	case "source":
		value = e.Source
	case "type":
		value = e.Type
	case "subject":
		value = e.Subject
	case "time":
		value = e.Time
	case "datacontenttype":
		value = e.DataContentType
	case "dataschema":
		value = e.DataSchema
	default:
		for i := range e.Extensions {
			if e.Extensions[i].Name == name {
				return e.Extensions[i].Value, true
			}
		}
	}
	return value, value != ""
}

// setAttribute is the inverse of Attribute. It reports a name that is not an
// attribute name, an empty value and a second value for one name.
func (e *Event) setAttribute(name, value string) error {
	if value == "" {
		return fmt.Errorf("%w: attribute %q is empty", ErrInvalidEvent, name)
	}
	var field *string
	switch name {
	case "specversion":
		if value != SpecVersion {
			return fmt.Errorf("%w: specversion is %q, jetpost carries %q", ErrInvalidEvent, value, SpecVersion)
		}
		return nil
	case "id":
		field = &e.ID
	case "source":
		field = &e.Source
	case "type":
		field = &e.Type
	case "subject":
		field = &e.Subject
	case "time":
		field = &e.Time
	case "datacontenttype":
		field = &e.DataContentType
	case "dataschema":
		field = &e.DataSchema
	default:
		return e.addExtension(name, value)
	}
	if *field != "" {
		return fmt.Errorf("%w: attribute %s is given twice", ErrInvalidEvent, name)
	}
	*field = value
	return nil
}

func (e *Event) addExtension(name, value string) error {
	if !validAttributeName(name) {
		return fmt.Errorf("%w: %q is not an attribute name, use lower-case letters and digits", ErrInvalidEvent, name)
	}
	at, found := slices.BinarySearchFunc(e.Extensions, name, func(a Attribute, n string) int {
		return strings.Compare(a.Name, n)
	})
	if found {
		return fmt.Errorf("%w: attribute %s is given twice", ErrInvalidEvent, name)
	}
	e.Extensions = slices.Insert(e.Extensions, at, Attribute{name, value})
	return nil
}

// MessageID is by what an event log recognises a duplicate: the same for two events
// exactly when source and id are (CloudEvents 1.0.2, "id"). A hash, because neither
// is safe as a header value or bounded, and NUL is in neither.
func (e *Event) MessageID() string {
	b := make([]byte, 0, 256)
	b = append(append(append(b, e.Source...), 0), e.ID...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
