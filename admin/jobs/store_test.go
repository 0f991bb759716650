package jobs

import (
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// Ended jobs are forgotten after a time, or behind many newer ones.
func TestRedrivesForgotten(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	if err := server.Layout.Ensure(t.Context(), server.JS(), nil); err != nil {
		t.Fatal(err)
	}
	store := NewStore(server.JS(), server.Layout)
	now := time.Now()
	for n := range keptJobs + 3 {
		ended := now.Add(-time.Duration(n) * time.Minute)
		if n == 5 {
			ended = now.Add(-8 * 24 * time.Hour)
		}
		record := &Record{RedriveJob: v1.RedriveJob{ID: "rd-" + strconv.Itoa(n), State: Done, StartedAt: now.Add(-time.Duration(n) * time.Minute), EndedAt: &ended}}
		if n == 7 {
			record.EndedAt, record.State = nil, Running
		}
		for len(record.Failures) < 40 { // more than fit
			record.Failures = append(record.Failures, v1.RedriveFailure{Sequence: 1, Error: strings.Repeat("ö", 100)})
		}
		if err := store.Create(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	records, err := store.All(t.Context())
	if err == nil {
		err = store.forget(t.Context(), records)
	}
	if err != nil {
		t.Fatal(err)
	}
	if records, err = store.All(t.Context()); err != nil || len(records) != keptJobs {
		t.Fatalf("%d jobs are kept, want %d, error %v", len(records), keptJobs, err)
	}
	for _, record := range records {
		if record.ID == "rd-5" || record.ID == "rd-"+strconv.Itoa(keptJobs+2) {
			t.Errorf("%s is kept", record.ID)
		}
	}
}
