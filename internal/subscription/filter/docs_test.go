package filter

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestFilterDocs compares the page about filters with the code.
func TestFilterDocs(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../../docs/filters.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	examples := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(page, -1)
	for _, example := range examples {
		var f Filter
		if err := json.Unmarshal([]byte(example[1]), &f); err != nil {
			t.Errorf("%s: %v", example[1], err)
		}
	}
	if len(examples) < 3 {
		t.Errorf("there are %d examples", len(examples))
	}
	for _, d := range dialects() {
		if !strings.Contains(page, "`"+d.name+"`") {
			t.Errorf("%s is missing", d.name)
		}
	}
	for _, limit := range []struct {
		before, after string
		value         int
	}{
		{"`not` | ", " |", maxFilterDepth},
		{"subscription | ", " |", maxFilterNodes},
		{"as JSON | ", " bytes", maxFilterBytes},
		{"a pattern | ", " bytes", maxPatternBytes},
		{"an event may take of a subscription | ", ", and", baseSteps},
		{"and ", " for each byte", stepsPerByte},
		{"may stand for ", " patterns", maxAlternatives},
		{"patterns of ", " bytes in all", maxExpandedBytes},
	} {
		if want := limit.before + strconv.Itoa(limit.value) + limit.after; !strings.Contains(strings.Join(strings.Fields(page), " "), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
