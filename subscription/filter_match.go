package subscription

import (
	"maps"
	"slices"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/stream"
)

// A node is one compiled condition. Nodes never change, so any number of events
// can be matched at once.
type node interface {
	match(v *values) bool
}

type (
	exactNode  comparison
	prefixNode comparison
	suffixNode comparison
	allNode    []node
	anyNode    []node
	notNode    struct{ node }

	comparison struct {
		of   *operand
		want string
	}
)

func (n exactNode) match(v *values) bool {
	have, ok := v.get(n.of)
	return ok && have == n.want
}

func (n prefixNode) match(v *values) bool {
	have, ok := v.get(n.of)
	return ok && strings.HasPrefix(have, n.want)
}

func (n suffixNode) match(v *values) bool {
	have, ok := v.get(n.of)
	return ok && strings.HasSuffix(have, n.want)
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

func (f Filter) compile(intern func(name string) (*operand, error)) (node, error) {
	var found problems
	d, ok := dialectNamed(f.Dialect)
	if !ok || d.form == single && len(f.Filters) != 1 {
		f.check("", 1, &found)
		return nil, found.err()
	}
	var nodes []node
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		of, err := intern(name)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, d.entry(of, f.Values[name]))
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

// required returns the exact comparison that an event must pass to match n, if
// there is one: the first.
func required(n node) (exactNode, bool) {
	switch n := n.(type) {
	case exactNode:
		return n, true
	case allNode:
		for _, each := range n {
			if exact, ok := required(each); ok {
				return exact, true
			}
		}
	}
	return exactNode{}, false
}

// values are what operands have in one event, each looked up once, when first
// asked for. It is reused: see reset.
type values struct {
	event *stream.Event
	json  string // the data, when state says that it is JSON
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
func (v *values) start(e *stream.Event, n int) {
	v.event = e
	if len(v.cells) < n {
		v.cells = make([]cell, n+n/4)
	}
}

// reset forgets the event.
func (v *values) reset() {
	for _, slot := range v.used {
		v.cells[slot] = cell{}
	}
	v.event, v.json, v.state, v.used = nil, "", unknown, v.used[:0]
}

func (v *values) get(of *operand) (string, bool) {
	c := &v.cells[of.slot]
	if c.state == unknown {
		v.used = append(v.used, of.slot)
		var ok bool
		if of.path == "" {
			c.text, ok = v.event.Attribute(of.attribute)
		} else {
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
		if isJSON(v.event.DataContentType) && isContainer(v.event.Data) && gjson.ValidBytes(v.event.Data) {
			v.state = present
			// The string shares the event's bytes, which never change, and
			// values do not outlive the event.
			v.json = unsafe.String(unsafe.SliceData(v.event.Data), len(v.event.Data))
		}
	}
	if v.state == missing {
		return "", false
	}
	result := gjson.Get(v.json, path)
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

// isJSON reports whether a datacontenttype means JSON. Without one the data
// decides.
func isJSON(contentType string) bool {
	if i := strings.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	contentType = strings.TrimSpace(contentType)
	if contentType == "" {
		return true
	}
	n := len(contentType) - len("/json")
	return n > 0 && strings.EqualFold(contentType[n+1:], "json") && (contentType[n] == '/' || contentType[n] == '+')
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
