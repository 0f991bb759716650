package jfrog_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/admin/admintest"
	"github.com/jetpost/jetpost/admin/jfrog"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A case of testdata/documents.json is what a client sends, and what it must read.
type documentCase struct {
	Name string          `json:"name"`
	Sent json.RawMessage `json:"sent"`
	Read json.RawMessage `json:"read,omitempty"` // written by -update
}

// What clients send for all domains comes back as they depend on it, through the calls
// that they make, in their order.
func TestDocuments(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	file := filepath.Join("testdata", "documents.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []documentCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for i := range cases {
		c := &cases[i]
		var sent struct{ Key string }
		if err := json.Unmarshal(c.Sent, &sent); err != nil {
			t.Fatal(err)
		}
		path := subscriptions + "/" + sent.Key
		s.do("GET", path, "").want(http.StatusNotFound).says("Subscription does not exist")
		created := s.do("POST", subscriptions, string(c.Sent)).want(http.StatusCreated)
		got := s.do("GET", path, "").want(http.StatusOK)
		if created.body != got.body {
			t.Errorf("%s: created\n%s\nread\n%s", c.Name, created.body, got.body)
		}
		if *update {
			c.Read = json.RawMessage(got.body)
		} else if want := compact(t, c.Read); got.body != want {
			t.Errorf("%s: read\n%s\nwant\n%s", c.Name, got.body, want)
		}
		if put := s.do("PUT", path, got.body); put.body != "" {
			t.Errorf("%s: PUT of what was read answers %s", c.Name, put.body)
		} else {
			put.want(http.StatusNoContent)
		}
		s.do("GET", path, "").want(http.StatusOK).is(got.body)
		s.do("DELETE", path, "").want(http.StatusNoContent).is("")
		s.do("GET", path, "").want(http.StatusNotFound)
		s.do("DELETE", path, "").want(http.StatusNotFound)
	}
	if n := len(s.stored()); n != 0 {
		t.Errorf("%d subscriptions are left over", n)
	}
	if *update {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(cases); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What an earlier version has stored as it was sent is read as clients expect it now.
func TestStoredByEarlierVersions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const sent = `{"key":"old","enabled":true,"event_filter":{"domain":"user","event_types":["locked"]%s},"handlers":[{"handler_type":"webhook","url":"https://example.com/","secret":""%s,"custom_http_headers":null}]}`
	const legacy = `,"use_secret_for_signing":false,"proxy":""`
	s.do("POST", subscriptions, fmt.Sprintf(sent, "", "")).want(http.StatusCreated)
	for id, sub := range s.stored() {
		var stored map[string]any
		if err := json.Unmarshal([]byte(sub.Managed.Document.Reveal()), &stored); err != nil {
			t.Fatal(err)
		}
		stored["document"] = json.RawMessage(fmt.Sprintf(sent, "", legacy))
		text := encoded(t, stored)
		if _, err := s.Store.Change(t.Context(), id, func(sub *subscription.Subscription) error {
			sub.Managed.Document = keyring.NewSecret(text)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want := fmt.Sprintf(sent, `,"criteria":null`, "")
	s.do("GET", subscriptions+"/old", "").want(http.StatusOK).is(want)
	s.do("GET", subscriptions, "").want(http.StatusOK).is("[" + want + "]")
	s.do("PUT", subscriptions+"/old", fmt.Sprintf(sent, `,"criteria":null`, legacy)).want(http.StatusNoContent)
	s.do("GET", subscriptions+"/old", "").want(http.StatusOK).is(want)
}

// document is one of domain artifact, with more members of the handler.
func document(key, url, handler string) string {
	return fmt.Sprintf(`{"key":%q,"description":"","enabled":true,"event_filter":{"domain":"artifact","event_types":["deployed"],"criteria":{"anyLocal":true}},"handlers":[{"handler_type":"webhook","url":%q%s}]}`, key, url, handler)
}

// Keys are not ids: what differs in case or in the characters that an id has not is
// another subscription, and the longest key makes an id.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	long := strings.Repeat("K", 500)
	keys := []string{"My_Key", "my_key", "my-key", "MY_KEY", "My-Key", "test", "a-", "A_", long, strings.Repeat("K", 499) + "k"}
	for _, key := range keys {
		s.do("POST", subscriptions, document(key, "https://example.com/"+key, "")).want(http.StatusCreated)
	}
	for _, key := range keys {
		if got := s.do("GET", subscriptions+"/"+key, "").want(http.StatusOK); !strings.Contains(got.body, `"url":"https://example.com/`+key+`"`) {
			t.Errorf("%s: got %s", key, got.body)
		}
	}
	if n := len(s.stored()); n != len(keys) {
		t.Errorf("%d keys make %d subscriptions", len(keys), n)
	}
	for id, sub := range s.stored() {
		if !subscription.ValidID(id) || sub.Settings["subscription_key"] != sub.Managed.Name {
			t.Errorf("%s is %s", sub.Managed.Name, id)
		}
	}
	for _, key := range []string{"", "a", "1a", "a b", "a/b", "ä1", "a.b", long + "k", "../x"} {
		s.do("POST", subscriptions, document(key, "https://example.com/", "")).want(http.StatusBadRequest)
	}
	s.do("POST", subscriptions, document("My_Key", "https://example.com/", "")).want(http.StatusBadRequest).says("Subscription with key 'My_Key' already exists")
}

// Subscriptions of the native API and of other compatible ones are not there.
func TestForeignSubscriptions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do("GET", subscriptions, "").want(http.StatusOK).is("[]")
	s.do("POST", "/v1/subscriptions", `{"id":"native","types":["artifact.deployed"],"endpoint":{"url":"https://example.com/"},"profile":"jfrog"}`).want(http.StatusCreated)
	if _, err := s.admin.Subscriptions().Create(t.Context(), &subscription.Subscription{
		ID: "hook", Types: []string{"git.push"}, Endpoint: subscription.Endpoint{URL: "https://example.com/"},
		Managed: subscription.Managed{By: subscription.ManagedBySecureSourceManager, Name: "hook"},
	}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b-key", "a-key"} {
		s.do("POST", subscriptions, document(key, "https://example.com/", "")).want(http.StatusCreated)
	}
	var listed []struct{ Key string }
	if err := json.Unmarshal([]byte(s.do("GET", subscriptions, "").want(http.StatusOK).body), &listed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]struct{ Key string }{{"a-key"}, {"b-key"}}, listed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, key := range []string{"native", "hook", "none"} {
		s.do("GET", subscriptions+"/"+key, "").want(http.StatusNotFound)
		s.do("PUT", subscriptions+"/"+key, document(key, "https://example.com/", "")).want(http.StatusNotFound).says("Subscription does not exist")
		s.do("DELETE", subscriptions+"/"+key, "").want(http.StatusNotFound)
	}
	if len(s.stored()) != 4 {
		t.Errorf("there are %v", s.stored())
	}
}

// A document of several handlers is several subscriptions and is read as one; PUT
// follows handlers that come, go and move.
func TestSeveralHandlers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	handlers := func(urls ...string) string {
		var all []string
		for _, u := range urls {
			all = append(all, fmt.Sprintf(`{"handler_type":"webhook","url":%q,"secret":"secret of %s"}`, u, u))
		}
		return `{"key":"many","enabled":true,"event_filter":{"domain":"artifact","event_types":["deployed"],"criteria":{"anyLocal":true}},"handlers":[` + strings.Join(all, ",") + `]}`
	}
	check := func(urls ...string) {
		t.Helper()
		var got []string
		for _, sub := range s.stored() {
			if sub.Secrets[0].Secret.Reveal() != "secret of "+sub.Endpoint.URL {
				t.Errorf("%s has the secret %q", sub.Endpoint.URL, sub.Secrets[0].Secret.Reveal())
			}
			if sub.State != subscription.Active {
				t.Errorf("%s is %s", sub.Endpoint.URL, sub.State)
			}
			got = append(got, fmt.Sprint(sub.Managed.Part, " ", sub.Endpoint.URL))
		}
		slices.Sort(got)
		var want []string
		for i, u := range urls {
			want = append(want, fmt.Sprint(i, " ", u))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	const a, b, c = "https://a.example.com/", "https://b.example.com/", "https://c.example.com/"
	s.do("POST", subscriptions, handlers(a, b, c)).want(http.StatusCreated)
	check(a, b, c)
	s.do("PUT", subscriptions+"/many", handlers(c, a)).want(http.StatusNoContent)
	check(c, a)
	// By the mask alone: secrets go with the URLs.
	masked := strings.NewReplacer("secret of "+a, keyring.Placeholder, "secret of "+b, keyring.Placeholder, "secret of "+c, keyring.Placeholder)
	s.do("PUT", subscriptions+"/many", masked.Replace(handlers(a, c))).want(http.StatusNoContent)
	check(a, c)
	s.do("PUT", subscriptions+"/many", masked.Replace(handlers(b, a, c))).want(http.StatusBadRequest)
	check(a, c)
	s.do("PUT", subscriptions+"/many", handlers(a, b, c)).want(http.StatusNoContent)
	check(a, b, c)
	// One that cannot be used refuses all of them, before anything is written.
	s.do("PUT", subscriptions+"/many", handlers(c, "https://10.0.0.1/")).want(http.StatusBadRequest).says("Validation Error - unable to validate subscription")
	check(a, b, c)
	s.do("DELETE", subscriptions+"/many", "").want(http.StatusNoContent)
	s.do("POST", subscriptions, handlers(c, "https://10.0.0.1/")).want(http.StatusBadRequest).says("Validation Error - unable to validate subscription")
	check()
}

// enabled is the state of the subscription, through whichever API it was changed.
func TestEnabled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	enabled := func(want bool) {
		t.Helper()
		if got := s.do("GET", subscriptions+"/one", "").want(http.StatusOK); !strings.Contains(got.body, fmt.Sprintf(`"enabled":%t`, want)) {
			t.Errorf("got %s", got.body)
		}
	}
	two := strings.Replace(document("one", "https://example.com/1", ""), `]}`, `]}`, 1)
	two = strings.Replace(two, `"handlers":[`, `"handlers":[{"handler_type":"webhook","url":"https://example.com/2"},`, 1)
	s.do("POST", subscriptions, two).want(http.StatusCreated)
	enabled(true)
	for id := range s.stored() {
		s.do("POST", "/v1/subscriptions/"+id+"/pause", "").want(http.StatusOK)
		enabled(true) // its events wait
	}
	s.do("PUT", subscriptions+"/one", two).want(http.StatusNoContent)
	for id, sub := range s.stored() {
		if sub.State != subscription.Paused {
			t.Errorf("%s is %s", id, sub.State)
		}
		s.do("PATCH", "/v1/subscriptions/"+id, `{"state":"disabled"}`).want(http.StatusOK)
		enabled(false)
		s.do("PUT", subscriptions+"/one", two).want(http.StatusNoContent)
		enabled(true)
	}
	s.do("PUT", subscriptions+"/one", strings.Replace(two, `"enabled":true`, `"enabled":false`, 1)).want(http.StatusNoContent)
	enabled(false)
	for id, sub := range s.stored() {
		if sub.State != subscription.Disabled {
			t.Errorf("%s is %s", id, sub.State)
		}
	}
	s.do("PUT", subscriptions+"/one", strings.Replace(two, `"enabled":true,`, ``, 1)).want(http.StatusNoContent)
	enabled(false)
}

// What was refused says why in words that clients look for.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do("POST", subscriptions, document("kept", "https://example.com/", "")).want(http.StatusCreated)
	for name, c := range map[string]struct{ body, want string }{
		"no JSON":              {"{", "the body is not valid JSON: it ends too early"},
		"something else":       {`"x"`, "the body must be an object, not a string"},
		"an unknown domain":    {strings.Replace(document("k1", "https://example.com/", ""), `"artifact"`, `"curation"`, 1), "invalid input: domain with id 'curation' was not found"},
		"an unknown event":     {strings.Replace(document("k1", "https://example.com/", ""), `deployed`, `pushed`, 1), "event_filter.event_types: 'pushed' is not an event type of domain 'artifact': use cached, copied, deleted, deployed, moved"},
		"an event of others":   {strings.Replace(document("k1", "https://example.com/", ""), `deployed`, `x.y`, 1), "event_filter.event_types: 'x.y' is not an event type of domain 'artifact': use cached, copied, deleted, deployed, moved"},
		"an unknown proxy":     {document("k1", "https://example.com/", `,"proxy":"unknown"`), "proxy with key 'unknown' not found"},
		"a private address":    {document("k1", "https://10.0.0.1/", ""), "Validation Error - unable to validate subscription"},
		"a name of this host":  {document("k1", "https://[::1]/", ""), "Validation Error - unable to validate subscription"},
		"no URL":               {document("k1", "ftp://example.com/", ""), "Validation Error - unable to validate subscription"},
		"the same header":      {document("k1", "https://example.com/", `,"custom_http_headers":[{"name":"a","value":"1"},{"name":"A","value":"2"}]`), "handlers[0].custom_http_headers[1].name: 'A' is given twice"},
		"nothing selected":     {strings.Replace(document("k1", "https://example.com/", ""), `true}`, `false}`, 1), "event_filter.criteria: select no repository: give repoKeys, or set anyLocal, anyRemote or anyFederated"},
		"a number for a text":  {strings.Replace(document("k1", "https://example.com/", ""), `"description":""`, `"description":1`, 1), "description: must be a string"},
		"a mask for nothing":   {document("k1", "https://example.com/", `,"secret":"[secret]"`), "handlers[0].secret: [secret] stands for a secret that is stored, and there is none: give the secret"},
		"a payload elsewhere":  {document("k1", "https://example.com/", `,"payload":"x"`), "handlers[0].payload: has no place in a handler of this type"},
		"no type of a handler": {strings.Replace(document("k1", "https://example.com/", ""), `"webhook"`, `"hook"`, 1), "handlers[0].handler_type: 'hook' is not a type of handlers: use webhook or custom-webhook"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := s.do("POST", subscriptions, c.body)
			r.t = t
			r.want(http.StatusBadRequest).says(c.want)
		})
	}
	s.do("PUT", subscriptions+"/kept", document("other", "https://example.com/", "")).want(http.StatusBadRequest).
		says("key: is 'other', but the path names 'kept': a key cannot be changed")
	s.do("POST", subscriptions, strings.Repeat("x", 300<<10)).want(http.StatusRequestEntityTooLarge)
	s.do("PATCH", subscriptions+"/kept", "{}").want(http.StatusMethodNotAllowed).says("this path takes DELETE, GET, HEAD, PUT")
	s.do("GET", "/event/api/v2/subscriptions", "").want(http.StatusNotFound)
	s.do("POST", subscriptions, document("proxied", "https://example.com/", `,"proxy":"corporate"`)).want(http.StatusCreated)
}

// Secrets are shown by a mask, kept when it comes back, and gone when they are left
// out; those of custom webhooks by their names. Other callers do not see them.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	only := func() *subscription.Subscription {
		t.Helper()
		for _, sub := range s.stored() {
			return sub
		}
		t.Fatal("there is none")
		return nil
	}
	s.do("POST", subscriptions, document("one", "https://example.com/", `,"secret":"swordfish <1>","use_secret_for_signing":true,"custom_http_headers":[{"name":"Authorization","value":"Bearer anvil"}]`)).want(http.StatusCreated)
	first := only()
	masked := document("one", "https://example.com/", `,"secret":"[secret]","use_secret_for_signing":true`)
	for _, method := range []string{"PUT", "PUT"} {
		s.do(method, subscriptions+"/one", masked).want(http.StatusNoContent)
		if got := only().Secrets; len(got) != 1 || got[0].Secret.Reveal() != "swordfish <1>" || got[0].ID != first.Secrets[0].ID {
			t.Errorf("it has %v", got)
		}
	}
	if got := only(); got.Settings["use_secret_for_signing"] != "true" || len(got.Endpoint.SecretHeaders) != 0 {
		t.Errorf("got %+v", got)
	}
	s.do("PUT", subscriptions+"/one", document("one", "https://example.com/", "")).want(http.StatusNoContent)
	if got := only(); len(got.Secrets) != 0 || got.Settings["use_secret_for_signing"] != "" {
		t.Errorf("got %+v", got)
	}
	s.do("DELETE", subscriptions+"/one", "").want(http.StatusNoContent)

	custom := func(secrets string) string {
		return `{"key":"two","enabled":true,"event_filter":{"domain":"docker","event_types":["pushed"],"criteria":{"anyLocal":true}},"handlers":[{"handler_type":"custom-webhook","url":"https://example.com/?key=k%C3%A4se","method":null,"secrets":` +
			secrets + `,"http_headers":[{"name":"Authorization","value":"Bearer {{ .secrets.a }}"}],"payload":"{\"text\":\"{{ .data.name }} <&> {{ .secrets.a }}\"}"}]}`
	}
	read := s.do("POST", subscriptions, custom(`[{"name":"a","value":"swordfish"},{"name":"b","value":"trident"},{"name":"c","value":"anchor"}]`)).want(http.StatusCreated)
	if want := custom(`[{"name":"a"},{"name":"b"},{"name":"c"}]`); read.body != strings.Replace(want, `{"anyLocal":true}`, `{"anyLocal":true,"anyRemote":false,"anyFederated":false,"repoKeys":[],"includePatterns":[],"excludePatterns":[]}`, 1) {
		t.Errorf("got  %s\nwant %s", read.body, want)
	}
	s.do("PUT", subscriptions+"/two", custom(`[{"name":"a"},{"name":"b","value":""},{"name":"d","value":"new"}]`)).want(http.StatusNoContent)
	got := make(map[string]string)
	for name, secret := range only().Template.Secrets {
		got[name] = secret.Reveal()
	}
	if diff := cmp.Diff(map[string]string{"a": "swordfish", "b": "", "d": "new"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.do("PUT", subscriptions+"/two", custom(`[{"name":"a"},{"name":"x"}]`)).want(http.StatusBadRequest).
		says("handlers[0].secrets.x: has no value, and none is stored: give the secret")

	for id := range s.stored() {
		if shown := s.do("GET", "/v1/subscriptions/"+id, "").body; strings.Contains(shown, "swordfish") || strings.Contains(shown, "Bearer") || strings.Contains(shown, "k%C3") {
			t.Errorf("it is shown as %s", shown)
		}
	}
	for _, entry := range s.Logs.All() {
		if line := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(line, "swordfish") || strings.Contains(line, "k%C3") {
			t.Errorf("logged: %s", line)
		}
	}
}

// An auditor sees what there is, and nothing that may be a secret.
func TestAuditor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do("POST", subscriptions, document("one", "https://example.com/a?token=swordfish", `,"secret":"swordfish","custom_http_headers":[{"name":"Authorization","value":"Bearer swordfish"}]`)).want(http.StatusCreated)
	for _, path := range []string{subscriptions, subscriptions + "/one"} {
		got := s.do("GET", path, "", admintest.HeaderRole, "auditor").want(http.StatusOK)
		want := `"handlers":[{"handler_type":"webhook","url":"https://example.com/a?…","secret":"[secret]","custom_http_headers":[{"name":"Authorization","value":"[secret]"}]}]`
		if !strings.Contains(got.body, want) || strings.Contains(got.body, "swordfish") {
			t.Errorf("got %s", got.body)
		}
		if got := s.do("GET", path, "", admintest.HeaderRole, "operator").want(http.StatusOK); !strings.Contains(got.body, "Bearer swordfish") {
			t.Errorf("an operator gets %s", got.body)
		}
	}
}

// A filter must not tell an auditor whether a guess at a query is right.
func TestAuditorCannotGuess(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do("POST", subscriptions, document("one", "https://example.com/a?token=swordfish", "")).want(http.StatusCreated)
	id := ""
	for one := range s.stored() {
		id = one
	}
	failed := &delivery.Attempt{
		DeliveryID: "d1", SubscriptionID: id, Attempt: 1, Outcome: delivery.Retry, At: time.Now(), Method: http.MethodPost, URL: "https://example.com/a?…", Status: 500,
		Event: delivery.EventRef{ID: "e1", Source: "/test", Type: "artifact.deployed", Stream: "EVENTS_artifact", Sequence: 1},
	}
	if err := delivery.NewLog(s.JS, s.Layout).Record(t.Context(), failed, "d1", func(*delivery.Attempt) {}); err != nil {
		t.Fatal(err)
	}
	find := func(role, target string) string {
		return s.do("GET", "/event/api/v1/troubleshooting?target="+url.QueryEscape(target), "", admintest.HeaderRole, role).want(http.StatusOK).body
	}
	if got := find("auditor", "https://example.com/a?token=swordfish"); got != "[]" {
		t.Errorf("an auditor who has guessed gets %s", got)
	}
	for role, target := range map[string]string{"auditor": "https://example.com/a?…", "operator": "https://example.com/a?token=swordfish"} {
		if got := find(role, target); !strings.Contains(got, `"subscription_key":"one"`) {
			t.Errorf("%s: got %s", role, got)
		}
	}
}

// The same PUT again changes nothing, and is no change for anybody.
func TestReplacedBySame(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	two := twoHandlers("one", "https://a.example.com/", "https://b.example.com/")
	s.do("POST", subscriptions, two).want(http.StatusCreated)
	revisions := func() map[string]uint64 {
		t.Helper()
		got := make(map[string]uint64)
		for id, sub := range s.stored() {
			got[id] = sub.Revision
		}
		return got
	}
	before := revisions()
	s.do("PUT", subscriptions+"/one", two).want(http.StatusNoContent)
	s.do("PUT", subscriptions+"/one", s.do("GET", subscriptions+"/one", "").body).want(http.StatusNoContent)
	if diff := cmp.Diff(before, revisions()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.do("PUT", subscriptions+"/one", strings.Replace(two, `"second"`, `"another"`, 1)).want(http.StatusNoContent)
	if cmp.Equal(before, revisions()) {
		t.Error("another secret changes nothing")
	}
}

// What this API knows nothing of stays when it replaces a subscription.
func TestNativeSettingsStay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do("POST", subscriptions, document("one", "https://example.com/", "")).want(http.StatusCreated)
	for id := range s.stored() {
		s.do("PATCH", "/v1/subscriptions/"+id, `{"delivery":{"rate":5},"labels":{"team":"anvil"}}`).want(http.StatusOK)
	}
	s.do("PUT", subscriptions+"/one", document("one", "https://other.example.com/", "")).want(http.StatusNoContent)
	for _, sub := range s.stored() {
		if sub.Delivery.Rate != 5 || sub.Labels["team"] != "anvil" || sub.Endpoint.URL != "https://other.example.com/" {
			t.Errorf("got %+v", sub)
		}
	}
}

// What one admin has answered the next read of another one shows.
func TestTwoAdmins(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	sites := []*site{in.site(), in.site()}
	for n := range 20 {
		one, other := sites[n%2], sites[1-n%2]
		key := fmt.Sprintf("key-%d", n)
		one.do("POST", subscriptions, document(key, "https://example.com/1", "")).want(http.StatusCreated)
		other.do("GET", subscriptions+"/"+key, "").want(http.StatusOK)
		other.do("PUT", subscriptions+"/"+key, document(key, "https://example.com/2", "")).want(http.StatusNoContent)
		if got := one.do("GET", subscriptions+"/"+key, "").want(http.StatusOK); !strings.Contains(got.body, "https://example.com/2") {
			t.Fatalf("read after write: %s", got.body)
		}
		one.do("DELETE", subscriptions+"/"+key, "").want(http.StatusNoContent)
		other.do("GET", subscriptions+"/"+key, "").want(http.StatusNotFound)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, cfg := range []jfrog.Config{{TestTimeout: 1}, {Timeout: -1}} {
		if _, err := jfrog.New(cfg, s.services(nil), s.Log); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func compact(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var b strings.Builder
	inString := false
	for i := 0; i < len(raw); i++ { // byte for byte, but for white space
		switch c := raw[i]; {
		case inString && c == '\\':
			b.WriteByte(c)
			i++
			b.WriteByte(raw[i])
			continue
		case c == '"':
			inString = !inString
		case !inString && strings.IndexByte(" \t\r\n", c) >= 0:
			continue
		}
		b.WriteByte(raw[i])
	}
	return b.String()
}
