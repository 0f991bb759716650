package filter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/event"
)

// costly is a filter that takes more steps for costlyEvent than one event may take.
func costly() Filter {
	var filters []Filter
	for i := range 20 {
		filters = append(filters, Not(Glob(map[string]string{"data.text": strings.Repeat("*[a-y]?", 60+i%3) + "*[z]*"})))
	}
	return All(filters...)
}

func costlyEvent() *event.Event {
	return &event.Event{ID: "1", Source: "/a", Type: "git.push", Subject: "main", DataContentType: "application/json", Data: []byte(`{"text":"` + strings.Repeat("a", 10<<10) + `","repo":"x"}`)}
}

// What a subscription's filters cost too much for is undecided, whatever others there are,
// and explain says the same. Others are judged as ever.
func TestBudget(t *testing.T) {
	t.Parallel()
	types := []string{"git.push"}
	expensive := wish("expensive", types, costly())
	// The index may find this one by its subject, its source, or not at all; the event has
	// another source.
	excluded := wish("excluded", types, costly(), Exact(map[string]string{"subject": "main"}), Exact(map[string]string{"source": "/b"}))
	crowd := []*subscriber{wish("plain", types), wish("repo", types, Exact(map[string]string{"data.repo": "x"})), wish("not-this", types, Glob(map[string]string{"data.text": "*b*"}))}
	for i := range 20 {
		crowd = append(crowd, wish(fmt.Sprintf("s%d", i), types, Exact(map[string]string{"source": "/b"})))
	}
	e := costlyEvent()
	for _, subs := range [][]*subscriber{{expensive, excluded}, append(slices.Clone(crowd), expensive, excluded), append([]*subscriber{excluded, expensive}, crowd...)} {
		var m Matches[*subscriber]
		newTable(t, subs...).Judge("git", e, &m)
		if got := strings.Join(idsOf(m.Undecided), " "); got != "expensive" {
			t.Errorf("of %d subscriptions undecided: %q", len(subs), got)
		}
		if got := strings.Join(idsOf(m.Wanted), " "); len(subs) > 2 && got != "plain repo" {
			t.Errorf("wanted: %q", got)
		}
		var quick Matches[*subscriber]
		newTable(t, subs...).JudgeQuick("git", e, &quick)
		if got := strings.Join(idsOf(quick.Slow), " "); got != "expensive" || len(quick.Undecided) > 0 {
			t.Errorf("left open: %q, undecided %v", got, idsOf(quick.Undecided))
		}
	}
	for sub, want := range map[*subscriber]Because{expensive: BecauseBudget, excluded: BecauseFilter, crowd[0]: BecauseMatched} {
		verdict, err := NewExplainer(e).Explain(sub.Criteria(), "git")
		if err != nil || verdict.Because != want || verdict.Undecided != (want == BecauseBudget) {
			t.Errorf("%s: %+v, %v", sub.ID, verdict.Because, err)
		}
	}
	e.Data = []byte(`{"text":"aaa","repo":"x"}`) // of an event that is small they are judged
	if got := newTable(t, expensive, excluded).Match("git", e, nil); len(got) != 1 || got[0] != expensive {
		t.Errorf("got %v", idsOf(got))
	}
}

// Filters of the usual kinds stay within the budget however many are saved, and within
// what is decided at once however many values of large data they look at.
func TestBudgetIsEnough(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, `"key-%d":"some text of usual length, %d",`, i, i)
	}
	large := &event.Event{ID: "1", Source: "/a", Type: "git.push", Data: []byte(`{` + b.String() + `"z":"org/acme/app/1.0/app-1.0.jar"}`)}
	small := &event.Event{ID: "1", Source: "/a", Type: "git.push", Data: []byte(`{"z":"org/acme/app/1.0/app-1.0.jar"}`)}
	var paths, exact, patterns, expressions []Filter
	for i := range 2400 {
		paths = append(paths, Exact(map[string]string{fmt.Sprintf("data.key-%d", i): "x"}))
		exact = append(exact, Exact(map[string]string{"data.z": strconv.Itoa(i)}), Prefix(map[string]string{"subject": strconv.Itoa(i)}))
	}
	for i := range 600 {
		patterns = append(patterns, Glob(map[string]string{"data.z": fmt.Sprintf("*/{app,lib}-%d*.jar", i)}), Ant(map[string]string{"data.z": fmt.Sprintf("**/app/*/*-%d.?ar", i)}))
		expressions = append(expressions, SQL(fmt.Sprintf("subject LIKE '%%x%d_%%' OR source = '/%d'", i, i)))
	}
	for name, filters := range map[string][]Filter{"paths": paths, "exact": exact[:2400], "patterns": patterns, "sql": expressions} {
		for _, e := range []*event.Event{small, large} {
			sub := wish(name, []string{"git.push"}, Any(filters...))
			var m Matches[*subscriber]
			table := newTable(t, sub)
			if table.Judge("git", e, &m); len(m.Undecided) > 0 {
				t.Errorf("%s: undecided about %d bytes", name, len(e.Data))
			}
		}
	}
	few := wish("few", []string{"git.push"}, Any(append(paths[:20:20], patterns[:10]...)...))
	var m Matches[*subscriber]
	if newTable(t, few).JudgeQuick("git", large, &m); len(m.Slow) > 0 {
		t.Error("a few filters on large data are not decided at once")
	}
}

// stepsOf counts what evaluating filters takes for an event, within the budget.
func stepsOf(tb testing.TB, filters []Filter, e *event.Event) (steps, budget int) {
	tb.Helper()
	found, _ := newTable(tb, wish("s", []string{"t"}, filters...)).entries.get("s")
	v := new(values)
	v.start(e, len(found.keySets)+maxFilterNodes*2)
	budget = budgetOf(e)
	found.evaluate(v, budget)
	return budget - v.left, budget
}

// overshoot is how far an evaluation may go beyond what was granted: by one comparison of
// literals, one lookup, or one function of an expression.
func overshoot(e *event.Event) int { return len(e.Data) + 1<<15 }

// A slowCase is what a search for slow inputs changes.
type slowCase struct {
	patterns []string // glob, ant, prefix, suffix, exact and sql in turn
	unit     string   // that a value repeats
	size     int
}

const slowLetters = `ab/*?[]{},-!\%_'`

func (c slowCase) mutate(r *rand.Rand) slowCase {
	next := slowCase{patterns: slices.Clone(c.patterns), unit: c.unit, size: c.size}
	change := func(s string, most int) string {
		letter := slowLetters[r.IntN(len(slowLetters))]
		switch n := r.IntN(5); {
		case n == 0 && s != "":
			at := r.IntN(len(s))
			return s[:at] + s[at+1:]
		case n == 1 && len(s)*2 <= most:
			return s + s
		case n == 2 && s != "":
			at := r.IntN(len(s))
			return s[:at] + string(letter) + s[at+1:]
		case len(s) < most:
			at := r.IntN(len(s) + 1)
			return s[:at] + string(letter) + s[at:]
		}
		return s
	}
	switch r.IntN(6) {
	case 0:
		next.unit = change(c.unit, 64)
	case 1:
		next.size = min(16<<10, max(1, c.size*(1+r.IntN(4))/2))
	case 2:
		if len(next.patterns) < 200 {
			next.patterns = append(next.patterns, c.patterns...)
		}
	default:
		at := r.IntN(len(next.patterns))
		next.patterns[at] = change(next.patterns[at], maxPatternBytes)
	}
	return next
}

// build makes filters of which none decides before the others, and an event.
func (c slowCase) build() ([]Filter, *event.Event, bool) {
	value, err := json.Marshal(strings.Repeat(c.unit, 1+c.size/max(1, len(c.unit))))
	if err != nil {
		return nil, nil, false
	}
	e := &event.Event{ID: "1", Source: "s", Type: "t", Subject: c.unit, Data: []byte(`{"v":` + string(value) + `}`)}
	var filters []Filter
	for i, pattern := range c.patterns {
		entry := map[string]string{[]string{"data.v", "subject"}[i/6%2]: pattern}
		f := []Filter{Glob(entry), Ant(entry), Prefix(entry), Suffix(entry), Exact(entry), SQL("CONCAT(subject, subject, id) LIKE '" + strings.ReplaceAll(pattern, "'", "") + "'")}[i%6]
		if f.Validate() != nil {
			continue
		}
		filters = append(filters, Any(f, Not(f)))
	}
	return filters, e, len(filters) > 0
}

// TestSlowInputs looks for the filters and the event that take most steps, by changing what
// takes more and keeping it. None gets beyond the budget.
func TestSlowInputs(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 380)) //nolint:gosec // a fixed seed
	worst, most := slowCase{patterns: []string{strings.Repeat("*[ab]?", 8) + "c*", strings.Repeat("**/a*?/", 8), "a", "b", "c", strings.Repeat("%a_", 8)}, unit: "ab", size: 1000}, 0
	beyond := 0 // inputs that were seen to exceed the budget
	for i := 0; i < 2000 && beyond < 10; i++ {
		next := worst.mutate(r)
		filters, e, ok := next.build()
		if !ok {
			continue
		}
		steps, budget := stepsOf(t, filters, e)
		if limit := budget + overshoot(e); steps > limit {
			t.Fatalf("%d steps of %d: %q with %d times %q", steps, limit, next.patterns, next.size, next.unit)
		}
		if steps*1000/budget >= most {
			worst, most = next, steps*1000/budget
		}
		if steps > budget {
			beyond++
		}
	}
	t.Logf("worst: %d‰ of the budget, %d patterns, %d bytes of %q", most, len(worst.patterns), worst.size, worst.unit)
	if most < 1000 {
		t.Errorf("the search has found nothing that exceeds the budget, the worst takes %d‰: it does not look well", most)
	}
}

// FuzzSlowInputs looks for filters and data that take more steps than were granted. The
// steps are reported to the fuzzer by way of the branches that they take.
func FuzzSlowInputs(f *testing.F) {
	worst, err := json.Marshal(costly())
	if err != nil {
		f.Fatal(err)
	}
	for _, filter := range []string{
		`{"glob":{"data.a":"*a*a*a*c*"}}`, `{"not":{"ant":{"data.a":"**/*a*/**/b"}}}`, string(worst),
		`{"sql":"UPPER(CONCAT(subject,subject)) LIKE '%a%a_%'"}`, `{"any":[{"exact":{"data.a.b.0":"x"}},{"suffix":{"subject":"a"}}]}`,
	} {
		f.Add([]byte(filter), []byte(`{"a":"aaaaaaaa"}`), "aaaa", uint16(1000))
	}
	f.Fuzz(func(t *testing.T, text, data []byte, unit string, repeat uint16) {
		var filter Filter
		if json.Unmarshal(text, &filter) != nil {
			return
		}
		subject := strings.Repeat(unit, int(repeat)%(1+(64<<10)/(1+len(unit))))
		e := &event.Event{ID: "1", Source: "s", Type: "t", Subject: subject, Data: data}
		steps, budget := stepsOf(t, []Filter{filter}, e)
		if steps > budget+overshoot(e)+5*len(subject) {
			t.Fatalf("%d steps of %d", steps, budget)
		}
		for mark := 1 << 10; mark < steps; mark *= 2 { // a branch for each doubling
			marks[min(len(marks)-1, mark>>10)]++
		}
	})
}

var marks [1 << 10]int //nolint:gochecknoglobals // only its branches matter

// BenchmarkBudget is what an event costs a subscription at most.
func BenchmarkBudget(b *testing.B) {
	e := costlyEvent()
	table := newTable(b, wish("s", []string{"git.push"}, costly()))
	b.Run("judge", func(b *testing.B) {
		var m Matches[*subscriber]
		for b.Loop() {
			table.Judge("git", e, &m)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*budgetOf(e)), "ns/step")
	})
	b.Run("quick", func(b *testing.B) {
		var m Matches[*subscriber]
		for b.Loop() {
			table.JudgeQuick("git", e, &m)
		}
	})
}
