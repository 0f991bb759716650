package schemas

import (
	"encoding/json"
	"iter"
	"math/big"
	"math/bits"
	"slices"
	"strings"
)

// kinds is a set of the types that data can have. Numbers are integers or have a
// fraction.
type kinds uint8

const (
	kindNull kinds = 1 << iota
	kindBoolean
	kindObject
	kindArray
	kindString
	kindInteger
	kindFraction

	kindNumber = kindInteger | kindFraction
	kindAny    = kindNull | kindBoolean | kindObject | kindArray | kindString | kindNumber
)

func kindNamed(name string) kinds {
	switch name {
	case "null":
		return kindNull
	case "boolean":
		return kindBoolean
	case "object":
		return kindObject
	case "array":
		return kindArray
	case "string":
		return kindString
	case "integer":
		return kindInteger
	case "number":
		return kindNumber
	}
	return 0
}

func kindOfValue(value any) kinds {
	switch v := value.(type) {
	case nil:
		return kindNull
	case bool:
		return kindBoolean
	case map[string]any:
		return kindObject
	case []any:
		return kindArray
	case string:
		return kindString
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok && r.IsInt() {
			return kindInteger
		}
		return kindFraction
	}
	return 0
}

func (k kinds) String() string {
	if k&kindFraction != 0 { // "number" says that integers are meant as well
		k &^= kindInteger
	}
	names := map[kinds]string{
		kindNull: "null", kindBoolean: "boolean", kindObject: "object", kindArray: "array", kindString: "string",
		kindInteger: "integer", kindFraction: "number",
	}
	var found []string
	for one := range k.each() {
		found = append(found, names[one])
	}
	return strings.Join(found, ", ")
}

// each goes through the single types of a set.
func (k kinds) each() iter.Seq[kinds] {
	return func(yield func(kinds) bool) {
		for one := kindNull; one <= kindFraction; one <<= 1 {
			if k&one != 0 && !yield(one) {
				return
			}
		}
	}
}

func (k kinds) several() bool { return bits.OnesCount8(uint8(k)) > 1 }

// own are the types that a schema by itself accepts, without looking into others.
func (n node) own() kinds {
	if n.never {
		return 0
	}
	accepted := kindAny
	switch t := n.schema["type"].(type) {
	case string:
		accepted = kindNamed(t)
	case []any:
		accepted = 0
		for _, name := range textsOf(t) {
			accepted |= kindNamed(name)
		}
	}
	if only, ok := n.schema[onlyKind].(kinds); ok {
		accepted &= only
	}
	if values, ok := n.values(); ok {
		var of kinds
		for _, v := range values {
			of |= kindOfValue(v)
		}
		accepted &= of
	}
	return accepted
}

// types are those that all of old accept, or more. Alternatives are looked into,
// not too deeply.
func (c *comparison) types(old []node, depth int) kinds {
	accepted := kindAny
	for _, o := range old {
		accepted &= o.own()
		for _, keyword := range [...]string{"anyOf", "oneOf"} {
			forms := o.list(keyword)
			if len(forms) == 0 || depth == 4 {
				continue
			}
			var of kinds
			for _, form := range forms {
				of |= c.types(c.flatten([]node{form}), depth+1)
			}
			accepted &= of
		}
	}
	return accepted
}

// onlyKind is a keyword of nodes that are made up here. It cannot be written in a
// schema: its value is no JSON.
const onlyKind = "\x00kind"

// typeNode is a schema that accepts one type.
func typeNode(k kinds) node {
	return node{at: "type " + k.String(), schema: map[string]any{onlyKind: k}}
}

// valueNode is a schema that accepts one value.
func valueNode(value any) node {
	return node{at: "value " + show(value), schema: map[string]any{"const": value}}
}

// values are all that old accepts, if that is a short list; it may name more.
func (c *comparison) values(old []node) ([]any, bool) {
	types := c.types(old, 0)
	var found []any
	limited := types&^(kindNull|kindBoolean) == 0
	if limited {
		if types&kindNull != 0 {
			found = append(found, nil)
		}
		if types&kindBoolean != 0 {
			found = append(found, false, true)
		}
	}
	for _, o := range old {
		allowed, ok := o.values()
		if !ok {
			continue
		}
		if !limited {
			found, limited = slices.Clone(allowed), true
		}
		found = slices.DeleteFunc(found, func(v any) bool {
			return !slices.ContainsFunc(allowed, func(a any) bool { return sameJSON(a, v) })
		})
	}
	found = slices.DeleteFunc(found, func(v any) bool { return kindOfValue(v)&types == 0 })
	return found, limited
}

// checkTypes looks at type of the new schema.
func (c *comparison) checkTypes(old []node, n node) bool {
	if !n.has("type") {
		return true
	}
	typed := node{schema: map[string]any{"type": n.schema["type"]}}
	if gone := c.types(old, 0) &^ typed.own(); gone != 0 {
		return c.refuse(n, "type", "no longer accepts the type "+gone.String())
	}
	return true
}

// checkValues looks at enum and const of the new schema.
func (c *comparison) checkValues(old []node, n node) bool {
	allowed, limited := n.values()
	if !limited {
		return true
	}
	keyword := "enum"
	if n.has("const") {
		keyword = "const"
	}
	before, ok := c.values(old)
	if !ok {
		return c.refuse(n, keyword, "accepts only certain values now")
	}
	var gone []string
	for _, v := range before {
		if !slices.ContainsFunc(allowed, func(a any) bool { return sameJSON(a, v) }) {
			gone = append(gone, cut(show(v)))
		}
	}
	if len(gone) > 0 {
		return c.refuse(n, keyword, "no longer accepts "+list(gone))
	}
	return true
}

// A bound is an end of a range of numbers.
type bound struct {
	at        *big.Rat
	exclusive bool
}

// bounds are those of a schema: upwards the lower ones, which turn downwards into
// upper ones.
func (n node) bounds(inclusive, exclusive string) []bound {
	var found []bound
	for keyword, strict := range map[string]bool{inclusive: false, exclusive: true} {
		if at, ok := n.number(keyword); ok {
			found = append(found, bound{at, strict})
		}
	}
	return found
}

// implies reports whether what is beyond b is beyond other. direction is 1 for
// lower bounds, -1 for upper ones.
func (b bound) implies(other bound, direction int) bool {
	order := b.at.Cmp(other.at) * direction
	return order > 0 || order == 0 && (b.exclusive || !other.exclusive)
}

// checkNumbers looks at what the new schema says about numbers.
func (c *comparison) checkNumbers(old []node, n node) bool {
	if c.types(old, 0)&kindNumber == 0 {
		return true
	}
	ok := true
	for _, end := range []struct {
		keywords  [2]string
		direction int
		limit     string
	}{
		{[2]string{"minimum", "exclusiveMinimum"}, 1, "a higher lower limit than before"},
		{[2]string{"maximum", "exclusiveMaximum"}, -1, "a lower upper limit than before"},
	} {
		for i, keyword := range end.keywords {
			at, has := n.number(keyword)
			if !has {
				continue
			}
			wanted := bound{at, i == 1}
			held := slices.ContainsFunc(old, func(o node) bool {
				return slices.ContainsFunc(o.bounds(end.keywords[0], end.keywords[1]), func(b bound) bool { return b.implies(wanted, end.direction) })
			})
			if !held {
				ok = c.refuse(n, keyword, "is "+number(at)+", "+end.limit)
			}
		}
	}
	if step, has := n.number("multipleOf"); has && !c.heldToSteps(old, step) {
		ok = c.refuse(n, "multipleOf", "is "+number(step)+", which not all numbers that were accepted are multiples of")
	}
	return ok
}

func (c *comparison) heldToSteps(old []node, step *big.Rat) bool {
	if step.Sign() == 0 {
		return false
	}
	if step.Num().IsInt64() && step.Num().Int64() == 1 && c.types(old, 0)&kindFraction == 0 {
		return true // integers are multiples of 1/n
	}
	return slices.ContainsFunc(old, func(o node) bool {
		was, has := o.number("multipleOf")
		return has && new(big.Rat).Quo(was, step).IsInt()
	})
}

// checkText looks at what the new schema says about strings.
func (c *comparison) checkText(old []node, n node) bool {
	if c.types(old, 0)&kindString == 0 {
		return true
	}
	ok := c.atLeast(old, n, "minLength", nil)
	ok = c.atMost(old, n, "maxLength") && ok
	for keyword, message := range map[string]string{
		"pattern": "has changed, and whether it still matches all that was accepted cannot be decided",
		"format":  "is checked now, and was not before, or was another one",
	} {
		want, has := n.text(keyword)
		held := slices.ContainsFunc(old, func(o node) bool { was, has := o.text(keyword); return has && was == want })
		if has && !held {
			ok = c.refuse(n, keyword, message)
		}
	}
	return ok
}

// atLeast compares a least size. implied, if not nil, is a size that follows from
// something else.
func (c *comparison) atLeast(old []node, n node, keyword string, implied *big.Rat) bool {
	want, has := n.number(keyword)
	if !has || want.Sign() <= 0 || implied != nil && implied.Cmp(want) >= 0 {
		return true
	}
	for _, o := range old {
		if was, has := o.number(keyword); has && was.Cmp(want) >= 0 {
			return true
		}
	}
	return c.refuse(n, keyword, "is "+number(want)+", more than before")
}

// atMost compares a greatest size.
func (c *comparison) atMost(old []node, n node, keyword string) bool {
	want, has := n.number(keyword)
	if !has {
		return true
	}
	for _, o := range old {
		if was, has := o.number(keyword); has && was.Cmp(want) <= 0 {
			return true
		}
	}
	return c.refuse(n, keyword, "is "+number(want)+", less than before")
}
