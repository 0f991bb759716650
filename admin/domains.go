package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/precondition"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// The actions of the audit trail: docs/audit.md lists them.
const (
	actionPutDomain = "domain.put"
	actionDelDomain = "domain.delete"
)

// maxDomainBody is how many bytes the files of a domain may have as a client writes
// them, white space included. Stored they may have stream.MaxDomain.
const maxDomainBody = 2 * stream.MaxDomain

// domainPath is where domains are.
const domainPath = "/v1/domains/"

func summaryOf(d *schemas.Domain) v1.DomainSummary {
	s := v1.DomainSummary{
		Name: d.Name, Description: d.Description, TypePrefix: d.TypePrefix, Validation: string(d.Validation), Open: d.Open,
		Origin: "folder", Types: []string{}, Revision: d.Revision,
	}
	switch {
	case d.Shipped:
		s.Origin = "shipped"
	case d.Registered():
		s.Origin, s.UpdatedAt = "registered", &d.UpdatedAt
	}
	for i := range d.Types {
		s.Types = append(s.Types, d.Types[i].Name)
	}
	return s
}

type domainList struct{ Body v1.DomainList }

// A NamedDomain is a request about one domain.
type NamedDomain struct {
	Name string `path:"name" maxLength:"255" doc:"The name of the domain." example:"orders"`
}

type oneDomain struct {
	ETag string `header:"ETag" doc:"The revision, for If-Match."`
	Body v1.Domain
}

type putDomainRequest struct {
	NamedDomain
	httpapi.RawJSON

	DryRun bool `query:"dry_run" doc:"Find out what would change, and whether it is compatible. Nothing is changed."`
	Force  bool `query:"force" doc:"Register it although events that were accepted would be refused."`
	Stored int  `query:"stored_events" minimum:"0" maximum:"10000" default:"1000" doc:"How many of the last stored events a new version is held against. 0: none."`
}

type changedDomain struct {
	Status int
	ETag   string `header:"ETag" doc:"The revision, for If-Match."`
	Body   v1.DomainChange
}

// domains are the operations that keep domains.
type domains struct {
	js        jetstream.JetStream
	layout    stream.Layout
	kept      *schemas.Store
	live      *schemas.Live
	keep      *subscriptions.Keeper
	trail     *audit.Trail
	inventory *inventory.Inventory
}

// newDomains returns the domains of an installation, each write of which is recorded.
func newDomains(js jetstream.JetStream, layout stream.Layout, kept *schemas.Store, live *schemas.Live, keep *subscriptions.Keeper, trail *audit.Trail,
	streams *inventory.Inventory,
) *domains {
	c := &domains{js: js, layout: layout, kept: kept, live: live, keep: keep, trail: trail, inventory: streams}
	kept.Within(c.record)
	return c
}

func (c *domains) register(api *httpapi.API) {
	httpapi.Register(api, huma.Operation{
		OperationID: "list-domains", Method: http.MethodGet, Path: "/v1/domains", Tags: []string{"Domains"},
		Summary: "List the domains", Description: "Those that ship with jetpost, those from folders, and those that were registered.",
	}, c.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-domain", Method: http.MethodGet, Path: domainPath + "{name}", Tags: []string{"Domains"},
		Summary: "Get a domain", Description: "With its files.",
	}, c.get)
	httpapi.RegisterBody[v1.DomainFiles](api, huma.Operation{
		OperationID: "put-domain", Method: http.MethodPut, Path: domainPath + "{name}", Tags: []string{"Domains"},
		Summary: "Register a domain, or a new version of it", MaxBodyBytes: maxDomainBody,
		Responses: map[string]*huma.Response{"201": {Description: "It is new; as 200."}},
		Description: "When this is answered every producer accepts its events, every router delivers them, and subscriptions can name its types. " +
			"A new version is held against the last one by plain rules, against the examples of that, and against the last stored events. If it would refuse " +
			"what was accepted, or lacks a field that was described, it is answered with 409 and the places, unless force is given. " +
			"Domains that ship with jetpost, and those from folders, cannot be replaced.",
	}, true, c.put)
	httpapi.Register(api, huma.Operation{
		OperationID: "delete-domain", Method: http.MethodDelete, Path: domainPath + "{name}", Tags: []string{"Domains"},
		Summary: "Delete a registered domain", DefaultStatus: http.StatusNoContent,
		Description: "Only one that has no events in its log and that no subscription names; otherwise 409.",
	}, c.delete)
}

func (c *domains) list(ctx context.Context, _ *struct{}) (*domainList, error) {
	now, err := c.live.Sync(ctx)
	if err != nil {
		return nil, err
	}
	out := &domainList{}
	out.Body.Items = []v1.DomainSummary{}
	for _, d := range now.Domains() {
		out.Body.Items = append(out.Body.Items, summaryOf(&d))
	}
	for _, b := range now.Broken() {
		out.Body.Items = append(out.Body.Items, v1.DomainSummary{Name: b.Domain, Origin: "registered", Types: []string{}, Revision: b.Revision, Problem: b.Err.Error()})
	}
	return out, nil
}

func (c *domains) get(ctx context.Context, in *NamedDomain) (*oneDomain, error) {
	d, err := c.kept.Get(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	out := &oneDomain{ETag: domainTag(&d)}
	out.Body.DomainSummary, out.Body.Files = summaryOf(&d), d.Files()
	return out, nil
}

// put makes the event log before the domain is known, so that the first event
// has a home and no router misses it.
func (c *domains) put(ctx context.Context, in *putDomainRequest) (*changedDomain, error) {
	files, err := schemas.DecodeFiles(in.RawBody)
	if err != nil {
		return nil, domainProblem(err)
	}
	options := schemas.PutOptions{
		Force: in.Force, DryRun: in.DryRun, StoredEvents: cmp.Or(in.Stored, -1),
		Before: func(ctx context.Context) error {
			if err := c.layout.EnsureEventLog(ctx, c.js, in.Name); err != nil {
				return err
			}
			return c.inventory.Made(ctx, c.layout.EventLog(in.Name))
		},
		May: func(revision uint64) error { return mayChangeDomain(ctx, in.Name, revision) },
	}
	change, err := c.kept.Put(ctx, in.Name, files, options)
	if err != nil {
		return nil, domainProblem(httpapi.Overtaken(ctx, err, schemas.ErrConflict))
	}
	// So that this process answers by it, too, whatever it is asked next.
	if _, err := c.live.Sync(ctx); err != nil {
		return nil, err
	}
	out := &changedDomain{Status: http.StatusOK, ETag: domainTag(&change.Domain), Body: v1.DomainChange{
		DomainSummary: summaryOf(&change.Domain), DryRun: in.DryRun, Change: "updated",
		Compatible: len(change.Incompatible) == 0, Incompatible: placesOf(change.Incompatible), Checked: change.Stored.Checked, Refused: change.Stored.Refused, Warnings: placesOf(change.Warnings),
		Added: change.Added, Changed: change.Changed, Removed: change.Removed,
	}}
	switch {
	case change.Unchanged:
		out.Body.Change = "unchanged"
	case change.Created:
		out.Body.Change = "created"
		if !in.DryRun {
			out.Status = http.StatusCreated
		}
	}
	return out, nil
}

// delete refuses where subscriptions would wait for types that cannot be published any more.
func (c *domains) delete(ctx context.Context, in *NamedDomain) (*struct{}, error) {
	d, err := c.kept.Get(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	revision := uint64(0) // any
	if d.Registered() {
		ids, err := c.subscribersOf(ctx, &d)
		if err != nil {
			return nil, err
		}
		if len(ids) > 0 {
			return nil, httpapi.NewProblem(http.StatusConflict, "domain "+d.Name+" is named by subscriptions: "+strings.Join(ids, ", ")+"; delete or change them first")
		}
		if err := mayChangeDomain(ctx, d.Name, d.Revision); err != nil {
			return nil, err
		}
		if !httpapi.ConditionsOf(ctx).None() {
			revision = d.Revision
		}
	}
	if err := c.kept.Delete(ctx, in.Name, revision); err != nil {
		return nil, httpapi.Overtaken(ctx, err, schemas.ErrConflict)
	}
	return nil, nil //nolint:nilnil // there is nothing to answer with
}

// subscribersOf are the subscriptions, some of them if they are many, that name a
// domain or its types.
func (c *domains) subscribersOf(ctx context.Context, d *schemas.Domain) ([]string, error) {
	const most = 20
	snapshot, err := c.keep.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	names := func(sub *subscription.Subscription) bool {
		for _, wanted := range sub.Types {
			if wanted == d.Name+".*" {
				return true
			}
			if t, err := c.live.Current().Resolve(wanted); err == nil && t.Domain == d.Name {
				return true
			}
		}
		return false
	}
	var ids []string
	for _, sub := range snapshot.All() {
		if names(sub) && len(ids) < most {
			ids = append(ids, sub.ID)
		}
	}
	return ids, nil
}

// domainTag is the revision in the form of HTTP; empty for what is not registered.
func domainTag(d *schemas.Domain) string {
	if !d.Registered() {
		return ""
	}
	return httpapi.RevisionTag(d.Revision)
}

// mayChangeDomain says why a domain that has a revision, 0 for none, must not be changed.
func mayChangeDomain(ctx context.Context, name string, revision uint64) error {
	now := precondition.Current{Exists: revision != 0}
	if now.Exists {
		now.ETag = httpapi.RevisionTag(revision)
	}
	return httpapi.MayChange(ctx, "the domain "+name, now)
}

func placesOf(found []schemas.Incompatibility) []v1.FieldProblem {
	var fields []v1.FieldProblem
	for _, i := range found {
		fields = append(fields, v1.FieldProblem{Field: i.Place(), Message: i.Message})
	}
	return fields
}

// domainProblem turns the errors of a domain that cannot be registered into problems that
// name the places.
func domainProblem(err error) error {
	if found, ok := errors.AsType[*schemas.LoadError](err); ok {
		return filesProblem(found)
	}
	if found, ok := errors.AsType[*schemas.IncompatibleError](err); ok {
		return incompatibleProblem(found)
	}
	return err
}

// filesProblem names every file that cannot be used.
func filesProblem(found *schemas.LoadError) *httpapi.ProblemError {
	fields := make([]v1.FieldProblem, len(found.Problems))
	for i, p := range found.Problems {
		fields[i] = v1.FieldProblem{Field: p.File, Message: p.Message}
	}
	detail := strconv.Itoa(len(fields)) + " things are wrong with the files of the domain"
	if len(fields) == 1 {
		detail = strings.TrimSpace(fields[0].Field + " " + fields[0].Message)
	}
	return httpapi.NewProblem(http.StatusUnprocessableEntity, detail, fields...)
}

// incompatibleProblem names every place that is too strict.
func incompatibleProblem(found *schemas.IncompatibleError) *httpapi.ProblemError {
	return httpapi.NewProblem(http.StatusConflict, "this version of the domain "+found.Domain+
		" would refuse events that the registered one accepts: change it, or give force=true", placesOf(found.Problems)...)
}

// domainState is a domain as a record shows it: of its files there are the hashes.
func domainState(d *schemas.Domain) json.RawMessage {
	if d == nil {
		return nil
	}
	if len(d.Files()) == 0 {
		return audit.State(map[string]string{"name": d.Name, "problem": "it could not be read"})
	}
	state := struct {
		v1.DomainSummary

		Files map[string]string `json:"files"`
	}{summaryOf(d), make(map[string]string)}
	for name, data := range d.Files() {
		state.Files[name] = audit.Hash(data)
	}
	return audit.State(state)
}

// record is around every write of a domain.
func (c *domains) record(ctx context.Context, before, after *schemas.Domain, write func() error) error {
	r := audit.Record{Action: actionPutDomain, Before: domainState(before), After: domainState(after)}
	if after == nil {
		r.Action, r.Target = actionDelDomain, domainTarget(before.Name)
	} else {
		r.Target = domainTarget(after.Name)
	}
	return c.trail.Around(ctx, r, write)
}

func domainTarget(name string) string { return "domains/" + name }
