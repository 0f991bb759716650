package admin

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/admin/jobs"
	v1 "github.com/jetpost/jetpost/client/api"
)

func TestRedrivesInPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	job := func(id string, started time.Time) {
		t.Helper()
		record := &jobs.Record{RedriveJob: v1.RedriveJob{ID: id, State: jobs.Done, StartedAt: started}}
		if err := f.jobs().Create(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	for i, id := range []string{"rd-e", "rd-b", "rd-a", "rd-d"} {
		job(id, at.Add(time.Duration(i/2)*time.Nanosecond)) // two at the same time
	}
	var ids []string
	for cursor := ""; ; {
		var got v1.Page[v1.RedriveJob]
		f.do("GET", "/v1/redrives?limit=1"+cursor, "").want(http.StatusOK).into(&got)
		for _, item := range got.Items {
			ids = append(ids, item.ID)
		}
		if got.NextCursor == "" {
			break
		}
		cursor = "&cursor=" + got.NextCursor
		job("rd-new-"+string(rune('a'+len(ids))), at.Add(time.Hour))
	}
	if diff := cmp.Diff([]string{"rd-a", "rd-d", "rd-b", "rd-e"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.do("GET", "/v1/redrives?cursor=x", "").want(http.StatusUnprocessableEntity)
}
