package filter

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	event := &event.Event{
		ID: "1", Source: "/git/widgets", Type: "git.push", Subject: "refs/heads/dev", DataContentType: "application/json",
		Data: []byte(`{"repo":"libs//release/","big":"` + strings.Repeat("ü", MaxCompared) + `","n":1.0,"list":[]}`),
	}
	tests := []struct {
		name    string
		filters string
		because Because
		decided string // its path
		says    string
	}{
		{"no filter", `[]`, BecauseMatched, "", ""},
		{"exact", `[{"exact":{"subject":"refs/heads/main"}}]`, BecauseFilter, "filters[0].exact.subject", `it wants that subject is "refs/heads/main", and it is "refs/heads/dev"`},
		{"the second of two", `[{"prefix":{"source":"/git/"}},{"suffix":{"subject":"/main","source":"widgets"}}]`, BecauseFilter, "filters[1].suffix.subject", `it wants that subject ends with "/main", and it is "refs/heads/dev"`},
		{"an attribute that is not there", `[{"prefix":{"ext":"x"}}]`, BecauseFilter, "filters[0].prefix.ext", `the event has no attribute ext`},
		{"a value that is not there", `[{"exact":{"data.list":"x"}}]`, BecauseFilter, "filters[0].exact.data.list", `the data has no text, number or boolean at data.list`},
		{"any, of which none", `[{"any":[{"exact":{"subject":"a"}},{"exact":{"subject":"b"}}]}]`, BecauseFilter, "filters[0].any", `none of its 2 filters matches`},
		{"any of one", `[{"any":[{"exact":{"data.n":"1"}}]}]`, BecauseFilter, "filters[0].any[0].exact.data.n", `it wants that data.n is "1", and it is "1.0"`},
		{"all", `[{"all":[{"exact":{"id":"1"}},{"glob":{"subject":"refs/{heads,tags}/m*"}}]}]`, BecauseFilter, "filters[0].all[1].glob.subject", `it wants that subject fits "refs/{heads,tags}/m*", and it is "refs/heads/dev"`},
		{"not", `[{"not":{"any":[{"exact":{"id":"2"}},{"ant":{"data.repo":"libs/*"}}]}}]`, BecauseFilter, "filters[0].not.any[1].ant.data.repo", `data.repo fits "libs/*": it is "libs//release/"`},
		{"not all", `[{"not":{"exact":{"id":"1","type":"git.push"}}}]`, BecauseFilter, "filters[0].not.exact", `all of its 2 filters match`},
		{"sql", `[{"sql":"subject LIKE '%main'"}]`, BecauseFilter, "filters[0].sql", `the expression is false`},
		{"sql with a failure", `[{"sql":"ext = 'x'"}]`, BecauseFilter, "filters[0].sql", `the expression has no value: it needs an attribute that the event does not have`},
		{"sql that is not a Boolean", `[{"sql":"LENGTH(subject)"}]`, BecauseFilter, "filters[0].sql", `the expression has no value: its value is not a Boolean`},
		{"not sql", `[{"not":{"sql":"1 / 1 = 1"}}]`, BecauseFilter, "filters[0].not.sql", `the expression is true`},
		{"all of it matches", `[{"ant":{"subject":"refs/**"}},{"any":[{"exact":{"id":"2"}},{"sql":"EXISTS subject AND NOT EXISTS ext"}]}]`, BecauseMatched, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sub := wish("ci", []string{"artifact.*", "git.push"})
			if err := json.Unmarshal([]byte(tt.filters), &sub.Filters); err != nil {
				t.Fatal(err)
			}
			verdict := explained(t, sub, event)
			if verdict.Because != tt.because || verdict.Type != "git.push" || len(verdict.Filters) != len(sub.Filters) {
				t.Errorf("got %+v", verdict)
			}
			decided := verdict.Decided()
			if decided == nil {
				decided = &Clause{}
			} else if got := decided.Sentence(true); got != tt.says {
				t.Errorf("got %s\nwant %s", got, tt.says)
			}
			if decided.Path != tt.decided {
				t.Errorf("%q has decided, want %q", decided.Path, tt.decided)
			}
		})
	}
	other := explained(t, wish("ci", []string{"git.pull_request"}, Exact(map[string]string{"id": "2"})), event)
	if diff := cmp.Diff(Verdict{Because: BecauseType}, other); diff != "" {
		t.Error(diff)
	}
	disabled := wish("ci", []string{"git.*"}, Exact(map[string]string{"data.big": "x"}))
	disabled.Disabled = true
	verdict := explained(t, disabled, event)
	if verdict.Because != BecauseDisabled || verdict.Type != "git.*" || verdict.Decided() == nil {
		t.Errorf("got %+v", verdict)
	}
	if have := verdict.Filters[0].Values[0]; !have.InData() || len(have.Value) > MaxCompared+len("…") || !utf8.ValidString(have.Value) || !strings.HasPrefix(have.Value, "üü") {
		t.Errorf("a long value is shown as %d bytes", len(have.Value))
	}
	if got := verdict.Decided().Sentence(false); strings.Contains(got, "ü") || !strings.Contains(got, "data.big") {
		t.Errorf("got %s", got)
	}
}

// explained is what Explain says, which is also what a Table does.
func explained(tb testing.TB, sub *subscriber, e *event.Event) Verdict {
	tb.Helper()
	domain, _, _ := strings.Cut(e.Type, ".")
	verdict, err := NewExplainer(e).Explain(sub.Criteria(), domain)
	if err != nil {
		tb.Fatal(err)
	}
	if matched := len(newTable(tb, sub).Match(domain, e, nil)) == 1; verdict.Matched != matched {
		tb.Fatalf("explained as %t, matched as %t: %+v", verdict.Matched, matched, verdict)
	}
	for i := range verdict.Filters {
		agrees(tb, &verdict.Filters[i])
	}
	if wanted := verdict.Because == BecauseMatched; verdict.Type != "" && !sub.Disabled && wanted != (verdict.Decided() == nil) {
		tb.Fatalf("%s, and decided by %+v", verdict.Because, verdict.Decided())
	}
	return verdict
}

// agrees fails unless a clause says what follows from those inside, and the one that
// decided is a part of it.
func agrees(tb testing.TB, c *Clause) {
	tb.Helper()
	if len(c.Clauses) == 0 {
		return
	}
	matched := func(c Clause) bool { return c.Matched }
	some := slices.ContainsFunc(c.Clauses, matched)
	every := !slices.ContainsFunc(c.Clauses, func(c Clause) bool { return !c.Matched })
	want := every
	switch c.Dialect {
	case "any":
		want = some
	case "not":
		want = !some
	}
	if c.Matched != want {
		tb.Fatalf("%s is %t, but those inside say %t", c.Path, c.Matched, want)
	}
	for i := range c.Clauses {
		if !strings.HasPrefix(c.Clauses[i].Path, c.Path) {
			tb.Fatalf("%s is not inside %s", c.Clauses[i].Path, c.Path)
		}
		agrees(tb, &c.Clauses[i])
	}
	if decided := c.decided(); !strings.HasPrefix(decided.Path, c.Path) || decided.Sentence(true) == "" {
		tb.Fatalf("%s is decided by %s: %s", c.Path, decided.Path, decided.Sentence(true))
	}
}

// What is explained is what is matched, whatever the filter and the event.
func FuzzExplain(f *testing.F) {
	for _, seed := range []string{
		`{"exact":{"subject":"main","id":"1"}}`, `{"all":[{"prefix":{"data.a.b":"c"}},{"not":{"suffix":{"data.a\\.b":"d"}}}]}`,
		`{"any":[{"exact":{"a":"b"}},{"any":[{"exact":{"data.0":"1"}}]}]}`, `{"not":{"not":{"sql":"1 + '2' = 3"}}}`,
		`{"any":[{"glob":{"data.a.b":"{c,d*}"}},{"ant":{"data.0":"**/1","subject":"/m?//**"}}]}`, `{"all":[{"sql":"id = '1' OR EXISTS a"},{"sql":"INT(subject) > 2"}]}`,
		`{"any":[` + strings.Repeat(`{"exact":{"data.0":"2"}},`, minIn) + `{"exact":{"data.0":"1"}}]}`,
	} {
		f.Add([]byte(seed), []byte(`{"a":{"b":"c"},"0":1}`), "main")
	}
	f.Fuzz(func(t *testing.T, text, data []byte, subject string) {
		var parsed Filter
		if json.Unmarshal(text, &parsed) != nil {
			return
		}
		e := &event.Event{ID: "1", Source: "s", Type: "t.u", Subject: subject, Data: data}
		explained(t, wish("ci", []string{"t.*"}, parsed), e)
		explained(t, wish("ci", []string{"t.u"}, Not(parsed)), e)
	})
}
