package delivery

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The record that is written by hand is the one that encoding/json would write.
func TestAttemptAppend(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 4, 5, 6, 700_800_900, time.UTC)
	next := at.Add(5 * time.Second)
	for _, a := range []Attempt{
		{Outcome: Delivered},
		{
			DeliveryID: "dlv_1", SubscriptionID: "ci", Attempt: 3, At: at, Duration: Millis(1234567), Outcome: Retry,
			Event:  EventRef{ID: `a"b\c`, Source: "/git/wörld\n", Type: "git.push", Subject: "main", Stream: "EVENTS_git", Sequence: 1 << 60},
			Method: "POST", URL: "https://example.com/hook?…", Status: 503, Error: "a <b> & \u2028 c", ResponseBody: "\x00\x1f{}",
			RequestBytes: 17, NextAttempt: &next, Redelivered: true, Manual: true,
		},
	} {
		want, err := json.Marshal(&a)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(a.append(nil))); diff != "" {
			t.Errorf("records differ (-want +got):\n%s", diff)
		}
	}
}
