package input

import (
	"testing"

	"github.com/jetpost/jetpost/internal/testkit"
)

// A secret is the same from every file.
func TestSecretOfFiles(t *testing.T) {
	t.Parallel()
	for form, text := range testkit.TextForms("s3cret value\n") {
		if got, err := Secret("--secret", "@"+testkit.File(t, "secret", text)); got != "s3cret value" || err != nil {
			t.Errorf("%s: got %q, %v", form, got, err)
		}
	}
}
