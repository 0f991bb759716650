package interop_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/go-playground/webhooks/v6/gitea"
	octo "github.com/go-playground/webhooks/v6/github"
	"github.com/google/go-github/v74/github"
	"github.com/remitly-oss/httpsig-go"
	"github.com/remitly-oss/httpsig-go/keyman"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	svix "github.com/svix/svix-webhooks/go"
)

// What the subscriptions sign with. public belongs to private.
const (
	shared    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	private   = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	public    = "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	tokenText = "It's a Secret to Everybody"
)

// errRefused is what receivers without a library of their own say.
var errRefused = errors.New("the signature does not match")

// Receivers of every scheme verify a live delivery, and refuse it with another body.
func TestReceivers(t *testing.T) {
	t.Parallel()
	p := start(t)
	push := event{"octo.push", json.RawMessage(`{"ref":"refs/heads/main","before":"a","after":"b","created":false,"deleted":false,"forced":false,"compare":"","commits":[],"repository":{"id":1,"name":"r","full_name":"o/r"},"pusher":{"name":"o","email":""},"sender":{"login":"o","id":1}}`)}
	signed := []string{"standard", "cloudevents", "cloudevents-binary", "http-signature"}
	var captures []sample

	type check struct {
		name, profile, secret string
		event                 event
		settings              map[string]string
		verify                func(*testing.T, *capture) error
	}
	var checks []check
	for _, profile := range signed {
		checks = append(checks, check{"standard-webhooks", profile, shared, example(t, "artifact.deployed"), nil, byStandardWebhooks})
		checks = append(checks, check{"svix", profile, shared, example(t, "git.push"), nil, bySvix})
		checks = append(checks, check{"crypto/ed25519", profile, private, example(t, "docker.pushed"), nil, byEd25519})
	}
	for _, profile := range []string{"cloudevents", "cloudevents-binary", "http-signature"} {
		checks = append(checks, check{"sdk-go", profile, shared, example(t, "distribution.distribute_started"), nil, bySDK})
	}
	for _, mode := range []string{"binary", "structured"} {
		settings := map[string]string{"mode": mode, "keyid": "harbor"}
		checks = append(checks, check{"httpsig-go " + mode, "http-signature", private, example(t, "build.uploaded"), settings, byHTTPSig})
		checks = append(checks, check{"httpsig-go hmac " + mode, "http-signature", shared, example(t, "build.uploaded"), settings, byHTTPSig})
	}
	checks = append(checks,
		check{"go-github", "github", tokenText, example(t, "git.push"), nil, byGoGitHub},
		check{"go-playground github", "github", tokenText, push, nil, byPlaygroundGitHub},
		check{"go-playground gitea", "secure-source-manager", tokenText, example(t, "git.push"), nil, byPlaygroundGitea},
		check{"only captured", "jfrog", tokenText, example(t, "artifact.deployed"), map[string]string{"use_secret_for_signing": "true"}, nil},
	)
	for _, c := range checks {
		t.Run(c.name+"/"+c.profile, func(t *testing.T) {
			got := p.deliver(t, c.profile, c.secret, c.event, func(sub map[string]any) {
				if c.settings != nil {
					sub["settings"] = c.settings
				}
			})
			captures = append(captures, sample{Profile: c.profile, Secret: c.secret, Request: got, Type: c.event.Type})
			if c.verify == nil {
				return
			}
			if err := c.verify(t, got); err != nil {
				t.Errorf("refused: %v\n%v\n%s", err, got.Header, got.Body)
			}
			if c.name == "sdk-go" {
				return // reads, and verifies nothing
			}
			if err := c.verify(t, got.tampered()); err == nil {
				t.Error("another body is accepted")
			}
		})
	}
	t.Run("only captured/encoded path", func(t *testing.T) { // httpsig-go reads the path decoded, which RFC 9421 does not
		got := p.deliver(t, "http-signature", private, example(t, "user.locked"), func(sub map[string]any) {
			endpoint := sub["endpoint"].(map[string]any)
			endpoint["url"] = strings.Replace(endpoint["url"].(string), "/in/hook", "/a%20b%2Fc/hook", 1)
		})
		captures = append(captures, sample{Profile: "http-signature", Secret: private, Request: got, Type: "user.locked"})
	})
	t.Run("rotation", func(t *testing.T) { rotation(t, p) })
	t.Run("npm", func(t *testing.T) { npm(t, captures) })
}

// While keys are rotated, receivers with the old and with the new one accept.
func rotation(t *testing.T, p *program) {
	t.Helper()
	got := p.deliver(t, "http-signature", private, example(t, "user.locked"), func(sub map[string]any) {
		delete(sub, "secret")
		sub["secrets"] = []any{map[string]any{"id": "key_new", "secret": private}, map[string]any{"id": "key_old", "secret": shared}}
		sub["settings"] = map[string]string{"mode": "structured"}
	})
	if err := byStandardWebhooks(t, got); err != nil {
		t.Errorf("standard-webhooks with the old key: %v", err)
	}
	if err := byEd25519(t, got); err != nil {
		t.Errorf("Ed25519 with the new key: %v", err)
	}
	keys := map[string]httpsig.KeySpec{"key_new": specOf(t, private), "key_old": specOf(t, shared)}
	for _, label := range []string{"sig1", "sig2"} {
		if err := verifyHTTPSig(t, got, label, keys); err != nil {
			t.Errorf("httpsig-go, %s: %v", label, err)
		}
	}
}

func byStandardWebhooks(t *testing.T, c *capture) error {
	t.Helper()
	receiver, err := standardwebhooks.NewWebhook(shared)
	if err != nil {
		t.Fatal(err)
	}
	return receiver.Verify(c.Body, c.Header)
}

func bySvix(t *testing.T, c *capture) error {
	t.Helper()
	receiver, err := svix.NewWebhook(shared)
	if err != nil {
		t.Fatal(err)
	}
	return receiver.Verify(c.Body, c.Header)
}

// byEd25519 is the receiver that no library has: that of v1a.
func byEd25519(t *testing.T, c *capture) error {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(public)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Appendf(nil, "%s.%s.%s", c.Header.Get("webhook-id"), c.Header.Get("webhook-timestamp"), c.Body)
	for signature := range strings.FieldsSeq(c.Header.Get("webhook-signature")) {
		encoded, found := strings.CutPrefix(signature, "v1a,")
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if found && err == nil && ed25519.Verify(key, text, decoded) {
			return nil
		}
	}
	return errRefused
}

func bySDK(t *testing.T, c *capture) error {
	t.Helper()
	got, err := cehttp.NewEventFromHTTPRequest(c.request(t))
	if err != nil {
		return err
	}
	if err := got.Validate(); err != nil {
		return err
	}
	want := example(t, "distribution.distribute_started")
	var compact bytes.Buffer
	if err := json.Compact(&compact, want.Data); err != nil {
		t.Fatal(err)
	}
	if got.Type() != want.Type || got.Source() != "/interop" || got.Subject() != "a/subject" || !got.Time().Equal(time.Date(2026, 3, 1, 11, 30, 0, 0, time.UTC)) || !bytes.Equal(got.Data(), compact.Bytes()) {
		return fmt.Errorf("another event: %s", got)
	}
	return nil
}

func byGoGitHub(t *testing.T, c *capture) error {
	t.Helper()
	r := c.request(t)
	payload, err := github.ValidatePayload(r, []byte(tokenText))
	if err == nil && (!bytes.Equal(payload, c.Body) || github.WebHookType(r) != "push" || len(github.DeliveryID(r)) != 36) {
		err = fmt.Errorf("another event: type %q, delivery %q", github.WebHookType(r), github.DeliveryID(r))
	}
	return err
}

func byPlaygroundGitHub(t *testing.T, c *capture) error {
	t.Helper()
	hook, err := octo.New(octo.Options.Secret(tokenText))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := hook.Parse(c.request(t), octo.PushEvent)
	if push, ok := payload.(octo.PushPayload); err == nil && (!ok || push.Ref != "refs/heads/main" || push.Repository.FullName != "o/r") {
		return fmt.Errorf("another payload: %+v", payload)
	}
	return err
}

// byPlaygroundGitea knows the headers of Secure Source Manager's ancestor.
func byPlaygroundGitea(t *testing.T, c *capture) error {
	t.Helper()
	hook, err := gitea.New(gitea.Options.Secret(tokenText))
	if err != nil {
		t.Fatal(err)
	}
	r := c.request(t)
	for _, name := range []string{"Event", "Signature", "Delivery"} {
		r.Header.Set("X-Gitea-"+name, r.Header.Get("X-SecureSourceManager-"+name))
	}
	payload, err := hook.Parse(r, gitea.PushEvent)
	if push, ok := payload.(gitea.PushPayload); err == nil && (!ok || push.Ref != "refs/heads/main" || len(push.Commits) == 0) {
		return fmt.Errorf("another payload: %+v", payload)
	}
	return err
}

func byHTTPSig(t *testing.T, c *capture) error {
	t.Helper()
	secret := private
	if strings.Contains(c.Header.Get("Signature-Input"), "hmac-sha256") {
		secret = shared
	}
	return verifyHTTPSig(t, c, "sig1", map[string]httpsig.KeySpec{"harbor": specOf(t, secret)})
}

func verifyHTTPSig(t *testing.T, c *capture, label string, keys map[string]httpsig.KeySpec) error {
	t.Helper()
	for id, spec := range keys {
		spec.KeyID = id
		keys[id] = spec
	}
	_, err := httpsig.Verify(c.request(t), keyman.NewKeyFetchInMemory(keys), httpsig.VerifyProfile{
		SignatureLabel:    label,
		RequiredFields:    httpsig.Fields("@method", "@authority", "@path", "content-type", "content-digest", "webhook-id", "webhook-timestamp"),
		RequiredMetadata:  []httpsig.Metadata{httpsig.MetaCreated, httpsig.MetaKeyID, httpsig.MetaAlgorithm},
		AllowedAlgorithms: []httpsig.Algorithm{httpsig.Algo_ED25519, httpsig.Algo_HMAC_SHA256},
	})
	if err != nil {
		return err
	}
	// What the signature covers cannot be changed either.
	for name, change := range map[string]func(*capture){
		"path":         func(c *capture) { c.URL = strings.Replace(c.URL, "/hook", "/other", 1) },
		"content type": func(c *capture) { c.Header.Set("Content-Type", "text/plain") },
		"id":           func(c *capture) { c.Header.Set("Webhook-Id", "other") },
		"event type":   func(c *capture) { c.Header.Set("Ce-Type", "other") },
	} {
		if name == "event type" && c.Header.Get("Ce-Type") == "" {
			continue
		}
		other := &capture{c.Method, c.URL, c.Header.Clone(), c.Body}
		change(other)
		if _, err := httpsig.Verify(other.request(t), keyman.NewKeyFetchInMemory(keys), httpsig.VerifyProfile{
			SignatureLabel: label, AllowedAlgorithms: []httpsig.Algorithm{httpsig.Algo_ED25519, httpsig.Algo_HMAC_SHA256},
		}); err == nil {
			t.Errorf("another %s is accepted", name)
		}
	}
	return nil
}

func specOf(t *testing.T, secret string) httpsig.KeySpec {
	t.Helper()
	if secret == private {
		key, err := base64.StdEncoding.DecodeString(public)
		if err != nil {
			t.Fatal(err)
		}
		return httpsig.KeySpec{Algo: httpsig.Algo_ED25519, PubKey: ed25519.PublicKey(key)}
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	return httpsig.KeySpec{Algo: httpsig.Algo_HMAC_SHA256, Secret: key}
}
