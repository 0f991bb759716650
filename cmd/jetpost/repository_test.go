package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/jetpost/jetpost/client/api"
)

// The registry of repositories, as an operator keeps it without a client of the JFrog
// Platform, and what such a client sees of it.
func TestRepositoryCommands(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	if got := s.cli("repository", "list").ok().stderr; !strings.Contains(got, "no repositories: register one") {
		t.Errorf("got %q", got)
	}
	s.cli("repository", "put", "libs", "--class", "local", "--package-type", "maven").ok("registered repository libs", "class", "local", "maven")
	s.cli("repository", "put", "npm", "--class", "remote").ok("remote")
	s.cli("repo", "put", "npm", "--class", "local").fails("its class cannot be changed: it is remote: delete it and register it again")
	s.cli("repository", "put", "npm").fails("--class")
	s.cli("repository", "put", "a b", "--class", "local").fails("key: use 1 to 64 letters")
	s.cli("repository", "list").ok("KEY ", "libs", "maven", "npm", "remote")
	s.cli("repository", "list", "--class", "federated").ok()
	s.cli("repository", "show", "unknown").fails(`"unknown" is not registered`)
	var shown v1.Repository
	if err := json.Unmarshal([]byte(s.cli("repository", "show", "libs", "-o", "json").ok().stdout), &shown); err != nil || shown != (v1.Repository{Key: "libs", Class: "local", PackageType: "maven", Revision: shown.Revision}) {
		t.Errorf("got %+v, %v", shown, err)
	}
	const platform = "/artifactory/api/repositories/libs"
	if r, body := s.request(t, "GET", platform, apiToken, ""); r.StatusCode != http.StatusOK || string(body) != `{"key":"libs","rclass":"local","packageType":"maven"}` {
		t.Errorf("the platform's API: got %d %s", r.StatusCode, body)
	}
	if r, body := s.request(t, "POST", platform, apiToken, `{"notes":"kept"}`); r.StatusCode != http.StatusOK {
		t.Errorf("a change by the platform's API: got %d %s", r.StatusCode, body)
	}
	s.cli("repository", "put", "libs", "--class", "local", "--package-type", "generic").ok("generic")
	if _, body := s.request(t, "GET", platform, apiToken, ""); string(body) != `{"key":"libs","rclass":"local","packageType":"generic","notes":"kept"}` {
		t.Errorf("what the platform's API has stored: got %s", body)
	}
	s.cli("repository", "delete", "unknown", "npm").fails("delete repository unknown: ", "is not registered").printed("deleted repository npm")
	if got := s.cli("repository", "delete", "libs", "-o", "json").ok().stdout; got != "[\n  {\n    \"key\": \"libs\"\n  }\n]\n" {
		t.Errorf("got %q", got)
	}
}
