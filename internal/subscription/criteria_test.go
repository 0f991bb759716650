package subscription

import (
	"testing"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// Active and paused subscriptions match events, all others do not.
func TestCriteriaOfStates(t *testing.T) {
	t.Parallel()
	e := &event.Event{ID: "1", Source: "s", Type: "git.push"}
	for state, want := range map[State]bool{Active: true, Paused: true, Disabled: false, "": false} {
		s := &Subscription{ID: "ci", Types: []string{"git.push"}, State: state}
		if got := !s.Criteria().Disabled; got != want {
			t.Errorf("%q: criteria are enabled: %t", state, got)
		}
		verdict, err := filter.NewExplainer(e).Explain(s.Criteria(), "git")
		if err != nil || verdict.Matched != want {
			t.Errorf("%q: explained as %t, %v", state, verdict.Matched, err)
		}
		table, err := filter.NewTable(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := table.Get("ci"); !ok || len(table.Match("git", e, nil)) == 1 != want {
			t.Errorf("%q: matched otherwise than explained, or not in the table: %t", state, ok)
		}
	}
}
