package jfrog_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// Many clients create at the same time, some of them the same key: each key is created
// once, and nothing else is there afterwards.
func TestCreatedByMany(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	sites := []*site{in.site(), in.site()}
	const clients, each = 16, 3
	statuses := make(map[string][]int)
	var mu sync.Mutex
	var working sync.WaitGroup
	for c := range clients {
		working.Go(func() {
			for n := range each {
				key := fmt.Sprintf("key-%d-%d", c/2, n) // two clients for each
				r := sites[c%2].do("POST", subscriptions, twoHandlers(key, "https://a.example.com/", "https://b.example.com/"))
				mu.Lock()
				statuses[key] = append(statuses[key], r.status)
				mu.Unlock()
			}
		})
	}
	working.Wait()
	for key, got := range statuses {
		if got[0]+got[1] != http.StatusCreated+http.StatusBadRequest {
			t.Errorf("%s: got %v", key, got)
		}
	}
	var listed []struct{ Key string }
	if err := json.Unmarshal([]byte(sites[0].do("GET", subscriptions, "").want(http.StatusOK).body), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed) != clients/2*each || len(sites[1].stored()) != clients*each {
		t.Errorf("%d are listed, %d are stored", len(listed), len(sites[1].stored()))
	}
}
