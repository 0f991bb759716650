package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are the texts of all Markdown files, by their path from the repository's
// folder.
func documents(t *testing.T) map[string]string {
	t.Helper()
	root := os.DirFS(filepath.Join("..", ".."))
	found := make(map[string]string)
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "node_modules" || path != "." && strings.HasPrefix(path, ".")):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := fs.ReadFile(root, path)
		found[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// headings are the anchors of a document: its headings in lower case, without
// punctuation, with hyphens for spaces.
func headings(text string) map[string]bool {
	anchors := make(map[string]bool)
	for _, heading := range regexp.MustCompile(`(?m)^#+ +(.+)$`).FindAllStringSubmatch(prose(text), -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors[strings.ReplaceAll(strings.TrimSpace(anchor), " ", "-")] = true
	}
	return anchors
}

// prose is a document without its fenced code, where # is no heading and a link is text.
func prose(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
}

// Every relative link of a document leads to a file or folder, and its anchor to a
// heading.
func TestLinksOfDocuments(t *testing.T) {
	t.Parallel()
	all := documents(t)
	links := 0
	for path, text := range all {
		for _, found := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(prose(text), -1) {
			if strings.Contains(found[1], ":") {
				continue
			}
			links++
			name, anchor, _ := strings.Cut(found[1], "#")
			target := path
			if name != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), name))
			}
			if _, err := os.Stat(filepath.Join("..", "..", target)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere: %v", path, found[1], err)
				continue
			}
			if anchor != "" && !headings(all[target])[anchor] {
				t.Errorf("%s: %s has no heading for the link to %s", path, target, found[1])
			}
		}
	}
	if links < 100 {
		t.Errorf("the documents have %d relative links", links)
	}
}

// The README is short; what needs more room is a page of docs.
func TestREADMELength(t *testing.T) {
	t.Parallel()
	text := documents(t)["README.md"]
	if lines := strings.Count(text, "\n"); lines > 150 || lines == 0 {
		t.Errorf("README.md has %d lines, want 1 to 150", lines)
	}
}

// The index of docs names every page, and every page says first who reads it.
func TestIndexOfDocuments(t *testing.T) {
	t.Parallel()
	all := documents(t)
	pages := 0
	for path, text := range all {
		name, ok := strings.CutPrefix(path, "docs/")
		if !ok || strings.Contains(name, "/") {
			continue
		}
		pages++
		if name != "README.md" && !strings.Contains(all["docs/README.md"], "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
		if _, body, _ := strings.Cut(text, "\n\n"); !strings.HasPrefix(text, "# ") || !strings.HasPrefix(body, "For ") {
			t.Errorf("%s does not begin with a title and who reads it (For …)", path)
		}
	}
	if pages < 20 {
		t.Errorf("docs has %d pages", pages)
	}
}

// The package map and the README have a row for every folder with Go code at the root
// and in internal; the package map goes one level deeper.
func TestPackageMap(t *testing.T) {
	t.Parallel()
	all := documents(t)
	packages := make(map[string]bool)
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "interop" || entry.Name() == "bin" || entry.Name() == "data") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			folder, err := filepath.Rel(filepath.Join("..", ".."), filepath.Dir(path))
			if err != nil {
				return err
			}
			packages[filepath.ToSlash(folder)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range packages {
		parts := strings.Split(folder, "/")
		top := parts[:min(len(parts), 1)]
		if parts[0] == "internal" || parts[0] == "cmd" {
			top = parts[:min(len(parts), 2)]
		}
		if row := "| `" + strings.Join(top, "/") + "/` |"; !strings.Contains(all["README.md"], row) {
			t.Errorf("README.md has no row %q for %s", row, folder)
		}
		if row := "| `" + folder + "` |"; len(parts) <= 2 && !strings.Contains(all["docs/packages.md"], row) {
			t.Errorf("docs/packages.md has no row %q", row)
		}
	}
	if len(packages) < 20 {
		t.Errorf("there are %d packages", len(packages))
	}
}
