package sql

import (
	"slices"

	"github.com/jetpost/jetpost/event"
)

// explainSteps is what finding out why may take.
const explainSteps = 1 << 20

// Failure says why an expression has no value for an event; empty when it has one.
// An expression that has none does not match.
func (p *Program) Failure(e *event.Event) string {
	switch v, f := p.root.eval(&run{event: e, left: explainSteps}); {
	case f == mathFailure:
		return "a number is out of range, or is divided by zero"
	case f == castFailure:
		return "a value cannot be converted to the type that is needed there"
	case f == missingAttribute:
		return "it needs an attribute that the event does not have"
	case f == functionFailure:
		return "a function cannot be applied to its arguments"
	case f == tooCostly:
		return "it takes more steps than an event may take"
	case v.kind != boolean:
		if _, ok := p.root.(flag); ok {
			return "its value is not a Boolean: of an extension attribute only true and false are"
		}
		return "its value is not a Boolean"
	}
	return ""
}

// Attributes are the names of the attributes that the expression reads, sorted.
func (p *Program) Attributes() []string {
	var names []string
	collectAttributes(p.root, &names)
	slices.Sort(names)
	return slices.Compact(names)
}

func collectAttributes(x expr, names *[]string) {
	each := func(inner ...expr) {
		for _, one := range inner {
			collectAttributes(one, names)
		}
	}
	switch x := x.(type) {
	case attribute:
		*names = append(*names, x.name)
	case flag:
		*names = append(*names, x.name)
	case exists:
		*names = append(*names, x.name)
	case not:
		each(x.of)
	case negate:
		each(x.of)
	case logic:
		each(x.left, x.right)
	case equal:
		each(x.left, x.right)
	case order:
		each(x.left, x.right)
	case arithmetic:
		each(x.left, x.right)
	case in:
		each(x.of)
		each(x.set...)
	case like:
		each(x.of)
	case call:
		each(x.args...)
	}
}
