package securesourcemanager

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Programs decide by reasons, so all of them are documented, and none that is not there.
func TestReasonsAreDocumented(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(`(?:badField\(|newFault\([^,]+, |class\{"[A-Z_]+", |reasonExists = )"([A-Z_]+)"`)
	var used []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, found := range pattern.FindAllStringSubmatch(string(source), -1) {
			used = append(used, found[1])
		}
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "secure-source-manager.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, errors, _ := strings.Cut(string(page), "## Errors")
	var documented []string
	for _, found := range regexp.MustCompile("`([A-Z_]{6,})`").FindAllStringSubmatch(errors, -1) {
		documented = append(documented, found[1])
	}
	slices.Sort(used)
	slices.Sort(documented)
	if used = slices.Compact(used); !slices.Equal(used, documented) {
		t.Errorf("used are\n%v\ndocumented are\n%v", used, documented)
	}
}
