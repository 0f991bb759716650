package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sort"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/schemas"
)

// explainPath takes events, whose form takes more room than they have in the log.
const (
	explainPath    = "/v1/explain"
	maxExplainBody = 2 * stream.MaxEventSize
)

type explainRequest struct {
	Paged
	RawJSON
}

type explained struct{ Body v1.Explanation }

// explainRoutes are those that try an event out.
func (a *Admin) explainRoutes(api huma.API) {
	registerBody[v1.ExplainOptions](a, api, huma.Operation{
		OperationID: "explain", Method: http.MethodPost, Path: explainPath, Tags: []string{"Events"}, Metadata: needs(access.NeedRead),
		Summary: "Explain which subscriptions want an event, and why",
		Description: "For an event that is stored, or one that is only thought of: nothing is stored or delivered. Each verdict names the clause that decided and the " +
			"value that was compared with it. Subscriptions are taken as they are now, also for a stored event; what became of that is its story.",
	}, true, a.explain)
}

func (a *Admin) explain(ctx context.Context, in *explainRequest) (*explained, error) {
	var options v1.ExplainOptions
	if err := decodeOptions(in.RawBody, &options); err != nil {
		return nil, err
	}
	if in.Cursor != "" && !subscription.ValidID(in.Cursor) {
		return nil, badCursor()
	}
	if options.Only != "" && options.Only != "matched" && options.Only != "unmatched" {
		return nil, invalid("only", strconv.Quote(options.Only)+" is not a choice: use matched or unmatched, or leave it out for both")
	}
	e, err := a.eventToExplain(ctx, &options)
	if err != nil {
		return nil, err
	}
	out := &explained{}
	out.Body.Event = a.judgeEvent(e)
	out.Body.Items = []v1.Verdict{}
	show := showing{event: e, domain: out.Body.Event.Domain, data: readsEvents(ctx)}
	if options.Subscription != "" {
		sub, err := a.FindSubscription(ctx, options.Subscription)
		if err != nil {
			return nil, err
		}
		show.tree = true
		one, err := show.verdict(sub)
		if err != nil {
			return nil, err
		}
		out.Body.Items = append(out.Body.Items, one)
		return out, nil
	}
	snapshot, err := a.view.Sync(ctx)
	if err != nil {
		return nil, err
	}
	all := snapshot.All()
	first := sort.Search(len(all), func(i int) bool { return all[i].ID > in.Cursor })
	for _, sub := range all[first:] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		one, err := show.verdict(sub)
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

// eventToExplain is the one in the request, or the stored one that it names.
func (a *Admin) eventToExplain(ctx context.Context, options *v1.ExplainOptions) (*event.Event, error) {
	given := len(options.Event) > 0 && string(options.Event) != "null"
	switch {
	case given && (options.Domain != "" || options.Sequence != 0):
		return nil, invalid("event", "and domain and sequence: give the event itself, or say where it is stored")
	case !given && options.Domain == "" && options.Sequence == 0:
		return nil, invalid("event", "is missing: give an event in CloudEvents' JSON format, or domain and sequence of one that is stored")
	case !given && options.Domain == "":
		return nil, invalid("domain", "is missing: every domain counts its events by itself")
	case !given && options.Sequence == 0:
		return nil, invalid("sequence", "is missing: say which event of the domain, from 1")
	}
	if !given {
		record, err := a.storedRecord(ctx, options.Domain, options.Sequence)
		if err != nil {
			return nil, err
		}
		e, err := event.FromEventLog(record.Header, record.Data)
		if err != nil {
			return nil, invalid("sequence", "the message there cannot be read, so nothing is matched with it: "+err.Error())
		}
		return e, nil
	}
	e, err := event.ParseStructured(options.Event)
	if err != nil {
		return nil, invalid("event", err.Error())
	}
	return e, nil
}

// judgeEvent holds an event against the catalogue.
func (a *Admin) judgeEvent(e *event.Event) v1.ExplainedEvent {
	out := v1.ExplainedEvent{ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Problems: []v1.FieldProblem{}}
	t, err := a.catalogue.Resolve(e.Type)
	if err != nil {
		out.Problems = append(out.Problems, v1.FieldProblem{Field: "/type", Message: err.Error()})
		return out
	}
	out.Domain = t.Domain
	found, err := a.catalogue.newest().Check(e)
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
	case err != nil: // the type has gone meanwhile
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
		shown := showClause(&alone)
		out.Decided = &shown
	}
	if s.tree {
		out.Filters = showAll(found.Filters, showClause)
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
