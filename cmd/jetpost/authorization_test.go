package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/access"
)

// needOf is what each operation of the API needs. It is written down a second time
// here, so that no new route is open by accident.
func needOf() map[string]access.Need {
	return map[string]access.Need{
		"list-subscriptions": access.NeedRead, "get-subscription": access.NeedRead, "create-subscription": access.NeedOperate,
		"replace-subscription": access.NeedOperate, "change-subscription": access.NeedOperate, "delete-subscription": access.NeedOperate,
		"pause-subscription": access.NeedOperate, "resume-subscription": access.NeedOperate, "test-subscription": access.NeedOperate,
		"rotate-secret": access.NeedOperate, "get-secret": access.NeedSecrets, "ask-for-consent": access.NeedOperate,
		"get-breaker": access.NeedRead, "reset-breaker": access.NeedOperate, "list-senders": access.NeedRead,

		"list-attempts": access.NeedRead, "list-subscription-attempts": access.NeedRead, "redeliver": access.NeedOperate,
		"list-dead-letters": access.NeedRead, "list-all-dead-letters": access.NeedRead, "list-invalid": access.NeedRead,
		"get-dead-letter": access.NeedRead, "discard-dead-letter": access.NeedOperate, "discard-dead-letters": access.NeedOperate,
		"redrive-dead-letter": access.NeedOperate, "list-redrives": access.NeedRead, "get-redrive": access.NeedRead,
		"create-redrive": access.NeedRead, // for a dry run; the rest of it is among the extra routes
		"cancel-redrive": access.NeedOperate,

		"publish-events": access.NeedPublish, "list-events": access.NeedEvents, "get-event": access.NeedEvents, "erase-event": access.NeedOperate,
		"get-story": access.NeedRead, "find-story": access.NeedRead, "explain": access.NeedRead,
		"list-event-types": access.NeedEvents, "get-event-type": access.NeedEvents, "validate-data": access.NeedEvents,
		"list-domains": access.NeedRead, "get-domain": access.NeedRead, "put-domain": access.NeedOperate, "delete-domain": access.NeedOperate,

		"list-repositories": access.NeedRead, "get-repository": access.NeedRead, "put-repository": access.NeedOperate, "delete-repository": access.NeedOperate,

		"list-audit-records": access.NeedRead, "get-audit-record": access.NeedRead, "get-audit-head": access.NeedRead, "export-audit-records": access.NeedRead,
		"get-backlog": access.NeedRead, "list-backlogs": access.NeedRead,

		"create-token": access.NeedTokens, "list-tokens": access.NeedTokens, "get-token": access.NeedTokens, "change-token": access.NeedTokens,
		"revoke-token": access.NeedTokens, "get-own-token": access.NeedToken,

		"reconcile-subscription": access.NeedOperate, "get-storage": access.NeedRead, "accept-loss": access.NeedLosses,
	}
}

// A guardedRoute is one that asks for a token.
type guardedRoute struct {
	name, method, path string
	need               access.Need
	body               string
	refused            func(t *testing.T, name string, r *http.Response, body []byte) // checks the form of a refusal
}

// extraRoutes are those that the description of the API does not have.
func extraRoutes() []guardedRoute {
	return append(slices.Concat(hookRoutes(), platformRoutes()),
		guardedRoute{"create-redrive in earnest", http.MethodPost, "/v1/redrives", access.NeedOperate, "{}", isProblem},
		guardedRoute{"change-subscription with its secrets", http.MethodPatch, "/v1/subscriptions/{id}?keep_secrets=true", access.NeedMove, "{}", isProblem},
		guardedRoute{"replace-subscription with its secrets", http.MethodPut, "/v1/subscriptions/{id}?keep_secrets=true", access.NeedMove, "{}", isProblem},
	)
}

// isProblem checks that a refusal is a problem document.
func isProblem(t *testing.T, name string, r *http.Response, body []byte) {
	t.Helper()
	var p struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal(body, &p); err != nil || p.Status != r.StatusCode || p.Title == "" || p.Detail == "" ||
		r.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: not a problem document: %s", name, body)
	}
}

// documentedRoutes are those of the description of the API.
func documentedRoutes(t *testing.T, s *apiServer) []guardedRoute {
	t.Helper()
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string                `json:"operationId"`
			Security    []map[string][]string `json:"security"`
		} `json:"paths"`
	}
	r, body := s.request(t, http.MethodGet, "/openapi.json", "", "")
	if err := json.Unmarshal(body, &document); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("the description of the API: %d, %v", r.StatusCode, err)
	}
	known := needOf()
	var routes []guardedRoute
	for path, operations := range document.Paths {
		for method, op := range operations {
			need, ok := known[op.OperationID]
			if !ok {
				t.Errorf("%s %s (%s): say in needOf what it needs", method, path, op.OperationID)
				continue
			}
			delete(known, op.OperationID)
			if diff := cmp.Diff([]map[string][]string{{"token": access.RolesThatMay(need)}}, op.Security); diff != "" {
				t.Errorf("%s: the roles in its description (-want +got):\n%s", op.OperationID, diff)
			}
			route := guardedRoute{op.OperationID, strings.ToUpper(method), path, need, "", isProblem}
			if op.OperationID == "create-redrive" {
				route.body = `{"dry_run":true}`
			}
			routes = append(routes, route)
		}
	}
	for name := range known {
		t.Errorf("%s: there is no such operation", name)
	}
	return routes
}

// request makes a request to the server; without a token if that is empty.
func (s *apiServer) request(t *testing.T, method, path, token, body string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	r, err := (&http.Client{Timeout: factDeadline}).Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r, answer
}

// token makes one, and returns its id and text.
func (s *apiServer) token(t *testing.T, body string) (id, text string) {
	t.Helper()
	r, answer := s.request(t, http.MethodPost, "/v1/tokens", apiToken, body)
	var made struct{ ID, Token string }
	if err := json.Unmarshal(answer, &made); err != nil || r.StatusCode != http.StatusCreated {
		t.Fatalf("make a token: %d %s", r.StatusCode, answer)
	}
	return made.ID, made.Token
}

// Every route of the API, with tokens of every role, with none, and with invalid ones.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	type holder struct {
		name, token string
		role        access.Role // none: it is refused
	}
	holders := []holder{{"no token", "", ""}, {"the server's token", apiToken, access.Admin}, {"an unknown token", apiToken + "x", ""}}
	for _, role := range access.Roles() {
		domains := ""
		if role == access.Publisher {
			domains = `,"domains":["git"]`
		}
		_, text := s.token(t, fmt.Sprintf(`{"name":"test","role":%q%s}`, role, domains))
		wrong := text[:len(text)-1] + "x"
		if wrong == text {
			wrong = text[:len(text)-1] + "y"
		}
		holders = append(holders, holder{string(role), text, role}, holder{string(role) + ", wrong", wrong, ""})
	}
	expiredID, expired := s.token(t, `{"name":"test","role":"admin"}`)
	revokedID, revoked := s.token(t, `{"name":"test","role":"admin"}`)
	if r, body := s.request(t, http.MethodPatch, "/v1/tokens/"+expiredID, apiToken, `{"expires_at":"2020-01-01T00:00:00Z"}`); r.StatusCode != http.StatusOK {
		t.Fatalf("expire: %d %s", r.StatusCode, body)
	}
	if r, body := s.request(t, http.MethodDelete, "/v1/tokens/"+revokedID, apiToken, ""); r.StatusCode != http.StatusNoContent {
		t.Fatalf("revoke: %d %s", r.StatusCode, body)
	}
	holders = append(holders, holder{"expired", expired, ""}, holder{"revoked", revoked, ""})

	values := strings.NewReplacer("{id}", "unknown", "{sequence}", "7", "{delivery_id}", "dlv_unknown", "{type}", "git.push", "{name}", "unknown", "{key}", "unknown", "{domain}", "git")
	routes := append(documentedRoutes(t, s), extraRoutes()...)
	slices.SortFunc(routes, func(a, b guardedRoute) int { return strings.Compare(a.name, b.name) })
	for _, route := range routes {
		path := values.Replace(route.path)
		if strings.ContainsAny(path, "{}") {
			t.Errorf("%s: say what stands for the parameters of %s", route.name, path)
			continue
		}
		for _, h := range holders {
			name := route.name + " with " + h.name
			r, body := s.request(t, route.method, path, h.token, route.body)
			switch {
			case h.role == "":
				if r.StatusCode != http.StatusUnauthorized || r.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: got %d %s, want 401", name, r.StatusCode, body)
				}
				route.refused(t, name, r, body)
			case !(access.Principal{Role: h.role}).May(route.need):
				if r.StatusCode != http.StatusForbidden || !strings.Contains(string(body), string(h.role)) {
					t.Errorf("%s: got %d %s, want 403", name, r.StatusCode, body)
				}
				route.refused(t, name, r, body)
			case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden, r.StatusCode >= 500:
				t.Errorf("%s: got %d %s, want to be let in", name, r.StatusCode, body)
			}
			if h.token != "" && strings.Contains(string(body), h.token) {
				t.Errorf("%s: the answer shows the token: %s", name, body)
			}
		}
	}
	// What does not ask for a token.
	for path, status := range map[string]int{
		"/openapi.json": 200, "/livez": 200, "/readyz": 200, "/metrics": 200, "/v1/handshakes/unknown/nothing": 404, "/": 200, "/nothing": 404,
	} {
		if r, body := s.request(t, http.MethodGet, path, "", ""); r.StatusCode != status {
			t.Errorf("GET %s without a token: got %d %s, want %d", path, r.StatusCode, body, status)
		}
	}
}

// A publisher publishes to its own domains, and gets the same 403 for all others,
// whether they exist or not. Of a batch with one such event nothing is stored.
func TestPublisherPublishes(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	_, text := s.token(t, `{"name":"ci","role":"publisher","domains":["artifact"]}`)
	_, everywhere := s.token(t, `{"name":"gateway","role":"publisher","domains":["*"]}`)
	publish := func(token, events string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/events", strings.NewReader(events))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/cloudevents-batch+json")
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
	example := func(eventType string) string {
		var detail struct {
			Examples []struct{ Data json.RawMessage }
		}
		_, body := s.request(t, http.MethodGet, "/v1/event-types/"+eventType, apiToken, "")
		if err := json.Unmarshal(body, &detail); err != nil || len(detail.Examples) == 0 {
			t.Fatalf("no example of %s: %s", eventType, body)
		}
		return string(detail.Examples[0].Data)
	}
	event := func(id, eventType, data string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":%q,"datacontenttype":"application/json","data":%s}`, id, eventType, data)
	}
	mine, theirs := event("mine", "artifact.deployed", example("artifact.deployed")), event("theirs", "docker.pushed", example("docker.pushed"))
	if status, body := publish(text, "["+mine+","+theirs+"]"); status != http.StatusForbidden || !strings.Contains(body, `"/1/type"`) || !strings.Contains(body, "may publish to artifact") {
		t.Errorf("a batch with an event of another domain: got %d %s", status, body)
	}
	r, body := s.request(t, http.MethodGet, "/v1/events", apiToken, "")
	if r.StatusCode != http.StatusOK || strings.Contains(string(body), `"mine"`) {
		t.Errorf("something of the batch was stored: %s", body)
	}
	_, hidden := publish(text, "["+event("a", "docker.pushed", `{"what":"breaks its schema"}`)+"]")
	status, missing := publish(text, "["+event("a", "dockes.pushed", `{}`)+"]")
	if status != http.StatusForbidden || hidden != missing {
		t.Errorf("a domain that exists: %s\none that does not: %s", hidden, missing)
	}
	if status, body := publish(text, "["+event("a", "artifact.nothing", `{}`)+"]"); status != http.StatusBadRequest || strings.Contains(body, "docker") {
		t.Errorf("an unknown type of its own domain: got %d %s", status, body)
	}
	if status, body := publish(text, "["+mine+"]"); status != http.StatusCreated {
		t.Errorf("an event of its own domain: got %d %s", status, body)
	}
	if status, body := publish(everywhere, "["+mine+","+theirs+"]"); status != http.StatusCreated {
		t.Errorf("with all domains: got %d %s", status, body)
	}
	if status, body := publish(everywhere, "["+event("a", "jetpost.subscription.created", `{}`)+"]"); status != http.StatusForbidden {
		t.Errorf("jetpost's own domain: got %d %s", status, body)
	}
}
