package apply

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The lines of two texts, with one line of what both have around each change.
func TestLineChanges(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x\n", maxDiffLines)
	for name, each := range map[string]struct{ before, after, want string }{
		"one line of many":        {"a\nb\nc\nd\ne", "a\nb\nC\nd\ne", " b|-c|+C| d"},
		"the first":               {"a\nb\nc", "A\nb\nc", "-a|+A| b"},
		"the last":                {"a\nb\nc", "a\nb\nC", " b|-c|+C"},
		"one comes":               {"a\nc", "a\nb\nc", " a|+b| c"},
		"one goes":                {"a\nb\nc", "a\nc", " a|-b| c"},
		"two that are apart":      {"a\nb\nc\nd\ne\nf\ng", "A\nb\nc\nd\ne\nf\nG", "-a|+A| b| f|-g|+G"},
		"two with one in between": {"a\nb\nc", "A\nb\nC", "-a|+A| b|-c|+C"},
		"all":                     {"a\nb", "c\nd", "-a|-b|+c|+d"},
		"of a text of one line":   {"a", "a\nb", " a|+b"},
		"the end of the line":     {"a\nb", "a\nb\n", " b|+"},
		"no text before":          {"", "a\nb", "-|+a|+b"},
		"an empty line goes":      {"a\n\nb", "a\nb", " a|-| b"},
		"carriage returns":        {"a\r\nb", "a\nb", "-a\r|+a| b"},
		"too many lines":          {long, "a\nb", "-1001 lines|+2 lines"},
	} {
		if diff := cmp.Diff(strings.Split(each.want, "|"), lineChanges(each.before, each.after)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
