package filter

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
)

// One Explainer for many subscriptions says of each what one of its own says, also when
// it has to forget.
func TestExplainerForMany(t *testing.T) {
	t.Parallel()
	e := &event.Event{
		ID: "1", Source: "/s", Type: "git.push", DataContentType: "application/json", Data: []byte(`{"ref":"refs/heads/main","n":7}`),
	}
	x := NewExplainer(e)
	const rounds = 3
	for n := range rounds * maxOperands / 10 {
		all := make(map[string]string)
		for i := range 10 {
			all[fmt.Sprintf("data.x%d_%d", n, i)] = "y"
		}
		sub := &subscriber{ID: "s", Types: []string{"git.push"}, Filters: []Filter{
			Exact(map[string]string{"data.ref": []string{"refs/heads/main", "refs/heads/other"}[n%2], "source": "/s"}),
		}}
		if n%3 == 0 {
			sub.Filters = append(sub.Filters, Not(Exact(all)))
		}
		got, err := x.Explain(sub.Criteria(), "git")
		if err != nil {
			t.Fatal(err)
		}
		if len(x.operands) > maxOperands+100 {
			t.Fatalf("%d operands are remembered", len(x.operands))
		}
		if n%100 > 1 {
			continue // they are compared now and then
		}
		want, err := NewExplainer(e).Explain(sub.Criteria(), "git")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || got.Matched != (n%2 == 0) {
			t.Fatalf("subscription %d (-want +got):\n%s", n, diff)
		}
	}
}
