package interop_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	validation "github.com/pb33f/libopenapi-validator/errors"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A contract is the API as its own description has it, read by a library that knows
// nothing of the one that wrote it.
type contract struct {
	*program

	check  validator.Validator
	bodies *jsonschema.Compiler // of which the document is a resource: schemas in it refer to themselves, which check does not take
	routes []route
	driven map[string]bool // operations that have succeeded
}

// resource is the name of the document among schemas.
const resource = "https://jetpost.invalid/openapi.json"

// A route is an operation of the description.
type route struct{ method, path, id string }

func (p *program) contract(t *testing.T) *contract {
	t.Helper()
	text := p.call(t, http.MethodGet, "/openapi.json", "", nil)
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatalf("read the OpenAPI document: %v", err)
	}
	check, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatalf("understand the OpenAPI document: %v", errs)
	}
	c := &contract{program: p, check: check, bodies: jsonschema.NewCompiler(), driven: map[string]bool{}}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err == nil {
		err = c.bodies.AddResource(resource, tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &described); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(described.OpenAPI, "3.1.") {
		t.Errorf("the document is of OpenAPI %s", described.OpenAPI)
	}
	for path, methods := range described.Paths {
		for method, text := range methods {
			var operation struct{ OperationID string }
			if err := json.Unmarshal(text, &operation); err != nil || operation.OperationID == "" {
				t.Errorf("%s %s has no operationId: %v", method, path, err)
			}
			c.routes = append(c.routes, route{strings.ToUpper(method), path, operation.OperationID})
		}
	}
	return c
}

// explain is what the library has found, each thing in a line.
func explain(found []*validation.ValidationError) string {
	var b strings.Builder
	for _, one := range found {
		fmt.Fprintf(&b, "\n  %s: %s", one.Message, one.Reason)
		for _, part := range one.SchemaValidationErrors {
			fmt.Fprintf(&b, "\n    %s: %s", part.FieldPath, part.Reason)
		}
	}
	return b.String()
}

// drive makes a request of an operation, and checks it and its answer against the
// description. path has the values of the parameters in it, in their order, and may go
// on with a query. It returns the answer.
func (c *contract) drive(t *testing.T, id, path string, body any, want int, header ...string) map[string]any {
	t.Helper()
	at := slices.IndexFunc(c.routes, func(r route) bool { return r.id == id })
	if at < 0 {
		t.Fatalf("the description has no operation %s", id)
	}
	var content []byte
	switch given := body.(type) {
	case nil:
	case string:
		content = []byte(given)
	default:
		var err error
		if content, err = json.Marshal(given); err != nil {
			t.Fatal(err)
		}
	}
	newRequest := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), c.routes[at].method, c.url+path, bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.token)
		if content != nil {
			r.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	response, err := (&http.Client{Timeout: deadline}).Do(newRequest())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != want {
		t.Fatalf("%s is answered with %s, want %d:\n%s", id, response.Status, want, answer)
	}
	operation := "/paths/" + pointer(c.routes[at].path) + "/" + strings.ToLower(c.routes[at].method)
	if want < 300 {
		c.driven[id] = true
		parameters := c.check.GetParameterValidator()
		for _, check := range []func(*http.Request) (bool, []*validation.ValidationError){
			parameters.ValidatePathParams, parameters.ValidateQueryParams, parameters.ValidateHeaderParams, parameters.ValidateSecurity,
		} {
			if ok, found := check(newRequest()); !ok {
				t.Errorf("the request of %s is not as described:%s", id, explain(found))
			}
		}
		if content != nil {
			if err := c.fits(operation+"/requestBody", newRequest().Header.Get("Content-Type"), content); err != nil {
				t.Errorf("the request of %s is not as described: %v", id, err)
			}
		}
	}
	if len(answer) > 0 || response.Header.Get("Content-Type") != "" {
		err := c.fits(operation+"/responses/"+strconv.Itoa(want), response.Header.Get("Content-Type"), answer)
		if missing := (*missingError)(nil); errors.As(err, &missing) && want >= 400 {
			err = c.fits(operation+"/responses/default", response.Header.Get("Content-Type"), answer)
		}
		if err != nil {
			t.Errorf("the answer %d to %s is not as described: %v\n%s", want, id, err, answer)
		}
	} else if _, err := c.bodies.Compile(resource + "#" + operation + "/responses/" + strconv.Itoa(want)); err != nil {
		t.Errorf("the answer %d to %s is not described: %v", want, id, err)
	}
	var decoded map[string]any
	if len(answer) > 0 && answer[0] == '{' {
		if err := json.Unmarshal(answer, &decoded); err != nil && !bytes.Contains(answer, []byte("\n{")) {
			t.Errorf("the answer to %s is not JSON: %v", id, err)
		}
	}
	return decoded
}

// pointer is a token of a JSON pointer in a URL.
func pointer(token string) string {
	return url.PathEscape(strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1"))
}

// missingError says that nothing is described at a place.
type missingError struct{ err error }

func (e *missingError) Error() string { return "it is not described: " + e.err.Error() }

// fits checks a body against what the document has at a place for its type.
func (c *contract) fits(place, contentType string, body []byte) error {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return err
	}
	schema, err := c.bodies.Compile(resource + "#" + place + "/content/" + pointer(kind) + "/schema")
	if err != nil {
		return &missingError{err}
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// await repeats a request until its answer is as wanted.
func (c *contract) await(t *testing.T, id, path string, as func(map[string]any) bool) map[string]any {
	t.Helper()
	late := time.After(deadline)
	for {
		answer := c.drive(t, id, path, nil, http.StatusOK)
		if as(answer) {
			return answer
		}
		select {
		case <-late:
			t.Fatalf("%s does not become what it should: %v", path, answer)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// items are those of a page.
func items(page map[string]any) []any {
	list, _ := page["items"].([]any)
	return list
}

// The description of the API is valid OpenAPI 3.1, and true: every operation that it
// has is called, and both requests and answers are as it says.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.contract(t)
	if ok, found := c.check.ValidateDocument(); !ok {
		t.Errorf("the document is not valid:%s", explain(found))
	}
	refused := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/no") {
			http.Error(w, "no", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(refused.Close)
	c.driveSubscriptions(t, refused.URL)
	c.driveEvents(t)
	c.driveRecords(t, refused.URL)
	c.driveDomains(t)
	c.driveAudit(t)
	c.driveTokens(t)
	c.driveRepositories(t)
	c.driveStorage(t)
	c.driveErrors(t)
	for _, r := range c.routes {
		if !c.driven[r.id] {
			t.Errorf("no request was made of %s, %s %s", r.id, r.method, r.path)
		}
	}
}

func (c *contract) driveSubscriptions(t *testing.T, receiver string) {
	t.Helper()
	sub := map[string]any{
		"id": "driven", "types": []string{"git.push"}, "profile": "standard", "labels": map[string]string{"team": "anvil"},
		"filters": []any{map[string]any{"any": []any{
			map[string]any{"exact": map[string]any{"subject": "main"}},
			map[string]any{"sql": "subject = 'other'"},
			map[string]any{"not": map[string]any{"prefix": map[string]any{"subject": "x"}}},
		}}},
		"endpoint":  map[string]any{"url": receiver + "/yes?token=x", "headers": map[string]string{"X-A": "b"}, "timeout": "5s"},
		"handshake": map[string]any{"mode": "preferred"},
		"delivery":  map[string]any{"rate": 100, "retry": map[string]any{"schedule": []string{"0s", "5s"}, "jitter": 0.1}},
	}
	c.drive(t, "create-subscription", "/v1/subscriptions", sub, http.StatusCreated)
	c.drive(t, "create-subscription", "/v1/subscriptions", sub, http.StatusConflict)
	const path = "/v1/subscriptions/driven"
	c.drive(t, "list-subscriptions", "/v1/subscriptions?label=team&limit=1&state=active", nil, http.StatusOK)
	c.drive(t, "get-subscription", path, nil, http.StatusOK)
	c.drive(t, "replace-subscription", path, sub, http.StatusOK)
	c.drive(t, "replace-subscription", path+"-put", map[string]any{"types": []string{"git.push"}, "endpoint": map[string]any{"url": receiver}}, http.StatusCreated, "If-None-Match", "*")
	c.drive(t, "delete-subscription", path+"-put", nil, http.StatusOK)
	c.drive(t, "change-subscription", path, `{"description":"changed"}`, http.StatusOK, "Content-Type", "application/merge-patch+json")
	c.drive(t, "pause-subscription", path+"/pause", `{"reason":"lunch"}`, http.StatusOK)
	c.drive(t, "resume-subscription", path+"/resume", nil, http.StatusOK)
	c.drive(t, "rotate-secret", path+"/rotate-secret", `{"overlap":"1h"}`, http.StatusOK)
	c.drive(t, "get-secret", path+"/secret", nil, http.StatusOK)
	c.drive(t, "ask-for-consent", path+"/handshake", nil, http.StatusAccepted)
	c.drive(t, "get-breaker", path+"/breaker", nil, http.StatusOK)
	c.drive(t, "reset-breaker", path+"/breaker/reset", nil, http.StatusOK)
	c.drive(t, "get-backlog", path+"/backlog", nil, http.StatusOK)
	c.drive(t, "list-backlogs", "/v1/backlogs?sort=waiting&limit=5", nil, http.StatusOK)
	c.drive(t, "list-senders", "/v1/senders", nil, http.StatusOK)
	tested := c.drive(t, "test-subscription", path+"/test", `{"type":"git.push"}`, http.StatusAccepted)
	delivery, _ := tested["delivery_id"].(string)
	c.await(t, "list-subscription-attempts", path+"/attempts?limit=5", func(page map[string]any) bool { return len(items(page)) > 0 })
	c.drive(t, "redeliver", path+"/deliveries/"+delivery+"/redeliver", nil, http.StatusGone) // a test event is in no log
	c.drive(t, "list-attempts", "/v1/attempts?limit=5", nil, http.StatusOK)
	c.drive(t, "delete-subscription", path, nil, http.StatusOK)
	c.drive(t, "get-subscription", path, nil, http.StatusNotFound)
}

func (c *contract) driveEvents(t *testing.T) {
	t.Helper()
	e := example(t, "git.push")
	body := map[string]any{
		"specversion": "1.0", "id": "driven-1", "source": "/interop", "type": "git.push", "subject": "main",
		"datacontenttype": "application/json", "data": e.Data,
	}
	structured, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	c.drive(t, "publish-events", "/v1/events", string(structured), http.StatusCreated, "Content-Type", "application/cloudevents+json")
	c.drive(t, "publish-events", "/v1/events", "["+string(structured)+"]", http.StatusCreated, "Content-Type", "application/cloudevents-batch+json")
	c.drive(t, "publish-events", "/v1/events", "[]", http.StatusOK, "Content-Type", "application/cloudevents-batch+json")
	c.drive(t, "publish-events", "/v1/events", `{"id":""}`, http.StatusBadRequest, "Content-Type", "application/cloudevents+json")
	c.drive(t, "list-events", "/v1/events?type=git.push&limit=1", nil, http.StatusOK)
	c.drive(t, "list-events", "/v1/events?source=%2Finterop&id=driven-1&to_time=2100-01-01T00%3A00%3A00Z", nil, http.StatusOK)
	c.drive(t, "get-event", "/v1/events/git/1", nil, http.StatusOK)
	c.drive(t, "get-event", "/v1/events/git/999", nil, http.StatusNotFound)
	c.drive(t, "explain", "/v1/explain?limit=10", `{"event":`+string(structured)+`}`, http.StatusOK)
	c.drive(t, "explain", "/v1/explain", `{"domain":"git"}`, http.StatusUnprocessableEntity)
	c.drive(t, "list-event-types", "/v1/event-types", nil, http.StatusOK)
	c.drive(t, "get-event-type", "/v1/event-types/git.push", nil, http.StatusOK)
	c.drive(t, "validate-data", "/v1/event-types/git.push/validate", string(e.Data), http.StatusOK)
}

// driveStorage looks at what is stored, and erases an event.
func (c *contract) driveStorage(t *testing.T) {
	t.Helper()
	c.drive(t, "get-storage", "/v1/storage", nil, http.StatusOK)
	c.drive(t, "accept-loss", "/v1/storage/accept-loss", map[string]any{"streams": []string{"all"}}, http.StatusOK)
	c.drive(t, "accept-loss", "/v1/storage/accept-loss", map[string]any{"streams": []string{}}, http.StatusUnprocessableEntity)
	c.drive(t, "create-subscription", "/v1/subscriptions", map[string]any{
		"id": "reconciled", "types": []string{"git.push"}, "endpoint": map[string]any{"url": "http://127.0.0.1:9/"},
	}, http.StatusCreated)
	c.drive(t, "reconcile-subscription", "/v1/subscriptions/reconciled/reconcile", map[string]any{"dry_run": true}, http.StatusOK)
	c.drive(t, "reconcile-subscription", "/v1/subscriptions/nothing/reconcile", nil, http.StatusNotFound)
	c.drive(t, "erase-event", "/v1/events/git/1/erase", map[string]any{"reason": "asked for"}, http.StatusOK)
	c.drive(t, "erase-event", "/v1/events/git/999999/erase", map[string]any{"reason": "asked for"}, http.StatusNotFound)
}

// driveRecords makes two deliveries that are given up.
func (c *contract) driveRecords(t *testing.T, receiver string) {
	t.Helper()
	c.drive(t, "create-subscription", "/v1/subscriptions", map[string]any{
		"id": "given-up", "types": []string{"git.push"}, "endpoint": map[string]any{"url": receiver + "/no"},
		"delivery": map[string]any{"retry": map[string]any{"schedule": []string{"0s"}}},
	}, http.StatusCreated)
	const path = "/v1/subscriptions/given-up"
	for range 3 {
		c.drive(t, "test-subscription", path+"/test", nil, http.StatusAccepted)
	}
	page := c.await(t, "list-dead-letters", path+"/dead-letters", func(page map[string]any) bool { return len(items(page)) == 3 })
	structured, err := json.Marshal(map[string]any{"specversion": "1.0", "id": "driven-2", "source": "/interop", "type": "git.push", "data": example(t, "git.push").Data})
	if err != nil {
		t.Fatal(err)
	}
	c.call(t, http.MethodPost, "/v1/events", "application/cloudevents+json", structured)
	last := c.await(t, "list-subscription-attempts", path+"/attempts?limit=1", func(page map[string]any) bool {
		return len(items(page)) == 1 && fmt.Sprint(items(page)[0].(map[string]any)["event"].(map[string]any)["id"]) == "driven-2"
	})
	attempt, _ := items(last)[0].(map[string]any)
	c.drive(t, "redeliver", fmt.Sprint(path, "/deliveries/", attempt["delivery_id"], "/redeliver"), nil, http.StatusAccepted)
	c.drive(t, "explain", "/v1/explain", `{"domain":"git","sequence":1,"subscription":"given-up"}`, http.StatusOK)
	found := c.await(t, "find-story", "/v1/events/story?source=%2Finterop&id=driven-2", func(story map[string]any) bool {
		told, _ := story["subscriptions"].([]any)
		return len(told) == 1 && told[0].(map[string]any)["outcome"] == "dead_letter"
	})
	c.drive(t, "get-story", fmt.Sprint("/v1/events/git/", found["sequence"], "/story?subscription=given-up"), nil, http.StatusOK)
	place := func(i int) string {
		letter, _ := items(page)[i].(map[string]any)
		return fmt.Sprint("/v1/dead-letters/", letter["sequence"])
	}
	c.drive(t, "list-all-dead-letters", "/v1/dead-letters?reason=exhausted&type=git.push", nil, http.StatusOK)
	c.drive(t, "list-invalid", "/v1/dead-letters/_invalid", nil, http.StatusOK)
	c.drive(t, "get-dead-letter", place(0), nil, http.StatusOK)
	c.drive(t, "discard-dead-letter", place(0)+"/discard", `{"reason":"seen"}`, http.StatusOK)
	c.drive(t, "redrive-dead-letter", place(1)+"/redrive", nil, http.StatusAccepted)
	c.drive(t, "create-redrive", "/v1/redrives", `{"subscription":"given-up","dry_run":true}`, http.StatusOK)
	job := c.drive(t, "create-redrive", "/v1/redrives", `{"subscription":"given-up","rate":0.01}`, http.StatusAccepted)
	c.drive(t, "list-redrives", "/v1/redrives", nil, http.StatusOK)
	c.drive(t, "get-redrive", fmt.Sprint("/v1/redrives/", job["id"]), nil, http.StatusOK)
	c.drive(t, "cancel-redrive", fmt.Sprint("/v1/redrives/", job["id"], "/cancel"), nil, http.StatusOK)
	c.drive(t, "discard-dead-letters", "/v1/dead-letters/discard", `{"subscription":"given-up"}`, http.StatusOK)
}

func (c *contract) driveDomains(t *testing.T) {
	t.Helper()
	files := map[string]any{"files": map[string]any{
		"domain.json":          map[string]any{"name": "shop", "description": "Orders."},
		"created.schema.json":  map[string]any{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "An order", "type": "object"},
		"created.example.json": map[string]any{"order": 1},
	}}
	c.drive(t, "put-domain", "/v1/domains/shop", files, http.StatusCreated)
	c.drive(t, "list-domains", "/v1/domains", nil, http.StatusOK)
	c.drive(t, "get-domain", "/v1/domains/shop", nil, http.StatusOK)
	c.drive(t, "delete-domain", "/v1/domains/shop", nil, http.StatusNoContent)
}

func (c *contract) driveAudit(t *testing.T) {
	t.Helper()
	c.drive(t, "list-audit-records", "/v1/audit?action=subscription.*&target=subscriptions/driven&limit=5", nil, http.StatusOK)
	c.drive(t, "get-audit-record", "/v1/audit/1", nil, http.StatusOK)
	c.drive(t, "get-audit-record", "/v1/audit/999999", nil, http.StatusNotFound)
	c.drive(t, "get-audit-head", "/v1/audit/head", nil, http.StatusOK)
	c.drive(t, "export-audit-records", "/v1/audit/export?from_sequence=1&to_sequence=1", nil, http.StatusOK) // one line is JSON
}

func (c *contract) driveTokens(t *testing.T) {
	t.Helper()
	made := c.drive(t, "create-token", "/v1/tokens", map[string]any{
		"name": "driven", "role": "publisher", "domains": []string{"git"}, "rate": 50, "ttl": "1h",
	}, http.StatusCreated)
	c.drive(t, "create-token", "/v1/tokens", `{"role":"publisher"}`, http.StatusUnprocessableEntity)
	path := fmt.Sprint("/v1/tokens/", made["id"])
	c.drive(t, "list-tokens", "/v1/tokens?limit=1", nil, http.StatusOK)
	c.drive(t, "get-own-token", "/v1/tokens/self", nil, http.StatusOK)
	c.drive(t, "get-token", path, nil, http.StatusOK)
	c.drive(t, "change-token", path, `{"name":"renamed","expires_at":null}`, http.StatusOK, "Content-Type", "application/merge-patch+json")
	c.drive(t, "revoke-token", path, nil, http.StatusNoContent)
	c.drive(t, "get-token", path, nil, http.StatusNotFound)
}

// driveErrors has every operation that can be called with a wrong parameter, and one
// with wrong fields, answer as it says errors are.
func (c *contract) driveErrors(t *testing.T) {
	t.Helper()
	for _, r := range c.routes {
		path, _, found := strings.Cut(r.path, "{")
		if found || r.method != http.MethodGet {
			continue
		}
		c.drive(t, r.id, path+"?"+url.Values{"no-such": {"x"}}.Encode(), nil, http.StatusUnprocessableEntity)
	}
	wrong := c.drive(t, "create-subscription", "/v1/subscriptions", `{"types":[7],"endpoint":{"url":"ftp://x"},"nonsense":1}`, http.StatusUnprocessableEntity)
	if list, _ := wrong["errors"].([]any); len(list) < 2 {
		t.Errorf("wrong fields are answered with %v", wrong)
	}
}

func (c *contract) driveRepositories(t *testing.T) {
	t.Helper()
	const path = "/v1/repositories"
	stored := c.drive(t, "put-repository", path+"/npm", `{"class":"remote","package_type":"npm"}`, http.StatusCreated)
	revision, _ := stored["revision"].(float64)
	c.drive(t, "put-repository", path+"/npm", `{"class":"remote"}`, http.StatusOK, "If-Match", strconv.Quote(strconv.Itoa(int(revision))))
	c.drive(t, "put-repository", path+"/npm", `{"class":"local"}`, http.StatusConflict)
	c.drive(t, "put-repository", path+"/libs", `{}`, http.StatusUnprocessableEntity)
	c.drive(t, "list-repositories", path+"?class=remote&package_type=npm&q=NP&limit=1", nil, http.StatusOK)
	c.drive(t, "get-repository", path+"/npm", nil, http.StatusOK)
	c.drive(t, "delete-repository", path+"/npm", nil, http.StatusPreconditionFailed, "If-Match", `"1000000"`)
	c.drive(t, "delete-repository", path+"/npm", nil, http.StatusNoContent)
	c.drive(t, "get-repository", path+"/npm", nil, http.StatusNotFound)
}
