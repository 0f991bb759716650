package securesourcemanager_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/glob"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// passes evaluates a branch filter as a router does.
func passes(tb testing.TB, pattern string) func(ref string) bool {
	tb.Helper()
	filters, err := securesourcemanager.BranchFilter(pattern)
	if err != nil {
		tb.Fatalf("%q: %v", pattern, err)
	}
	table, err := filter.NewTable(&subscription.Subscription{ID: "s", Types: []string{"git.push"}, Filters: filters, State: subscription.Active})
	if err != nil {
		tb.Fatalf("%q: %v", pattern, err)
	}
	return func(ref string) bool {
		data, err := json.Marshal(map[string]string{"ref": ref})
		if err != nil {
			tb.Fatal(err)
		}
		return len(table.Match("git", &event.Event{ID: "1", Source: "s", Type: "git.push", Data: data}, nil)) == 1
	}
}

func TestBranchFilter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ filter, yes, no string }{
		{"", "refs/heads/a/b refs/tags/v1 refs/heads/main", ""},
		{"*", "refs/heads/a/b refs/tags/v1", ""},
		{"**", "refs/heads/a/b refs/tags/v1", ""},
		{"***", "refs/heads/a/b", "refs/tags/v1"},
		{"main", "refs/heads/main", "refs/tags/main refs/heads/main2 refs/heads/Main main refs/heads/refs/heads/main"},
		{"feature/*", "refs/heads/feature/foo refs/heads/feature/a/b", "refs/heads/feature refs/tags/feature/foo"},
		{"{master,feature*}", "refs/heads/master refs/heads/feature/7791", "refs/heads/fix_weird_bug"},
		{"{main,release*}", "refs/heads/main refs/heads/release refs/heads/release/1.2", "refs/heads/dev"},
		{"{main, release*}", "refs/heads/main", "refs/heads/release-1"},
		{"{refs/heads/feature/*,refs/tags/release/*}", "refs/heads/feature/foo refs/tags/release/bar refs/heads/refs/heads/feature/x", "refs/heads/main refs/tags/dev"},
		{"refs/heads/*", "refs/heads/main", "refs/tags/main"},
		{"release-[0-9]", "refs/heads/release-7", "refs/heads/release-77"},
		{"release-[!0-9]*", "refs/heads/release-x", "refs/heads/release-1"},
		{"v?.?", "refs/heads/v1.2", "refs/heads/v1.10"},
		{"!main", "refs/heads/!main", "refs/heads/dev"},
		{"a.b", "refs/heads/a.b", "refs/heads/axb"},
		{"[!m]*", "refs/heads/dev", "refs/heads/main"},
		{"*/*", "refs/heads/a/b", "refs/heads/main"},
		{"[ab-]x", "refs/heads/ax refs/heads/-x", "refs/heads/cx"},
		{"[^a]x", "refs/heads/^x refs/heads/ax", "refs/heads/bx"},
		{"{,x}main", "refs/heads/main refs/heads/xmain", "refs/heads/ymain"},
		{"a,b", "refs/heads/a,b", "refs/heads/a refs/heads/b"},
		{`\*`, "refs/heads/*", "refs/heads/a"},
		{"refs/tags/v*", "refs/tags/v1 refs/heads/refs/tags/v1", "refs/heads/v1"},
	} {
		match := passes(t, tt.filter)
		for ref := range strings.FieldsSeq(tt.yes) {
			if !match(ref) || !reference(tt.filter, ref) {
				t.Errorf("%s does not pass %s", tt.filter, ref)
			}
		}
		for ref := range strings.FieldsSeq(tt.no) {
			if match(ref) || reference(tt.filter, ref) {
				t.Errorf("%s passes %s", tt.filter, ref)
			}
		}
	}
}

func TestBranchFilterRefused(t *testing.T) {
	t.Parallel()
	for filter, offset := range map[string]int{"[": 1, "[]": 2, "[!]x": 3, "[a-]x": 5, "[a-cx-z]x": 5, "[z-a]x": 5, "a{b,c": 5, `a\`: 2} {
		_, err := securesourcemanager.BranchFilter(filter)
		syntax, ok := errors.AsType[*glob.SyntaxError](err)
		if !ok || !strings.Contains(err.Error(), syntax.Reason) || syntax.Offset != offset {
			t.Errorf("%s: got %v, want a syntax error at %d", filter, err, offset)
		}
	}
	for filter, want := range map[string]string{
		strings.Repeat("a", 501):                                "has 501 bytes, at most 500",
		strings.Repeat("{a,b}", 7):                              "stand for more than 64 patterns",
		strings.Repeat("refs/", 4) + strings.Repeat("{a,b}", 7): "stand for more than 64 patterns",
	} {
		if _, err := securesourcemanager.BranchFilter(filter); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", filter, err, want)
		}
	}
}

// reference is the rule as it is written down.
func reference(filter, ref string) bool {
	if filter == "" || filter == "*" || filter == "**" {
		return true
	}
	g := glob.MustCompile(filter)
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok && g.Match(branch) {
		return true
	}
	return strings.Contains(filter, "refs/") && g.Match(ref)
}

// TestBranchFilterAgainstReference makes filters and refs of the same pieces.
func TestBranchFilterAgainstReference(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(from []string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	filters := []string{"a", "b", "/", "*", "?", "[ab]", "[!a]", "{a,b}", "{,a*}", "{b/,{a,?}}", "refs/", "refs/heads/", "refs/tags/", `\*`, `\{`, ",", "}", "-", "é", "{refs/heads/,}", "[,-.]"}
	refs := []string{"a", "b", "/", "*", ",", "{", "}", "é", "-", "refs/heads/"}
	for range 5000 {
		filter := pick(filters, r.IntN(6))
		if strings.Count(filter, "{") > 4 {
			continue // the engine alone would take its time
		}
		match := passes(t, filter)
		for range 5 {
			ref := pick([]string{"refs/heads/", "refs/heads/", "refs/tags/", ""}, 1) + pick(refs, r.IntN(4))
			if got, want := match(ref), reference(filter, ref); got != want {
				t.Fatalf("seed %d: %q passes %q: got %t, want %t", seed, filter, ref, got, want)
			}
		}
	}
}

func FuzzBranchFilter(f *testing.F) {
	for _, filter := range []string{"{main,release*}", "refs/tags/v[0-9]", "*/*", "[!m]?", `\{a`, "{refs/heads/a,b}", "a{,b{c,d}}"} {
		f.Add(filter, "refs/heads/main")
		f.Add(filter, "refs/tags/v1")
	}
	f.Fuzz(func(t *testing.T, filter, ref string) {
		if _, err := securesourcemanager.BranchFilter(filter); err != nil || strings.Count(filter, "{") > 3 || len(ref) > 50 || strings.ToValidUTF8(ref, "") != ref {
			return
		}
		if got, want := passes(t, filter)(ref), reference(filter, ref); got != want {
			t.Fatalf("%q passes %q: got %t, want %t", filter, ref, got, want)
		}
	})
}
