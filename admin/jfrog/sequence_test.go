package jfrog_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A player makes the requests of a client one after the other and keeps them with the
// bytes of the answers.
type player struct {
	*site

	story strings.Builder
}

// do makes a request; a plan, where there is one, is what the client has to change after
// the answer.
func (p *player) do(note, method, path, body string, plan func(answer string) string) {
	p.T.Helper()
	got := p.site.do(method, path, body)
	fmt.Fprintf(&p.story, "### %s\n%s %s\n", note, method, path)
	if body != "" {
		fmt.Fprintf(&p.story, "%s\n", body)
	}
	fmt.Fprintf(&p.story, "\n%s\n", strings.TrimSpace(fmt.Sprintf("%d %s\n%s", got.status, got.header.Get("Content-Type"), got.body)))
	if plan != nil {
		difference := plan(got.body)
		if difference != "" {
			p.T.Errorf("%s: %s\nplans (-state +description):\n%s", note, got.body, difference)
		} else {
			difference = "no changes"
		}
		fmt.Fprintf(&p.story, "plan: %s\n", difference)
	}
	fmt.Fprintln(&p.story)
}

func (p *player) compare(file string) {
	p.T.Helper()
	golden := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(golden, []byte(p.story.String()), 0o600); err != nil {
			p.T.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		p.T.Fatal(err)
	}
	if diff := cmp.Diff(string(want), p.story.String()); diff != "" {
		p.T.Errorf("(-want +got):\n%s", diff)
	}
}

// A predefinedBody is how the versions of the provider send handlers of predefined
// webhooks: 12.1.0 sends what its user does not describe as false and "", later versions
// as null or not at all.
func (p provider) predefinedBody(url, secret, sign, proxy string) string {
	text, null, headers := func(s string) string { return fmt.Sprintf("%q", s) }, "null", "[]"
	if p.legacy {
		null, headers = `""`, "null"
		if sign == "" {
			sign = "false"
		}
	}
	optional := func(s string) string {
		if s == "" {
			return null
		}
		return text(s)
	}
	body := `{"handler_type":"webhook","url":` + text(url) + `,"secret":` + optional(secret)
	if sign != "" {
		body += `,"use_secret_for_signing":` + sign
	}
	return body + `,"proxy":` + optional(proxy) + `,"custom_http_headers":` + headers + `}`
}

func (p provider) customBody(url, secrets, payload string) string {
	body := `{"handler_type":"custom-webhook","url":` + fmt.Sprintf("%q", url)
	if p.method {
		body += `,"method":null`
	}
	if p.legacy {
		return body + `,"secrets":` + secrets + `,"proxy":"","http_headers":null,"payload":` + payload + `}`
	}
	return body + `,"secrets":` + secrets + `,"proxy":null,"http_headers":[],"payload":` + payload + `}`
}

// subscriptionBody is a document as the provider sends it.
func (p provider) subscriptionBody(key, domain, event, criteria, handler string) string {
	if criteria == "" && p.legacy {
		criteria = "null"
	}
	if criteria != "" {
		criteria = `,"criteria":` + criteria
	}
	return `{"key":"` + key + `","description":"","enabled":true,"event_filter":{"domain":"` + domain + `","event_types":["` + event + `"]` + criteria + `},"handlers":[` + handler + `]}`
}

// apply creates what a user describes, reads it back as the refresh does, and plans again.
func (p provider) apply(play *player, note, sent string) {
	var d struct{ Key string }
	if err := json.Unmarshal([]byte(sent), &d); err != nil {
		play.T.Fatal(err)
	}
	plan := func(answer string) string { return p.plan(sent, answer) }
	play.do(note, "POST", subscriptions, sent, nil)
	play.do("refresh", "GET", subscriptions+"/"+d.Key, "", plan)
	play.do("apply of no change", "PUT", subscriptions+"/"+d.Key, sent, nil)
	play.do("second plan", "GET", subscriptions+"/"+d.Key, "", plan)
}

// The requests of JFrog's Terraform provider of three versions, with the state that each
// reads back and its second plan, and the first plan after an upgrade from the oldest.
func TestProviderSequences(t *testing.T) {
	t.Parallel()
	const artifacts = `{"includePatterns":[],"excludePatterns":[],"anyLocal":true,"anyRemote":false,"anyFederated":false,"repoKeys":[]}`
	oldest := providers()[0]
	for _, p := range providers() {
		t.Run(p.version, func(t *testing.T) {
			t.Parallel()
			play := &player{site: newSite(t)}
			play.do("which platform", "GET", "/artifactory/api/system/version", "", nil)
			play.do("what is used", "POST", "/artifactory/api/system/usage", `{"productId":"terraform-provider-artifactory/`+p.version+`","features":[{"featureId":"Resource/artifactory_user_webhook/CREATE"}]}`, nil)

			if !p.legacy {
				sent := oldest.subscriptionBody("upgraded", "artifact", "deployed", artifacts, oldest.predefinedBody("https://tempurl.org/old", "", "", ""))
				play.do("made by 12.1.0", "POST", subscriptions, sent, nil)
				play.do("first plan after the upgrade", "GET", subscriptions+"/upgraded", "", func(answer string) string { return p.plan(sent, answer) })
				sent = oldest.subscriptionBody("upgraded-custom", "user", "locked", "", oldest.customBody("https://tempurl.org/old", "null", `"{}"`))
				play.do("made by 12.1.0", "POST", subscriptions, sent, nil)
				play.do("first plan after the upgrade", "GET", subscriptions+"/upgraded-custom", "", func(answer string) string { return p.plan(sent, answer) })
			}
			p.apply(play, "a user webhook, without criteria", p.subscriptionBody("user-webhook", "user", "locked", "", p.predefinedBody("https://tempurl.org", "", "", "")))
			p.apply(play, "a lifecycle webhook, without criteria", p.subscriptionBody("lifecycle-webhook", "artifact_lifecycle", "archive", "", p.predefinedBody("https://tempurl.org", "fake-secret", "true", "")))
			p.apply(play, "an artifact webhook that says nothing of secret, signing and proxy", p.subscriptionBody("artifact-webhook", "artifact", "deployed", artifacts, p.predefinedBody("https://tempurl.org", "", "", "")))
			p.apply(play, "an explicit false beside a secret", p.subscriptionBody("secret-webhook", "artifact", "deployed", artifacts, p.predefinedBody("https://tempurl.org", "fake-secret", "false", "corporate")))
			p.apply(play, "a custom user webhook", p.subscriptionBody("custom-webhook", "user", "locked", "", p.customBody("https://tempurl.org", `[{"name":"secret1","value":"value1"}]`, `"{}"`)))

			const repository = "/artifactory/api/repositories/npm-remote"
			const remote = `{"key":"npm-remote","projectKey":"","environments":null,"rclass":"remote","packageType":"npm","url":"https://tempurl.org/npm","username":"","proxy":"","description":"","hardFail":false,"offline":false}`
			plan := func(answer string) string { return planRepository(remote, answer) }
			play.do("a remote repository", "PUT", repository, remote, nil)
			play.do("refresh", "GET", repository, "", plan)
			play.do("apply of no change", "POST", repository, remote, nil)
			play.do("second plan", "GET", repository, "", plan)
			play.do("destroy", "DELETE", repository, "", nil)
			play.do("is it gone", "HEAD", repository, "", nil)

			play.do("destroy", "DELETE", subscriptions+"/user-webhook", "", nil)
			play.do("refresh", "GET", subscriptions+"/user-webhook", "", nil)
			play.do("is it really gone", "HEAD", "/artifactory/api/repositories/user-webhook", "", nil)
			play.compare("provider-" + p.version + ".http")
		})
	}
}

// planRepository is what the provider has to change of a repository that it has sent and
// read back. Of a remote one shareConfiguration is computed: it has to be known then.
func planRepository(sent, answer string) string {
	var want, state map[string]any
	if err := json.Unmarshal([]byte(answer), &state); err != nil {
		return err.Error()
	}
	if err := json.Unmarshal([]byte(sent), &want); err != nil {
		return err.Error()
	}
	shared, isKnown := state["shareConfiguration"].(bool)
	switch {
	case want["rclass"] == "remote" && !isKnown:
		return fmt.Sprintf("shareConfiguration is %v", state["shareConfiguration"])
	case want["rclass"] == "remote" && want["shareConfiguration"] == nil:
		want["shareConfiguration"] = shared // whatever it is
		if shared {
			return "shareConfiguration is true and was not sent"
		}
	}
	return cmp.Diff(state, want)
}
