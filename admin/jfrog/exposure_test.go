package jfrog_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/admin/jfrog"
)

// The platform keeps a secret when the URL of its handler changes, and tests another URL
// with it. So does this API, and the audit trail says so.
func TestSecretsFollowTheURL(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *jfrog.Config) { c.TestTimeout = time.Second })
	const masked = `,"secret":"[secret]"`
	s.do("POST", subscriptions, document("one", "https://example.com/", `,"secret":"swordfish"`)).want(http.StatusCreated)
	s.do("POST", subscriptions+"/test", document("one", "https://tested.example.com/", masked)).want(http.StatusOK)
	s.do("PUT", subscriptions+"/one", document("one", "https://example.com/other", masked)).want(http.StatusNoContent)
	s.do("PUT", subscriptions+"/one", document("one", "https://moved.example.com/", masked)).want(http.StatusNoContent)
	s.do("PUT", subscriptions+"/one", document("one", "https://again.example.com/", `,"secret":"new-swordfish"`)).want(http.StatusNoContent)
	for _, sub := range s.stored() {
		if got := sub.Secrets[0].Secret.Reveal(); got != "new-swordfish" {
			t.Errorf("got the secret %q", got)
		}
	}
	trail := s.do("GET", "/v1/audit", "").want(http.StatusOK).body
	for _, host := range []string{"tested", "moved"} {
		if want := "stored secrets are kept for https://" + host + ".example.com: secrets"; strings.Count(trail, want) != 1 {
			t.Errorf("the audit trail has %d records that say %q: %s", strings.Count(trail, want), want, trail)
		}
	}
	if got := strings.Count(trail, "stored secrets are kept"); got != 2 {
		t.Errorf("%d records say that secrets are kept: %s", got, trail)
	}
}
