package securesourcemanager

import (
	"fmt"
	"testing"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// What a push costs where there are many hooks, each of a repository of its own.
func BenchmarkRepositoryFilter(b *testing.B) {
	const name = "projects/p/locations/l/repositories/r"
	for _, n := range []int{10, 10_000} {
		subs := make([]*subscription.Subscription, n)
		for i := range subs {
			subs[i] = &subscription.Subscription{
				ID: fmt.Sprintf("s%05d", i), Types: []string{"git.push"}, State: subscription.Active,
				Filters: []filter.Filter{RepositoryFilter(fmt.Sprint(name, i))},
			}
		}
		table, err := filter.NewTable(subs...)
		if err != nil {
			b.Fatal(err)
		}
		for _, said := range []struct{ by, source string }{{"source", "/git/" + name + "5"}, {"data", "/git/elsewhere"}} {
			e := &event.Event{
				ID: "1", Source: said.source, Type: "git.push", DataContentType: "application/json",
				Data: []byte(`{"ref":"refs/heads/main","repository":{"uris":{"api":"https://git.example/v1/` + name + `5"}}}`),
			}
			b.Run(fmt.Sprint(n, "/by_", said.by), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if got := table.Match("git", e, nil); len(got) != 1 || got[0].ID != "s00005" {
						b.Fatalf("got %v", got)
					}
				}
			})
		}
	}
}
