package admin

import (
	"net/http"
	"strings"
	"testing"

	v1 "github.com/jetpost/jetpost/client/api"
)

// oddData is JSON that changes when it is decoded or written again: white space, the order of
// keys, one that comes twice, large and long numbers, escapes.
const oddData = "\n{ \"b\" : 1.0e+2,\r\n\t\"a\":123456789012345678901234567890, \"a\": -0.0 , \"u\":\"\\u00e9\\/\\ud83d\\ude00<&>\u2028\" , \"z\":[ ]}\n\n"

// Wherever an event is answered, its data has the bytes that were published.
func TestEventDataIsAnsweredAsPublished(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	publish := func(id string) {
		e := newEvent("git.push", id)
		e.Data = []byte(oddData)
		f.publish(e)
	}
	following := f.follow("/v1/events?follow=true&domain=git&from_seq=1")
	publish("e1")
	publish("e2")
	want := `"data":` + oddData + "}"
	for path, times := range map[string]int{
		"/v1/events": 2, "/v1/events?domain=git&from_seq=2": 1, "/v1/events?source=/test&id=e1": 1,
		"/v1/events/git/1": 1, "/v1/events/git/1/story": 1, "/v1/events/story?source=/test&id=e2": 1,
	} {
		r := f.do("GET", path, "").want(http.StatusOK)
		if n := strings.Count(string(r.body), want); n != times {
			t.Errorf("%s: the data is there %d times as it was published, want %d: %q", path, n, times, r.body)
		}
		var decoded map[string]any // the whole is JSON
		r.into(&decoded)
	}
	// What is followed has a line for each event: line breaks become spaces, and
	// nothing else changes.
	var line v1.StoredEvent
	if err := following.next(&line); err != nil {
		t.Fatal(err)
	}
	if want := `"data":` + strings.NewReplacer("\n", " ", "\r", " ").Replace(oddData) + "}"; !strings.Contains(string(line.Event), want) {
		t.Errorf("the line has %q, want %q in it", line.Event, want)
	}
}
