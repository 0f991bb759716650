package filter

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/glob"
	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/subscription/validation/validationtest"
)

func subjectEvent(subject string) *event.Event {
	return &event.Event{ID: "1", Source: "s", Type: "t", Subject: subject}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern  string
		yes, not []string
	}{
		{"main", []string{"main"}, []string{"main2", "amain", "Main", "mai"}},
		{"*", []string{"a", "a/b", "ä"}, nil},
		{"**", []string{"a", "a/b"}, nil},
		{"org/*", []string{"org/", "org/a", "org/a/b.jar"}, []string{"org", "aorg/a"}},
		{"*.jar", []string{".jar", "a/b.jar"}, []string{"a.jar2"}},
		{"*/*", []string{"a/b", "a/b/c", "/"}, []string{"ab"}},
		{"a*b*c", []string{"abc", "aXbXc", "abbcc"}, []string{"acb", "ab"}},
		{"v?.?", []string{"v1.2", "vä.ü"}, []string{"v1.10", "v.2", "v12"}},
		{"release-[0-9]", []string{"release-7"}, []string{"release-77", "release-x", "release-"}},
		{"release-[!0-9]*", []string{"release-x", "release-xyz"}, []string{"release-1", "release-"}},
		{"[ab-]x", []string{"ax", "bx", "-x"}, []string{"cx"}},
		{"[^a]x", []string{"^x", "ax"}, []string{"bx"}},
		{`[\]]x`, []string{"]x"}, []string{`\x`}},
		{"[{,}]{a,[,]}", []string{"{a", ",a", "},"}, []string{"a", "{b"}},
		{"[,-.]{x,y}", []string{",x", "-y", ".x"}, []string{"+x"}},
		{"{main,release*}", []string{"main", "release", "release/1.2"}, []string{"main2", "mainrelease", "dev"}},
		{"{,x}main", []string{"main", "xmain"}, []string{"ymain"}},
		{"{a,b{c,d{e,}}}f", []string{"af", "bcf", "bdef", "bdf"}, []string{"bf", "f"}},
		{"{}a", []string{"a"}, []string{"{}a"}},
		{"{a}", []string{"a"}, []string{"{a}"}},
		{`\{a,b\}`, []string{"{a,b}"}, []string{"a", "b"}},
		{`{a\,b,c\}}`, []string{"a,b", "c}"}, []string{"a", "c"}},
		{`\*\?\[\\`, []string{`*?[\`}, []string{"aaaa"}},
		{`\ä?`, []string{"äb"}, []string{"ä"}},
		{"a,b", []string{"a,b"}, []string{"a", "b"}},
		{"a}b]", []string{"a}b]"}, nil},
		{"!main", []string{"!main"}, []string{"dev", "main"}},
		{"a.b(c)+|^$", []string{"a.b(c)+|^$"}, []string{"axb(c)+|^$"}},
		{"{a,b,c,d,e,f,g,h,i*}", []string{"a", "h", "i", "ijk"}, []string{"j", "ab"}},
	} {
		f := Glob(map[string]string{"subject": tt.pattern})
		for _, subject := range tt.yes {
			if !matches(t, f, subjectEvent(subject)) || matches(t, Not(f), subjectEvent(subject)) {
				t.Errorf("%s does not match %s", tt.pattern, subject)
			}
		}
		for _, subject := range tt.not {
			if matches(t, f, subjectEvent(subject)) || !matches(t, Not(f), subjectEvent(subject)) {
				t.Errorf("%s matches %s", tt.pattern, subject)
			}
		}
		if matches(t, f, subjectEvent("")) {
			t.Errorf("%s matches a missing attribute", tt.pattern)
		}
	}
}

func TestGlobRefused(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"[":                                 "is not a glob: unexpected end of input at byte 1",
		"[]":                                "at byte 2",
		"[!]x":                              "at byte 3",
		"[a-]x":                             "at byte 5",
		"[a-cx-z]x":                         "at byte",
		"[z-a]x":                            "at byte",
		"a{b,c":                             "unclosed `{` at byte 5",
		`a\`:                                "trailing backslash at byte 2",
		"a\xff":                             "is not valid UTF-8",
		strings.Repeat("a", 513):            "is a pattern of 513 bytes, at most 512 are allowed",
		strings.Repeat("{*a,*b}", 7):        "braces that stand for more than 64 patterns",
		strings.Repeat("{a,b}", 30):         "braces that stand for more than 64 patterns",
		"{" + strings.Repeat(",", 64) + "}": "braces that stand for more than 64 patterns",
		strings.Repeat("{a,b}", 6) + strings.Repeat("x", 200): "or 8192 bytes of them",
	} {
		f := Glob(map[string]string{"data.path": pattern})
		validationtest.Want(t, checked(f), "filters[0].glob.data.path: "+want)
		if _, err := NewTable(wish("ci", nil, f)); err == nil || !strings.Contains(err.Error(), "data.path") {
			t.Errorf("%s compiles: %v", pattern, err)
		}
	}
}

func TestExpandBraces(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][]string{
		"a":                {"a"},
		"{a,b}c{d,}":       {"acd", "ac", "bcd", "bc"},
		"{a,{b,c}}[{,]}":   {"a[{,]}", "b[{,]}", "c[{,]}"},
		`{\{,\},\,}{é,\ü}`: {`\{é`, `\{\ü`, `\}é`, `\}\ü`, `\,é`, `\,\ü`},
		"{}":               {""},
		"{,}":              {"", ""},
	} {
		got, ok := expandBraces(pattern)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("%s: %t (-want +got):\n%s", pattern, ok, diff)
		}
	}
}

// accepts compares a value with what an entry was compiled to.
func accepts(compiled []comparison, value string) bool {
	m := &meter{left: math.MaxInt}
	return slices.ContainsFunc(compiled, func(c comparison) bool { return m.accepts(&c, value) })
}

// TestPatternSteps counts the steps of the worst patterns that are accepted: twice the
// value takes twice the steps, and no value more than a few for each of its bytes and
// pattern.
func TestPatternSteps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ dialect, pattern string }{
		{"glob", strings.Repeat("{*a,*b}", 6) + "x"},
		{"glob", strings.Repeat("*a", 255) + "b"},
		{"glob", strings.Repeat("*a", 250) + "*c*"},
		{"glob", strings.Repeat("*[a]?", 100) + "b"},
		{"glob", "{" + strings.Repeat("*a*a*a*b,", 50) + "}"},
		{"glob", "*" + strings.Repeat("a", 510) + "*"},
		{"ant", strings.Repeat("*a", 255) + "b"},
		{"ant", strings.Repeat("**/a/", 100) + "b"},
		{"ant", strings.Repeat("**/*a*/", 70) + "b"},
		{"ant", "**/" + strings.Repeat("a/", 200) + "b"},
		{"ant", strings.Repeat("a*/**/", 80) + "b"},
	} {
		d, _ := dialectNamed(tt.dialect)
		compiled, err := d.entry(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		steps := func(value string) int {
			m := &meter{left: math.MaxInt}
			_ = slices.ContainsFunc(compiled, func(c comparison) bool { return m.accepts(&c, value) })
			return math.MaxInt - m.left
		}
		overhead := len(compiled) * len(tt.pattern) * 16
		for _, unit := range []string{"a", "ab", "a/", "aa/", strings.Repeat("a", 600) + "b"} {
			n := 1 << 15 / len(unit)
			once, twice := steps(strings.Repeat(unit, n)), steps(strings.Repeat(unit, 2*n))
			if twice > 2*once+overhead {
				t.Errorf("%s %.20s with %.3s: %d steps, with twice the value %d", tt.dialect, tt.pattern, unit, once, twice)
			}
			if most := 10*len(compiled)*2*n*len(unit) + overhead; twice > most {
				t.Errorf("%s %.20s with %.3s: %d steps, more than %d", tt.dialect, tt.pattern, unit, twice, most)
			}
		}
	}
	long := strings.Repeat("a", 1<<19)
	if !matches(t, Glob(map[string]string{"subject": "*aaa*"}), subjectEvent(long)) || !matches(t, Ant(map[string]string{"subject": "a*"}), subjectEvent(long)) {
		t.Error("a short pattern does not match a long value")
	}
}

// naiveGlob asks the engine about the pattern as a whole, or where that would take
// too long about what its braces stand for.
func naiveGlob(value, pattern string) bool {
	patterns := []string{pattern}
	if strings.Count(pattern, "{") > 3 {
		patterns, _ = expandBraces(pattern)
	}
	return slices.ContainsFunc(patterns, func(each string) bool { return glob.MustCompile(each).Match(value) })
}

// FuzzGlob compares a compiled glob with what the engine says about the pattern as
// a whole.
func FuzzGlob(f *testing.F) {
	for _, pattern := range []string{"a*{b,c?}", "[!a-c]{,x}", `\{[{,}]}{é,[\]]*}`, "{a,{b,*}}c", "**?", "[]-a]", "{[!a],b}-"} {
		for _, value := range []string{"abc", "x", "{,}é]", "ac", ""} {
			f.Add(pattern, value)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, value string) {
		compiled, err := compileGlob(pattern)
		if err != nil || strings.Count(pattern, "{") > 3 || len(value) > 50 {
			return
		}
		got := accepts(compiled, value)
		if want := naiveGlob(value, pattern); got != want {
			t.Fatalf("%q with %q: got %t, want %t", pattern, value, got, want)
		}
	})
}
