package publicapi_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// given imports the packages that it holds.
type given map[string]*types.Package

func (g given) Import(path string) (*types.Package, error) { return g[path], nil }

func checked(t *testing.T, path, source string, imports given) *types.Package {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "x.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := (&types.Config{Importer: imports}).Check(path, files, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The search finds a type of internal/x wherever a program outside would meet it.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	x := checked(t, module+"/internal/x", "package x\n\ntype T struct{}\n\ntype I interface{ M() }\n\nconst C = 1\n", nil)
	for _, tc := range [][2]string{ // what is declared, and where the type is met
		{"func F(x.T)", "F"},
		{"func F(...*x.T)", "F"},
		{"func F() (int, []x.T)", "F"},
		{"func F(func(map[string]chan x.T))", "F"},
		{"func F[P x.I](P) {}", "F"},
		{"var V [2]x.T", "V"},
		{"var V struct{ A struct{ B *x.T } }", "V.A.B"},
		{"type A = x.T", "A"},
		{"type A struct{ x.T }", "A.T"},
		{"type A struct{ B *x.T }", "A.B"},
		{"type A struct{ b }\n\ntype b struct{ C x.T }", "A.b.C"},
		{"type A struct{ b }\n\ntype b int\n\nfunc (b) M(x.T) {}", "A.b.M"},
		{"type A interface{ M(x.T) }", "A.M"},
		{"type A interface{ x.I }", "A"},
		{"type A int\n\nfunc (*A) M() x.T", "A.M"},
		{"func F() *b\n\ntype b struct{ C x.T }", "F.C"},
		{"type A[P any] struct{}\n\nvar V A[x.T]", "V"},
		// And is silent where it would not.
		{"func f(x.T)", ""},
		{"type A struct{ b x.T }", ""},
		{"const C = x.C", ""},
		{"type A int\n\nfunc (A) m(x.T)", ""},
		{"type b struct{ C x.T }\n\nvar V any", ""},
	} {
		declared, where := tc[0], tc[1]
		source := "package p\n\nimport \"" + module + "/internal/x\"\n\nvar _ x.T\n\n" + declared + "\n"
		want := ""
		if where != "" {
			want = where + ": " + module + "/internal/x."
		}
		p := checked(t, module+"/p", source, given{module + "/internal/x": x})
		found := leaksOf(p, isInternal, isPublic)
		if want == "" && len(found) > 0 || want != "" && (len(found) == 0 || found[0] != want+"T" && found[0] != want+"I") {
			t.Errorf("%s: found %q, want %q", declared, found, want)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	before := describe(checked(t, module+"/p", `package p

type A struct{ B, C int }

func (*A) M(n int) error { return nil }

type I interface{ M(a string) }

const K = "k"
`, nil))
	now := describe(checked(t, module+"/p", `package p

type A struct {
	B string
	C int
	D int
}

func (a *A) M(number int) error { return nil }

type I interface{ M(b string); N() }

const K = "k"

func F() {}
`, nil))
	want := `incompatible, gone or changed: type A, field B int
incompatible, gone or changed: type I interface{M(string)}
new: func F()
new: type A, field B string
new: type A, field D int
new: type I interface{M(string); N()}
`
	if diff := cmp.Diff(want, compare(before, now)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
