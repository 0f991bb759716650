package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/receiver"
)

// A jfrogFact is an entry of the collection of what the JFrog Platform has sent.
type jfrogFact struct {
	Domain    string          `json:"domain"`
	EventType string          `json:"event_type"`
	Payload   json.RawMessage `json:"payload"`
}

// A jfrogEnvelope is the part of a payload that a subscription's settings decide.
type jfrogEnvelope struct {
	Data            json.RawMessage `json:"data"`
	SubscriptionKey string          `json:"subscription_key"`
	JPDOrigin       string          `json:"jpd_origin"`
	Source          string          `json:"source"`
	UserContext     *struct {
		ID    string `json:"id"`
		Realm string `json:"realm"`
	} `json:"userContext"`
}

func jfrogFacts(t *testing.T) []jfrogFact {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "schemas", "testdata", "facts", "jfrog_examples.json"))
	if err != nil {
		t.Fatal(err)
	}
	var facts []jfrogFact
	if err := json.Unmarshal(text, &facts); err != nil {
		t.Fatal(err)
	}
	return facts
}

// subscribeAs is subscribe for a profile that does not sign by Standard Webhooks.
func (s *server) subscribeAs(t *testing.T, profile, id, url string, types []string, more object) {
	t.Helper()
	body := object{"id": id, "types": types, "profile": profile, "endpoint": object{"url": url}}
	maps.Copy(body, more)
	s.call(t, http.MethodPost, "/v1/subscriptions", body, nil)
}

// Everything that is known to have been sent by the JFrog Platform goes through
// publish, router and sender, and arrives as the same bytes: equal in meaning, in
// the order of its keys and in every digit.
func TestJFrogFacts(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	facts := jfrogFacts(t)
	if len(facts) < 72 {
		t.Fatalf("there are %d facts", len(facts))
	}
	want := make(map[string]string) // by path
	for n, fact := range facts {
		var envelope jfrogEnvelope
		if err := json.Unmarshal(fact.Payload, &envelope); err != nil {
			t.Fatal(err)
		}
		settings := object{"subscription_key": envelope.SubscriptionKey}
		if envelope.JPDOrigin != "" {
			settings["jpd_origin"] = envelope.JPDOrigin
		}
		if envelope.UserContext != nil {
			settings["user_context"], settings["user_context_id"], settings["user_context_realm"] = "true", envelope.UserContext.ID, envelope.UserContext.Realm
		}
		kind := fact.Domain + "." + fact.EventType
		id := fmt.Sprintf("fact-%d", n)
		s.subscribeAs(t, "jfrog", id, c.URL+"/"+id, []string{kind}, object{
			"settings": settings, "filters": []object{{"exact": object{"id": id}}},
		})
		var compact bytes.Buffer
		if err := json.Compact(&compact, fact.Payload); err != nil {
			t.Fatal(err)
		}
		want["/"+id] = compact.String()
		s.publish(t, happening{id: id, source: envelope.Source, kind: kind, data: string(envelope.Data)})
	}
	got := make(map[string]string)
	for _, a := range c.waitFor(t, len(facts)) {
		got[a.target] = string(a.body)
		if a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Jfrog-Event-Auth") != "" {
			t.Errorf("%s: got headers %v", a.target, a.header)
		}
		for name := range a.header {
			if strings.HasPrefix(name, "Webhook-") || strings.HasPrefix(name, "Jetpost-") || strings.HasPrefix(name, "Ce-") {
				t.Errorf("%s: the original sends no %s", a.target, name)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A JFrog-style subscription gets the files of a folder, as far as its criteria
// want them, and one in the style of Secure Source Manager gets the pushes of a
// repository, as far as its branch filter does.
func TestVendorJourney(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	files, pushes := startCatcher(t, nil), startCatcher(t, nil)
	const secret = "tell no one"
	s.run(t, "subscription", "create", "--id", "artifacts", "--types", "artifact.deployed,artifact.deleted", "--url", files.URL+"/artifacts",
		"--profile", "jfrog", "--setting", "use_secret_for_signing=true", "--setting", "jpd_origin=https://example.com", "--secret", secret,
		"--jfrog-criteria", `{"anyLocal":true,"includePatterns":["org/**"],"excludePatterns":["**/*.tmp"]}`)
	s.run(t, "subscription", "create", "--id", "pushes", "--types", "git.push", "--url", pushes.URL+"/pushes?key=s3cret",
		"--profile", "secure-source-manager", "--secret", secret, "--branch-filter", "{main,release*}")

	folder := filepath.Join(t.TempDir(), "libs")
	for name, text := range map[string]string{"org/acme/a.jar": "a", "org/acme/b.tmp": "b", "readme.txt": "c"} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start(t, "watch", folder, "--settle", "50ms").line(t, "events go to "+s.url)
	a := files.waitFor(t, 1)[0]
	want := `{"domain":"artifact","event_type":"deployed","data":{"repo_key":"libs","path":"org/acme/a.jar","name":"a.jar","sha256":"` +
		hex.EncodeToString(sum("a")) + `","size":1},"subscription_key":"artifacts","jpd_origin":"https://example.com","source":"jfrog/`
	if !strings.HasPrefix(string(a.body), want) {
		t.Errorf("got  %s\nwant %s…", a.body, want)
	}
	if got := a.header.Get("X-Jfrog-Event-Auth"); got != macOf(secret, a.body) {
		t.Errorf("got the signature %q", got)
	}
	// What is deleted comes after all that could have come before.
	if err := os.Remove(filepath.Join(folder, "org/acme/a.jar")); err != nil {
		t.Fatal(err)
	}
	if got := files.waitFor(t, 2); len(got) != 2 || !strings.HasPrefix(string(got[1].body), `{"domain":"artifact","event_type":"deleted"`) {
		t.Errorf("got %d requests, the last one %s", len(got), got[len(got)-1].body)
	}

	r := newRepository(t, s.home)
	s.run(t, "git", "install", r.bare)
	r.commit("first", map[string]string{"README.md": "one"})
	r.git(r.work, "checkout", "-q", "-b", "feature/x")
	r.git(r.work, "push", "-q", "origin", "feature/x")
	r.git(r.work, "checkout", "-q", "-b", "release/1.0")
	r.git(r.work, "push", "-q", "origin", "main", "release/1.0")
	got := pushes.waitFor(t, 2)
	var refs []string
	for _, a := range got {
		var push struct {
			Secret *string `json:"secret"`
			Ref    string  `json:"ref"`
		}
		if err := json.Unmarshal(a.body, &push); err != nil || push.Secret == nil || *push.Secret != "" {
			t.Errorf("got %s, %v", a.body, err)
		}
		refs = append(refs, push.Ref)
		if a.target != "/pushes?key=s3cret" || a.header.Get("X-SecureSourceManager-Event") != "push" ||
			a.header.Get("X-SecureSourceManager-Signature") != macOf(secret, a.body) || len(a.header.Get("X-SecureSourceManager-Delivery")) != 36 {
			t.Errorf("got %s with %v", a.target, a.header)
		}
	}
	slices.Sort(refs)
	if diff := cmp.Diff([]string{"refs/heads/main", "refs/heads/release/1.0"}, refs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, id := range []string{"artifacts", "pushes"} {
		if shown := s.run(t, "attempts", id) + s.run(t, "subscription", "show", id); strings.Contains(shown, "s3cret") || strings.Contains(shown, secret) {
			t.Errorf("a secret is shown: %s", shown)
		}
	}
}

func sum(text string) []byte {
	s := sha256.Sum256([]byte(text))
	return s[:]
}

func macOf(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// A subscription that signs with Ed25519 shows its public key, and a receiver that
// has nothing else verifies with it.
func TestPublicKey(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--schemas", shopDomain(t))
	c := startCatcher(t, nil)
	s.run(t, "subscription", "create", "--id", "signed", "--types", "shop.*", "--url", c.URL, "--setting", "signature=v1a")
	_, found, ok := strings.Cut(s.run(t, "subscription", "show", "signed"), "public key")
	public, _, _ := strings.Cut(strings.TrimSpace(found), "\n")
	if !ok || !strings.HasPrefix(public, "whpk_") {
		t.Fatalf("shown as %q", public)
	}
	s.publish(t, happening{id: "1", source: "/shop", kind: "shop.ping", data: `{"a":1}`})
	a := c.waitFor(t, 1)[0]
	keys, err := receiver.DecodeSecrets([]string{public})
	if err != nil {
		t.Fatal(err)
	}
	if err := receiver.VerifySignature(a.header, a.body, keys, a.at); err != nil {
		t.Error(err)
	}
}
