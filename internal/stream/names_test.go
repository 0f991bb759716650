package stream_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// spelledOut finds what belongs to this package in a string literal: the name of a
// stream, or a subject. A subject is followed by its next token, or by the end of
// the whole literal, where a program would append one: "… no more attempts." is a
// sentence.
var spelledOut = regexp.MustCompile(
	`\b(EVENTS|DELIVERIES|RETRIES)_|\b(ATTEMPTS|DEADLETTERS|AUDIT)\b` +
		`|\$(KV|JS)\.|\bKV_` +
		`|(^|[^A-Za-z_-])(deliveries|retries|attempts|deadletters)\.[A-Za-z0-9_*>%<{$]` +
		`|^(deliveries|retries|attempts|deadletters)\.$`)

func TestSpelledOut(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]bool{
		"EVENTS_": true, "JETPOST_EVENTS_DIR": false, "DELIVERIES_%s": true, "RETRIES_00": true, "ATTEMPTS": true, "stream DEADLETTERS is full": true,
		"$KV.subscriptions.>": true, "$JS.API.STREAM.INFO.*": true, "KV_subscriptions": true,
		"deliveries.": true, "deliveries.ci": true, "p.retries.00.due.": true, "attempts.*": true, "deadletters.%s": true,

		"": false, "attempts": false, "gave up after 3 attempts.": false, "no attempts. Try again": false, "JETPOST_ATTEMPTS": false,
		"/v1/subscriptions/{id}/attempts": false, "jetpost_sender_attempts_total": false, "deliveries": false, "max-attempts.n": false,
	} {
		if got := spelledOut.MatchString(literal); got != want {
			t.Errorf("%q: got %t, want %t", literal, got, want)
		}
	}
}

// Invariant 8: names are built in this package only.
func TestNoNamesElsewhere(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatalf("find the repository: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("find the repository: %v", err)
	}
	inStream := 0
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "data" || name == "bin"):
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		found := literalsIn(t, path, file)
		if strings.HasPrefix(filepath.ToSlash(file), "internal/stream/") {
			inStream += len(found)
			return nil
		}
		for _, f := range found {
			t.Errorf("%s: names are built in package stream only", f)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk the repository: %v", err)
	}
	if inStream < 5 {
		t.Errorf("found %d names in package stream itself: the test looks for the wrong thing", inStream)
	}
}

// literalsIn lists the places in a source file where a name is spelled out. Import
// paths, struct tags, which hold the texts of help pages, and the titles of printed
// tables are not looked at.
func literalsIn(t *testing.T, path, file string) []string {
	t.Helper()
	positions := token.NewFileSet()
	tree, err := parser.ParseFile(positions, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Logf("%s: %v", file, err) // the compiler's business
		return nil
	}
	var exempt []*ast.BasicLit
	var found []string
	ast.Inspect(tree, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			exempt = append(exempt, n.Tag)
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "NewTable" {
				return true
			}
			for _, title := range n.Args { // a column may be called ATTEMPTS
				if literal, ok := title.(*ast.BasicLit); ok {
					exempt = append(exempt, literal)
				}
			}
		case *ast.BasicLit:
			if n.Kind != token.STRING || slices.Contains(exempt, n) {
				return true
			}
			if text, err := strconv.Unquote(n.Value); err == nil && spelledOut.MatchString(text) {
				found = append(found, file+":"+strconv.Itoa(positions.Position(n.Pos()).Line)+": "+n.Value)
			}
		}
		return true
	})
	return found
}
