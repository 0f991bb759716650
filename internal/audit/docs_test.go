package audit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The example of docs/audit.md is true.
func TestDocumentedExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, `{"sequence":`) {
			lines = append(lines, []byte(strings.TrimSuffix(line, "\n")))
		}
	}
	got := verify(lines)
	if got.Break != nil || got.Records != 2 {
		t.Fatalf("got %d records and %v", got.Records, got.Break)
	}
	head := headOf(t, lines[1]).String()
	if n := strings.Count(string(text), head); n != 2 {
		t.Errorf("the head %s is named %d times", head, n)
	}
	for _, line := range lines {
		r := decode(t, line)
		again, err := r.Encode()
		if err != nil || string(again) != string(line) {
			t.Errorf("got error %v and %s, want %s", err, again, line)
		}
	}
}
