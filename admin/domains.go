package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/precondition"
	"github.com/jetpost/jetpost/schemas"
	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/subscription"
)

// maxDomainBody is how many bytes the files of a domain may have as a client writes
// them, white space included. Stored they may have stream.MaxDomain.
const maxDomainBody = 2 * stream.MaxDomain

// domainPath is where domains are.
const domainPath = "/v1/domains/"

// A DomainSummary is a domain without its files. Like other parts of answers it is
// exported because huma looks only into embedded types that are.
type DomainSummary struct {
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	TypePrefix  string     `json:"type_prefix" doc:"What the types of its events begin with."`
	Validation  string     `json:"validation" doc:"What becomes of an event whose data breaks its schema: enforce, warn or off."`
	Open        bool       `json:"open" doc:"Events that are not registered are accepted as well."`
	Origin      string     `json:"origin" enum:"shipped,folder,registered" doc:"shipped with jetpost, from a folder given to the server, or registered over the API."`
	Types       []string   `json:"types" doc:"The types of its events."`
	Revision    uint64     `json:"revision,omitempty" doc:"Changes with every change; the ETag. Of registered domains only."`
	UpdatedAt   *time.Time `json:"updated_at,omitempty" doc:"When it was last changed. Of registered domains only."`
	Problem     string     `json:"problem,omitempty" doc:"Why it cannot be used. Its events are refused."`
}

func summaryOf(d *schemas.Domain) DomainSummary {
	s := DomainSummary{
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

type domainList struct {
	Body struct {
		Items []DomainSummary `json:"items"`
	}
}

// A NamedDomain is a request about one domain.
type NamedDomain struct {
	Name string `path:"name" maxLength:"255" doc:"The name of the domain." example:"orders"`
}

// DomainFiles is the body of a registration.
type DomainFiles struct {
	Files map[string]json.RawMessage `json:"files" doc:"By name: domain.json, and <event>.schema.json, <event>.example.json, <event>.<name>.example.json and <name>.defs.json."`
}

type oneDomain struct {
	ETag string `header:"ETag" doc:"The revision, for If-Match."`
	Body struct {
		DomainSummary
		DomainFiles
	}
}

type putDomainRequest struct {
	NamedDomain
	RawJSON

	DryRun bool `query:"dry_run" doc:"Find out what would change, and whether it is compatible. Nothing is changed."`
	Force  bool `query:"force" doc:"Register it although events that were accepted would be refused."`
	Stored int  `query:"stored_events" minimum:"0" maximum:"10000" default:"1000" doc:"How many of the last stored events a new version is held against. 0: none."`
}

// A domainChange is what a registration has done, or would do.
type domainChange struct {
	DomainSummary

	Change       string         `json:"change" enum:"created,updated,unchanged" doc:"What was done, or would be."`
	DryRun       bool           `json:"dry_run,omitempty" doc:"Nothing was done."`
	Compatible   bool           `json:"compatible" doc:"No rule, no example and no stored event says that events which were accepted would be refused, or that a field is gone."`
	Checked      int            `json:"stored_events_checked" doc:"How many of the last stored events the new version was held against."`
	Refused      int            `json:"stored_events_refused" doc:"How many of them it would refuse, though the registered version accepts them. The first are listed in incompatible."`
	Incompatible []fieldProblem `json:"incompatible,omitempty" doc:"Where not; field is a file and a JSON pointer into it, or into the event where the message names a stored one."`
	Warnings     []fieldProblem `json:"warnings,omitempty" doc:"What is worth a thought."`
	Added        []string       `json:"added,omitempty" doc:"Event types that are new."`
	Changed      []string       `json:"changed,omitempty" doc:"Event types with another schema."`
	Removed      []string       `json:"removed,omitempty" doc:"Event types that are gone."`
}

type changedDomain struct {
	Status int
	ETag   string `header:"ETag" doc:"The revision, for If-Match."`
	Body   domainChange
}

// domainRoutes are those that keep domains.
func (a *Admin) domainRoutes(api huma.API) {
	register(a, api, huma.Operation{
		OperationID: "list-domains", Method: http.MethodGet, Path: "/v1/domains", Tags: []string{"Domains"},
		Summary: "List the domains", Description: "Those that ship with jetpost, those from folders, and those that were registered.",
	}, a.listDomains)
	register(a, api, huma.Operation{
		OperationID: "get-domain", Method: http.MethodGet, Path: domainPath + "{name}", Tags: []string{"Domains"},
		Summary: "Get a domain", Description: "With its files.",
	}, a.getDomain)
	registerBody[DomainFiles](a, api, huma.Operation{
		OperationID: "put-domain", Method: http.MethodPut, Path: domainPath + "{name}", Tags: []string{"Domains"},
		Summary: "Register a domain, or a new version of it", MaxBodyBytes: maxDomainBody,
		Responses: map[string]*huma.Response{"201": {Description: "It is new; as 200."}},
		Description: "When this is answered every producer accepts its events, every router delivers them, and subscriptions can name its types. " +
			"A new version is held against the last one by plain rules, against the examples of that, and against the last stored events. If it would refuse " +
			"what was accepted, or lacks a field that was described, it is answered with 409 and the places, unless force is given. " +
			"Domains that ship with jetpost, and those from folders, cannot be replaced.",
	}, true, a.putDomain)
	register(a, api, huma.Operation{
		OperationID: "delete-domain", Method: http.MethodDelete, Path: domainPath + "{name}", Tags: []string{"Domains"},
		Summary: "Delete a registered domain", DefaultStatus: http.StatusNoContent,
		Description: "Only one that has no events in its log and that no subscription names; otherwise 409.",
	}, a.deleteDomain)
}

func (a *Admin) listDomains(ctx context.Context, _ *struct{}) (*domainList, error) {
	now, err := a.catalogue.live.Sync(ctx)
	if err != nil {
		return nil, err
	}
	out := &domainList{}
	out.Body.Items = []DomainSummary{}
	for _, d := range now.Domains() {
		out.Body.Items = append(out.Body.Items, summaryOf(&d))
	}
	for _, b := range now.Broken() {
		out.Body.Items = append(out.Body.Items, DomainSummary{Name: b.Domain, Origin: "registered", Types: []string{}, Revision: b.Revision, Problem: b.Err.Error()})
	}
	return out, nil
}

func (a *Admin) getDomain(ctx context.Context, in *NamedDomain) (*oneDomain, error) {
	d, err := a.domains.Get(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	out := &oneDomain{ETag: domainTag(&d)}
	out.Body.DomainSummary, out.Body.Files = summaryOf(&d), d.Files()
	return out, nil
}

// putDomain makes the event log before the domain is known, so that the first event
// has a home and no router misses it.
func (a *Admin) putDomain(ctx context.Context, in *putDomainRequest) (*changedDomain, error) {
	files, err := schemas.DecodeFiles(in.RawBody)
	if err != nil {
		return nil, err
	}
	options := schemas.PutOptions{
		Force: in.Force, DryRun: in.DryRun, StoredEvents: cmp.Or(in.Stored, -1),
		Before: func(ctx context.Context) error {
			if err := a.layout.EnsureEventLog(ctx, a.js, in.Name); err != nil {
				return err
			}
			return a.cfg.Inventory.Made(ctx, a.layout.EventLog(in.Name))
		},
		May: func(revision uint64) error { return mayChangeDomain(ctx, in.Name, revision) },
	}
	change, err := a.domains.Put(ctx, in.Name, files, options)
	if err != nil {
		return nil, overtaken(ctx, err, schemas.ErrConflict)
	}
	// So that this process answers by it, too, whatever it is asked next.
	if _, err := a.catalogue.live.Sync(ctx); err != nil {
		return nil, err
	}
	out := &changedDomain{Status: http.StatusOK, ETag: domainTag(&change.Domain), Body: domainChange{
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

// deleteDomain keeps subscriptions from waiting for types that nobody can publish
// any more.
func (a *Admin) deleteDomain(ctx context.Context, in *NamedDomain) (*struct{}, error) {
	d, err := a.domains.Get(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	revision := uint64(0) // any
	if d.Registered() {
		ids, err := a.subscribersOf(ctx, &d)
		if err != nil {
			return nil, err
		}
		if len(ids) > 0 {
			return nil, newProblem(http.StatusConflict, "domain "+d.Name+" is named by subscriptions: "+strings.Join(ids, ", ")+"; delete or change them first")
		}
		if err := mayChangeDomain(ctx, d.Name, d.Revision); err != nil {
			return nil, err
		}
		if !conditionsOf(ctx).None() {
			revision = d.Revision
		}
	}
	if err := a.domains.Delete(ctx, in.Name, revision); err != nil {
		return nil, overtaken(ctx, err, schemas.ErrConflict)
	}
	return nil, nil //nolint:nilnil // there is nothing to answer with
}

// subscribersOf are the subscriptions, some of them if they are many, that name a
// domain or its types.
func (a *Admin) subscribersOf(ctx context.Context, d *schemas.Domain) ([]string, error) {
	const most = 20
	snapshot, err := a.view.Sync(ctx)
	if err != nil {
		return nil, err
	}
	names := func(sub *subscription.Subscription) bool {
		for _, wanted := range sub.Types {
			if wanted == d.Name+".*" {
				return true
			}
			if t, err := a.catalogue.live.Current().Resolve(wanted); err == nil && t.Domain == d.Name {
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
	return revisionTag(d.Revision)
}

// revisionTag is a revision in the form of HTTP.
func revisionTag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// mayChangeDomain says why a domain that has a revision, 0 for none, must not be changed.
func mayChangeDomain(ctx context.Context, name string, revision uint64) error {
	now := precondition.Current{Exists: revision != 0}
	if now.Exists {
		now.ETag = revisionTag(revision)
	}
	return mayChange(ctx, "the domain "+name, now)
}

func placesOf(found []schemas.Incompatibility) []fieldProblem {
	var fields []fieldProblem
	for _, i := range found {
		fields = append(fields, fieldProblem{i.Place(), i.Message})
	}
	return fields
}

// filesProblem names every file that cannot be used.
func filesProblem(found *schemas.LoadError) *problem {
	fields := make([]fieldProblem, len(found.Problems))
	for i, p := range found.Problems {
		fields[i] = fieldProblem{p.File, p.Message}
	}
	detail := strconv.Itoa(len(fields)) + " things are wrong with the files of the domain"
	if len(fields) == 1 {
		detail = strings.TrimSpace(fields[0].Field + " " + fields[0].Message)
	}
	return newProblem(http.StatusUnprocessableEntity, detail, fields...)
}

// incompatibleProblem names every place that is too strict.
func incompatibleProblem(found *schemas.IncompatibleError) *problem {
	return newProblem(http.StatusConflict, "this version of the domain "+found.Domain+
		" would refuse events that the registered one accepts: change it, or give force=true", placesOf(found.Problems)...)
}
