package securesourcemanager

import (
	"strings"
	"testing"
)

// A hook keeps its sensitive query string when its target changes, as its vendor's
// clients know it, and the audit trail says so.
func TestSensitiveQueryFollowsTheTarget(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", hooks+"?hookId=one", `{"targetUri":"`+target+`","sensitiveQueryString":"auth=fake_token"}`).ok(nil)
	f.do("PATCH", hooks+"/one?updateMask=targetUri", `{"targetUri":"`+target+`/other"}`).ok(nil)
	f.do("PATCH", hooks+"/one?updateMask=targetUri", `{"targetUri":"http://127.0.0.1:9001/in"}`).ok(nil)
	f.do("PATCH", hooks+"/one", `{"targetUri":"http://127.0.0.1:9002/in","sensitiveQueryString":"auth=other_token"}`).ok(nil)
	trail := f.send("GET", f.native+"/v1/audit", "").ok(nil).body
	if strings.Count(trail, "stored secrets are kept for ") != 1 || !strings.Contains(trail, "stored secrets are kept for http://127.0.0.1:9001: endpoint.query") {
		t.Errorf("got %s", trail)
	}
}
