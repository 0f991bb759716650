// Package filter says which events a subscription wants.
//
//	subscription ─► Criteria ─► Table ──┐
//	                                    ├─► Matches
//	event ──────────────────────────────┘
//	event, Criteria ─► Explainer ─► Verdict
//
// A Filter is one condition, and has a form in JSON. A Table finds, for an event, the
// subscriptions whose filters match, by indexes over the values that filters ask for. An
// Explainer says of one subscription why it wants an event or does not.
//
// The work for one event and one subscription is bounded: see meter.
package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/subscription/strict"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Limits of filters. They bound what one subscription can cost per event.
const (
	maxFilterDepth = 8         // all, any and not inside each other
	maxFilterNodes = 5000      // filters and their entries, in one subscription
	maxFilterBytes = 128 << 10 // one filter as JSON
)

// A Filter is a condition on an event, in one of the dialects of the CloudEvents
// Subscriptions API or one of jetpost's own, glob and ant. As JSON it is an object
// whose only key is the dialect:
//
//	{"exact":  {"subject": "main", "data.repo_key": "libs-release"}}   each entry must match
//	{"prefix": {"data.path": "org/acme/"}}
//	{"suffix": {"data.name": ".jar"}}
//	{"glob":   {"subject": "refs/heads/{main,release*}"}}              see compileGlob
//	{"ant":    {"data.path": "org/**/*.jar"}}                          see compileAnt
//	{"all":    [filter, …]}                                            each filter must match
//	{"any":    [filter, …]}                                            one filter must match
//	{"not":    filter}
//	{"sql":    "subject LIKE 'refs/%' AND EXISTS partitionkey"}        attributes only, see package sql
//
// An entry compares, case-sensitively, the canonical string of a context
// attribute or, by a name that starts with "data.", a value inside JSON data; see
// the rules of data paths at parseDataPath. A string in the data compares by its
// text, a number by its digits as they were published, a boolean as true or false.
// null, objects and arrays match nothing.
//
// What an event does not have matches nothing, so that "not exact" is true for it.
//
// A Filter is not changed once made.
type Filter struct {
	// Dialect is the only key of the JSON object.
	Dialect string
	// Values are the entries of exact, prefix, suffix, glob and ant.
	Values map[string]string
	// Expression is that of sql.
	Expression string
	// Filters are those inside all, any (1 or more) and not (one).
	Filters []Filter
}

// Exact is the filter that wants each of values to be exactly so.
func Exact(values map[string]string) Filter { return Filter{Dialect: "exact", Values: values} }

// Prefix is the filter that wants each of values to be the beginning.
func Prefix(values map[string]string) Filter { return Filter{Dialect: "prefix", Values: values} }

// Suffix is the filter that wants each of values to be the end.
func Suffix(values map[string]string) Filter { return Filter{Dialect: "suffix", Values: values} }

// Glob is the filter that wants each of values, which are patterns, to match.
func Glob(values map[string]string) Filter { return Filter{Dialect: "glob", Values: values} }

// Ant is the filter that wants each of values, which are Ant patterns, to match.
func Ant(values map[string]string) Filter { return Filter{Dialect: "ant", Values: values} }

// SQL is the filter that wants a CloudEvents SQL expression to be true.
func SQL(expression string) Filter { return Filter{Dialect: "sql", Expression: expression} }

// All is the filter that wants all of filters to match.
func All(filters ...Filter) Filter { return Filter{Dialect: "all", Filters: filters} }

// Any is the filter that wants one of filters to match.
func Any(filters ...Filter) Filter { return Filter{Dialect: "any", Filters: filters} }

// Not is the filter that wants filter not to match.
func Not(filter Filter) Filter { return Filter{Dialect: "not", Filters: []Filter{filter}} }

// form is what stands behind a dialect's key in JSON.
type form int

const (
	entries    form = iota // an object of names and strings
	several                // an array of filters
	single                 // one filter
	expression             // a string
)

// A dialect is one kind of filter. To add one, add a row to dialects.
type dialect struct {
	name string
	form form
	// entry compiles one entry, of whose comparisons one must accept the value; nil
	// unless form is entries. The error says what is wrong with it.
	entry func(value string) ([]comparison, error)
	// group compiles the filters inside; nil unless form is several or single.
	group func([]node) node
	// expression compiles a string; nil unless form is expression.
	expression func(string) (node, error)
}

// dialects is a function because a variable cannot refer to what reads it.
func dialects() []dialect {
	return []dialect{
		{name: "exact", form: entries, entry: compileExact},
		{name: "prefix", form: entries, entry: compilePrefix},
		{name: "suffix", form: entries, entry: compileSuffix},
		{name: "glob", form: entries, entry: compileGlob},
		{name: "ant", form: entries, entry: compileAnt},
		{name: "all", form: several, group: conjunction},
		{name: "any", form: several, group: disjunction},
		{name: "not", form: single, group: func(nodes []node) node { return notNode{nodes[0]} }},
		{name: "sql", form: expression, expression: compileSQL},
	}
}

func dialectNamed(name string) (dialect, bool) {
	for _, d := range dialects() {
		if d.name == name {
			return d, true
		}
	}
	return dialect{}, false
}

func dialectNames() string {
	var names []string
	for _, d := range dialects() {
		names = append(names, d.name)
	}
	return strings.Join(names, ", ")
}

// Validate reports, in a *validation.Error, all that keeps f from being evaluated.
func (f Filter) Validate() error {
	var found validation.Problems
	if nodes := f.nodes(); nodes > maxFilterNodes {
		found.Add("", "has %d filters and entries in all, at most %d are allowed: split it into several subscriptions", nodes, maxFilterNodes)
		return found.Err()
	}
	f.check("", 1, &found)
	return found.Err()
}

// Check adds to found all that keeps filters, those of one subscription in the field of
// that name, from being evaluated.
func Check(filters []Filter, field string, found *validation.Problems) {
	var nodes int
	for i := range filters {
		nodes += filters[i].nodes()
		filters[i].check(validation.Index(field, i), 1, found)
	}
	if nodes > maxFilterNodes {
		found.Add(field, "have %d filters and entries in all, at most %d are allowed: split them into several subscriptions", nodes, maxFilterNodes)
	}
}

// Parse reads a filter in a field, and adds to found all that keeps it from being
// evaluated.
func Parse(raw json.RawMessage, field string, found *validation.Problems) Filter {
	parsed := parseFilter(raw, field, 1, found)
	parsed.check(field, 1, found)
	return parsed
}

// MarshalJSON writes the form that UnmarshalJSON reads.
func (f Filter) MarshalJSON() ([]byte, error) {
	d, ok := dialectNamed(f.Dialect)
	if !ok {
		return nil, fmt.Errorf("unknown filter dialect %q", f.Dialect)
	}
	switch d.form {
	case entries:
		return json.Marshal(map[string]map[string]string{f.Dialect: f.Values})
	case expression:
		return json.Marshal(map[string]string{f.Dialect: f.Expression})
	case single:
		if len(f.Filters) != 1 {
			return nil, fmt.Errorf("filter dialect %s takes one filter", f.Dialect)
		}
		return json.Marshal(map[string]Filter{f.Dialect: f.Filters[0]})
	case several:
	}
	return json.Marshal(map[string][]Filter{f.Dialect: f.Filters})
}

// UnmarshalJSON refuses, with a *validation.Error, all that could not be evaluated.
func (f *Filter) UnmarshalJSON(b []byte) error {
	var found validation.Problems
	parsed := Parse(b, "", &found)
	if err := found.Err(); err != nil {
		return err
	}
	*f = parsed
	return nil
}

// parseFilter reads one filter and reports what has not the form of one. What the
// form allows but cannot be used is for check to find.
func parseFilter(raw json.RawMessage, field string, depth int, found *validation.Problems) Filter {
	var f Filter
	if depth > maxFilterDepth {
		return f // check says so; not reading on bounds the work
	}
	if len(raw) > maxFilterBytes {
		found.Add(field, "is larger than %d bytes: split it into several subscriptions", maxFilterBytes)
		return f
	}
	members, err := strict.Object(raw)
	if err != nil {
		found.Add(field, "%s", err)
		return f
	}
	if len(members) != 1 {
		found.Add(field, "needs exactly one dialect, one of %s; it has %d keys: use one element for each, all of them must match", dialectNames(), len(members))
		return f
	}
	name, raw := members[0].Name, members[0].Value
	field = validation.Join(field, name)
	d, ok := dialectNamed(name)
	if !ok {
		found.Add(field, "is not a filter dialect: use one of %s", dialectNames())
		return f
	}
	f.Dialect = name
	switch d.form {
	case entries:
		f.Values = parseEntries(raw, field, found)
	case several:
		elements, err := strict.Array(raw)
		if err != nil {
			found.Add(field, "%s", err)
		}
		for i, element := range elements {
			f.Filters = append(f.Filters, parseFilter(element, validation.Index(field, i), depth+1, found))
		}
	case single:
		f.Filters = []Filter{parseFilter(raw, field, depth+1, found)}
	case expression:
		if kind := strict.Kind(raw); kind != "a string" {
			found.Add(field, "must be a string, not %s", kind)
			f.Expression = "TRUE" // any expression: this one is reported already
		} else if err := json.Unmarshal(raw, &f.Expression); err != nil {
			found.Add(field, "%s", err)
		}
	}
	return f
}

func parseEntries(raw json.RawMessage, field string, found *validation.Problems) map[string]string {
	members, err := strict.Object(raw)
	if err != nil {
		found.Add(field, "%s", err)
		return nil
	}
	values := make(map[string]string, len(members))
	for _, m := range members {
		var value string
		if kind := strict.Kind(m.Value); kind != "a string" {
			found.Add(validation.Join(field, m.Name), "must be a string, not %s: numbers and booleans in the data compare by their text, so put quotes around it", kind)
			value = "a" // any value: this one is reported already
		} else if err := json.Unmarshal(m.Value, &value); err != nil {
			found.Add(validation.Join(field, m.Name), "%s", err)
		}
		values[m.Name] = value
	}
	return values
}

// check reports all that keeps f from being evaluated.
func (f Filter) check(field string, depth int, found *validation.Problems) {
	if depth > maxFilterDepth {
		found.Add(field, "is nested deeper than %d filters", maxFilterDepth)
		return
	}
	if f.Dialect == "" && !found.Empty() {
		return // parseFilter has said what is wrong
	}
	d, ok := dialectNamed(f.Dialect)
	if !ok {
		found.Add(field, "%q is not a filter dialect: use one of %s", f.Dialect, dialectNames())
		return
	}
	if depth == 1 && f.tooLarge() {
		// It could be stored, and not be read again.
		found.Add(field, "is larger than %d bytes: split it into several subscriptions", maxFilterBytes)
		return
	}
	field = validation.Join(field, f.Dialect)
	switch d.form {
	case entries:
		f.checkEntries(d, field, found)
	case several:
		if len(f.Filters) == 0 {
			found.Add(field, "is empty: give at least one filter")
		}
		for i := range f.Filters {
			f.Filters[i].check(validation.Index(field, i), depth+1, found)
		}
	case single:
		if len(f.Filters) != 1 {
			found.Add(field, "takes one filter, not %d", len(f.Filters))
			return
		}
		f.Filters[0].check(field, depth+1, found)
	case expression:
		if _, err := d.expression(f.Expression); err != nil {
			found.Add(field, "%s", err)
		}
	}
}

func (f Filter) checkEntries(d dialect, field string, found *validation.Problems) {
	if len(f.Values) == 0 {
		found.Add(field, "is empty: give at least one attribute and its value")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		if _, err := parseOperand(name); err != nil {
			found.Add(validation.Join(field, name), "%s", err)
		}
		if value := f.Values[name]; value == "" {
			found.Add(validation.Join(field, name), "is empty: give the text to compare with")
		} else if _, err := d.entry(value); err != nil {
			found.Add(validation.Join(field, name), "%s", err)
		}
	}
}

// tooLarge reports whether f has more than maxFilterBytes as JSON.
func (f Filter) tooLarge() bool {
	const longest = 6 // bytes in JSON for one of a text
	if longest*f.textSize() <= maxFilterBytes {
		return false
	}
	b, err := json.Marshal(f)
	return err == nil && len(b) > maxFilterBytes
}

// textSize is about how much text there is in f.
func (f Filter) textSize() int {
	n := len(f.Expression) + len(`{"prefix":{}},`)
	for name, value := range f.Values {
		n += len(name) + len(value) + len(`"":"",`)
	}
	for i := range f.Filters {
		n += f.Filters[i].textSize()
	}
	return n
}

// nodes counts filters and entries.
func (f Filter) nodes() int {
	n := 1 + len(f.Values)
	for i := range f.Filters {
		n += f.Filters[i].nodes()
	}
	return n
}

// An operand is what an entry looks at: an attribute or a value in the data.
type operand struct {
	attribute string   // or
	path      string   // in gjson's syntax, or
	raw       *operand // whose value, as cleanPath makes it, is this one's
	slot      int      // where a table keeps its value while it matches an event
}

const (
	dataPrefix      = "data."
	maxPathSegments = 16
	maxOperandBytes = 256
)

// parseOperand reads the name of an entry.
func parseOperand(name string) (operand, error) {
	if len(name) > maxOperandBytes {
		return operand{}, fmt.Errorf("is longer than %d bytes", maxOperandBytes)
	}
	if path, ok := strings.CutPrefix(name, dataPrefix); ok {
		parsed, err := parseDataPath(path)
		return operand{path: parsed}, err
	}
	if name == "data" {
		return operand{}, errors.New("the data as a whole cannot be compared: name a value in it, as in data.repo_key")
	}
	if name == "" {
		return operand{}, errors.New("has no name: name an attribute, or data.<path>")
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return operand{}, fmt.Errorf("%q is not an attribute name: those have lower-case letters and digits only; values in the data are data.<path>", name)
		}
	}
	return operand{attribute: name}, nil
}
