package httpsignature

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The test cases of RFC 9421, Appendix B.2, whose algorithms have one result only.
func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	m := message{method: "POST", authority: "example.com", path: "/foo", header: http.Header{
		"Date": {"Tue, 20 Apr 2021 02:07:55 GMT"}, "Content-Type": {"application/json"}, "Content-Length": {" 18\t"},
	}}
	const (
		// The halves of test-key-ed25519 (B.1.4) and test-shared-secret (B.1.5).
		private = "whsk_n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcUmtAuPk//z2JcRL368WCsjLb1yUX0IL+g8+zDdzkPRuw=="
		shared  = "whsec_uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
	)
	for _, tt := range []struct {
		name, secret, params, want string
		components                 []string
	}{
		{
			"B.2.5", shared, `("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"`,
			"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
			[]string{"date", "@authority", "content-type"},
		},
		{
			"B.2.6", private, `("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`,
			"wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
			[]string{"date", "@method", "@path", "@authority", "content-type", "content-length"},
		},
	} {
		k, err := newKey(tt.secret, "")
		if err != nil {
			t.Fatal(err)
		}
		got := base64.StdEncoding.EncodeToString(k.sign(closeBase(m.appendLines(nil, tt.components), tt.params)))
		if got != tt.want {
			t.Errorf("%s: got signature %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	m := message{method: "PUT", authority: "example.com:8443", header: http.Header{
		"Content-Type": {"text/plain"}, "Content-Digest": {"sha-256=:AA==:"}, "Webhook-Id": {"dlv_0"}, "Webhook-Timestamp": {"1"},
		"Ce-Type": {"git.push"}, "Ce-Id": {"1"}, "X-Other": {"not signed"},
	}}
	covered := m.covered()
	k := key{id: "key_1", algorithm: "ed25519"}
	const want = `"@method": PUT
"@authority": example.com:8443
"@path": /
"content-type": text/plain
"content-digest": sha-256=:AA==:
"webhook-id": dlv_0
"webhook-timestamp": 1
"ce-id": 1
"ce-type": git.push
"@signature-params": ("@method" "@authority" "@path" "content-type" "content-digest" "webhook-id" "webhook-timestamp" "ce-id" "ce-type");created=1772364605;keyid="key_1";alg="ed25519"`
	got := string(closeBase(m.appendLines(nil, covered), k.params(covered, 1772364605)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("base differs (-want +got):\n%s", diff)
	}
	k.id = ""
	if got, want := k.params(nil, 1), `();created=1;alg="ed25519"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
