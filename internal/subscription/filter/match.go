package filter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/subscription/filter/wildcard"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// A node is one compiled condition. Nodes never change, so any number of events
// can be matched at once.
type node interface {
	match(v *values) bool
}

type (
	allNode []node
	anyNode []node
	notNode struct{ node }
	// entryNode is one entry of exact, prefix, suffix, glob or ant.
	entryNode struct {
		of *operand
		comparison
	}
	// inNode is any of many exact comparisons of one operand.
	inNode struct {
		of   *operand
		want map[string]struct{}
	}
)

// A comparison is what an entry wants of a value, compiled.
type comparison struct {
	// literal is how every value that matches begins, or when whole is set what it
	// is, and tail is how it ends. They are compared before anything else is done.
	literal, tail string
	whole         bool
	// rest decides about what is between the two, which has inner in it; nil when they
	// say all.
	rest  *wildcard.Pattern
	inner string
	// segments says that the value is to be compared as cleanPath makes it, least how
	// many bytes it has then at the least, and relative that it does not begin with a /.
	segments bool
	least    int
	relative bool
}

func compileExact(value string) ([]comparison, error) {
	return []comparison{{literal: value, whole: true}}, nil
}

func compilePrefix(value string) ([]comparison, error) {
	return []comparison{{literal: value}}, nil
}

func compileSuffix(value string) ([]comparison, error) {
	return []comparison{{tail: value}}, nil
}

// ends compares how value begins and ends, and returns what is between the two.
func (c *comparison) ends(value string) (middle string, ok bool) {
	if c.whole {
		return "", value == c.literal
	}
	if len(value) < max(c.least, len(c.literal)+len(c.tail)) || c.relative && strings.HasPrefix(value, "/") ||
		!strings.HasPrefix(value, c.literal) || !strings.HasSuffix(value, c.tail) {
		return "", false
	}
	return value[len(c.literal) : len(value)-len(c.tail)], true
}

func (n *entryNode) match(v *values) bool {
	have, ok := v.get(n.of)
	return v.spend(lookupSteps) && ok && v.accepts(&n.comparison, have)
}

func (n *inNode) match(v *values) bool {
	have, ok := v.get(n.of)
	if v.spend(lookupSteps+comparedSteps(len(have))) && ok {
		_, ok = n.want[have]
	}
	return ok
}

func (n allNode) match(v *values) bool {
	for _, each := range n {
		if !each.match(v) {
			return false
		}
	}
	return true
}

func (n anyNode) match(v *values) bool {
	for _, each := range n {
		if each.match(v) {
			return true
		}
	}
	return false
}

func (n notNode) match(v *values) bool { return !n.node.match(v) }

// compile turns filters, all of which must match, into one node; no filters into
// nil. intern returns the operand of a name, always the same one for the same
// name. An error means that the filters were never checked.
func compile(filters []Filter, intern func(name string) (*operand, error)) (node, error) {
	if len(filters) == 0 {
		return nil, nil //nolint:nilnil // no condition is not an error
	}
	nodes := make([]node, len(filters))
	for i := range filters {
		compiled, err := filters[i].compile(intern)
		if err != nil {
			return nil, err
		}
		nodes[i] = compiled
	}
	return conjunction(nodes), nil
}

func conjunction(nodes []node) node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	return allNode(nodes)
}

// minIn is from how many on a map is faster than one comparison after the other.
const minIn = 8

func disjunction(nodes []node) node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	if len(nodes) < minIn {
		return anyNode(nodes)
	}
	in := &inNode{want: make(map[string]struct{}, len(nodes))}
	for _, each := range nodes {
		e, ok := each.(*entryNode)
		if !ok || !e.whole || in.of != nil && in.of != e.of {
			return anyNode(nodes)
		}
		in.of, in.want[e.literal] = e.of, struct{}{}
	}
	return in
}

// compile makes a node of a filter that has been checked.
func (f Filter) compile(intern func(name string) (*operand, error)) (node, error) {
	d, ok := dialectNamed(f.Dialect)
	if !ok || d.form == single && len(f.Filters) != 1 {
		var found validation.Problems
		f.check("", 1, &found)
		return nil, found.Err()
	}
	if d.form == expression {
		compiled, err := d.expression(f.Expression)
		if err != nil {
			return nil, err
		}
		return compiled, compiled.(*sqlNode).index(intern)
	}
	var nodes []node
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		compiled, err := d.entry(f.Values[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if compiled[0].segments {
			name = segmentsPrefix + name
		}
		of, err := intern(name)
		if err != nil {
			return nil, err
		}
		alternatives := make([]node, len(compiled))
		for i := range compiled {
			alternatives[i] = &entryNode{of, compiled[i]}
		}
		nodes = append(nodes, disjunction(alternatives))
	}
	for i := range f.Filters {
		inner, err := f.Filters[i].compile(intern)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, inner)
	}
	if d.form == entries {
		return conjunction(nodes), nil
	}
	return d.group(nodes), nil
}

// values are what operands have in one event, each looked up once, when first
// asked for. It is reused: see reset.
type values struct {
	meter

	event *event.Event
	quick int    // steps of an evaluation that nothing else waits for
	json  string // the data, when state says that it is JSON
	found int    // values that were looked up in it
	root  document
	state presence
	cells []cell // by slot
	used  []int  // the slots to clear
}

type cell struct {
	text  string
	state presence
}

type presence uint8

const (
	unknown presence = iota
	present
	missing
)

// start prepares v for an event and operands with slots below n.
func (v *values) start(e *event.Event, n int) {
	v.event, v.quick = e, quickOf(e)
	if len(v.cells) < n {
		v.cells = make([]cell, n+n/4)
	}
}

// reset forgets the event.
func (v *values) reset() {
	for _, slot := range v.used {
		v.cells[slot] = cell{}
	}
	v.event, v.json, v.state, v.used, v.meter = nil, "", unknown, v.used[:0], meter{}
	v.found, v.root = 0, document{}
}

func (v *values) get(of *operand) (string, bool) {
	c := &v.cells[of.slot]
	if c.state == unknown {
		v.used = append(v.used, of.slot)
		var ok bool
		switch {
		case of.raw != nil:
			var text string
			text, ok = v.get(of.raw)
			c.text = cleanPath(text)
		case of.path == "":
			c.text, ok = v.event.Attribute(of.attribute)
		default:
			c.text, ok = v.data(of.path)
		}
		c.state = missing
		if ok {
			c.state = present
		}
	}
	return c.text, c.state == present
}

// data looks a path up in the event's data.
func (v *values) data(path string) (string, bool) {
	if v.state == unknown {
		v.state = missing
		if event.IsJSON(v.event.DataContentType) && isContainer(v.event.Data) && gjson.ValidBytes(v.event.Data) {
			v.state = present
			// The string shares the event's bytes, which never change, and
			// values do not outlive the event.
			v.json = unsafe.String(unsafe.SliceData(v.event.Data), len(v.event.Data))
			v.root = document{raw: v.json}
		}
	}
	if v.state == missing {
		return "", false
	}
	var result gjson.Result
	if v.found++; v.found <= directLookups {
		result = gjson.Get(v.json, path)
	} else if at := v.root.find(pathKeys(path)); at != nil {
		result = gjson.Parse(at.raw)
	}
	switch result.Type {
	case gjson.String:
		return result.Str, true
	case gjson.Number, gjson.True, gjson.False:
		return result.Raw, true
	case gjson.Null, gjson.JSON: // Null also when there is nothing at path
		return "", false
	default:
		return "", false
	}
}

// isContainer reports whether data can only be an object or an array. gjson would
// look for one inside a string as well.
func isContainer(data []byte) bool {
	for _, c := range data {
		switch c {
		case ' ', '\t', '\r', '\n':
		case '{', '[':
			return true
		default:
			return false
		}
	}
	return false
}
