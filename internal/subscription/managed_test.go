package subscription_test

import (
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/subscription"
)

// The ids are stored: they stay what they are.
func TestManagedID(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("h", 63)
	for _, c := range []struct{ api, label, name, want string }{
		{"jfrog", "my-key", "My_Key", "jfrog-my-key-67glcok8nia8"},
		{"ssm", long, "projects/p/locations/l/repositories/r/hooks/" + long, "ssm-" + long[:36] + "-c61fdhkprjq3"},
	} {
		got := subscription.ManagedID(c.api, c.label, c.name)
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if !subscription.ValidID(got) {
			t.Errorf("%s is not an id", got)
		}
	}
}
