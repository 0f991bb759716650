package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/stream/timestamp"
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

// validAttributeName applies the rule of CloudEvents 1.0.2, "Naming Conventions".
// "data" is reserved by the JSON format.
func validAttributeName(name string) bool {
	if name == "" || name == "data" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// Validate reports all that keeps e from being a CloudEvent 1.0, in one error
// that wraps ErrInvalidEvent. A nil error means that e survives SetHeader and
// FromMessage unchanged, and AppendStructured and ParseStructured but for the white
// space around JSON data and an implied content type.
func (e *Event) Validate() error {
	var problems []string
	for _, required := range [...]struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if required.value == "" {
			problems = append(problems, "attribute "+required.name+" is missing")
		}
	}
	if e.Time != "" {
		if _, err := timestamp.Parse(e.Time); err != nil {
			problems = append(problems, fmt.Sprintf("attribute time %q is not an RFC 3339 time: %s", e.Time, err))
		}
	}
	check := func(name, value string) {
		if problem := textProblem(value); problem != "" {
			problems = append(problems, "attribute "+name+" "+problem)
		}
	}
	for _, name := range [...]string{"id", "source", "type", "subject", "datacontenttype", "dataschema"} {
		value, _ := e.Attribute(name)
		check(name, value)
	}
	for i := range e.Extensions {
		name, value := e.Extensions[i].Name, e.Extensions[i].Value
		check(name, value)
		switch {
		case !validAttributeName(name):
			problems = append(problems, fmt.Sprintf("%q is not an attribute name", name))
		case isContextAttribute(name): // it would replace the attribute of that name on the wire
			problems = append(problems, "attribute "+name+" is no extension")
		case value == "":
			problems = append(problems, "attribute "+name+" is empty")
		}
	}
	if name, ok := e.repeatedExtension(); ok {
		problems = append(problems, "attribute "+name+" is given twice")
	}
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInvalidEvent, strings.Join(problems, "; "))
}

// isContextAttribute reports whether every CloudEvent can have an attribute of
// that name.
func isContextAttribute(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema":
		return true
	}
	return false
}

// repeatedExtension finds an extension that is given twice. Parsed events have
// theirs in order, so that a look at the neighbours will do.
func (e *Event) repeatedExtension() (string, bool) {
	byName := func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) }
	sorted := e.Extensions
	if !slices.IsSortedFunc(sorted, byName) {
		sorted = slices.SortedFunc(slices.Values(sorted), byName)
	}
	for i := 1; i < len(sorted); i++ {
		if sorted[i].Name == sorted[i-1].Name {
			return sorted[i].Name, true
		}
	}
	return "", false
}

// textProblem says why value is not a CloudEvents String: the type excludes
// control characters, lone surrogates and noncharacters.
func textProblem(value string) string {
	if !utf8.ValidString(value) {
		return "is not valid UTF-8"
	}
	for _, r := range value {
		switch {
		case r < 0x20, r >= 0x7f && r <= 0x9f:
			return fmt.Sprintf("contains the control character U+%04X", r)
		case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
			return fmt.Sprintf("contains the noncharacter U+%04X", r)
		}
	}
	return ""
}
