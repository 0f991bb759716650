package filter

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Because is what decided whether a subscription wants an event.
type Because string

// What can decide.
const (
	BecauseMatched  Because = "matched"  // state, types and filters: all want it
	BecauseDisabled Because = "disabled" // the subscription does not match, whatever it wants
	BecauseType     Because = "type"     // none of its types is that of the event
	BecauseFilter   Because = "filter"   // a filter does not match
	// BecauseBudget: the filters need more steps for this event than one event may take.
	// What a router does then is a dead letter.
	BecauseBudget Because = "match_budget"
)

// A Verdict says whether a subscription wants an event, and why.
type Verdict struct {
	// Matched is what a Table says.
	Matched bool
	Because Because
	// Type is the one of the subscription's types that wants the event. Empty: none.
	Type string
	// Undecided: the filters take too many steps, also where the state decides.
	Undecided bool
	// Filters are its filters, each with its parts. They are not evaluated where no
	// type wants the event, and left out where evaluating each part takes too many steps.
	Filters []Clause
}

// Decided returns the innermost clause that keeps the event from being wanted, nil
// when that is not a filter.
func (v *Verdict) Decided() *Clause {
	for i := range v.Filters {
		if !v.Filters[i].Matched {
			return v.Filters[i].decided()
		}
	}
	return nil
}

// A Clause is a part of a filter, and what it says of an event.
type Clause struct {
	// Path is where it stands in the subscription: filters[0].any[1].exact.subject.
	Path    string `json:"path"`
	Dialect string `json:"dialect"`
	Matched bool   `json:"matched"`
	// Wanted is the text, the pattern or the expression. Empty: see Clauses.
	Wanted string `json:"wanted,omitempty"`
	// Values are what the event has of what the clause looks at.
	Values []Compared `json:"values,omitempty"`
	// Failure is why an expression could not be evaluated.
	Failure string `json:"failure,omitempty"`
	// Clauses are those inside, the entries of a filter that has several included.
	Clauses []Clause `json:"clauses,omitempty"`
}

// Compared is what an event has under a name: an attribute, or data.<path>.
type Compared struct {
	Name string `json:"name"`
	// Value is cut to MaxCompared bytes.
	Value string `json:"value,omitempty"`
	// Missing: the event has no such attribute, or no text, number or boolean there.
	Missing bool `json:"missing,omitempty"`
}

// MaxCompared is how much of a value a Compared shows, in bytes.
const MaxCompared = 512

// InData reports whether c is a value in the data of the event.
func (c *Compared) InData() bool { return strings.HasPrefix(c.Name, dataPrefix) }

// decided returns the innermost clause that makes c what it is.
func (c *Clause) decided() *Clause {
	if c.Dialect == "not" {
		return c.Clauses[0].decided()
	}
	either := c.Dialect == "any"
	if len(c.Clauses) == 1 || len(c.Clauses) > 0 && either == c.Matched {
		for i := range c.Clauses {
			if c.Clauses[i].Matched == c.Matched {
				return c.Clauses[i].decided()
			}
		}
	}
	return c // no single one of those inside
}

// maxOperands is how many names of values an Explainer remembers.
const maxOperands = 10_000

// Explain says whether a subscription of these criteria wants the event of x, which is of
// a domain, and why. Each clause is judged by what a Table compiles of it, so that the two
// cannot disagree. An error means that the filters were never validated.
func (x *Explainer) Explain(criteria Criteria, domain string) (Verdict, error) {
	e := x.values.event
	if len(x.operands) > maxOperands {
		*x = *NewExplainer(e)
	}
	verdict := Verdict{Because: BecauseType}
	for _, eventType := range criteria.Types {
		if in, wildcard := DomainWildcard(eventType); eventType == e.Type || wildcard && in == domain {
			verdict.Type, verdict.Because = eventType, BecauseMatched
			break
		}
	}
	if verdict.Because == BecauseMatched {
		if err := x.judge(criteria.Filters, &verdict); err != nil {
			return Verdict{}, err
		}
	}
	if criteria.Disabled {
		verdict.Because = BecauseDisabled
	}
	verdict.Matched = verdict.Because == BecauseMatched
	return verdict, nil
}

// explainFactor is how many times the budget of an event explaining may take: of a
// filter each part is evaluated, with those inside of it, and none is left out because
// another one has decided.
const explainFactor = 2 * maxFilterDepth

// judge decides as a Table does, and evaluates each filter by its parts.
func (x *Explainer) judge(filters []Filter, verdict *Verdict) error {
	whole, err := compileCondition(filters, x.intern)
	if err != nil {
		return err
	}
	switch whole.evaluate(&x.values, budgetOf(x.values.event)) {
	case undecided:
		verdict.Because, verdict.Undecided = BecauseBudget, true
		return nil
	case unwanted:
		verdict.Because = BecauseFilter
	case wanted:
	}
	x.values.begin(explainFactor * budgetOf(x.values.event))
	for i := range filters {
		clause, err := x.explain(filters[i], validation.Index("filters", i))
		if err != nil {
			return err
		}
		if x.values.over {
			verdict.Filters = nil
			return nil
		}
		verdict.Filters = append(verdict.Filters, clause)
	}
	return nil
}

// An Explainer judges what subscriptions want of one event. What it has looked up in the
// event it does not look up again, so that it is the one to use for many. It is not
// safe for concurrent use.
type Explainer struct {
	values   values
	operands map[string]*operand
}

// NewExplainer makes an Explainer for an event, which must not be changed afterwards.
func NewExplainer(e *event.Event) *Explainer {
	return &Explainer{values: values{event: e}, operands: make(map[string]*operand)}
}

// intern is that of a Table, for one event.
func (x *Explainer) intern(name string) (*operand, error) {
	if of, ok := x.operands[name]; ok {
		return of, nil
	}
	parsed := &operand{}
	var err error
	if raw, ok := strings.CutPrefix(name, segmentsPrefix); ok {
		parsed.raw, err = x.intern(raw)
	} else {
		*parsed, err = parseOperand(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	parsed.slot = len(x.values.cells)
	x.values.cells = append(x.values.cells, cell{})
	x.operands[name] = parsed
	return parsed, nil
}

// matches compiles f by itself and evaluates it.
func (x *Explainer) matches(f Filter) (bool, error) {
	compiled, err := f.compile(x.intern)
	if err != nil {
		return false, err
	}
	return compiled.match(&x.values), nil
}

func (x *Explainer) explain(f Filter, field string) (Clause, error) {
	matched, err := x.matches(f)
	if err != nil {
		return Clause{}, err
	}
	c := Clause{Path: validation.Join(field, f.Dialect), Dialect: f.Dialect, Matched: matched}
	d, _ := dialectNamed(f.Dialect) // compile has found it
	switch d.form {
	case expression:
		err = x.explainSQL(f.Expression, &c)
		return c, err
	case single, several:
		for i := range f.Filters {
			at := c.Path
			if d.form == several {
				at = validation.Index(c.Path, i)
			}
			inner, err := x.explain(f.Filters[i], at)
			if err != nil {
				return Clause{}, err
			}
			c.Clauses = append(c.Clauses, inner)
		}
	case entries:
		for _, name := range slices.Sorted(maps.Keys(f.Values)) {
			entry := Clause{Path: validation.Join(c.Path, name), Dialect: f.Dialect, Wanted: f.Values[name]}
			if entry.Matched, err = x.matches(Filter{Dialect: f.Dialect, Values: map[string]string{name: f.Values[name]}}); err != nil {
				return Clause{}, err
			}
			have, err := x.compared(name)
			if err != nil {
				return Clause{}, err
			}
			entry.Values = []Compared{have}
			c.Clauses = append(c.Clauses, entry)
		}
		if len(c.Clauses) == 1 {
			return c.Clauses[0], nil
		}
	}
	return c, nil
}

func (x *Explainer) explainSQL(text string, c *Clause) error {
	c.Wanted = text
	compiled, err := compileSQL(text)
	if err != nil {
		return err
	}
	program := compiled.(*sqlNode).program
	c.Failure = program.Failure(x.values.event)
	for _, name := range program.Attributes() {
		have, err := x.compared(name)
		if err != nil {
			return err
		}
		c.Values = append(c.Values, have)
	}
	return nil
}

// compared looks up what the event has under the name of an operand.
func (x *Explainer) compared(name string) (Compared, error) {
	of, err := x.intern(name)
	if err != nil {
		return Compared{}, err
	}
	value, ok := x.values.get(of)
	if len(value) > MaxCompared {
		value = strings.ToValidUTF8(value[:MaxCompared], "") + "…"
	}
	return Compared{Name: name, Value: value, Missing: !ok}, nil
}

// Sentence says in words what c found, with the values that were compared where
// withData allows those of the data.
func (c *Clause) Sentence(withData bool) string {
	if len(c.Clauses) > 0 {
		n := strconv.Itoa(len(c.Clauses))
		switch {
		case c.Dialect == "any" && !c.Matched:
			return "none of its " + n + " filters matches"
		case c.Matched:
			return "all of its " + n + " filters match"
		}
		return "does not match"
	}
	verb := map[string]string{"exact": "is", "prefix": "begins with", "suffix": "ends with", "glob": "fits", "ant": "fits"}[c.Dialect]
	if verb == "" { // an expression
		switch {
		case c.Failure != "":
			return "the expression has no value: " + c.Failure
		case c.Matched:
			return "the expression is true"
		}
		return "the expression is false"
	}
	have := &c.Values[0]
	shown := strconv.Quote(have.Value)
	if !withData && have.InData() {
		shown = "another value"
		if c.Matched {
			shown = "such a value"
		}
	}
	switch {
	case have.Missing && have.InData():
		return "the data has no text, number or boolean at " + have.Name
	case have.Missing:
		return "the event has no attribute " + have.Name
	case c.Matched:
		return have.Name + " " + verb + " " + strconv.Quote(c.Wanted) + ": it is " + shown
	}
	return "it wants that " + have.Name + " " + verb + " " + strconv.Quote(c.Wanted) + ", and it is " + shown
}
