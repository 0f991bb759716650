// Package publicapi_test holds the public packages to their promise: what they export
// names nothing internal, and changes only with a reviewed record.
package publicapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	// So that a stored result of these tests does not outlive a change.
	_ "github.com/jetpost/jetpost/client"
	_ "github.com/jetpost/jetpost/client/api"
	_ "github.com/jetpost/jetpost/event"
	_ "github.com/jetpost/jetpost/producer"
	_ "github.com/jetpost/jetpost/producer/folder"
	_ "github.com/jetpost/jetpost/producer/gitsource"
	_ "github.com/jetpost/jetpost/schemas"
)

const module = "github.com/jetpost/jetpost"

var update = flag.Bool("update", false, "rewrite testdata/api")

// goList returns what "go list" says of packages, without their tests.
func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Export,Name"}, args...)...) //nolint:gosec // ours
	list.Dir = filepath.Join("..", "..")
	var problems bytes.Buffer
	list.Stderr = &problems
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &problems)
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

type listed struct{ ImportPath, Export, Name string }

// publicPackages type-checks the packages of this module that others may import.
func publicPackages(t *testing.T) []*types.Package {
	t.Helper()
	var paths []string
	for _, p := range goList(t, "./...") {
		if isPublic(p.ImportPath) && p.Name != "main" {
			paths = append(paths, p.ImportPath)
		}
	}
	exports := map[string]string{}
	for _, p := range goList(t, append([]string{"-export", "-deps"}, paths...)...) {
		exports[p.ImportPath] = p.Export
	}
	from := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	packages := make([]*types.Package, 0, len(paths))
	for _, path := range paths {
		p, err := from.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	for _, known := range []string{"client", "client/api", "event", "producer", "schemas"} {
		if !slices.Contains(paths, module+"/"+known) {
			t.Errorf("%s is not among the public packages", known)
		}
	}
	return packages
}

func TestPublicNamesNothingInternal(t *testing.T) {
	t.Parallel()
	for _, p := range publicPackages(t) {
		for _, leak := range leaksOf(p, isInternal, isPublic) {
			t.Errorf("%s, which no program outside can name: take a plain value or an interface of the public package instead", p.Name()+"."+leak)
		}
	}
}

// What the public packages export is in testdata/api: a reviewer sees what changes.
func TestPublicAPI(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, p := range publicPackages(t) {
		name := strings.ReplaceAll(strings.TrimPrefix(p.Path(), module+"/"), "/", "_") + ".txt"
		known[name] = true
		path := filepath.Join("testdata", "api", name)
		now := describe(p)
		if *update {
			if err := os.WriteFile(path, []byte(strings.Join(now, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v: run make golden", err)
			continue
		}
		if report := compare(strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), now); report != "" {
			t.Errorf("%s has changed; if that is meant, run make golden and say it in CHANGELOG.md:\n%s", p.Path(), report)
		}
	}
	files, err := os.ReadDir(filepath.Join("testdata", "api"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		switch {
		case known[f.Name()]:
		case *update:
			if err := os.Remove(filepath.Join("testdata", "api", f.Name())); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("incompatible: the package of %s is gone", f.Name())
		}
	}
}

// compare says what is gone or has changed, which may break a program, and what is new.
func compare(before, now []string) string {
	var report strings.Builder
	for _, line := range before {
		if !slices.Contains(now, line) {
			fmt.Fprintf(&report, "incompatible, gone or changed: %s\n", line)
		}
	}
	for _, line := range now {
		if !slices.Contains(before, line) {
			fmt.Fprintf(&report, "new: %s\n", line)
		}
	}
	return report.String()
}
