package admin

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"html"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page shows every operation, loads nothing, runs nothing, and its links lead
// somewhere.
func TestDocsPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.do("GET", "/docs", "").want(http.StatusOK)
	policy := r.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") || r.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("got %v", r.header)
	}
	page := xml.NewDecoder(strings.NewReader(string(r.body)))
	page.Strict, page.AutoClose, page.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var ids, links []string
	for {
		token, err := page.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		name := element.Name.Local
		if slices.Contains([]string{"script", "link", "img", "iframe", "object", "form"}, name) {
			t.Errorf("the page has a %s", name)
		}
		for _, a := range element.Attr {
			switch key := a.Name.Local; {
			case key == "id":
				ids = append(ids, a.Value)
			case key == "href":
				links = append(links, a.Value)
			case key == "style" || key == "src" || strings.HasPrefix(key, "on"):
				t.Errorf("%s has a %s, which the policy forbids", name, key)
			}
		}
	}
	for _, text := range []string{"<small>Roles: admin, operator</small>", "<small>Roles: admin</small>", "<small>Roles: admin, operator, auditor, publisher</small>"} {
		if !strings.Contains(string(r.body), text) {
			t.Errorf("the page does not have %s", text)
		}
	}
	slices.Sort(ids)
	if len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("an id is there twice: %v", ids)
	}
	for _, link := range links {
		if id, ok := strings.CutPrefix(link, "#"); link != "/openapi.json" && (!ok || !slices.Contains(ids, id)) {
			t.Errorf("the link to %s leads nowhere", link)
		}
	}
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	f.do("GET", "/openapi.json", "").into(&document)
	for path, operations := range document.Paths {
		for method, op := range operations {
			if !slices.Contains(ids, op.OperationID) {
				t.Errorf("%s %s is not on the page", method, path)
			}
		}
	}
	r.mustContain("prefers-color-scheme:dark", "width=device-width", `-d &#39;{`, "Idempotency-Key")
	// Bodies of examples are JSON.
	bodies := regexp.MustCompile(`(?s)-d &#39;(.*?)&#39;</code>`).FindAllSubmatch(r.body, -1)
	for _, body := range bodies {
		if text := html.UnescapeString(string(body[1])); !json.Valid([]byte(text)) {
			t.Errorf("not JSON: %s", text)
		}
	}
	if len(bodies) < 10 {
		t.Errorf("there are %d examples with a body", len(bodies))
	}
}
