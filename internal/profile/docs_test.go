package profile_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

// The tables of docs/profiles.md say what the code does.
func TestDocumentedProfiles(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "profiles.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][][]string)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if name := strings.TrimSuffix(cells[0], " (default)"); len(cells) > 2 && strings.HasPrefix(name, "`") {
			name = strings.Trim(name, "`")
			rows[name] = append(rows[name], cells)
		}
	}
	if len(rows) != len(profile.Names()) {
		t.Errorf("%d profiles are documented, want %d", len(rows), len(profile.Names()))
	}
	for _, name := range profile.Names() {
		if len(rows[name]) != 2 || len(rows[name][0]) != 5 || len(rows[name][1]) != 8 {
			t.Errorf("%s is not in both tables: %v", name, rows[name])
			continue
		}
		traits, _ := profile.Traits(name)
		settings := "`" + strings.Join(traits.Settings, "`, `") + "`"
		switch {
		case len(traits.Settings) == 0:
			settings = "none"
		case name == "jfrog-custom":
			settings = "as `jfrog`, without the last"
		}
		methods := strings.Join(traits.Methods, " ")
		if methods == "" {
			methods = "POST PUT PATCH"
		}
		secrets := map[subscription.SecretKind]string{
			subscription.SigningKeys: "signing keys", subscription.SharedSecret: "one text, or none", subscription.NoSecret: "by name, in the template",
		}[traits.Secrets]
		want := []string{settings, methods, secrets, strconv.Itoa(len(traits.Retry)), subscription.Duration(traits.Timeout).String()}
		got := append([]string{rows[name][0][4]}, rows[name][1][1:5]...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s is documented otherwise (-code +docs):\n%s", name, diff)
		}
	}
	custom, _ := profile.Traits("jfrog-custom")
	jfrog, _ := profile.Traits("jfrog")
	if diff := cmp.Diff(jfrog.Settings[:len(jfrog.Settings)-1], custom.Settings); diff != "" {
		t.Errorf("the settings of jfrog-custom are not those of jfrog without the last:\n%s", diff)
	}
	source, err := os.ReadFile(filepath.Join("github", "github.go"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if quoted := strings.TrimSpace(line); strings.HasPrefix(line, "       ") && !strings.Contains(string(source), quoted) {
			t.Errorf("%q is not in the package github", quoted)
		}
	}
	if lines := strings.Count(string(source), "\n"); !strings.Contains(string(text), "in "+strconv.Itoa(lines)+" lines") {
		t.Errorf("the package github has %d lines", lines)
	}
}
