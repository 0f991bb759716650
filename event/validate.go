package event

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/timestamp"
)

// Validate reports all that keeps e from being a CloudEvent 1.0.2, in one error
// that wraps ErrInvalidEvent: the required attributes, the type of every attribute and
// the names of extensions. All ways in which events arrive use it.
//
// A nil error means that e survives SetHeader and FromMessage unchanged, and
// AppendStructured and ParseStructured but for the white space around JSON data and an
// implied content type; and that the CloudEvents SDKs of receivers read it. Two things
// pass that the specification or an SDK does not take: a fragment in dataschema, which
// many schemas are named by, and malformed parameters of datacontenttype, because what
// the data is does not depend on them.
//
// Events that were stored under other rules stay valid: see FromEventLog.
func (e *Event) Validate() error {
	var problems []string
	add := func(name, problem string) {
		if problem != "" {
			problems = append(problems, "attribute "+name+" "+problem)
		}
	}
	for _, required := range [...]struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if required.value == "" {
			add(required.name, "is missing")
		}
	}
	if e.Time != "" {
		if _, err := timestamp.Parse(e.Time); err != nil {
			add("time", fmt.Sprintf("%q is not an RFC 3339 time: %s", e.Time, err))
		}
	}
	for _, name := range [...]string{"id", "source", "type", "subject", "datacontenttype", "dataschema"} {
		if value, ok := e.Attribute(name); ok {
			problem := textProblem(value)
			if problem == "" {
				problem = contextProblem(name, value)
			}
			add(name, problem)
		}
	}
	for i := range e.Extensions {
		problems = append(problems, extensionProblems(e.Extensions[i])...)
	}
	if name, ok := e.repeatedExtension(); ok {
		add(name, "is given twice")
	}
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInvalidEvent, strings.Join(problems, "; "))
}

// CheckSource reports why events cannot have a source, before there are any.
func CheckSource(source string) error {
	problem := textProblem(source)
	switch {
	case source == "":
		problem = "is missing"
	case problem == "":
		problem = contextProblem("source", source)
	}
	if problem == "" {
		return nil
	}
	return fmt.Errorf("source of events %s", problem)
}

// contextProblem says why a text is not a value of a context attribute.
func contextProblem(name, value string) string {
	switch name {
	case "source":
		switch value {
		case "#", "//", "//#": // empty, when they are normalized
			return "is a URI reference to nothing"
		}
		if problem := uriProblem(value); problem != "" {
			return "is not a URI reference: it " + problem
		}
	case "dataschema":
		switch problem := uriProblem(value); {
		case problem != "":
			return "is not a URI: it " + problem
		case !isAbsoluteURI(value):
			return "is not an absolute URI: begin with its scheme, as in https://…"
		}
	case "datacontenttype":
		if _, ok := MediaType(value); !ok {
			return "is not a media type: write a type and a subtype, as in application/json"
		}
	default:
		if strings.TrimSpace(value) == "" {
			return "is nothing but white space, which receivers take for empty"
		}
	}
	return ""
}

func extensionProblems(a Attribute) (problems []string) {
	if problem := textProblem(a.Value); problem != "" {
		problems = append(problems, "attribute "+a.Name+" "+problem)
	}
	switch {
	case !validAttributeName(a.Name):
		problems = append(problems, fmt.Sprintf("%q is not an attribute name, use lower-case letters and digits", a.Name))
	case IsContextAttribute(a.Name): // it would replace the attribute of that name on the wire
		problems = append(problems, "attribute "+a.Name+" is no extension")
	case a.Value == "":
		problems = append(problems, "attribute "+a.Name+" is empty")
	}
	return problems
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

// IsContextAttribute reports whether every CloudEvent can have an attribute of
// that name.
func IsContextAttribute(name string) bool {
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
