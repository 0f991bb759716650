package story

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sort"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/schemas"
)

// maxExplainBody is how many bytes a body with an event may have, whose form takes more
// room than the event has in the log.
const maxExplainBody = 2 * stream.MaxEventSize

type explainRequest struct {
	httpapi.Paged
	httpapi.RawJSON
}

type explained struct{ Body v1.Explanation }

// An explainer says which subscriptions match an event, and why.
type explainer struct {
	logs      *Logs
	keep      *subscriptions.Keeper
	catalogue catalogue.Catalogue
}

func (x *explainer) register(api *httpapi.API) {
	httpapi.RegisterBody[v1.ExplainOptions](api, huma.Operation{
		OperationID: "explain", Method: http.MethodPost, Path: "/v1/explain", Tags: []string{"Events"}, Metadata: httpapi.Unkeyed(httpapi.Needs(access.NeedRead)), MaxBodyBytes: maxExplainBody,
		Summary: "Explain which subscriptions want an event, and why",
		Description: "For an event that is stored, or one that is only thought of: nothing is stored or delivered. Each verdict names the clause that decided and the " +
			"value that was compared with it. Subscriptions are taken as they are now, also for a stored event; what became of that is its story.",
	}, true, x.explain)
}

func (x *explainer) explain(ctx context.Context, in *explainRequest) (*explained, error) {
	var options v1.ExplainOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	if in.Cursor != "" && !subscription.ValidID(in.Cursor) {
		return nil, httpapi.BadCursor()
	}
	if options.Only != "" && options.Only != "matched" && options.Only != "unmatched" {
		return nil, httpapi.Invalid("only", strconv.Quote(options.Only)+" is not a choice: use matched or unmatched, or leave it out for both")
	}
	e, err := x.event(ctx, &options)
	if err != nil {
		return nil, err
	}
	out := &explained{}
	out.Body.Event = x.judge(e)
	out.Body.Items = []v1.Verdict{}
	verdicts := showing{event: e, domain: out.Body.Event.Domain, data: readsEvents(ctx)}
	if options.Subscription != "" {
		sub, err := x.keep.Find(ctx, options.Subscription)
		if err != nil {
			return nil, err
		}
		verdicts.tree = true
		one, err := verdicts.verdict(sub)
		if err != nil {
			return nil, err
		}
		out.Body.Items = append(out.Body.Items, one)
		return out, nil
	}
	snapshot, err := x.keep.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	all := snapshot.All()
	first := sort.Search(len(all), func(i int) bool { return all[i].ID > in.Cursor })
	for _, sub := range all[first:] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		one, err := verdicts.verdict(sub)
		if err != nil {
			return nil, err
		}
		if options.Only != "" && one.Matched != (options.Only == "matched") {
			continue
		}
		if len(out.Body.Items) == in.Limit {
			out.Body.NextCursor = out.Body.Items[in.Limit-1].SubscriptionID
			break
		}
		out.Body.Items = append(out.Body.Items, one)
	}
	return out, nil
}

// event is the one in the request, or the stored one that it names.
func (x *explainer) event(ctx context.Context, options *v1.ExplainOptions) (*event.Event, error) {
	given := len(options.Event) > 0 && string(options.Event) != "null"
	switch {
	case given && (options.Domain != "" || options.Sequence != 0):
		return nil, httpapi.Invalid("event", "and domain and sequence: give the event itself, or say where it is stored")
	case !given && options.Domain == "" && options.Sequence == 0:
		return nil, httpapi.Invalid("event", "is missing: give an event in CloudEvents' JSON format, or domain and sequence of one that is stored")
	case !given && options.Domain == "":
		return nil, httpapi.Invalid("domain", "is missing: every domain counts its events by itself")
	case !given && options.Sequence == 0:
		return nil, httpapi.Invalid("sequence", "is missing: say which event of the domain, from 1")
	}
	if !given {
		record, err := x.logs.Stored(ctx, options.Domain, options.Sequence)
		if err != nil {
			return nil, err
		}
		e, err := event.FromEventLog(record.Header, record.Data)
		if err != nil {
			return nil, httpapi.Invalid("sequence", "the message there cannot be read, so nothing is matched with it: "+err.Error())
		}
		return e, nil
	}
	e, err := event.ParseStructured(options.Event)
	if err != nil {
		return nil, httpapi.Invalid("event", err.Error())
	}
	return e, nil
}

// judge holds an event against the catalogue.
func (x *explainer) judge(e *event.Event) v1.ExplainedEvent {
	out := v1.ExplainedEvent{ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Problems: []v1.FieldProblem{}}
	t, err := x.catalogue.Resolve(e.Type)
	if err != nil {
		out.Problems = append(out.Problems, v1.FieldProblem{Field: "/type", Message: err.Error()})
		return out
	}
	out.Domain = t.Domain
	found, err := x.catalogue.Newest().Check(e)
	invalid := found.Warning
	if err != nil {
		invalid, _ = errors.AsType[*schemas.ValidationError](err)
	}
	out.Valid = err == nil
	switch {
	case invalid != nil:
		for _, p := range invalid.Problems {
			out.Problems = append(out.Problems, v1.FieldProblem{Field: p.Field, Message: p.Message})
		}
	case err != nil: // the type was deleted meanwhile
		out.Problems = append(out.Problems, v1.FieldProblem{Field: "/type", Message: err.Error()})
	}
	return out
}

// readsEvents reports whether who makes the request may see the data of events.
func readsEvents(ctx context.Context) bool { return access.PrincipalOf(ctx).Role != access.Publisher }

// showing is what verdicts are made of.
type showing struct {
	event  *event.Event
	domain string
	data   bool // the reader may see values of the data
	tree   bool // all clauses

	explainer *filter.Explainer // of event
}

func (s *showing) verdict(sub *subscription.Subscription) (v1.Verdict, error) {
	if s.explainer == nil {
		s.explainer = filter.NewExplainer(s.event)
	}
	found, err := s.explainer.Explain(sub.Criteria(), s.domain)
	if err != nil {
		return v1.Verdict{}, err
	}
	out := v1.Verdict{SubscriptionID: sub.ID, State: v1.State(cmp.Or(sub.State, subscription.Disabled)), Matched: found.Matched, Because: v1.Because(found.Because), Type: found.Type}
	decided := found.Decided()
	switch found.Because {
	case filter.BecauseMatched:
		out.Reason = "its type " + found.Type + " is that of the event"
		if len(found.Filters) > 0 {
			out.Reason += ", and all of its filters match"
		}
	case filter.BecauseType:
		out.Reason = "it wants " + typeList(sub.Types) + ", and the event is a " + s.event.Type
	case filter.BecauseFilter:
		out.Reason = "its filters do not match; which of them decides is not shown, since evaluating each part takes too many steps"
		if decided != nil {
			out.Reason = decided.Path + ": " + decided.Sentence(s.data)
		}
	case filter.BecauseBudget:
		out.Reason = "its filters take more steps for this event than one event may take, so the event is a dead letter with the reason match_budget: use fewer or shorter patterns, or put what decides sooner before them"
	case filter.BecauseDisabled:
		out.Reason = "it is disabled"
		switch {
		case found.Type == "":
			out.Reason += "; active it would not match either: it wants " + typeList(sub.Types)
		case decided != nil:
			out.Reason += "; active it would not match either: " + decided.Path + ": " + decided.Sentence(s.data)
		case found.Undecided:
			out.Reason += "; active it could not be decided: its filters take more steps for this event than one event may take"
		case len(found.Filters) < len(sub.Filters):
		default:
			out.Reason += "; active it would match"
		}
	}
	if decided != nil {
		alone := *decided
		alone.Clauses = nil
		shown := show.Clause(&alone)
		out.Decided = &shown
	}
	if s.tree {
		out.Filters = show.All(found.Filters, show.Clause)
	}
	if !s.data {
		hideData(out.Decided)
		for i := range out.Filters {
			hideData(&out.Filters[i])
		}
	}
	return out, nil
}

// hideData takes the values of the data out.
func hideData(c *v1.Clause) {
	if c == nil {
		return
	}
	for i := range c.Values {
		if strings.HasPrefix(c.Values[i].Name, "data.") {
			c.Values[i].Value = ""
		}
	}
	for i := range c.Clauses {
		hideData(&c.Clauses[i])
	}
}

// typeList are the types of a subscription, or the first of many.
func typeList(types []string) string {
	const most = 5
	if len(types) <= most {
		return strings.Join(types, ", ")
	}
	return strings.Join(types[:most], ", ") + " and " + strconv.Itoa(len(types)-most) + " other types"
}
