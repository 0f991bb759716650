package compare

import (
	"maps"
	"math/big"
	"regexp"
	"slices"
)

// A field is what a version of a domain says about one value in the data: schemas that
// all hold for it, in one or more forms of which one is enough. References and allOf
// add schemas to a form, anyOf and oneOf make forms.
type field struct {
	at    node // where it is described, for messages
	forms []form
	// opaque: there are more forms than are looked at, or a reference that is not
	// followed.
	opaque bool
}

type form []node

const (
	maxForms     = 16
	maxFormParts = 64
)

// fieldOf puts together what schemas that all hold for a value say about it.
func (v *Version) fieldOf(schemas ...node) field {
	f := field{forms: []form{nil}}
	if len(schemas) > 0 {
		f.at = schemas[0]
	}
	for _, n := range schemas {
		f.opaque = f.opaque || !v.add(&f.forms, n, 0)
	}
	return f
}

// add adds a schema to every form. It reports false where that is too much.
func (v *Version) add(forms *[]form, n node, depth int) bool {
	if depth > maxFormParts || len(*forms) > maxForms || len((*forms)[0]) > maxFormParts {
		return false
	}
	for i := range *forms {
		(*forms)[i] = append(slices.Clone((*forms)[i]), n)
	}
	whole := true
	if n.has("$ref") {
		target, ok := v.follow(n)
		whole = ok && v.add(forms, target, depth+1)
	}
	for _, part := range n.list("allOf") {
		whole = v.add(forms, part, depth+1) && whole
	}
	for _, keyword := range [...]string{"anyOf", "oneOf"} {
		choices := n.list(keyword)
		if len(choices) == 0 {
			continue
		}
		var all []form
		for _, choice := range choices {
			chosen := slices.Clone(*forms)
			whole = v.add(&chosen, choice, depth+1) && whole
			all = append(all, chosen...)
		}
		*forms = all
	}
	return whole
}

func (f form) kinds() kinds {
	accepted := kindAny
	for _, n := range f {
		accepted &= n.kinds()
	}
	return accepted
}

// kinds are the types that one of the forms accepts.
func (f field) kinds() kinds {
	var accepted kinds
	for _, each := range f.forms {
		accepted |= each.kinds()
	}
	return accepted
}

// objects are the forms that accept objects.
func (f field) objects() []form { return f.of(kindObject) }

func (f field) of(k kinds) []form {
	return slices.DeleteFunc(slices.Clone(f.forms), func(each form) bool { return each.kinds()&k == 0 })
}

// values are all that is accepted, where that is a list.
func (f field) values() ([]any, bool) {
	var all []any
	for _, each := range f.forms {
		kinds := each.kinds()
		limited := kinds&^(kindBoolean|kindNull) == 0
		var values []any
		for _, v := range []any{true, false, nil} {
			if limited && kinds&kindOfValue(v) != 0 {
				values = append(values, v)
			}
		}
		for _, n := range each {
			if own, ok := n.values(); ok && (!limited || len(own) < len(values)) {
				values, limited = own, true
			}
		}
		if !limited {
			return nil, false
		}
		for _, v := range values {
			if kinds&kindOfValue(v) != 0 {
				all = append(all, v)
			}
		}
	}
	return all, true
}

// with is the first schema that has a keyword; where none has, that of the field itself.
func (f field) with(keywords ...string) (node, string) {
	for _, keyword := range keywords {
		for _, each := range f.forms {
			for _, n := range each {
				if n.has(keyword) {
					return n, keyword
				}
			}
		}
	}
	return f.at, keywords[0]
}

// required are the members that every form for objects requires.
func (f field) required() map[string]node {
	var all map[string]node
	for _, each := range f.objects() {
		own := map[string]node{}
		for _, n := range each {
			for _, name := range n.names("required") {
				own[name] = n
			}
		}
		if all == nil {
			all = own
			continue
		}
		maps.DeleteFunc(all, func(name string, _ node) bool { _, ok := own[name]; return !ok })
	}
	return all
}

// described are the members that a form has under properties.
func (f field) described() map[string]node {
	all := map[string]node{}
	for _, each := range f.objects() {
		for _, n := range each {
			maps.Copy(all, n.members("properties"))
		}
	}
	return all
}

// closed is where it says that there are no members but those described, in every form.
func (f field) closed() (where node, keyword string, ok bool) {
	for _, each := range f.objects() {
		ok = false
		for _, n := range each {
			for _, name := range [...]string{"additionalProperties", "unevaluatedProperties"} {
				if child, has := n.child(name); has && child.never {
					where, keyword, ok = n, name, true
				}
			}
		}
		if !ok {
			return node{}, "", false
		}
	}
	return where, keyword, ok
}

// member puts together what is said about one member: under properties, by the patterns
// of names, and where there are none of both about all other members. There is nothing
// where no form says anything.
func (v *Version) member(f field, name string) (field, bool) {
	return v.choice(f.objects(), func(n node) []node {
		var found []node
		if child, ok := n.members("properties")[name]; ok {
			found = append(found, child)
		}
		for pattern, child := range n.members("patternProperties") {
			if re, err := regexp.Compile(pattern); err == nil && re.MatchString(name) {
				found = append(found, child)
			}
		}
		if child, ok := n.child("additionalProperties"); ok && len(found) == 0 && !child.never {
			found = append(found, child)
		}
		return found
	})
}

// under puts together what is said under a keyword that has one schema.
func (v *Version) under(f field, k kinds, keyword string) (field, bool) {
	return v.choice(f.of(k), func(n node) []node {
		if child, ok := n.child(keyword); ok && !child.never {
			return []node{child}
		}
		return nil
	})
}

// choice puts together what schemas of each of several forms say.
func (v *Version) choice(forms []form, of func(node) []node) (field, bool) {
	var found field
	said := false
	for _, each := range forms {
		var schemas []node
		for _, n := range each {
			schemas = append(schemas, of(n)...)
		}
		one := v.fieldOf(schemas...)
		if len(schemas) > 0 && !said {
			said, found.at = true, one.at
		}
		found.forms = append(found.forms, one.forms...)
		found.opaque = found.opaque || one.opaque || len(found.forms) > maxForms
	}
	return found, said
}

// A limit is how small or large something may be.
type limit struct {
	at     *big.Rat // nil: there is none
	strict bool
	where  node
	name   string // of the keyword
}

// narrower reports whether l refuses what other accepts. direction is 1 for lower limits,
// -1 for upper ones.
func (l limit) narrower(other limit, direction int) bool {
	switch {
	case l.at == nil:
		return false
	case other.at == nil:
		return true
	}
	order := l.at.Cmp(other.at) * direction
	return order > 0 || order == 0 && l.strict && !other.strict
}

// limit is the widest of the forms, and in each the narrowest of its schemas.
func (f field) limit(k kinds, direction int, keywords ...string) limit {
	var widest limit
	for i, each := range f.of(k) {
		var narrowest limit
		for _, n := range each {
			for at, keyword := range keywords {
				if value, ok := n.number(keyword); ok {
					if l := (limit{value, at == 1, n, keyword}); l.narrower(narrowest, direction) {
						narrowest = l
					}
				}
			}
		}
		if i == 0 || widest.narrower(narrowest, direction) {
			widest = narrowest
		}
	}
	return widest
}
