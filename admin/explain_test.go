package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/delivery"
)

const explainedPush = `{"specversion":"1.0","id":"x","source":"/s","type":"git.push","subject":"main","datacontenttype":"application/json","data":{"secret":"swordfish"}}`

func TestExplainRoute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, body := range []string{
		ci, strings.NewReplacer(`"ci"`, `"dev"`, `"main"`, `"dev"`).Replace(ci), strings.NewReplacer(`"ci"`, `"files"`, `git.push`, `artifact.*`).Replace(ci),
		strings.NewReplacer(`"ci"`, `"inside"`, `"subject":"main"`, `"data.secret":"other"`).Replace(ci), subscriptionNamed("off"),
	} {
		f.do("POST", "/v1/subscriptions", body).want(http.StatusCreated)
	}
	f.do("PATCH", "/v1/subscriptions/off", `{"state":"disabled"}`).want(http.StatusOK)
	explain := func(path, body string) v1.Explanation {
		t.Helper()
		var out v1.Explanation
		f.do("POST", path, body).want(http.StatusOK).into(&out)
		return out
	}
	list := func(out v1.Explanation) (lines []string) {
		for _, v := range out.Items {
			lines = append(lines, v.SubscriptionID+": "+v.Reason)
		}
		return lines
	}
	all := explain("/v1/explain", `{"event":`+explainedPush+`}`)
	want := []string{
		"ci: its type git.push is that of the event, and all of its filters match",
		`dev: filters[0].exact.subject: it wants that subject is "dev", and it is "main"`,
		"files: it wants artifact.*, and the event is a git.push",
		`inside: filters[0].exact.data.secret: it wants that data.secret is "other", and it is "swordfish"`,
		"off: it is disabled; active it would match",
	}
	if diff := cmp.Diff(want, list(all)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all.Event.Valid || all.Event.Domain != "git" || len(all.Event.Problems) == 0 || all.Items[1].Decided.Path != "filters[0].exact.subject" || all.Items[1].Filters != nil {
		t.Errorf("got %+v", all)
	}
	first := explain("/v1/explain?limit=2", `{"event":`+explainedPush+`,"only":"unmatched"}`)
	second := explain("/v1/explain?limit=2&cursor="+first.NextCursor, `{"event":`+explainedPush+`,"only":"unmatched"}`)
	if diff := cmp.Diff(want[1:], append(list(first), list(second)...)); diff != "" || second.NextCursor != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := list(explain("/v1/explain", `{"event":`+explainedPush+`,"only":"matched"}`)); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	one := explain("/v1/explain", `{"event":`+explainedPush+`,"subscription":"dev"}`)
	if len(one.Items) != 1 || len(one.Items[0].Filters) != 1 || one.Items[0].Filters[0].Matched {
		t.Errorf("got %+v", one)
	}

	f.publish(newEvent("git.push", "e1"))
	stored := explain("/v1/explain", `{"domain":"git","sequence":1,"subscription":"ci"}`)
	if stored.Items[0].Reason != "filters[0].exact.subject: the event has no attribute subject" || stored.Event.ID != "e1" {
		t.Errorf("got %+v", stored)
	}
	unknown := explain("/v1/explain", `{"event":{"specversion":"1.0","id":"x","source":"/s","type":"nope.nope"}}`)
	if unknown.Event.Valid || unknown.Event.Domain != "" || len(unknown.Event.Problems) != 1 || len(unknown.Items) != 5 {
		t.Errorf("got %+v", unknown)
	}
	state, err := f.js.Stream(t.Context(), f.layout.EventLog("git"))
	if err != nil || state.CachedInfo().State.Msgs != 1 {
		t.Errorf("explaining has stored something: %v", err)
	}
	for body, field := range map[string]string{
		`{}`: "event", `{"event":null}`: "event", `{"event":"x"}`: "event", `{"event":{"id":"x"}}`: "event", `{"event":` + explainedPush + `,"domain":"git"}`: "event",
		`{"domain":"git"}`: "sequence", `{"sequence":1}`: "domain", `{"event":` + explainedPush + `,"only":"all"}`: "only", `{"sequence":"1"}`: "sequence",
	} {
		r := f.do("POST", "/v1/explain", body).want(http.StatusUnprocessableEntity)
		if got := r.fields(); len(got) != 1 || got[0] != field {
			t.Errorf("%s names %v, want %s: %s", body, got, field, r.body)
		}
	}
	f.do("POST", "/v1/explain", "").want(http.StatusBadRequest)
	f.do("POST", "/v1/explain?cursor=_", `{"event":`+explainedPush+`}`).want(http.StatusUnprocessableEntity)
	f.do("POST", "/v1/explain", `{"domain":"git","sequence":9}`).want(http.StatusNotFound)
	f.do("POST", "/v1/explain", `{"event":`+explainedPush+`,"subscription":"unknown"}`).want(http.StatusNotFound)
	large := `{"event":{"specversion":"1.0","id":"x","source":"/s","type":"git.push","data":"` + strings.Repeat("x", httpapi.MaxBody) + `"},"subscription":"ci"}`
	f.do("POST", "/v1/explain", large).want(http.StatusOK)
	f.do("POST", "/v1/explain", large+strings.Repeat(" ", httpapi.MaxBody)).want(http.StatusRequestEntityTooLarge)
}

// Who may not read all events may not have them explained either: values of their data
// are shown.
func TestExplainHidesData(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", strings.Replace(ci, `{"exact":{"subject":"main"}}`, `{"not":{"any":[{"prefix":{"data.secret":"sword"}},{"exact":{"subject":"dev"}}]}}`, 1)).want(http.StatusCreated)
	for _, role := range []access.Role{access.Publisher, access.Auditor} {
		for _, only := range []string{"", `,"subscription":"ci"`} {
			r := httptest.NewRequest(http.MethodPost, "/v1/explain", strings.NewReader(`{"event":`+explainedPush+only+`}`))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			f.admin.Handler().ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Principal{Role: role})))
			answer := reply{t, w.Code, w.Header(), w.Body.Bytes()}
			if role == access.Publisher {
				answer.want(http.StatusForbidden).mustNotContain("fish")
				continue
			}
			answer.want(http.StatusOK).mustContain("data.secret", "fish")
		}
	}
}

// Filters that take too many steps for an event are said to: by explain, also where the
// subscription is disabled, and by the backlog once there is a dead letter.
func TestFiltersOverBudget(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pattern := strings.Repeat("*[a-y]?", 60) + "*[z]*"
	filters := strings.TrimSuffix(strings.Repeat(`{"not":{"glob":{"data.text":"`+pattern+`"}}},`, 20), ",")
	for _, id := range []string{"slow", "slow-off"} {
		f.do("POST", "/v1/subscriptions", `{"id":"`+id+`","types":["git.*"],"filters":[`+filters+`],"endpoint":{"url":"https://example.com/"}}`).want(http.StatusCreated)
	}
	f.do("PATCH", "/v1/subscriptions/slow-off", `{"state":"disabled"}`).want(http.StatusOK)
	var out v1.Explanation
	body := `{"event":{"specversion":"1.0","id":"x","source":"/s","type":"git.push","data":{"text":"` + strings.Repeat("a", 10<<10) + `"}}}`
	f.do("POST", "/v1/explain", body).want(http.StatusOK).into(&out)
	for i, want := range []string{"its filters take more steps for this event than one event may take", "it is disabled; active it could not be decided"} {
		if got := out.Items[i]; !strings.HasPrefix(got.Reason, want) || got.Matched || got.Decided != nil {
			t.Errorf("got %+v", got)
		}
	}
	if got := out.Items[0].Because; got != v1.BecauseBudget {
		t.Errorf("because %q", got)
	}
	f.do("GET", "/v1/subscriptions/slow/backlog", "").want(http.StatusOK).mustNotContain("filters_over_budget_at")
	e := &event.Event{ID: "e1", Source: "/s", Type: "git.push"}
	deadLetter := &delivery.Delivery{ID: delivery.ID("slow", e.Source, e.ID), SubscriptionID: "slow", Event: e, Origin: delivery.Origin(f.layout.EventLog("git"), 1, time.Now(), "slow"), Accepted: time.Now(), Attempt: 1}
	if err := delivery.NewDeadLetters(f.js, f.layout).GiveUp(t.Context(), deadLetter, delivery.ReasonMatchBudget, 0, nil); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/v1/subscriptions/slow/backlog", "").want(http.StatusOK).mustContain(`"filters_over_budget_at":"`)
	f.do("GET", "/v1/dead-letters?reason=match_budget", "").want(http.StatusOK).mustContain(`"reason":"match_budget"`)
}
