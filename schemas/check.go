package schemas

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/schema/cost"
)

// A Verdict is what Check found out about an event that may be stored.
type Verdict struct {
	Type Type
	// Warning is what is wrong with the data in a domain that warns, otherwise
	// nil. The event is to be stored all the same.
	Warning *ValidationError
}

// Check decides whether e may be stored. An error means that it must not: it
// wraps ErrUnknownType, or it is a *ValidationError from a domain that enforces
// its schemas. The data is decoded once and not changed.
//
// Check checks the type and the data. Whether e is a CloudEvent at all is up to
// e.Validate.
func (c *Catalogue) Check(e *event.Event) (Verdict, error) {
	t, err := c.Resolve(e.Type)
	if err != nil {
		return Verdict{}, err
	}
	if t.validation == Off {
		return Verdict{Type: t}, nil
	}
	invalid := t.check(e.DataContentType, e.Data)
	if invalid != nil && t.validation != Warn {
		return Verdict{}, invalid
	}
	return Verdict{Type: t, Warning: invalid}, nil
}

// Validate is Check for callers that only want to know whether e must be refused.
func (c *Catalogue) Validate(e *event.Event) error {
	_, err := c.Check(e)
	return err
}

// check validates data as if the domain's mode was "enforce". It returns the
// concrete type so that callers can distinguish a warning from none.
func (t *Type) check(contentType string, data []byte) *ValidationError {
	if t.compiled == nil {
		return nil // an open domain's type without a schema: any data will do
	}
	if !event.IsJSON(contentType) {
		return newValidationError(t.Name, []Problem{{
			Field: "/datacontenttype", Message: "must be application/json or another JSON type: " + t.Name + " has a JSON Schema",
		}}, 0)
	}
	value, f := decode(data)
	if f != nil {
		problem := Problem{Field: "/data" + f.pointer(), Message: f.message}
		if len(f.path) == 0 && f.offset >= 0 {
			problem.Message += " (byte " + strconv.Itoa(f.offset+1) + ")"
		}
		return newValidationError(t.Name, []Problem{problem}, 0)
	}
	if d := t.validate(value, len(data), "/data"); len(d.problems) > 0 {
		return newValidationError(t.Name, d.problems, d.more)
	}
	return nil
}

// validate applies the schema of a type to a decoded value of a size in bytes. No problems
// mean that the value is valid. One that takes too many steps to validate is not.
func (t *Type) validate(value any, size int, prefix string) description {
	if cost.TooCostly(t.compiled, t.weight, value, size) {
		return description{costly: true, problems: []Problem{{Field: prefix, Message: fmt.Sprintf(
			"takes more than the %d steps that data of this size may take to check against the schema: the schema leads to the same schemas in too many ways", cost.Budget(size))}}}
	}
	return validate(t.compiled, value, prefix)
}

// validate applies a schema to a decoded value. No problems mean that the value
// is valid.
func validate(s *jsonschema.Schema, value any, prefix string) description {
	err := s.Validate(value)
	if err == nil {
		return description{}
	}
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		if d := describe(invalid, prefix); len(d.problems) > 0 {
			return d
		}
	}
	// Fail closed: what could not be checked or described is not valid.
	return description{problems: []Problem{{Field: prefix, Message: "breaks its schema"}}}
}

// CheckData holds data, which is JSON, against the type's schema, whatever the
// domain's mode. It returns what is wrong, sorted by field and as much as a person
// wants to read; fields are JSON pointers into the data. A type without a schema
// accepts all data.
func (t Type) CheckData(data []byte) []Problem {
	invalid := t.check("", data)
	if invalid == nil {
		return nil
	}
	problems := slices.Clone(invalid.Problems)
	for i := range problems {
		problems[i].Field = strings.TrimPrefix(problems[i].Field, "/data")
	}
	return problems
}
