package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const jfrogSubscriptions = "/event/api/v1/subscriptions"

// What a client of the JFrog Platform configures is what receivers get: the exact
// envelope, to all handlers, and after a PUT to those that are left.
func TestJFrogConfigured(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	document := func(handlers ...string) string {
		return `{"key":"My_Key","description":"","enabled":true,"event_filter":{"domain":"artifact","event_types":["deployed"],` +
			`"criteria":{"anyLocal":false,"repoKeys":["libs"],"includePatterns":["org/**"]}},"handlers":[` + strings.Join(handlers, ",") + `]}`
	}
	predefined := func(path string) string {
		return fmt.Sprintf(`{"handler_type":"webhook","url":"%s/%s?t=1","secret":"tell no one","use_secret_for_signing":true,"custom_http_headers":[{"name":"X-Team","value":"anvil"}]}`, c.URL, path)
	}
	custom := fmt.Sprintf(`{"handler_type":"custom-webhook","url":"%s/custom","method":"PUT","secrets":[{"name":"token","value":"swordfish"}],"http_headers":[{"name":"Authorization","value":"Bearer {{ .secrets.token }}"}],"payload":"{\"name\":\"{{ .data.name }}\"}"}`, c.URL)
	call := func(method, path, body string, want int) string {
		t.Helper()
		r := s.do(t, method, path, body, "Content-Type", "application/json")
		if r.status != want {
			t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
		}
		return string(r.body)
	}
	call("POST", jfrogSubscriptions, document(predefined("one"), custom), http.StatusCreated)
	s.publish(t, deployed("e1", "libs"))
	s.publish(t, deployed("e2", "others"))
	envelope := func(id string) string {
		return `{"domain":"artifact","event_type":"deployed","data":` + deployed(id, "libs").data + `,"subscription_key":"My_Key","source":"jfrog/jfrt@`
	}
	for _, a := range c.waitFor(t, 2) {
		switch a.target {
		case "/one?t=1":
			if !strings.HasPrefix(string(a.body), envelope("e1")) || a.header.Get("X-Jfrog-Event-Auth") != macOf("tell no one", a.body) || a.header.Get("X-Team") != "anvil" {
				t.Errorf("got %s with %v", a.body, a.header)
			}
		case "/custom":
			if string(a.body) != `{"name":"e1.jar"}` || a.header.Get("Authorization") != "Bearer swordfish" || a.method != http.MethodPut {
				t.Errorf("got %s %s with %v", a.method, a.body, a.header)
			}
		default:
			t.Errorf("got a request to %s", a.target)
		}
	}
	call("PUT", jfrogSubscriptions+"/My_Key", document(predefined("two")), http.StatusNoContent)
	s.publish(t, deployed("e3", "libs"))
	if a := c.waitFor(t, 3)[2]; a.target != "/two?t=1" || !strings.HasPrefix(string(a.body), envelope("e3")) {
		t.Errorf("got %s to %s", a.body, a.target)
	}
	call("DELETE", jfrogSubscriptions+"/My_Key", "", http.StatusNoContent)
	call("GET", jfrogSubscriptions, "", http.StatusOK)
	if got := call("GET", jfrogSubscriptions+"/My_Key", "", http.StatusNotFound); got != `{"errors":[{"code":"","message":"Subscription does not exist"}]}` {
		t.Errorf("got %s", got)
	}
}

// The test call really sends what the platform's own sends, answers what came of it,
// and leaves nothing behind; troubleshooting shows what has failed, but not that.
func TestJFrogTestCall(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if strings.HasPrefix(a.target, "/refuses") {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	document := func(key, secret string, paths ...string) string {
		var handlers []string
		for _, path := range paths {
			handlers = append(handlers, fmt.Sprintf(`{"handler_type":"webhook","url":"%s/%s","secret":%q}`, c.URL, path, secret))
		}
		return `{"key":"` + key + `","enabled":true,"event_filter":{"domain":"docker","event_types":["pushed"],"criteria":{"anyLocal":true}},"handlers":[` + strings.Join(handlers, ",") + `]}`
	}
	call := func(method, path, body string, want int) string {
		t.Helper()
		r := s.do(t, method, path, body, "Content-Type", "application/json")
		if r.status != want {
			t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
		}
		return string(r.body)
	}
	const success = `{"result":"success","message":"Test is successful"}`
	if got := call("POST", jfrogSubscriptions+"/test", document("test", "tell no one", "one", "two"), http.StatusOK); got != success {
		t.Errorf("got %s", got)
	}
	for _, a := range c.waitFor(t, 2) {
		want := `{"domain":"docker","event_type":"pushed","data":{"repo_key":"sample_repo","path":"sample_dir/sample.txt","name":"sample.txt","sha256":"sample_checksum","size":0,` +
			`"image_name":"sample_arch","tag":"sample_image","platforms":[{"architecture":"sample_os","os":"sample_tag"}]},"subscription_key":"test","source":"jfrog/jfrt@`
		if !strings.HasPrefix(string(a.body), want) || a.header.Get("X-Jfrog-Event-Auth") != "tell no one" {
			t.Errorf("got %s with %v", a.body, a.header)
		}
	}
	// Of one that is stored, whose secret the mask stands for.
	call("POST", jfrogSubscriptions, document("test", "stored secret", "stored"), http.StatusCreated)
	if got := call("POST", jfrogSubscriptions+"/test", document("test", "[secret]", "elsewhere"), http.StatusOK); got != success {
		t.Errorf("got %s", got)
	}
	if a := c.waitFor(t, 3)[2]; a.target != "/elsewhere" || a.header.Get("X-Jfrog-Event-Auth") != "stored secret" {
		t.Errorf("got %s with %v", a.target, a.header)
	}
	got := call("POST", jfrogSubscriptions+"/test", document("test", "x", "one", "refuses"), http.StatusOK)
	if want := `{"result":"failure","message":"handlers[1]: error executing webhook: unexpected HTTP response status: 404"}`; got != want {
		t.Errorf("got %s", got)
	}
	call("POST", jfrogSubscriptions+"/test", strings.Replace(document("test", "x", "one"), "docker", "nothing", 1), http.StatusBadRequest)
	var left struct{ Items []struct{ ID string } }
	s.call(t, http.MethodGet, "/v1/subscriptions", nil, &left)
	if len(left.Items) != 1 {
		t.Errorf("there are %v", left)
	}
	if got := call("GET", "/event/api/v1/troubleshooting", "", http.StatusOK); got != "[]" {
		t.Errorf("tests are in troubleshooting: %s", got)
	}

	call("PUT", jfrogSubscriptions+"/test", document("test", "x", "refuses?token=t0ken", "one"), http.StatusNoContent)
	const data = `{"repo_key":"docker-local","path":"a/1/manifest.json","name":"manifest.json","sha256":"0000000000000000000000000000000000000000000000000000000000000000","size":9007199254740993,"image_name":"a","tag":"1","platforms":[]}`
	s.publish(t, happening{id: "p1", source: "jfrog/jfrt@01h9mspg5atsp402qqxm071zjv", kind: "docker.pushed", data: data})
	var records string
	eventually(t, "the failure is on record", func() bool {
		records = call("GET", "/event/api/v1/troubleshooting?subscription=test&count=5", "", http.StatusOK)
		return records != "[]"
	})
	for _, want := range []string{
		`"errors":["error executing webhook: unexpected HTTP response status"],"request":{"method":"POST","url":"` + c.URL + `/refuses","headers":{},"payload":"","retries_attempted":0},"response":{"status":404,"headers":{},"body":""}`,
		`"event":{"id":"p1","subscription_key":"test","domain":"docker","event_type":"pushed","data":` + data + `,"source":"jfrog/jfrt@01h9mspg5atsp402qqxm071zjv"}`,
	} {
		if !strings.Contains(records, want) {
			t.Errorf("the record lacks %s:\n%s", want, records)
		}
	}
	for query, want := range map[string]bool{
		"subscription=other": false, "target=" + url.QueryEscape(c.URL+"/one"): false, "target=" + url.QueryEscape(c.URL+"/refuses?token=t0ken"): true,
		"start=2999-01-01T00:00:00Z": false, "start=0": true, "end=1000": false,
	} {
		if got := call("GET", "/event/api/v1/troubleshooting?"+query, "", http.StatusOK); (got != "[]") != want {
			t.Errorf("%s: got %s", query, got)
		}
	}
	call("GET", "/event/api/v1/troubleshooting?count=x", "", http.StatusBadRequest)
	debug := strings.Replace(document("test", "x", "refuses", "one"), `"key"`, `"debug":true,"key"`, 1)
	call("PUT", jfrogSubscriptions+"/test", debug, http.StatusNoContent)
	eventually(t, "successes are shown", func() bool {
		return strings.Contains(call("GET", "/event/api/v1/troubleshooting", "", http.StatusOK), `"errors":[],`)
	})
}

// Values of headers may have any text that HTTP can carry. It comes back as it was sent,
// and goes over the wire as UTF-8, be it the document's, a secret's or the event's.
func TestJFrogHeaderText(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	const (
		latin = "Gr\u00fc\u00dfe aus K\u00f6ln \u00a7\u00ff"
		bytes = "Gr\xc3\xbc\xc3\x9fe aus K\xc3\xb6ln \xc2\xa7\xc3\xbf"
		wide  = "\u65e5\u672c"
	)
	document := func(value string) string {
		return `{"key":"text","enabled":true,"event_filter":{"domain":"artifact","event_types":["deployed"],"criteria":{"anyLocal":true}},"handlers":[` +
			`{"handler_type":"webhook","url":"` + c.URL + `/predefined","secret":"` + latin + `","custom_http_headers":[{"name":"X-Note","value":"` + value + `"}]},` +
			`{"handler_type":"custom-webhook","url":"` + c.URL + `/custom","secrets":[{"name":"a","value":"` + latin + `"}],` +
			`"http_headers":[{"name":"X-Note","value":"` + value + `"},{"name":"X-Filled","value":"` + value + ` {{ .secrets.a }} {{ .data.name }}"}],"payload":"{}"}]}`
	}
	for _, value := range []string{"a\\u0085b", "a\\u009b31m", "a\\u007f", "a\\r\\nX-Other: \u00fc"} {
		r := s.do(t, "POST", jfrogSubscriptions, document(value), "Content-Type", "application/json")
		if want := `headers.X-Note: has a control character"`; r.status != http.StatusBadRequest || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", value, r.status, r.body)
		}
	}
	if r := s.do(t, "POST", jfrogSubscriptions, document(latin+wide), "Content-Type", "application/json"); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := s.do(t, "GET", jfrogSubscriptions+"/text", nil); strings.Count(string(r.body), `"value":"`+latin+wide) != 3 {
		t.Errorf("read back as %s", r.body)
	}
	e := deployed("e1", "libs")
	e.data = strings.Replace(e.data, `"name":"e1.jar"`, `"name":"`+wide+`"`, 1)
	s.publish(t, e)
	const sent = bytes + "\xe6\x97\xa5\xe6\x9c\xac" // the server of net/http keeps the bytes as they came
	for _, a := range c.waitFor(t, 2) {
		if got := a.header.Get("X-Note"); got != sent {
			t.Errorf("%s: got %q", a.target, got)
		}
		switch a.target {
		case "/predefined":
			if got := a.header.Get("X-Jfrog-Event-Auth"); got != bytes {
				t.Errorf("the secret is %q", got)
			}
		default:
			if got := a.header.Get("X-Filled"); got != sent+" "+bytes+" \xe6\x97\xa5\xe6\x9c\xac" {
				t.Errorf("the template makes %q", got)
			}
		}
	}
}

// A record of troubleshooting has the event as the body that was sent has it: its source in
// the platform's form, whatever the CloudEvent's is, and {} where it has no data.
func TestTroubleshootingShowsTheBody(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--schemas", shopDomain(t))
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) { w.WriteHeader(http.StatusNotFound) })
	document := `{"key":"shop","enabled":true,"event_filter":{"domain":"shop","event_types":["sold"]},"handlers":[{"handler_type":"webhook","url":"` + c.URL + `"}]}`
	if r := s.do(t, "POST", jfrogSubscriptions, document, "Content-Type", "application/json"); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	type shownEvent struct {
		Domain    string          `json:"domain"`
		EventType string          `json:"event_type"`
		Data      json.RawMessage `json:"data"`
		Key       string          `json:"subscription_key"`
		Source    string          `json:"source"`
	}
	want := make(map[string]shownEvent)
	for id, h := range map[string]happening{
		"1": {source: "/acme/shop", data: `{"item": 9007199254740993}`}, "2": {source: "/acme/shop"}, "3": {source: "jfrog/jfrt@01h9mspg5atsp402qqxm071zjv", data: `[1]`},
	} {
		h.id, h.kind = id, "shop.sold"
		s.publish(t, h)
		var body shownEvent
		if err := json.Unmarshal(c.waitFor(t, len(want)+1)[len(want)].body, &body); err != nil {
			t.Fatal(err)
		}
		want[id] = body
	}
	eventually(t, "the failures are on record", func() bool {
		var records []struct {
			Event struct {
				shownEvent

				ID string `json:"id"`
			} `json:"event"`
		}
		if err := json.Unmarshal(s.do(t, "GET", "/event/api/v1/troubleshooting", nil).body, &records); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]shownEvent)
		for _, r := range records {
			got[r.Event.ID] = r.Event.shownEvent
		}
		if len(got) < len(want) {
			return false
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("records differ from the bodies (-want +got):\n%s", diff)
		}
		return true
	})
}

// Publishers do not say of what class a repository is: the registry does, and
// deliveries name the base URL that was set.
func TestRegisteredRepositories(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	call := func(method, path, body string, want int) {
		t.Helper()
		if r := s.do(t, method, path, body, "Content-Type", "application/json"); r.status != want {
			t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
		}
	}
	for key, class := range map[string]string{"here": "local", "npm": "remote", "both": "federated", "all": "virtual"} {
		call("PUT", "/artifactory/api/repositories/"+key, `{"rclass":"`+class+`","packageType":"generic"}`, http.StatusOK)
	}
	call("PUT", "/artifactory/api/system/configuration/baseUrl", "https://jetpost.example.com", http.StatusOK)
	for _, class := range []string{"anyLocal", "anyRemote", "anyFederated"} {
		call("POST", jfrogSubscriptions, fmt.Sprintf(`{"key":%q,"enabled":true,"event_filter":{"domain":"artifact","event_types":["deployed"],"criteria":{%q:true}},"handlers":[{"handler_type":"webhook","url":"%s/%s"}]}`, class, class, c.URL, class), http.StatusCreated)
	}
	for n, key := range []string{"here", "npm-cache", "npm", "both", "all", "unknown", "unknown-cache"} {
		s.publish(t, deployed(fmt.Sprintf("e%d", n), key))
	}
	got := make(map[string]bool)
	for _, a := range c.waitFor(t, 6) {
		var body struct {
			Data struct {
				Repository string `json:"repo_key"`
			}
			Origin string `json:"jpd_origin"`
		}
		if err := json.Unmarshal(a.body, &body); err != nil || body.Origin != "https://jetpost.example.com" {
			t.Errorf("got %s, %v", a.body, err)
		}
		got[a.target[1:]+" "+body.Data.Repository] = true
	}
	want := map[string]bool{
		"anyLocal here": true, "anyLocal unknown": true, "anyLocal unknown-cache": true,
		"anyRemote npm-cache": true, "anyRemote npm": true, "anyFederated both": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A folder's files are of the class that its repository is registered with.
	folder := filepath.Join(t.TempDir(), "both")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "a.txt"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, "watch", folder, "--settle", "50ms").line(t, "events go to "+s.url)
	if a := c.waitFor(t, 7)[6]; a.target != "/anyFederated" || !strings.Contains(string(a.body), `"repo_key":"both","path":"a.txt"`) {
		t.Errorf("got %s to %s", a.body, a.target)
	}
}
