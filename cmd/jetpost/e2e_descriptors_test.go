//go:build unix

package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/delivery"
)

// descriptorsVariable is how many files a child may have open.
const descriptorsVariable = "JETPOST_TEST_NOFILE"

// A process that may open 256 files calls many receivers, all of which take their time.
// What it cannot do at once waits: that is not the receivers' fault, uses no attempt and
// opens no breaker, and the process says so until it is over.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	const receivers, events, inFlight = 40, 8, 16
	s := prepareServerIn(t, filepath.Join(t.TempDir(), "data"), "--allow-target", "127.0.0.0/8")
	s.restartAt(t, t.TempDir(), descriptorsVariable+"=256")
	release := make(chan struct{})
	catchers := make([]*catcher, receivers)
	for i := range catchers {
		catchers[i] = startCatcher(t, func(w http.ResponseWriter, r *http.Request, _ *arrival) {
			select {
			case <-release:
				w.WriteHeader(http.StatusNoContent)
			case <-r.Context().Done():
			}
		})
		terms := retrying(0, "0s", "1h")
		terms["max_in_flight"], terms["breaker"] = inFlight, object{"failures": 1}
		s.subscribe(t, fmt.Sprintf("hook-%d", i), catchers[i].URL, []string{"artifact.*"}, object{"delivery": terms})
	}
	ids := numbered("event", events)
	for _, id := range ids {
		s.publish(t, deployed(id, "libs"))
	}
	s.awaitReady(t, `"machine":"descriptors: `)
	// Everything else works meanwhile.
	s.publish(t, deployed("another", "libs"))
	close(release)
	for i, c := range catchers {
		c.wantAll(t, append(ids, "another"), 0)
		id := fmt.Sprintf("hook-%d", i)
		eventually(t, "every request is recorded", func() bool { return len(s.attempts(t, id)) >= events+1 })
		for _, a := range s.attempts(t, id) {
			if a.Attempt != 1 || a.Outcome != delivery.Delivered {
				t.Errorf("%s: %+v, want the first attempt to deliver", id, a)
			}
		}
		if r := s.do(t, http.MethodGet, "/v1/subscriptions/"+id+"/breaker", nil); !strings.Contains(string(r.body), `"opened":0`) {
			t.Errorf("%s: %s", id, r.body)
		}
	}
	s.awaitReady(t, "")
	if r := s.do(t, http.MethodGet, "/metrics", nil); !strings.Contains(string(r.body), `jetpost_sender_held_total{cause="descriptors"}`) {
		t.Error("what was held is not counted")
	}
	for _, text := range []string{"this process may open few files", "this machine cannot make requests", "more requests may be under way"} {
		eventually(t, "the log has a line "+text, func() bool { return len(s.stderr.lines(text)) > 0 })
	}
	if trouble := s.stderr.lines("too many open files"); len(trouble) > 0 {
		t.Errorf("it has run out of files: %s", trouble[0])
	}
}
