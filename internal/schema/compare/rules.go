package compare

import (
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/internal/schema/wording"
)

// A comparison holds two versions of a schema against each other, field by field, by
// rules that are plain to see: see Compare. What they say nothing about is left to the
// examples and the stored events.
type comparison struct {
	before, after *Version

	found    []Finding
	warnings []Finding

	visited map[string]bool // schemas may refer to themselves
	steps   int
}

// maxCompareSteps bounds how many fields two versions can make to be compared.
const maxCompareSteps = 5000

// refuse notes that a keyword of the new version is too strict.
func (c *comparison) refuse(n node, keyword, message string) {
	at := n.at
	if keyword != "" {
		at += exactPointer(keyword)
	}
	c.found = noted(c.found, Finding{n.file, wording.Cut(at), message})
}

// warn notes what is no reason to refuse.
func (c *comparison) warn(n node, keyword, message string) {
	at := n.at
	if keyword != "" {
		at += exactPointer(keyword)
	}
	c.warnings = noted(c.warnings, Finding{n.file, wording.Cut(at), message})
}

func noted(all []Finding, one Finding) []Finding {
	if len(all) < wording.MaxProblems && !slices.Contains(all, one) {
		return append(all, one)
	}
	return all
}

// compare holds what is said now about a field against what was said before.
func (c *comparison) compare(was, is field) {
	if c.steps++; c.steps > maxCompareSteps {
		c.found = noted(c.found, Finding{is.at.file, "", "is too large to be compared with the version before"})
		return
	}
	key := was.id() + "|" + is.id()
	if c.visited[key] {
		return
	}
	c.visited[key] = true
	if was.opaque || is.opaque {
		c.warn(is.at, "", "is not compared: it has too many forms, or references that are not followed; examples and stored events are held against it")
		return
	}
	if removed := was.kinds() &^ is.kinds(); removed != 0 {
		n, keyword := is.with("type", "enum", "const", "anyOf", "oneOf")
		for _, choice := range [...]string{"anyOf", "oneOf"} {
			if is.at.has(choice) && !is.at.has("type") {
				n, keyword = is.at, choice
			}
		}
		if slices.ContainsFunc(is.forms, func(f form) bool { return slices.ContainsFunc(f, func(n node) bool { return n.never }) }) {
			c.refuse(is.at, "", "accepts nothing any more")
			return
		}
		c.refuse(n, keyword, "no longer accepts the type "+removed.String())
	}
	c.compareValues(was, is)
	c.compareLimits(was, is)
	if was.kinds()&is.kinds()&kindObject != 0 {
		c.compareMembers(was, is)
	}
	if was.kinds()&is.kinds()&kindArray != 0 {
		c.compareItems(was, is)
	}
	c.compareTexts(was, is)
	c.compareRest(was, is)
}

// id names the schemas of a field.
func (f field) id() string {
	var b strings.Builder
	for _, each := range f.forms {
		for _, n := range each {
			b.WriteString(n.id() + " ")
		}
		b.WriteByte(';')
	}
	return b.String()
}

func (c *comparison) compareValues(was, is field) {
	now, limited := is.values()
	if !limited {
		return
	}
	n, keyword := is.with("enum", "const")
	if !n.has(keyword) {
		return // of a type with few values
	}
	before, ok := was.values()
	if !ok {
		c.refuse(n, keyword, "accepts only certain values now")
		return
	}
	var removed []string
	for _, v := range before {
		if is.kinds()&kindOfValue(v) != 0 && !slices.ContainsFunc(now, func(a any) bool { return SameJSON(a, v) }) {
			removed = append(removed, wording.Cut(wording.Show(v)))
		}
	}
	if len(removed) > 0 {
		c.refuse(n, keyword, "no longer accepts "+wording.List(removed))
	}
}

func (c *comparison) compareLimits(was, is field) {
	for _, l := range []struct {
		of        kinds
		direction int
		message   string
		keywords  []string
	}{
		{kindNumber, 1, ", a higher lower limit than before", []string{"minimum", "exclusiveMinimum"}},
		{kindNumber, -1, ", a lower upper limit than before", []string{"maximum", "exclusiveMaximum"}},
		{kindString, 1, ", more than before", []string{"minLength"}},
		{kindString, -1, ", less than before", []string{"maxLength"}},
		{kindArray, 1, ", more than before", []string{"minItems"}},
		{kindArray, -1, ", less than before", []string{"maxItems"}},
		{kindObject, 1, ", more than before", []string{"minProperties"}},
		{kindObject, -1, ", less than before", []string{"maxProperties"}},
	} {
		if was.kinds()&is.kinds()&l.of == 0 {
			continue
		}
		before, now := was.limit(l.of, l.direction, l.keywords...), is.limit(l.of, l.direction, l.keywords...)
		trivial := now.at != nil && now.at.Sign() <= 0 && l.of != kindNumber && l.direction > 0
		if now.name == "minProperties" {
			trivial = trivial || now.at.Cmp(new(big.Rat).SetInt64(int64(len(was.required())))) <= 0
		}
		if now.narrower(before, l.direction) && !trivial {
			c.refuse(now.where, now.name, "is "+wording.Number(now.at)+l.message)
		}
	}
}

// compareMembers compares the members of objects.
func (c *comparison) compareMembers(was, is field) {
	required := was.required()
	now := is.required()
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, before := required[name]; !before {
			c.refuse(now[name], "required", "requires "+strconv.Quote(wording.Cut(name))+", which was not required before")
		}
	}
	_, _, wasClosed := was.closed()
	where, keyword, isClosed := is.closed()
	if isClosed && !wasClosed {
		c.refuse(where, keyword, "refuses members that are not described, which were accepted before")
	}
	described, before := is.described(), was.described()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := described[name]; still {
			continue
		}
		if _, said := c.after.member(is, name); !said {
			c.refuse(is.at, "properties", "no longer has "+strconv.Quote(wording.Cut(name))+", which was described before")
		}
	}
	names := maps.Clone(described)
	maps.Copy(names, before)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		next, said := c.after.member(is, name)
		if !said {
			continue
		}
		_, described := before[name]
		last, had := c.before.member(was, name)
		switch _, always := required[name]; {
		case had:
			c.compare(last, next)
		case wasClosed && !described: // there was none of that name
		case always || next.kinds() == 0:
			c.compare(c.before.fieldOf(), next)
		case next.constrains():
			c.warn(next.at, "", "is described for the first time: data that carried it before in another form will be refused")
		}
	}
	others, had := c.before.under(was, kindObject, "additionalProperties")
	if next, said := c.after.under(is, kindObject, "additionalProperties"); said && (had || !wasClosed) && next.constrains() {
		c.compare(others, next)
	}
	c.comparePatterns(was, is, wasClosed)
}

// comparePatterns compares members by patterns of their names.
func (c *comparison) comparePatterns(was, is field, wasClosed bool) {
	before := map[string]node{}
	for _, each := range was.objects() {
		for _, n := range each {
			maps.Copy(before, n.members("patternProperties"))
		}
	}
	for _, each := range is.objects() {
		for _, n := range each {
			for pattern, next := range n.members("patternProperties") {
				last, had := before[pattern]
				switch {
				case had:
					c.compare(c.before.fieldOf(last), c.after.fieldOf(next))
				case !wasClosed && c.after.fieldOf(next).constrains():
					c.warn(next, "", "is described for the first time: data that carried such members before in another form will be refused")
				}
			}
		}
	}
}

// constrains reports whether some data is not accepted.
func (f field) constrains() bool {
	return !slices.ContainsFunc(f.forms, func(each form) bool {
		return !slices.ContainsFunc(each, func(n node) bool { return !n.accepting() })
	})
}

// compareItems compares the items of arrays.
func (c *comparison) compareItems(was, is field) {
	longest := 0
	for _, f := range []field{was, is} {
		for _, each := range f.of(kindArray) {
			for _, n := range each {
				longest = max(longest, len(n.list("prefixItems")))
			}
		}
	}
	for i := range longest + 1 { // the last one stands for all that follow
		next, said := c.after.item(is, i)
		last, had := c.before.item(was, i)
		if said && (had || next.constrains() && !noItems(was)) {
			c.compare(last, next)
		}
	}
	if n, _ := is.with("items"); noItems(is) && !noItems(was) {
		c.refuse(n, "items", "refuses items that were accepted before")
	}
}

// item puts together what is said about the item at a place.
func (v *Version) item(f field, i int) (field, bool) {
	return v.choice(f.of(kindArray), func(n node) []node {
		if listed := n.list("prefixItems"); i < len(listed) {
			return []node{listed[i]}
		}
		if child, ok := n.child("items"); ok && !child.never {
			return []node{child}
		}
		return nil
	})
}

// noItems reports whether every form says that no items follow those that are listed.
func noItems(f field) bool {
	forms := f.of(kindArray)
	return len(forms) > 0 && !slices.ContainsFunc(forms, func(each form) bool {
		return !slices.ContainsFunc(each, func(n node) bool {
			child, ok := n.child("items")
			return ok && child.never
		})
	})
}

// compareTexts compares keywords of which any change counts as narrower.
func (c *comparison) compareTexts(was, is field) {
	for _, rule := range []struct {
		keyword string
		of      kinds
		message string
	}{
		{"pattern", kindString, "has changed, and whether it still matches all that was accepted cannot be decided"},
		{"format", kindString, "is checked now, and was not before, or was another one"},
		{"uniqueItems", kindArray, "refuses items that repeat, which were accepted before"},
		{"multipleOf", kindNumber, "is new or has changed, and not all numbers that were accepted are multiples of it"},
	} {
		n, _ := is.with(rule.keyword)
		value, has := n.schema[rule.keyword]
		if !has || was.kinds()&is.kinds()&rule.of == 0 || value == false || was.says(rule.keyword, value) {
			continue
		}
		if step, ok := n.number(rule.keyword); ok && was.inSteps(step) {
			continue
		}
		c.refuse(n, rule.keyword, rule.message)
	}
}

// inSteps reports whether all numbers that are accepted are multiples of a step.
func (f field) inSteps(step *big.Rat) bool {
	return step.Sign() != 0 && !slices.ContainsFunc(f.of(kindNumber), func(each form) bool {
		if each.kinds()&kindFraction == 0 && step.Num().IsInt64() && step.Num().Int64() == 1 {
			return false // integers are multiples of 1/n
		}
		return !slices.ContainsFunc(each, func(n node) bool {
			was, has := n.number("multipleOf")
			return has && new(big.Rat).Quo(was, step).IsInt()
		})
	})
}

// compareRest notes the keywords that refuse data, and that no rule is about: where they
// are new or have changed, examples and stored events are all that is held against them.
func (c *comparison) compareRest(was, is field) {
	applies := map[string]kinds{
		"contains": kindArray, "minContains": kindArray, "maxContains": kindArray, "unevaluatedItems": kindArray,
		"propertyNames": kindObject, "dependentRequired": kindObject, "dependentSchemas": kindObject, "dependencies": kindObject,
		"not": kindAny, "if": kindAny, "then": kindAny, "else": kindAny, "$dynamicRef": kindAny,
	}
	if len(is.objects()) > 1 { // what one of them leaves open was said by another one
		applies["anyOf"], applies["oneOf"] = kindObject, kindObject
	}
	for _, each := range is.forms {
		for _, n := range each {
			for _, keyword := range slices.Sorted(maps.Keys(n.schema)) {
				of, listed := applies[keyword]
				if !listed || was.kinds()&of == 0 || was.says(keyword, n.schema[keyword]) {
					continue
				}
				c.warn(n, keyword, "is new or has changed, and no rule covers whether it still accepts all that was accepted: it is checked against examples and stored events")
			}
		}
	}
}

// says reports whether a schema of the field has a keyword with a value.
func (f field) says(keyword string, value any) bool {
	return slices.ContainsFunc(f.forms, func(each form) bool {
		return slices.ContainsFunc(each, func(n node) bool {
			own, ok := n.schema[keyword]
			return ok && SameJSON(own, value)
		})
	})
}
