package admin

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/schemas"
)

// shop is the body that registers a domain with the event "created".
func shop(schema string) string {
	return `{"files":{"domain.json":{"name":"shop","description":"What is sold.","type_prefix":"com.example."},"created.schema.json":` + schema +
		`,"created.example.json":{"total":1},"created.big.example.json":{"total":12345678901234567890}}}`
}

const shopSchema = `{"type":"object","description":"An order.","properties":{"total":{"type":"integer"}}}`

func (f *fixture) types(path string) []v1.EventType {
	f.t.Helper()
	var list struct{ Items []v1.EventType }
	f.do("GET", path, "").want(http.StatusOK).into(&list)
	return list.Items
}

func TestRegisterDomain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := len(f.types("/v1/event-types"))

	var change v1.DomainChange
	f.do("PUT", "/v1/domains/shop?dry_run=true", shop(shopSchema)).want(http.StatusOK).into(&change)
	if change.Change != "created" || !change.DryRun || !change.Compatible || !slices.Equal(change.Added, []string{"com.example.created"}) || change.Revision != 0 {
		t.Errorf("dry run: %+v", change)
	}
	f.do("GET", "/v1/domains/shop", "").want(http.StatusNotFound)
	if _, err := f.js.Stream(t.Context(), f.layout.EventLog("shop")); err == nil {
		t.Error("trying out has made the event log")
	}

	created := f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusCreated)
	created.into(&change)
	if change.Change != "created" || change.Origin != "registered" || created.header.Get("ETag") != `"`+strconv.FormatUint(change.Revision, 10)+`"` {
		t.Errorf("created: %+v, ETag %s", change, created.header.Get("ETag"))
	}
	log, err := f.js.Consumer(t.Context(), f.layout.EventLog("shop"), stream.RouterConsumer)
	if err != nil || log.CachedInfo().Config.AckPolicy != jetstream.AckExplicitPolicy {
		t.Errorf("the event log: %v", err)
	}
	f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusOK).mustContain(`"change":"unchanged"`)

	// It is there for everything that asks for types.
	if got := f.types("/v1/event-types"); len(got) != before+1 {
		t.Errorf("%d types, want %d", len(got), before+1)
	}
	if got := f.types("/v1/event-types?domain=shop&schema=true"); len(got) != 1 || got[0].Type != "com.example.created" || string(got[0].Schema) != shopSchema {
		t.Errorf("types of the domain: %+v", got)
	}
	f.do("GET", "/v1/event-types?domain=none", "").want(http.StatusUnprocessableEntity).mustContain("there is no domain")
	f.do("POST", "/v1/subscriptions", strings.Replace(ci, "git.push", "com.example.created", 1)).want(http.StatusCreated)
	f.do("GET", "/v1/events?domain=shop", "").want(http.StatusOK)

	// What people publish by is not the domain's name, and the answer says which is.
	const meant = "there is no domain \\\"com.example\\\": types that begin with com.example. are those of the domain shop, write shop, and shop.* for all of its types"
	f.do("POST", "/v1/subscriptions", strings.Replace(ci, "git.push", "com.example.*", 1)).want(http.StatusUnprocessableEntity).
		mustContain(`"field":"types[0]"`, meant).mustNotContain("must be the name of a domain")
	f.do("POST", "/v1/subscriptions", strings.Replace(ci, "git.push", "com.*", 1)).want(http.StatusUnprocessableEntity).
		mustContain("there is no domain \\\"com\\\": the domains are ")
	f.do("POST", "/v1/subscriptions", strings.Replace(ci, "git.push", "com.example.none.*", 1)).want(http.StatusUnprocessableEntity).
		mustContain("there is no domain \\\"com.example.none\\\"")
	f.do("GET", "/v1/events?type=com.example.*", "").want(http.StatusUnprocessableEntity).mustContain(meant)
	f.do("GET", "/v1/subscriptions?type=com.example.*", "").want(http.StatusUnprocessableEntity).mustContain(meant)
	f.do("GET", "/v1/subscriptions?type=shop.*", "").want(http.StatusOK)
	const begins = "no type begins with shop.: those of the domain shop begin with com.example., write com.example.*"
	f.do("GET", "/v1/dead-letters?type=shop.*", "").want(http.StatusUnprocessableEntity).mustContain(begins)
	f.do("POST", "/v1/redrives", `{"types":["shop.*"],"dry_run":true}`).want(http.StatusUnprocessableEntity).mustContain(begins)
	f.do("GET", "/v1/dead-letters?type=com.example.*&type=git.*&type=none.*", "").want(http.StatusOK)

	var got struct {
		v1.DomainSummary
		v1.DomainFiles
	}
	one := f.do("GET", "/v1/domains/shop", "").want(http.StatusOK)
	one.into(&got)
	if got.TypePrefix != "com.example." || string(got.Files["created.big.example.json"]) != `{"total":12345678901234567890}` || len(got.Files) != 4 || got.UpdatedAt == nil {
		t.Errorf("got %s", one.body)
	}
	var list struct{ Items []v1.DomainSummary }
	f.do("GET", "/v1/domains", "").want(http.StatusOK).into(&list)
	origins := map[string]string{}
	for _, d := range list.Items {
		origins[d.Name] = d.Origin
	}
	if origins["shop"] != "registered" || origins["git"] != "shipped" {
		t.Errorf("origins %v", origins)
	}
}

func TestRefuseDomain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tag := f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusCreated).header.Get("ETag")
	narrow := shop(strings.Replace(shopSchema, `"integer"`, `"integer","maximum":1e30`, 1))
	for _, tt := range []struct {
		name, path, body string
		status           int
		fields           []string
		text             string
	}{
		{"narrower", "shop", narrow, 409, []string{"created.schema.json#/properties/total/maximum"}, "force=true"},
		{"not JSON", "shop", `{"files":`, 422, []string{""}, "not valid JSON"},
		{"no body", "shop", ``, 400, nil, "body is required"},
		{"no files", "shop", `{}`, 422, []string{""}, "has no files"},
		{"another member", "shop", `{"files":{},"name":"shop"}`, 422, []string{""}, "unknown field"},
		{"several mistakes", "shop", `{"files":{"domain.json":{"name":"shop"},"a.schema.json":{"type":"objekt"},"b.schema.json":{},"README.md":{}}}`, 422, []string{"README.md"}, ""},
		{"a broken schema", "shop", `{"files":{"domain.json":{"name":"shop"},"a.schema.json":{"type":"objekt"},"a.example.json":{}}}`, 422, []string{"a.schema.json"}, "/type"},
		{"a shipped one", "git", `{"files":{"domain.json":{"name":"git","open":true}}}`, 409, nil, "comes with jetpost"},
		{"another name", "bills", shop(shopSchema), 422, []string{"domain.json"}, "make them the same"},
		{"a taken prefix", "bills", strings.Replace(shop(shopSchema), `"name":"shop"`, `"name":"bills"`, 1), 422, []string{"domain.json", "domain.json"}, "already belongs to the domain shop"},
	} {
		r := f.do("PUT", "/v1/domains/"+tt.path, tt.body).want(tt.status).mustContain(tt.text)
		if tt.fields != nil && !slices.Equal(r.fields(), tt.fields) {
			t.Errorf("%s: fields %q: %s", tt.name, r.fields(), r.body)
		}
	}
	f.do("PUT", "/v1/domains/shop?dry_run=true", narrow).want(200).mustContain(`"compatible":false`, "#/properties/total/maximum")
	f.do("PUT", "/v1/domains/shop", shop(shopSchema), "If-Match", `"1000"`).want(http.StatusPreconditionFailed)
	f.do("PUT", "/v1/domains/shop", shop(shopSchema), "If-Match", `weak`).want(http.StatusPreconditionFailed)
	f.do("PUT", "/v1/domains/shop?force=true", narrow, "If-Match", tag).want(200).mustContain(`"change":"updated"`, `"compatible":false`)
	f.do("PUT", "/v1/domains/shop", shop(shopSchema), "If-Match", tag).want(http.StatusPreconditionFailed)
	large := strings.Replace(shop(shopSchema), `{"total":1}`, `{"total":1,"x":"`+strings.Repeat("x", 600<<10)+`"}`, 1)
	f.do("PUT", "/v1/domains/shop", large).want(422).mustContain("created.example.json", "has 600 KiB")
	f.do("PUT", "/v1/domains/shop", strings.Repeat(" ", 2<<20)).want(http.StatusRequestEntityTooLarge)
	f.do("PUT", "/v1/subscriptions/ci", strings.Repeat(" ", 300<<10)).want(http.StatusRequestEntityTooLarge)
}

// The answer says how many stored events a new version was held against, and names an event
// that it would refuse, with the field. References that double without an end are
// answered at once.
func TestDomainAgainstStoredEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusCreated)
	for n := range 3 {
		e := &event.Event{ID: "e" + strconv.Itoa(n), Source: "/s", Type: "com.example.created", Data: []byte(`{"total":` + strconv.Itoa(n) + `}`)}
		msg := nats.NewMsg(f.layout.EventSubject("shop", "created"))
		e.SetHeader(msg.Header)
		msg.Data = e.Data
		f.publishMsg(msg)
	}
	narrow := shop(strings.TrimSuffix(shopSchema, "}") + `,"not":{"properties":{"total":{"const":2}},"required":["total"]}}`)
	var change v1.DomainChange
	f.do("PUT", "/v1/domains/shop?dry_run=true", narrow).want(http.StatusOK).into(&change)
	if change.Checked != 3 || change.Refused != 1 || change.Compatible || len(change.Incompatible) != 1 || len(change.Warnings) == 0 ||
		!strings.Contains(change.Incompatible[0].Message, `of the stored event "e2" (sequence 3)`) || !strings.HasPrefix(change.Incompatible[0].Field, "created.schema.json#/data") {
		t.Errorf("got %+v", change)
	}
	f.do("PUT", "/v1/domains/shop", narrow).want(http.StatusConflict).mustContain("e2")
	f.do("PUT", "/v1/domains/shop?dry_run=true&stored_events=0", narrow).want(http.StatusOK).mustContain(`"stored_events_checked":0`, `"compatible":true`)
	f.do("PUT", "/v1/domains/shop?stored_events=10001", narrow).want(http.StatusUnprocessableEntity)

	var doubled strings.Builder
	for level := range 26 {
		next := "#/$defs/a" + strconv.Itoa(level+1)
		doubled.WriteString(`"a` + strconv.Itoa(level) + `":{"allOf":[{"$ref":"` + next + `"},{"$ref":"` + next + `"}]},`)
	}
	f.do("PUT", "/v1/domains/shop", shop(`{"$ref":"#/$defs/a0","$defs":{`+doubled.String()+`"a26":{}}}`)).want(http.StatusUnprocessableEntity).
		mustContain("needs more than 1000 evaluations of schemas to check one value")
}

func TestDeleteDomain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", strings.Replace(ci, "git.push", "shop.*", 1)).want(http.StatusCreated)
	f.do("DELETE", "/v1/domains/shop", "").want(http.StatusConflict).mustContain("named by subscriptions: ci")
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK)
	f.do("DELETE", "/v1/domains/shop", "", "If-Match", `"1000"`).want(http.StatusPreconditionFailed)
	f.do("DELETE", "/v1/domains/git", "").want(http.StatusConflict).mustContain("comes with jetpost")
	f.do("DELETE", "/v1/domains/jetpost", "").want(http.StatusConflict).mustContain("comes with jetpost")
	f.do("DELETE", "/v1/domains/none", "").want(http.StatusNotFound)
	f.do("DELETE", "/v1/domains/shop", "").want(http.StatusNoContent)
	f.do("GET", "/v1/domains/shop", "").want(http.StatusNotFound)
	f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusCreated)
	if _, err := f.js.Publish(t.Context(), f.layout.EventSubject("shop", "created"), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	f.do("DELETE", "/v1/domains/shop", "").want(http.StatusConflict).mustContain("1 are kept in its event log")
}

// What another process registers is known here by the next request.
func TestDomainOfAnotherAdmin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	base, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	js, err := stream.JetStream(f.nats.Connect())
	if err != nil {
		t.Fatal(err)
	}
	other, err := schemas.NewLive(base, js, f.layout.Prefix(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- other.Run(t.Context()) }()
	t.Cleanup(func() { <-ended })
	store := schemas.NewStore(js, other, zap.NewNop())
	files, err := schemas.DecodeFiles([]byte(shop(shopSchema)))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		name := "shop" + strconv.Itoa(n)
		files["domain.json"] = json.RawMessage(`{"name":"` + name + `"}`)
		if _, err := store.Put(t.Context(), name, files, schemas.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		body := strings.Replace(subscriptionNamed(name), "git.push", name+".created", 1)
		f.do("POST", "/v1/subscriptions", body).want(http.StatusCreated)
	}
}

func TestEventTypeDetail(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var got struct {
		Type, Domain, Event, Validation string
		Schema                          json.RawMessage
		Definitions                     map[string]json.RawMessage
		Examples                        []v1.TypeExample
	}
	f.do("GET", "/v1/event-types/git.push", "").want(http.StatusOK).into(&got)
	if got.Domain != "git" || got.Event != "push" || got.Validation != "enforce" || len(got.Schema) == 0 || len(got.Definitions) == 0 || len(got.Examples) < 2 || got.Examples[0].Name != "" {
		t.Errorf("got %+v", got)
	}
	f.do("GET", "/v1/event-types/git.psuh", "").want(http.StatusNotFound).mustContain(`did you mean`)

	var verdict struct {
		Valid    bool
		Problems []v1.FieldProblem
	}
	f.do("POST", "/v1/event-types/git.push/validate", string(got.Examples[0].Data)).want(http.StatusOK).into(&verdict)
	if !verdict.Valid || verdict.Problems == nil || len(verdict.Problems) > 0 {
		t.Errorf("an example: %+v", verdict)
	}
	f.do("POST", "/v1/event-types/git.push/validate", `{"ref":5}`).want(http.StatusOK).mustContain(`"valid":false`, `"field":"/ref","message":"must be a string, is a number"`)
	f.do("POST", "/v1/event-types/git.push/validate", `{"a":1,"a":2}`).want(http.StatusOK).mustContain(`"field":"/a","message":"is given twice"`)
	f.do("POST", "/v1/event-types/git.push/validate", `{`).want(http.StatusOK).mustContain(`"field":"","message":"is not valid JSON`)
	f.do("POST", "/v1/event-types/none/validate", `{}`).want(http.StatusNotFound)
}
