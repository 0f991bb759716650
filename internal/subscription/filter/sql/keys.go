package sql

// A Key is a condition on one attribute: that it is Text, or with Prefix begins
// with it.
type Key struct {
	Attribute string
	Text      string
	Prefix    bool
}

// KeySets returns sets of keys such that an event which the expression matches
// fulfils, of every set, at least one.
func (p *Program) KeySets() [][]Key { return keySets(p.root) }

func keySets(x expr) [][]Key {
	switch x := x.(type) {
	case flag:
		return keysOf(attribute(x), truth(true))
	case equal:
		if x.inverse {
			return nil
		}
		// The left operand is cast to the type of the right one.
		if a, ok := x.left.(attribute); ok {
			if l, ok := x.right.(literal); ok && l.value.kind == text {
				return keysOf(a, l.value)
			}
		}
		if a, ok := x.right.(attribute); ok {
			if l, ok := x.left.(literal); ok {
				return keysOf(a, l.value)
			}
		}
	case in:
		a, ok := x.of.(attribute)
		if !ok {
			return nil
		}
		values := make([]value, len(x.set))
		for i, each := range x.set {
			l, ok := each.(literal)
			if !ok {
				return nil
			}
			values[i] = l.value
		}
		return keysOf(a, values...)
	case like:
		if a, ok := x.of.(attribute); ok && x.pattern.literal != "" {
			return [][]Key{{{a.name, x.pattern.literal, x.pattern.rest != nil}}}
		}
	case logic:
		left, right := keySets(x.left), keySets(x.right)
		switch {
		case x.op == "AND":
			return append(left, right...)
		case x.op == "OR" && len(left) > 0 && len(right) > 0:
			return [][]Key{append(left[0], right[0]...)}
		}
	}
	return nil
}

func keysOf(a attribute, values ...value) [][]Key {
	keys := make([]Key, len(values))
	for i, v := range values {
		v, _ = v.as(text) // which always can be done
		keys[i] = Key{Attribute: a.name, Text: v.text}
	}
	return [][]Key{keys}
}
