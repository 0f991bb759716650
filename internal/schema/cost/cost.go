// Package cost bounds what validating data against a JSON Schema may take, before it is done.
package cost

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"unsafe"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// What validating data against a schema may take. A step is one schema that is evaluated
// for one value: about half a microsecond. The validator evaluates a schema once for every
// way that leads to it, and references that double with each level make millions of them:
// 1.4 KB of schema are enough for seconds. So the steps are counted before it is called.
const (
	// baseSteps and stepsPerByte are what data may take: enough for several schemas for
	// each of the values that can be in it.
	baseSteps    = 10_000
	stepsPerByte = 2
	// MaxPerValue is how many schemas may be evaluated for one value, whatever is in
	// it. A domain with a schema that can need more cannot be registered.
	MaxPerValue = 1000
	// Of a pattern, so many instructions are run, or so many bytes read, in one step.
	instructionsPerStep = 64
	maxSteps            = math.MaxInt32
)

// Budget is how many steps data of a size, in bytes, may take.
func Budget(size int) int { return baseSteps + stepsPerByte*size }

// A weight is what a schema can cost at most, by which most data is known to be within
// the budget without counting.
type weight struct {
	// For all the values on one way into the data: schemas that are evaluated, and the
	// sizes of the regular expressions that are run. maxSteps: it depends on the data.
	steps, patterns int
}

// plus adds what is evaluated for the same value, or for what is in it.
func (w weight) plus(other weight) weight {
	return weight{add(w.steps, other.steps), add(w.patterns, other.patterns)}
}

// or is what is evaluated for one of two values.
func (w weight) or(other weight) weight {
	return weight{max(w.steps, other.steps), max(w.patterns, other.patterns)}
}

// maxWeighedDepth is up to which depth of data a schema that refers to itself is weighed.
const maxWeighedDepth = 16

// Weights are what a schema can cost for data of a depth; the last one is for all that is
// deeper.
type Weights []weight

// fits reports whether a value of a size is within its budget, without counting what each
// schema takes.
func (w Weights) fits(value any, size int) bool {
	values, depth := extent(value)
	if depth >= len(w) {
		depth = len(w) - 1
	}
	at := w[depth]
	return at.steps < maxSteps && at.patterns < maxSteps &&
		at.steps*values+at.patterns*size/instructionsPerStep+at.patterns*values <= Budget(size)
}

// extent counts the values that there are in one, it and the names of members included,
// and how deep they are.
func extent(value any) (values, depth int) {
	values = 1
	inner := func(member any) {
		n, d := extent(member)
		values, depth = values+n, max(depth, d+1)
	}
	switch v := value.(type) {
	case map[string]any:
		values += len(v)
		for _, member := range v {
			inner(member)
		}
	case []any:
		for _, item := range v {
			inner(item)
		}
	}
	return values, depth
}

// Weigh weighs a schema with all that it refers to. Schemas of a domain share work.
func Weigh(work Weighing, s *jsonschema.Schema) Weights {
	if whole := work.of(math.MaxInt, s); whole.steps < maxSteps {
		return Weights{whole}
	}
	var found Weights
	for depth := range maxWeighedDepth {
		found = append(found, work.of(depth, s))
	}
	return append(found, weight{maxSteps, maxSteps})
}

// A Weighing has what was weighed, for data of a depth; what is being weighed leads to
// itself.
type Weighing map[weighed]weight

type weighed struct {
	schema *jsonschema.Schema
	depth  int
}

func (w Weighing) of(depth int, schemas ...*jsonschema.Schema) weight {
	var total weight
	for _, s := range schemas {
		if s == nil || depth < 0 {
			continue
		}
		key := weighed{s, depth}
		known, ok := w[key]
		if !ok {
			w[key] = weight{maxSteps, maxSteps}
			known = w.weigh(depth, s)
			w[key] = known
		}
		total = total.plus(known)
	}
	return total
}

func (w Weighing) weigh(depth int, s *jsonschema.Schema) weight {
	total := weight{steps: ownSteps(s)}
	if s.Pattern != nil {
		total.patterns = sizeOfPattern(s.Pattern)
	}
	total = total.plus(w.of(depth, inPlace(s)...))
	if depth != math.MaxInt { // which is any
		depth--
	}
	var member, item weight
	for _, each := range s.Properties {
		member = member.or(w.of(depth, each))
	}
	for re, each := range s.PatternProperties {
		member = member.plus(w.of(depth, each)).plus(weight{patterns: sizeOfPattern(re)})
	}
	member = member.plus(w.of(depth, schemaOf(s.AdditionalProperties), s.PropertyNames, s.UnevaluatedProperties))
	list, _ := s.Items.([]*jsonschema.Schema)
	for _, each := range append(slices.Clone(s.PrefixItems), list...) {
		item = item.or(w.of(depth, each))
	}
	item = item.plus(w.of(depth, s.Items2020, schemaOf(s.Items), schemaOf(s.AdditionalItems), s.Contains, s.UnevaluatedItems))
	return total.plus(member.or(item))
}

// inPlace are the schemas that are evaluated for the same value as s.
func inPlace(s *jsonschema.Schema) []*jsonschema.Schema {
	found := []*jsonschema.Schema{s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else}
	if s.DynamicRef != nil {
		found = append(found, s.DynamicRef.Ref)
	}
	for _, list := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		found = append(found, list...)
	}
	for _, each := range s.DependentSchemas {
		found = append(found, each)
	}
	for _, each := range s.Dependencies {
		found = append(found, schemaOf(each))
	}
	return found
}

// schemaOf is a keyword's value where that is a schema, otherwise nil.
func schemaOf(value any) *jsonschema.Schema {
	s, _ := value.(*jsonschema.Schema)
	return s
}

// ownSteps is what a schema takes for a value beside the schemas inside.
func ownSteps(s *jsonschema.Schema) int {
	steps := 1 + len(s.Required)/16
	if s.Enum != nil {
		steps += len(s.Enum.Values) / 16
	}
	return steps
}

func add(a, b int) int { return min(a+b, maxSteps) }

// perValue counts the schemas that are evaluated for one value, whatever is in it. The
// worst is the innermost one that takes more than MaxPerValue, nil where none does.
func perValue(s *jsonschema.Schema, known map[*jsonschema.Schema]int) (steps int, worst *jsonschema.Schema) {
	if s == nil {
		return 0, nil
	}
	if steps, ok := known[s]; ok {
		return steps, nil // a schema that leads to itself is refused by the validator
	}
	known[s] = 0
	steps = 1
	for _, each := range inPlace(s) {
		inner, found := perValue(each, known)
		if found != nil {
			return maxSteps, found
		}
		steps = add(steps, inner)
	}
	known[s] = steps
	if steps > MaxPerValue {
		worst = s
	}
	return steps, worst
}

// inside are the schemas that are evaluated for what is in a value.
func inside(s *jsonschema.Schema) []*jsonschema.Schema {
	found := []*jsonschema.Schema{
		schemaOf(s.AdditionalProperties), s.PropertyNames, s.UnevaluatedProperties,
		s.Items2020, schemaOf(s.Items), schemaOf(s.AdditionalItems), s.Contains, s.UnevaluatedItems,
	}
	for _, each := range s.Properties {
		found = append(found, each)
	}
	for _, each := range s.PatternProperties {
		found = append(found, each)
	}
	found = append(found, s.PrefixItems...)
	if list, ok := s.Items.([]*jsonschema.Schema); ok {
		found = append(found, list...)
	}
	return found
}

// A Search looks through the schemas of a domain, through each once.
type Search struct {
	known map[*jsonschema.Schema]int
	seen  map[*jsonschema.Schema]bool
}

// NewSearch begins a search.
func NewSearch() Search {
	return Search{map[*jsonschema.Schema]int{}, map[*jsonschema.Schema]bool{}}
}

// Costliest is a schema of those that s leads to for which perValue finds too many.
func (c Search) Costliest(s *jsonschema.Schema) *jsonschema.Schema {
	for left := []*jsonschema.Schema{s}; len(left) > 0; {
		next := left[len(left)-1]
		left = left[:len(left)-1]
		if next == nil || c.seen[next] {
			continue
		}
		c.seen[next] = true
		if _, worst := perValue(next, c.known); worst != nil {
			return worst
		}
		left = append(append(left, inPlace(next)...), inside(next)...)
	}
	return nil
}

// TooCostly reports whether validating a value takes more steps than data of its size
// may. What it takes to find out is bounded by the budget as well.
func TooCostly(s *jsonschema.Schema, w Weights, value any, size int) bool {
	if w.fits(value, size) {
		return false
	}
	m := measure{left: Budget(size), size: size, known: map[measured]int{}, schemas: map[*jsonschema.Schema]*measuredSchema{}}
	return m.steps(s, value) > Budget(size) || m.left < 0
}

// A measure counts the steps of validating a value. What was counted for a schema and a
// value is not counted again, but is added again: so counting is fast where validating
// is not.
type measure struct {
	left  int // counts that may be made
	size  int // of the data
	known map[measured]int
	// schemas have what is needed of each schema for every value.
	schemas map[*jsonschema.Schema]*measuredSchema
}

type measuredSchema struct {
	own     int
	inPlace []*jsonschema.Schema
}

func (m *measure) schema(s *jsonschema.Schema) *measuredSchema {
	known := m.schemas[s]
	if known == nil {
		inPlace := slices.DeleteFunc(inPlace(s), func(each *jsonschema.Schema) bool { return each == nil })
		known = &measuredSchema{ownSteps(s), inPlace}
		m.schemas[s] = known
	}
	return known
}

type measured struct {
	schema *jsonschema.Schema
	value  unsafe.Pointer // nil for numbers, booleans and null
	length int
}

func (m *measure) steps(s *jsonschema.Schema, value any) int {
	if s == nil {
		return 0
	}
	if m.left--; m.left < 0 {
		return maxSteps
	}
	schema := m.schema(s)
	if text, ok := value.(string); ok && len(schema.inPlace) == 0 { // not worth remembering
		return add(schema.own, m.text(s, text))
	}
	key := measured{schema: s}
	switch v := value.(type) {
	case map[string]any:
		key.value, key.length = reflect.ValueOf(v).UnsafePointer(), len(v)
	case []any:
		key.value, key.length = unsafe.Pointer(unsafe.SliceData(v)), len(v)
	case string:
		key.value, key.length = unsafe.Pointer(unsafe.StringData(v)), len(v)
	}
	if steps, ok := m.known[key]; ok {
		return steps
	}
	m.known[key] = 0 // a schema that leads to itself is refused by the validator
	total := schema.own
	for _, each := range schema.inPlace {
		total = add(total, m.steps(each, value))
	}
	switch v := value.(type) {
	case map[string]any:
		total = add(total, m.object(s, v))
	case []any:
		total = add(total, m.array(s, v))
	case string:
		total = add(total, m.text(s, v))
	case json.Number, bool, nil:
	}
	m.known[key] = total
	return total
}

func (m *measure) object(s *jsonschema.Schema, members map[string]any) int {
	total := len(members) / 8 // it visits each of them
	for name, member := range members {
		evaluated := s.Properties[name]
		total = add(total, m.steps(evaluated, member))
		for re, each := range s.PatternProperties {
			total = add(total, runSteps(re, name))
			if m.left -= runSteps(re, name); m.left < 0 {
				return maxSteps
			}
			if re.MatchString(name) {
				evaluated = each
				total = add(total, m.steps(each, member))
			}
		}
		if evaluated == nil {
			total = add(total, m.steps(schemaOf(s.AdditionalProperties), member))
		}
		total = add(total, m.steps(s.PropertyNames, name))
		total = add(total, m.steps(s.UnevaluatedProperties, member))
	}
	return total
}

func (m *measure) array(s *jsonschema.Schema, items []any) int {
	total := len(items) / 8
	if s.UniqueItems && len(items) > 1 { // all that is in them is hashed
		total = add(total, m.size/64)
	}
	list, _ := s.Items.([]*jsonschema.Schema)
	for i, item := range items {
		switch {
		case i < len(s.PrefixItems):
			total = add(total, m.steps(s.PrefixItems[i], item))
		case i < len(list):
			total = add(total, m.steps(list[i], item))
		default:
			for _, each := range []*jsonschema.Schema{s.Items2020, schemaOf(s.Items), schemaOf(s.AdditionalItems)} {
				total = add(total, m.steps(each, item))
			}
		}
		total = add(total, m.steps(s.Contains, item))
		total = add(total, m.steps(s.UnevaluatedItems, item))
	}
	return total
}

func (m *measure) text(s *jsonschema.Schema, text string) int {
	var total int
	if s.Pattern != nil {
		total = runSteps(s.Pattern, text)
	}
	if s.Format != nil {
		perByte := 1
		if s.Format.Name == "regex" { // a few characters of one stand for many instructions
			perByte = instructionsPerStep
		}
		total = add(total, len(text)*perByte/instructionsPerStep)
	}
	return total
}
