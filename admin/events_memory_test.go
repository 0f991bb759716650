package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A page ends early where events are large, and the next one goes on there: nothing is
// left out, and no answer is larger than its part of the memory.
func TestPagesOfLargeEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var published []string // oldest first
	large := fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("x", 240_000))
	for n := range 60 {
		e := newEvent([]string{"git.push", "artifact.deployed", "git.push"}[n%3], fmt.Sprintf("e%02d", n))
		if n%10 != 9 {
			e.Data = large
		}
		f.publish(e)
		published = append(published, e.ID)
	}
	newest := slices.Clone(published)
	slices.Reverse(newest)
	for query, want := range map[string][]string{
		"?limit=500": newest,
		"?limit=500&from_time=2020-01-01T00:00:00Z":                                            published,
		"?limit=500&source=" + newEvent("git.push", "e").Source:                                newest,
		"?limit=500&from_time=2020-01-01T00:00:00Z&source=" + newEvent("git.push", "e").Source: published,
	} {
		got := []string{}
		pages, cursor := 0, ""
		for {
			path := "/v1/events" + query
			if cursor != "" {
				path += "&cursor=" + cursor
			}
			r := f.do("GET", path, "").want(http.StatusOK)
			if most := 8<<20 + 2<<20; len(r.body) > most {
				t.Errorf("%s: a page has %d bytes, want at most %d", query, len(r.body), most)
			}
			part, next := r.ids()
			got = append(got, part...)
			pages++
			if next == "" {
				break
			}
			if len(part) == 0 {
				t.Fatalf("%s: an empty page has another one behind it", query)
			}
			cursor = next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, in %d pages (-want +got):\n%s", query, pages, diff)
		}
		if pages < 2 {
			t.Errorf("%s: 13 MB came as one page", query)
		}
	}
}
