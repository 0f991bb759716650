package schemas

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/jetpost/jetpost/internal/schema/cost"
	"github.com/jetpost/jetpost/internal/schema/wording"
)

// A description turns the validator's tree of failures into one problem per
// field. The messages are ours, because the library's quote the values that
// failed.
type description struct {
	prefix   string // before every field
	problems []Problem
	more     int // problems beyond those
	// costly: nothing was validated, since that would have taken too many steps.
	costly bool
}

// maxDescribed bounds the work of describing: 256 KiB of data can have hundreds of
// thousands of problems. Beyond it the order in which the validator walks maps
// decides which are described.
const maxDescribed = 1000

func describe(err *jsonschema.ValidationError, prefix string) description {
	d := description{prefix: prefix}
	d.add(err)
	return d
}

func (d *description) add(err *jsonschema.ValidationError) {
	switch k := err.ErrorKind.(type) {
	case *kind.Required:
		d.members(err, k.Missing, "is required")
	case *kind.DependentRequired:
		d.members(err, k.Missing, "is required when "+strconv.Quote(wording.Cut(k.Prop))+" is given")
	case *kind.AdditionalProperties:
		d.members(err, k.Properties, "is not a known property")
	case *kind.PropertyNames:
		// The library shares the location's memory with fields it looks at later,
		// so it may be any: say what is certain.
		d.value(nil, "has, at some depth, a member with a name that is not allowed: "+strconv.Quote(wording.Cut(k.Property)))
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
		for _, cause := range err.Causes {
			d.add(cause)
		}
	case *kind.AnyOf:
		d.alternatives(err)
	case *kind.OneOf:
		if len(k.Subschemas) == 0 {
			d.alternatives(err)
			return
		}
		d.value(err.InstanceLocation, "has several of the allowed forms, must have exactly one")
	default:
		if d.full(1) {
			return // before the message is made
		}
		d.value(err.InstanceLocation, message(err.ErrorKind))
	}
}

// full counts problems that are no longer described.
func (d *description) full(problems int) bool {
	if len(d.problems) < maxDescribed {
		return false
	}
	d.more += problems
	return true
}

// value reports a value that is there.
func (d *description) value(path []string, message string) {
	if !d.full(1) {
		d.problems = append(d.problems, Problem{Field: d.prefix + wording.Pointer(path), Message: message})
	}
}

// members reports members of an object that are missing or should be.
func (d *description) members(err *jsonschema.ValidationError, names []string, message string) {
	if d.full(len(names)) {
		return
	}
	object := d.prefix + wording.Pointer(err.InstanceLocation)
	for _, name := range names {
		d.problems = append(d.problems, Problem{Field: object + wording.Pointer([]string{name}), Message: message})
	}
}

// alternatives reports a value that fits none of several forms. The forms whose
// type it does not even have are not worth a word if there is exactly one other:
// of "null or a commit", an object without id is a commit without id.
func (d *description) alternatives(err *jsonschema.ValidationError) {
	var meant []*jsonschema.ValidationError
	var types []string
	for _, form := range err.Causes {
		if t := wrongType(form, len(err.InstanceLocation)); t != nil {
			types = append(types, t.Want...)
			continue
		}
		meant = append(meant, form)
	}
	switch {
	case len(meant) == 1:
		d.add(meant[0])
	case len(meant) == 0 && len(types) > 0:
		d.value(err.InstanceLocation, "must be "+anyOf(types))
	default:
		d.value(err.InstanceLocation, "has none of the allowed forms")
	}
}

// wrongType finds out whether a form failed because the value itself, at that
// depth, has another type.
func wrongType(err *jsonschema.ValidationError, depth int) *kind.Type {
	if t, ok := err.ErrorKind.(*kind.Type); ok && len(err.InstanceLocation) == depth {
		return t
	}
	if _, ok := err.ErrorKind.(*kind.Reference); ok && len(err.Causes) == 1 {
		return wrongType(err.Causes[0], depth)
	}
	return nil
}

// message says what a single value would have to be.
func message(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "must be " + anyOf(k.Want) + ", is " + article(k.Got)
	case *kind.Enum:
		return enumMessage(k)
	case *kind.Const:
		return "must be " + wording.Show(k.Want)
	case *kind.Format:
		if large, ok := errors.AsType[*cost.PatternSizeError](k.Err); ok {
			return large.Error()
		}
		return "is not a valid " + k.Want
	case *kind.Pattern:
		return "must match the pattern " + k.Want
	case *kind.MinLength:
		if k.Want == 1 {
			return "must not be empty"
		}
		return fmt.Sprintf("must have at least %s, has %d", count(k.Want, "character"), k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %s, has %d", count(k.Want, "character"), k.Got)
	case *kind.Minimum:
		return "must be at least " + wording.Number(k.Want)
	case *kind.Maximum:
		return "must be at most " + wording.Number(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + wording.Number(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + wording.Number(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + wording.Number(k.Want)
	case *kind.FalseSchema:
		return "is not allowed"
	case *kind.RefCycle:
		return "cannot be checked: its schema refers to itself without an end"
	default:
		return collectionMessage(k)
	}
}

// collectionMessage is message for what is said about objects and arrays.
func collectionMessage(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %s, has %d", count(k.Want, "item"), k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %s, has %d", count(k.Want, "item"), k.Got)
	case *kind.UniqueItems:
		return fmt.Sprintf("must not repeat an item, items %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.Contains:
		return "has no item of the required form"
	case *kind.MinContains:
		return fmt.Sprintf("must have at least %s of the required form, has %d", count(k.Want, "item"), len(k.Got))
	case *kind.MaxContains:
		return fmt.Sprintf("must have at most %s of that form, has %d", count(k.Want, "item"), len(k.Got))
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %s, has %d", count(k.Want, "member"), k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %s, has %d", count(k.Want, "member"), k.Got)
	case *kind.Not:
		return "has a form that is not allowed"
	default: // a keyword that a later version of the library knows
		return "does not satisfy " + strings.Join(k.KeywordPath(), "/")
	}
}

func enumMessage(k *kind.Enum) string {
	shown := make([]string, len(k.Want))
	for i, v := range k.Want {
		shown[i] = wording.Show(v)
	}
	m := "must be one of " + strings.Join(shown, ", ")
	if got, ok := k.Got.(string); ok && len(got) <= maxValue {
		m += ", is " + strconv.Quote(got)
	}
	return m
}

func anyOf(types []string) string {
	parts := make([]string, len(types))
	for i, t := range types {
		parts[i] = article(t)
	}
	return strings.Join(parts, " or ")
}

func article(jsonType string) string {
	switch jsonType {
	case "null":
		return "null"
	case "array", "integer", "object":
		return "an " + jsonType
	default:
		return "a " + jsonType
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
