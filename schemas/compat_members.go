package schemas

import (
	"maps"
	"math/big"
	"slices"
	"strconv"
)

// checkObject looks at what the new schema says about objects.
func (c *comparison) checkObject(old []node, n node) bool {
	if c.types(old, 0)&kindObject == 0 {
		return true
	}
	required := requiredBy(old)
	ok := true
	var missing []string
	for _, name := range n.names("required") {
		if !required[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		ok = c.refuse(n, "required", "requires "+quoted(missing)+", which was not required before")
	}
	ok = c.atLeast(old, n, "minProperties", big.NewRat(int64(len(required)), 1)) && ok
	ok = c.atMost(old, n, "maxProperties") && ok
	ok = c.checkProperties(old, n) && ok
	ok = c.checkPatterns(old, n) && ok
	ok = c.checkAdditional(old, n) && ok
	ok = c.checkDependent(old, n) && ok
	if names, has := n.child("propertyNames"); has && !names.accepting() {
		ok = c.acceptsPart(append(children(old, "propertyNames"), typeNode(kindString)), names) && ok
	}
	return ok
}

func requiredBy(old []node) map[string]bool {
	required := map[string]bool{}
	for _, o := range old {
		for _, name := range o.names("required") {
			required[name] = true
		}
	}
	return required
}

// children are the schemas under a keyword of all of old.
func children(old []node, keyword string) []node {
	var found []node
	for _, o := range old {
		if child, has := o.child(keyword); has {
			found = append(found, child)
		}
	}
	return found
}

// demanded is what was demanded of a part of the data. Where that is nothing, the
// data could be anything, and members of it are not described for the first time:
// there may be other forms of the data that describe them.
func demanded(old []node) []node {
	if len(old) == 0 {
		return []node{{at: "anything"}}
	}
	return old
}

// acceptsPart is accepts for a part of the data: a member, an item, a name.
func (c *comparison) acceptsPart(old []node, n node) bool {
	c.level++
	defer func() { c.level-- }()
	return c.accepts(demanded(old), n)
}

func isAnything(n node) bool { return n.file == "" && n.at == "anything" }

// mentions reports whether any part of old describes a member of that name: what
// holds for all data, or one of several forms.
func (c *comparison) mentions(old []node, name string, depth int) bool {
	c.steps++
	if _, described := property(old, name); described || depth > 4 || slices.ContainsFunc(old, isAnything) {
		return true
	}
	for _, o := range old {
		parts := slices.Concat(o.list("anyOf"), o.list("oneOf"), slices.Collect(maps.Values(o.members("dependentSchemas"))))
		for _, keyword := range [...]string{"if", "then", "else", "not"} {
			if part, has := o.child(keyword); has {
				parts = append(parts, part)
			}
		}
		for _, part := range parts {
			if c.mentions(c.flatten([]node{part}), name, depth+1) {
				return true
			}
		}
	}
	return false
}

// property is what old demands of a member with that name, and whether it is
// described: by its name or by a pattern.
func property(old []node, name string) (demands []node, described bool) {
	for _, o := range old {
		here := false
		if p, ok := o.members("properties")[name]; ok {
			demands, here = append(demands, p), true
		}
		for pattern, p := range o.members("patternProperties") {
			if matching(pattern)(name) {
				demands, here = append(demands, p), true
			}
		}
		if additional, has := o.child("additionalProperties"); has && !here {
			demands = append(demands, additional)
		}
		described = described || here
	}
	return demands, described
}

// checkProperties compares each member that the new schema describes. One that is
// described for the first time, in whatever form of the data, and that nothing was
// demanded of, is let through with a warning: a schema grows by such members, and to have carried one before
// it was described is rare.
func (c *comparison) checkProperties(old []node, n node) bool {
	ok := true
	members := n.members("properties")
	required := requiredBy(old)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		member := members[name]
		demands, _ := property(old, name)
		if len(demands) == 0 && !required[name] && !member.never && !c.mentions(old, name, 0) {
			if !member.accepting() {
				c.warn(member, "is described for the first time: data that carried it before in another form will be refused")
			}
			continue
		}
		ok = c.acceptsPart(demands, member) && ok
	}
	return ok
}

// checkPatterns compares patternProperties.
func (c *comparison) checkPatterns(old []node, n node) bool {
	ok := true
	patterns := n.members("patternProperties")
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		member := patterns[pattern]
		if member.accepting() {
			continue
		}
		matches := matching(pattern)
		for name := range described(old) {
			c.steps++
			if matches(name) {
				demands, _ := property(old, name)
				ok = c.acceptsPart(demands, member) && ok
			}
		}
		var demands []node
		for _, o := range old {
			if p, has := o.members("patternProperties")[pattern]; has {
				demands = append(demands, p)
			}
		}
		if len(demands) == 0 {
			// Names that nothing was said about: only what held for all of them helps.
			demands = others(old)
		}
		ok = c.acceptsPart(demands, member) && ok
	}
	return ok
}

// described are the members that old describes by name.
func described(old []node) map[string]bool {
	names := map[string]bool{}
	for _, o := range old {
		for name := range o.members("properties") {
			names[name] = true
		}
	}
	return names
}

// others is what old demands of members that it describes neither by name nor by a
// pattern, of whatever name. A schema with patterns says nothing about all names.
func others(old []node) []node {
	return children(slices.DeleteFunc(slices.Clone(old), func(o node) bool { return o.has("patternProperties") }), "additionalProperties")
}

// checkAdditional compares what is demanded of members that the new schema does not
// describe.
func (c *comparison) checkAdditional(old []node, n node) bool {
	additional, has := n.child("additionalProperties")
	if !has || additional.accepting() {
		return true
	}
	patterns := n.members("patternProperties")
	known := n.members("properties")
	isKnown := func(name string) bool {
		if _, ok := known[name]; ok {
			return true
		}
		for pattern := range patterns {
			if matching(pattern)(name) {
				return true
			}
		}
		return false
	}
	ok := true
	for _, name := range slices.Sorted(maps.Keys(described(old))) {
		c.steps++
		if isKnown(name) {
			continue
		}
		demands, _ := property(old, name)
		if !c.attempt(demands, additional, c.acceptsPart) {
			ok = c.refuse(n, "additionalProperties", "refuses "+strconv.Quote(cut(name))+", which is no longer described and was accepted before")
		}
	}
	for _, o := range old {
		for pattern, demand := range o.members("patternProperties") {
			if _, kept := patterns[pattern]; !kept && !c.attempt([]node{demand}, additional, c.acceptsPart) {
				ok = c.refuse(n, "additionalProperties", "refuses members by the pattern "+strconv.Quote(cut(pattern))+", which is no longer described")
			}
		}
	}
	// All other names: those that no pattern of the old version matches.
	if !c.attempt(children(old, "additionalProperties"), additional, c.acceptsPart) {
		ok = c.refuse(n, "additionalProperties", "refuses members that are not described, which were accepted before")
	}
	return ok
}

// checkDependent compares dependentRequired and dependentSchemas.
func (c *comparison) checkDependent(old []node, n node) bool {
	ok := true
	required := requiredBy(old)
	dependent, _ := n.schema["dependentRequired"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(dependent)) {
		items, _ := dependent[name].([]any)
		for _, wanted := range textsOf(items) {
			held := required[wanted] || slices.ContainsFunc(old, func(o node) bool {
				was, _ := o.schema["dependentRequired"].(map[string]any)
				items, _ := was[name].([]any)
				return slices.Contains(textsOf(items), wanted)
			})
			if !held {
				ok = c.refuse(n, "dependentRequired", "requires "+strconv.Quote(cut(wanted))+" where "+strconv.Quote(cut(name))+" is given, which was not required before")
			}
		}
	}
	schemas := n.members("dependentSchemas")
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		demands := slices.Clone(old)
		for _, o := range old {
			if was, has := o.members("dependentSchemas")[name]; has {
				demands = append(demands, was)
			}
		}
		ok = c.accepts(demands, schemas[name]) && ok
	}
	return ok
}

// checkArray looks at what the new schema says about arrays.
func (c *comparison) checkArray(old []node, n node) bool {
	if c.types(old, 0)&kindArray == 0 {
		return true
	}
	ok := c.atLeast(old, n, "minItems", nil)
	ok = c.atMost(old, n, "maxItems") && ok
	if unique, _ := n.schema["uniqueItems"].(bool); unique {
		held := slices.ContainsFunc(old, func(o node) bool { was, _ := o.schema["uniqueItems"].(bool); return was })
		if !held {
			ok = c.refuse(n, "uniqueItems", "refuses items that repeat, which were accepted before")
		}
	}
	first := len(n.list("prefixItems"))
	for _, o := range old {
		first = max(first, len(o.list("prefixItems")))
	}
	for i := range first + 1 { // the last one stands for all that follow
		item, has := n.item(i)
		if !has || item.accepting() {
			continue
		}
		var demands []node
		for _, o := range old {
			if was, has := o.item(i); has {
				demands = append(demands, was)
			}
		}
		ok = c.acceptsPart(demands, item) && ok
	}
	return ok
}

// item is the schema of the i-th item of an array.
func (n node) item(i int) (node, bool) {
	if prefix := n.list("prefixItems"); i < len(prefix) {
		return prefix[i], true
	}
	return n.child("items")
}
