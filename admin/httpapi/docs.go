package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// docsPath is the description of the API for people: one page, made when the process
// starts, that loads nothing and runs nothing.
const docsPath = "/docs"

//go:embed docs.html
var docsPage string

//go:embed docs.css
var docsStyle string

// docs are what the page shows.
type docs struct {
	Style       template.CSS
	Description string
	Version     string
	Groups      []docsGroup
	Schemas     []docsSchema
}

type docsGroup struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Description string
	Parameters                             []docsField
	Body                                   []docsBody
	Answers                                []docsAnswer
	Roles                                  string // of the tokens that may use it
	Example                                string
}

// docsField is a parameter, or a field of an object. Schema is set where it is, or has,
// an object of its own; Before is what stands before the name of that.
type docsField struct {
	Name, Type, In, Doc, Schema, Before string
	Required, ReadOnly                  bool
}

type docsBody struct{ Media, Type, Schema string }

type docsAnswer struct {
	Status, Doc string
	Bodies      []docsBody
}

type docsSchema struct {
	Name, Doc string
	Fields    []docsField
}

// docsHandler answers with the page.
func docsHandler(document *huma.OpenAPI) (http.Handler, error) {
	page, err := renderDocs(document)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(docsStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(page) // a client that has disconnected is not our problem
	}), nil
}

func renderDocs(document *huma.OpenAPI) ([]byte, error) {
	parsed, err := template.New("docs").Parse(docsPage)
	if err != nil {
		return nil, fmt.Errorf("read the page of the API: %w", err)
	}
	var page bytes.Buffer
	if err := parsed.Execute(&page, docsOf(document)); err != nil {
		return nil, fmt.Errorf("write the page of the API: %w", err)
	}
	return page.Bytes(), nil
}

func docsOf(document *huma.OpenAPI) docs {
	out := docs{Style: template.CSS(docsStyle), Description: document.Info.Description, Version: document.Info.Version} //nolint:gosec // it is a file of ours
	groups := map[string]*docsGroup{}
	var names []string
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		item := document.Paths[path]
		for _, one := range []struct {
			method string
			op     *huma.Operation
		}{{"GET", item.Get}, {"POST", item.Post}, {"PUT", item.Put}, {"PATCH", item.Patch}, {"DELETE", item.Delete}} {
			if one.op == nil {
				continue
			}
			name := "Other"
			if len(one.op.Tags) > 0 {
				name = one.op.Tags[0]
			}
			if groups[name] == nil {
				groups[name] = &docsGroup{Name: name}
				names = append(names, name)
			}
			groups[name].Operations = append(groups[name].Operations, docsOperationOf(document, one.method, path, one.op))
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return docsOrder(a) - docsOrder(b) })
	for _, name := range names {
		out.Groups = append(out.Groups, *groups[name])
	}
	schemas := document.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		out.Schemas = append(out.Schemas, docsSchema{Name: name, Doc: schemas[name].Description, Fields: docsFields(schemas[name])})
	}
	return out
}

// docsOrder has what people look for first at the top.
func docsOrder(tag string) int {
	order := []string{"Subscriptions", "Events", "Records", "Dead letters", "Senders"}
	if at := slices.Index(order, tag); at >= 0 {
		return at
	}
	return len(order)
}

func docsOperationOf(document *huma.OpenAPI, method, path string, op *huma.Operation) docsOperation {
	out := docsOperation{ID: op.OperationID, Method: method, Path: path, Summary: op.Summary, Description: op.Description}
	for _, scheme := range op.Security {
		out.Roles = strings.Join(scheme["token"], ", ")
	}
	for _, p := range op.Parameters {
		doc := p.Description
		if p.Schema != nil {
			doc = docsText(doc, p.Schema)
		}
		out.Parameters = append(out.Parameters, docsField{Name: p.Name, In: p.In, Type: docsType(p.Schema), Required: p.Required, Doc: doc})
	}
	if op.RequestBody != nil {
		out.Body = docsBodies(op.RequestBody.Content)
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		answer := op.Responses[status]
		out.Answers = append(out.Answers, docsAnswer{Status: status, Doc: answer.Description, Bodies: docsBodies(answer.Content)})
	}
	out.Example = docsExample(document, method, path, op)
	return out
}

func docsBodies(content map[string]*huma.MediaType) []docsBody {
	var out []docsBody
	for _, media := range slices.Sorted(maps.Keys(content)) {
		schema := content[media].Schema
		out = append(out, docsBody{Media: media, Type: docsType(schema), Schema: docsRef(schema)})
	}
	return out
}

// docsRef is the name of the object that a schema refers to.
func docsRef(s *huma.Schema) string {
	if s == nil {
		return ""
	}
	return strings.TrimPrefix(s.Ref, "#/components/schemas/")
}

func docsType(s *huma.Schema) string {
	switch {
	case s == nil:
		return "anything"
	case s.Ref != "":
		return docsRef(s)
	case s.Type == huma.TypeArray:
		return "list of " + docsType(s.Items)
	case s.Type == huma.TypeObject:
		return "object"
	case s.Format == "date-time":
		return "time (RFC 3339)"
	case s.Type == "":
		return "anything"
	}
	return s.Type
}

// docsText adds to a description what a schema says beside it.
func docsText(doc string, s *huma.Schema) string {
	if len(s.Enum) > 0 {
		var values []string
		for _, value := range s.Enum {
			values = append(values, fmt.Sprint(value))
		}
		doc += " One of: " + strings.Join(values, ", ") + "."
	}
	if s.Default != nil {
		doc += fmt.Sprintf(" Default: %v.", s.Default)
	}
	return strings.TrimSpace(doc)
}

func docsFields(s *huma.Schema) []docsField {
	var out []docsField
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[name]
		field := docsField{
			Name: name, Type: docsType(property), Doc: docsText(property.Description, property), Schema: docsRef(property),
			Required: slices.Contains(s.Required, name), ReadOnly: property.ReadOnly,
		}
		if field.Schema == "" && property.Type == huma.TypeArray {
			field.Schema, field.Before = docsRef(property.Items), "list of "
		}
		out = append(out, field)
	}
	return out
}

// docsExample is the operation as a command.
func docsExample(document *huma.OpenAPI, method, path string, op *huma.Operation) string {
	for _, p := range op.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", docsValue(p))
		}
	}
	var query []string
	for _, p := range op.Parameters {
		if p.In == "query" && p.Required {
			query = append(query, p.Name+"="+docsValue(p))
		}
	}
	if len(query) > 0 {
		path += "?" + strings.Join(query, "&")
	}
	var b strings.Builder
	b.WriteString("curl ")
	if method != http.MethodGet && (method != http.MethodPost || op.RequestBody == nil) {
		b.WriteString("-X " + method + " ")
	}
	b.WriteString(`"$JETPOST_SERVER` + path + `" -H "Authorization: Bearer $JETPOST_TOKEN"`)
	if op.RequestBody == nil {
		return b.String()
	}
	media := "application/json"
	if _, ok := op.RequestBody.Content[media]; !ok {
		media = slices.Sorted(maps.Keys(op.RequestBody.Content))[0]
	}
	body := docsBodyOf(op.OperationID)
	if body == "" {
		value := exampleOf(document.Components.Schemas.Map(), op.RequestBody.Content[media].Schema, 0)
		text, err := json.MarshalIndent(value, "  ", "  ")
		if err != nil {
			text = []byte("{}")
		}
		body = string(text)
	}
	if op.OperationID == "publish-events" {
		media = "application/cloudevents+json"
	}
	b.WriteString(" \\\n  -H 'Content-Type: " + media + "' \\\n  -d '" + body + "'")
	return b.String()
}

func docsValue(p *huma.Param) string {
	if p.Example != nil {
		return fmt.Sprint(p.Example)
	}
	if p.Schema != nil && len(p.Schema.Examples) > 0 {
		return fmt.Sprint(p.Schema.Examples[0])
	}
	switch p.Name {
	case "id":
		return "ci"
	case "source":
		return "/git/widgets"
	}
	return "42"
}

// docsBodyOf are bodies that say more than those made of the schema.
func docsBodyOf(operation string) string {
	const wish = `"types": ["git.push"],
    "filters": [{"exact": {"subject": "main"}}],
    "endpoint": {"url": "https://ci.example.com/hooks/jetpost"},
    "labels": {"team": "anvil"}`
	const event = `"specversion": "1.0", "id": "7b1c", "source": "/git/widgets",
    "type": "git.push", "subject": "main", "datacontenttype": "application/json",
    "data": {"ref": "refs/heads/main"}`
	switch operation {
	case "create-subscription":
		return "{\n    \"id\": \"ci\",\n    " + wish + "\n  }"
	case "replace-subscription":
		return "{\n    " + wish + "\n  }"
	case "change-subscription":
		return `{"labels": {"team": null}, "delivery": {"max_in_flight": 8}}`
	case "publish-events":
		return "{\n    " + event + "\n  }"
	case "explain":
		return "{\n  \"subscription\": \"ci\",\n  \"event\": {\n    " + event + "\n  }}"
	case "create-redrive":
		return `{"subscription": "ci", "reasons": ["exhausted"], "rate": 50}`
	case "discard-dead-letters":
		return `{"subscription": "ci", "reasons": ["expired"], "reason": "the receiver was retired"}`
	case "validate-data":
		return `{"ref": "refs/heads/main"}`
	}
	return ""
}

// exampleOf makes a value that shows the form of a schema.
func exampleOf(schemas map[string]*huma.Schema, s *huma.Schema, depth int) any {
	const deepest = 4
	if s == nil || depth > deepest {
		return map[string]any{}
	}
	if s.Ref != "" {
		return exampleOf(schemas, schemas[docsRef(s)], depth+1)
	}
	switch {
	case len(s.Examples) > 0:
		return s.Examples[0]
	case s.Default != nil:
		return s.Default
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	switch s.Type {
	case huma.TypeObject:
		out := map[string]any{}
		for name, property := range s.Properties {
			if slices.Contains(s.Required, name) || len(property.Examples) > 0 {
				out[name] = exampleOf(schemas, property, depth+1)
			}
		}
		return out
	case huma.TypeArray:
		return []any{exampleOf(schemas, s.Items, depth+1)}
	case huma.TypeBoolean:
		return true
	case huma.TypeInteger, huma.TypeNumber:
		return 1
	}
	return "…"
}
