package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
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
