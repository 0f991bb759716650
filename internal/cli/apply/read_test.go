package apply

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/testkit"
)

// A value of one line is the same from every file.
func TestTextOfSubscriptionFiles(t *testing.T) {
	t.Parallel()
	for form, text := range testkit.TextForms("s3cret value\n") {
		in := testkit.File(t, "in.yaml", "id: ci\ntypes: [git.push]\nprofile: github\nendpoint: {url: 'http://127.0.0.1/', secret_headers: {x-key: {file: key}}}\nsecret: {file: key}\n")
		if err := os.WriteFile(filepath.Join(filepath.Dir(in), "key"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := readSubscriptions([]string{in}, nil)
		if err != nil || all[0].sub.Secrets[0].Secret.Reveal() != "s3cret value" || all[0].sub.Endpoint.SecretHeaders["x-key"].Reveal() != "s3cret value" {
			t.Errorf("%s: got %v", form, err)
		}
	}
}

// A secret in a file of subscriptions with something before, behind or in it that cannot be
// seen is refused, and not shown.
func TestSecretsInFilesThatAreHardlyMeant(t *testing.T) {
	t.Parallel()
	for text, hint := range map[string]string{
		" s3cret-text":            "begins with a space",
		"s3cret-text \n":          "ends with a space",
		"s3cret-text\t\r\n":       "ends with a tab",
		"s3cret-text\nand more":   "has a line end in it",
		"s3cret\x1b-text":         "has the control character U+001B in it",
		"\ufeff\ufeffs3cret-text": "begins with a byte order mark",
		"s3cret-text\u00a0":       "ends with white space (U+00A0)",
	} {
		direct := strings.TrimRight(text, "\r\n")
		quoted, _ := json.Marshal(text)
		lookup := func(string) (string, bool) { return direct, true }
		reader := &subscriptionReader{byID: map[string]*wanted{}, lookup: lookup}
		reader.text("f", ".", []byte("id: ci\ntypes: [git.push]\nprofile: github\nendpoint: {url: 'http://127.0.0.1/'}\nsecret: {env: KEY}\n"))
		reader.text("g", ".", []byte(`{"id":"c2","types":["git.push"],"profile":"github","endpoint":{"url":"http://127.0.0.1/"},"secret":`+string(quoted)+`}`))
		if got := reader.wrong.Error(); len(reader.wrong) != 2 || !strings.Contains(got, hint) || !strings.Contains(got, "variable KEY") || strings.Contains(got, "s3cret") {
			t.Errorf("%q: got %s", text, got)
		}
	}
}
