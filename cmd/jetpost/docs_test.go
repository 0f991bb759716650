package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/subscription"
)

// TestInvariantsAreTested keeps docs/invariants.md from naming tests that are not
// there.
func TestInvariantsAreTested(t *testing.T) {
	t.Parallel()
	text := readDoc(t, "docs/invariants.md")
	defined := make(map[string]bool)
	definition := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, found := range definition.FindAllSubmatch(source, -1) {
			defined[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(text, -1)
	if len(named) < 20 {
		t.Errorf("docs/invariants.md names %d tests", len(named))
	}
	for _, test := range named {
		if !defined[test[1]] {
			t.Errorf("docs/invariants.md names %s, which does not exist", test[1])
		}
	}
}

// TestDocumentedDefaults compares what the README says with the code.
func TestDocumentedDefaults(t *testing.T) {
	t.Parallel()
	text := readDoc(t, "README.md")
	var delays []string
	for _, delay := range subscription.DefaultSchedule() {
		delays = append(delays, delay.String())
	}
	for _, want := range []string{strings.Join(delays, " "), subscription.Duration(subscription.DefaultTimeout).String()} {
		if !strings.Contains(text, want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
}

// TestFlowNamesFiles keeps docs/flow.md from naming files that are not there.
func TestFlowNamesFiles(t *testing.T) {
	t.Parallel()
	text := readDoc(t, "docs/flow.md")
	if lines := strings.Count(text, "\n"); lines > 100 {
		t.Errorf("docs/flow.md has %d lines, want at most 100", lines)
	}
	for _, file := range regexp.MustCompile("`([a-z_/]+\\.(?:go|md))`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("../..", file[1])); err != nil {
			t.Errorf("docs/flow.md names %s: %v", file[1], err)
		}
	}
}

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
