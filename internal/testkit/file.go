// Package testkit has what the tests of several packages share. Only tests import it.
package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// File writes a file into a folder of its own, and returns its path.
func File(tb testing.TB, name, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// TextForms are the forms in which editors save the same text, by name.
func TextForms(text string) map[string]string {
	windows := strings.ReplaceAll(text, "\n", "\r\n")
	return map[string]string{"plain": text, "with a mark": "\ufeff" + text, "with CRLF": windows, "with a mark and CRLF": "\ufeff" + windows}
}
