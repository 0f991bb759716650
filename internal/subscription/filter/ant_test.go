package filter

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/subscription/validation/validationtest"
)

func pathEvent(path string) *event.Event {
	return &event.Event{ID: "1", Source: "s", Type: "t", Data: []byte(`{"path":"` + strings.ReplaceAll(path, `\`, `\\`) + `"}`)}
}

func TestAnt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern  string
		yes, not []string
	}{
		{"**", []string{"a", "a/b/c", ""}, nil},
		{"**/*", []string{"a", "a/b/c"}, []string{""}},
		{"org/apache/**", []string{"org/apache", "org/apache/x/y.jar"}, []string{"org/apachex/y", "org"}},
		{"*.json", []string{"a.json", ".json"}, []string{"a/b.json", "a.JSON"}},
		{"**/*.json", []string{"b.json", "a/b.json"}, []string{"a/b.json5"}},
		{"a/*/c", []string{"a/b/c"}, []string{"a/c", "a/b/b/c"}},
		{"a/**/c", []string{"a/c", "a/b/b/c"}, []string{"a/c/d"}},
		{"?.txt", []string{"a.txt", "ä.txt"}, []string{"ab.txt", ".txt", "/.txt"}},
		{"foo/", []string{"foo/a", "foo/a/b", "foo"}, []string{"food", "a/foo"}},

		{"a", []string{"a", "a/"}, []string{"b", "a/b", "A", "/a"}},
		{"*", []string{"a"}, []string{"a/b", ""}},
		{"*/*", []string{"a/b"}, []string{"a", "a/b/c"}},
		{"*/**", []string{"a", "a/b", "a/b/c"}, []string{""}},
		{"**/**", []string{"", "a", "a/b"}, nil},
		{"**/a/**", []string{"a", "x/a", "a/x", "x/y/a/z"}, []string{"ab", "x"}},
		{"**/a/**/b", []string{"a/b", "x/a/y/b"}, []string{"b", "a", "b/a"}},
		{"a/**/**/b/**/", []string{"a/b", "a/x/b", "a/x/b/y"}, []string{"a"}},
		{"a**b", []string{"ab", "axb"}, []string{"a/b"}},
		{"a*/**", []string{"a", "ab", "a/b", "ab/c"}, []string{"b", "b/a"}},
		{"?*/", []string{"a", "ab/c"}, []string{""}},
		{"**/a*/**", []string{"a", "x/ab", "x/ab/c"}, []string{"x"}},
		{"a***", []string{"a", "ab"}, []string{"a/b"}},
		{"***", []string{"a"}, []string{"a/b", ""}},
		{"**.jar", []string{"a.jar"}, []string{"a/b.jar"}},
		{"a/b**", []string{"a/b", "a/bc"}, []string{"a/b/c"}},
		{"a?/b", []string{"ax/b"}, []string{"a/b", "a//b"}},
		{"[a]", []string{"[a]"}, []string{"a"}},
		{"{a,b}/*", []string{"{a,b}/c"}, []string{"a/c", "b/c"}},
		{"{a/b}*", []string{"{a/b}c"}, []string{"a/bc"}},
		{`a\*`, []string{`a\`, `a\b`}, []string{"a*", "a"}},
		{`[!a]?\`, []string{`[!a]x\`}, []string{"bx"}},
		{"ä*/?", []string{"äb/ü"}, []string{"a/ü"}},
		{"a//b", []string{"a/b", "a//b"}, []string{"a"}},
		{"a/*/b/**", []string{"a//x//b//c/"}, []string{"a//b"}},
		{"/a", []string{"/a", "//a"}, []string{"a"}},
		{"/**", []string{"/a", "/"}, []string{"a", ""}},
		{"/", []string{"/a/b"}, []string{"a"}},
		{"/a*/b", []string{"/ax/b"}, []string{"ax/b"}},
		{"*.tar.*", []string{"a.tar.gz", ".tar."}, []string{"a.tar"}},
		{"*-*-*", []string{"a-b-c", "--"}, []string{"a-b"}},
		{"pool/**/*_amd64.deb", []string{"pool/x_amd64.deb", "pool/m/y/x_amd64.deb"}, []string{"pool/x_arm64.deb", "dists/x_amd64.deb"}},
	} {
		f := Ant(map[string]string{"data.path": tt.pattern})
		for _, path := range tt.yes {
			if !matches(t, f, pathEvent(path)) || !naiveAnt(path, tt.pattern) {
				t.Errorf("%s does not match %q (naive: %t)", tt.pattern, path, naiveAnt(path, tt.pattern))
			}
		}
		for _, path := range tt.not {
			if matches(t, f, pathEvent(path)) || naiveAnt(path, tt.pattern) {
				t.Errorf("%s matches %q (naive: %t)", tt.pattern, path, naiveAnt(path, tt.pattern))
			}
		}
		if matches(t, f, &event.Event{ID: "1", Source: "s", Type: "t", Data: []byte(`{}`)}) {
			t.Errorf("%s matches what is missing", tt.pattern)
		}
	}
}

func TestAntRefused(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		strings.Repeat("a", 513): "is a pattern of 513 bytes, at most 512 are allowed",
		"\xff*":                  "is not valid UTF-8",
		"":                       "is empty",
	} {
		validationtest.Want(t, checked(Ant(map[string]string{"data.path": pattern})), "filters[0].ant.data.path: "+want)
	}
}

// naiveAnt is the definition: lists of segments, each compared by itself.
func naiveAnt(path, pattern string) bool {
	if strings.HasPrefix(path, "/") != strings.HasPrefix(pattern, "/") {
		return false
	}
	if strings.HasSuffix(pattern, "/") {
		pattern += "**"
	}
	split := func(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == '/' }) }
	var all func(path, pattern []string) bool
	all = func(path, pattern []string) bool {
		switch {
		case len(pattern) == 0:
			return len(path) == 0
		case pattern[0] == "**":
			return all(path, pattern[1:]) || len(path) > 0 && all(path[1:], pattern)
		default:
			return len(path) > 0 && naiveSegment([]rune(path[0]), []rune(pattern[0])) && all(path[1:], pattern[1:])
		}
	}
	return all(split(path), split(pattern))
}

func naiveSegment(text, pattern []rune) bool {
	switch {
	case len(pattern) == 0:
		return len(text) == 0
	case pattern[0] == '*':
		return naiveSegment(text, pattern[1:]) || len(text) > 0 && naiveSegment(text[1:], pattern)
	default:
		return len(text) > 0 && (pattern[0] == '?' || pattern[0] == text[0]) && naiveSegment(text[1:], pattern[1:])
	}
}

// TestAntExhaustively compares all short patterns on all short paths.
func TestAntExhaustively(t *testing.T) {
	t.Parallel()
	texts := func(alphabet string, longest int) []string {
		all := []string{""}
		for from := 0; longest > 0; longest-- {
			to := len(all)
			for _, text := range all[from:to] {
				for _, c := range alphabet {
					all = append(all, text+string(c))
				}
			}
			from = to
		}
		return all
	}
	paths := texts("ab/", 4)
	for _, pattern := range texts("a*?/", 6)[1:] {
		compiled, err := compileAnt(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if got, want := accepts(compiled, cleanPath(path)), naiveAnt(path, pattern); got != want {
				t.Errorf("%q with %q: got %t, want %t", pattern, path, got, want)
			}
		}
	}
}

func FuzzAnt(f *testing.F) {
	for _, pattern := range []string{"**/*.jar", "a/**/b/", "*?a*/**", `/[x]{y,z}\**`, "//**/**//a***", "**/a/**/b?", "a/", "?", "?*/", "**/a*/**"} {
		for _, path := range []string{"a/b.jar", "a/x/b/c", "", "/[x]{y,z}\\z", "//a/", "a", "b/a//bb"} {
			f.Add(pattern, path)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		compiled, err := compileAnt(pattern)
		if err != nil || len(path) > 30 || strings.Count(pattern, "*") > 10 || !utf8.ValidString(path) {
			return
		}
		if got, want := accepts(compiled, cleanPath(path)), naiveAnt(path, pattern); got != want {
			t.Fatalf("%q with %q: got %t, want %t", pattern, path, got, want)
		}
	})
}
