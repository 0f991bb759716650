package schemas

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A comparison finds out whether what schemas of the old version accept is accepted
// by one of the new version.
//
// The old side is a set of schemas that all hold for the data, because references
// and allOf add to what stands beside them. The new side is taken apart keyword by
// keyword: for each, something on the old side must be at least as strict. What
// nothing of that kind is found for, or what this package does not reason about, is
// a reason to refuse: a mistake must be on the safe side.
type comparison struct {
	before, after *version

	found    []Incompatibility
	warnings []Incompatibility

	trial int // how many attempts at an alternative are under way
	level int // how deep in the data
	// visited are pairs that were compared, and those that are being, with the level
	// at which: schemas may refer to themselves.
	visited map[string]int
	equal   map[string]bool // pairs that are being looked at by same
	steps   int
	depth   int
}

// Bounds of the work that two versions can cause. Alternatives in alternatives
// multiply.
const (
	maxCompareSteps = 200_000
	maxCompareDepth = 400
)

// refuse notes that a keyword of a new schema is too strict.
func (c *comparison) refuse(n node, keyword, message string) bool {
	if c.trial > 0 {
		return false
	}
	field := n.at
	if keyword != "" {
		field += exactPointer(keyword)
	}
	found := Incompatibility{n.file, cut(field), message}
	if len(c.found) < maxProblems && !slices.Contains(c.found, found) {
		c.found = append(c.found, found)
	}
	return false
}

// undecided is refuse for what this package does not reason about.
func (c *comparison) undecided(n node, keyword string) bool {
	return c.refuse(n, keyword, "has changed, and whether it still accepts all that was accepted cannot be decided")
}

// warn notes what is no reason to refuse.
func (c *comparison) warn(n node, message string) {
	if w := (Incompatibility{n.file, cut(n.at), message}); len(c.warnings) < maxProblems && !slices.Contains(c.warnings, w) {
		c.warnings = append(c.warnings, w)
	}
}

// done is in place of the level of pairs that were compared.
const done = -1

// attempt compares, in one of the two ways, without reporting.
func (c *comparison) attempt(old []node, n node, accepts func([]node, node) bool) bool {
	warnings := len(c.warnings)
	c.trial++
	ok := accepts(old, n)
	c.trial--
	if !ok {
		c.warnings = c.warnings[:warnings]
	}
	return ok
}

// accepts reports whether n, of the new version, accepts everything that all of old
// do. It notes where not.
func (c *comparison) accepts(old []node, n node) bool {
	c.steps++
	c.depth++
	defer func() { c.depth-- }()
	if c.steps > maxCompareSteps || c.depth > maxCompareDepth {
		return c.refuse(n, "", "is too complex to be compared with the old version")
	}
	if n.accepting() {
		return true
	}
	old = c.flatten(old)
	if c.nothing(old) || slices.ContainsFunc(old, func(o node) bool { return c.same(o, n) }) {
		return true
	}
	if n.never {
		return c.refuse(n, "", "accepts nothing any more")
	}
	key := pairKey(old, n)
	if level, known := c.visited[key]; known {
		// A pair whose comparison is not finished decides for itself, for data that is
		// one level deeper. At the same level it refers to itself without an end, and
		// the validator refuses everything.
		return level < c.level || c.refuse(n, "$ref", "refers to itself without an end")
	}
	c.visited[key] = c.level
	defer func() {
		c.visited[key] = done
		if c.trial > 0 { // it may rest on pairs that turn out to fail
			delete(c.visited, key)
		}
	}()
	ok := true
	for _, check := range []func([]node, node) bool{
		c.checkReferences, c.checkTypes, c.checkValues, c.checkNumbers, c.checkText,
		c.checkObject, c.checkArray, c.checkAlternatives, c.checkRest,
	} {
		ok = check(old, n) && ok
	}
	return ok
}

func pairKey(old []node, n node) string {
	var b strings.Builder
	for _, o := range old {
		b.WriteString(o.id() + "\n")
	}
	return b.String() + "\n" + n.id()
}

// flatten adds what references and allOf add, and puts the set in order.
func (c *comparison) flatten(old []node) []node {
	known := map[string]node{}
	for queue := slices.Clone(old); len(queue) > 0; {
		n := queue[0]
		queue = queue[1:]
		if _, twice := known[n.id()]; twice {
			continue
		}
		c.steps++
		known[n.id()] = n
		if target, ok := c.before.follow(n); ok {
			queue = append(queue, target)
		}
		queue = append(queue, n.list("allOf")...)
	}
	flat := make([]node, 0, len(known))
	for _, id := range slices.Sorted(maps.Keys(known)) {
		flat = append(flat, known[id])
	}
	return flat
}

// nothing reports whether no data at all was accepted.
func (c *comparison) nothing(old []node) bool {
	return slices.ContainsFunc(old, func(o node) bool { return o.never }) || c.types(old, 0) == 0
}

// checkReferences follows $ref and allOf of the new schema.
func (c *comparison) checkReferences(old []node, n node) bool {
	ok := true
	if n.has("$ref") {
		target, found := c.after.follow(n)
		if !found {
			return c.undecided(n, "$ref")
		}
		ok = c.accepts(old, target)
	}
	for _, part := range n.list("allOf") {
		ok = c.accepts(old, part) && ok
	}
	return ok
}

// checkAlternatives looks at anyOf and oneOf of the new schema.
func (c *comparison) checkAlternatives(old []node, n node) bool {
	ok := true
	if n.has("anyOf") && !c.sameKeyword(old, n, "anyOf") && !c.anyOf(old, n.list("anyOf")) {
		ok = c.undecided(n, "anyOf")
	}
	if !n.has("oneOf") || c.sameKeyword(old, n, "oneOf") {
		return ok
	}
	// Of forms that exclude each other exactly one fits as soon as any does.
	if forms := n.list("oneOf"); !c.disjoint(forms) || !c.anyOf(old, forms) {
		ok = c.undecided(n, "oneOf")
	}
	return ok
}

// disjoint reports whether no two of the schemas can accept the same data, because
// they want other types.
func (c *comparison) disjoint(forms []node) bool {
	var taken kinds
	swapped := comparison{before: c.after} // types looks at the old side
	for _, form := range forms {
		wanted := swapped.types(swapped.flatten([]node{form}), 0)
		if taken&wanted != 0 {
			return false
		}
		taken |= wanted
	}
	c.steps += swapped.steps
	return true
}

// anyOf reports whether everything that old accepts is accepted by one of forms. It
// looks for a form for all of it, or for a way to split it up so that each part has
// a form.
func (c *comparison) anyOf(old []node, forms []node) bool {
	fits := func(part ...node) bool {
		return slices.ContainsFunc(forms, func(form node) bool {
			return c.attempt(slices.Concat(old, part), form, c.accepts)
		})
	}
	if fits() {
		return true
	}
	for _, o := range old {
		for _, keyword := range [...]string{"anyOf", "oneOf"} {
			if parts := o.list(keyword); len(parts) > 0 && !slices.ContainsFunc(parts, func(part node) bool { return !fits(part) }) {
				return true
			}
		}
	}
	if values, ok := c.values(old); ok {
		return !slices.ContainsFunc(values, func(v any) bool { return !fits(valueNode(v)) })
	}
	types := c.types(old, 0)
	if types.several() {
		for one := range types.each() {
			if !fits(typeNode(one)) {
				return false
			}
		}
		return true
	}
	return false
}

// checkRest looks at keywords that have to be as they were.
func (c *comparison) checkRest(old []node, n node) bool {
	ok := true
	for _, together := range [][]string{
		{"not"},
		{"if", "then", "else"},
		{"contains", "minContains", "maxContains"},
		{"$dynamicRef"},
		{"$recursiveRef"},
		{"dependencies"},
		{"additionalItems"},
	} {
		if n.has(together[0]) && !c.sameKeyword(old, n, together...) {
			ok = c.undecided(n, together[0])
		}
	}
	// What these mean depends on all that stands beside them, and accepts has found
	// no schema that is the same altogether.
	for _, keyword := range [...]string{"unevaluatedProperties", "unevaluatedItems"} {
		if child, has := n.child(keyword); has && !child.accepting() {
			ok = c.undecided(n, keyword)
		}
	}
	return ok
}

// sameKeyword reports whether one of the old schemas has the same keywords with the
// same meaning.
func (c *comparison) sameKeyword(old []node, n node, keywords ...string) bool {
	return slices.ContainsFunc(old, func(o node) bool {
		for _, keyword := range keywords {
			if !c.sameMember(o, n, keyword) {
				return false
			}
		}
		return true
	})
}

// same reports whether a schema of the old version and one of the new version mean
// the same, whatever they say about themselves.
func (c *comparison) same(o, n node) bool {
	c.steps++
	c.depth++
	defer func() { c.depth-- }()
	if c.steps > maxCompareSteps || c.depth > maxCompareDepth || o.never != n.never {
		return false
	}
	key := o.id() + "\n" + n.id()
	if c.equal[key] {
		return true
	}
	c.equal[key] = true
	defer delete(c.equal, key)
	for keyword := range o.schema {
		if !annotates(keyword) && !n.has(keyword) {
			return false
		}
	}
	for keyword := range n.schema {
		if !annotates(keyword) && !c.sameMember(o, n, keyword) {
			return false
		}
	}
	return true
}

// sameMember is same for one keyword.
func (c *comparison) sameMember(o, n node, keyword string) bool {
	if o.has(keyword) != n.has(keyword) {
		return false
	}
	if !n.has(keyword) {
		return true
	}
	switch keyword {
	case "$ref":
		from, okFrom := c.before.follow(o)
		to, okTo := c.after.follow(n)
		return okFrom && okTo && c.same(from, to)
	case "$dynamicRef", "$recursiveRef", "dependencies", "additionalItems":
		return false // what it means is not decided here alone
	case "not", "if", "then", "else", "items", "contains", "unevaluatedItems", "additionalProperties", "propertyNames", "unevaluatedProperties":
		from, _ := o.child(keyword)
		to, _ := n.child(keyword)
		return c.same(from, to)
	case "allOf", "anyOf", "oneOf", "prefixItems":
		return slices.EqualFunc(o.list(keyword), n.list(keyword), c.same)
	case "properties", "patternProperties", "dependentSchemas":
		return maps.EqualFunc(o.members(keyword), n.members(keyword), c.same)
	default:
		return sameJSON(o.schema[keyword], n.schema[keyword])
	}
}

// matching compiles a pattern as the validator does. It was compiled before, when
// the domain was loaded.
func matching(pattern string) func(string) bool {
	r, err := regexp.Compile(pattern)
	if err != nil {
		return func(string) bool { return false }
	}
	return r.MatchString
}

func quoted(names []string) string {
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = strconv.Quote(cut(name))
	}
	return strings.Join(shown, ", ")
}
