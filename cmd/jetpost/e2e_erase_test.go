package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// marked is an event whose data has a text that nothing else has, and that cannot be
// compressed.
func marked(id string) (h happening, mark string) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // always can
	mark = hex.EncodeToString(random)
	h = deployed(id, "libs")
	h.data = fmt.Sprintf(`{"repo_key":"libs","path":"org/acme/%s.jar","name":"%s.jar","sha256":"%s","size":1}`, id, id, mark)
	return h, mark
}

// filesWith are the streams whose files have any part of a mark, as they lie on the disk.
func (s *server) filesWith(t *testing.T, mark string) (streams []string) {
	t.Helper()
	err := filepath.WalkDir(s.data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // NATS removes files meanwhile
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		for at := 0; at+12 <= len(mark); at += 4 { // compression may have cut it
			if bytes.Contains(content, []byte(mark[at:at+12])) {
				streams = append(streams, filepath.Base(strings.TrimSuffix(filepath.Dir(path), "/msgs")))
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(streams)
	return slices.Compact(streams)
}

// An event is erased while its deliveries are made, given up, waiting for a retry and
// waiting in a queue, beside others that stay: no file of the server has any of its data,
// answers that repeat it included, and what was done with it is still known.
func TestEventIsErased(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	echo := func(status int) *catcher {
		return startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
			w.WriteHeader(status)
			_, _ = w.Write(a.body)
		})
	}
	up, down := echo(http.StatusOK), echo(http.StatusInternalServerError)
	for id, url := range map[string]string{"made": up.URL, "dead": down.URL, "later": down.URL, "paused": up.URL, "kept": down.URL} {
		schedule := []string{}
		if id == "later" {
			schedule = []string{"0s", "1h"}
		}
		s.subscribe(t, id, url, []string{"artifact.deployed"}, object{"delivery": withoutBreaker(object{"retry": object{"schedule": schedule}, "max_age": "100h"})})
	}
	s.run(t, "subscription", "pause", "paused")
	var gone receipt
	var goneMark string
	marks := map[string]string{}
	for n := range 7 {
		h, mark := marked("e" + strconv.Itoa(n))
		got := s.publish(t, h)
		if n == 3 {
			gone, goneMark = got, mark
		} else {
			marks[h.id] = mark
		}
	}
	eventually(t, "all is where it is to be erased", func() bool {
		return len(s.letters(t, "dead")) == 7 && len(s.letters(t, "kept")) == 7 && len(s.attempts(t, "later")) == 7 && len(s.attempts(t, "made")) == 7
	})
	// In the files of the queues of what is settled it may be or not.
	for _, name := range []string{"ATTEMPTS", "DEADLETTERS", "DELIVERIES_paused", "EVENTS_artifact"} {
		eventually(t, name+" has the data", func() bool { return slices.Contains(s.filesWith(t, goneMark), name) })
	}

	place := "artifact/" + strconv.FormatUint(gone.Sequence, 10)
	out := s.run(t, "events", "erase", place, "--why", "asked for")
	if want := "erased " + place + ": 1 waiting deliveries, 1 retries, 2 dead letters, 4 answers of receivers\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	eventually(t, "no file has the data", func() bool { return len(s.filesWith(t, goneMark)) == 0 })
	if streams := s.filesWith(t, goneMark); len(streams) > 0 {
		t.Errorf("the data is in %v", streams)
	}
	for id, mark := range marks {
		if !slices.Contains(s.filesWith(t, mark), "EVENTS_artifact") {
			t.Errorf("the data of %s is gone too", id)
		}
	}
	// What was done is known, in its order, and without the answers.
	for _, id := range []string{"made", "dead", "later", "kept"} {
		attempts := s.attempts(t, id)
		if len(attempts) != 7 {
			t.Errorf("%s has %d attempts on record, want 7", id, len(attempts))
		}
		for _, a := range attempts {
			if erased := a.ResponseBody == "[erased]"; erased != (a.Event.Sequence == gone.Sequence) || a.Status == 0 {
				t.Errorf("%s: the attempt of event %d has the answer %q", id, a.Event.Sequence, a.ResponseBody)
			}
		}
	}
	if audit := s.run(t, "audit", "-o", "json"); !strings.Contains(audit, `"event.erase"`) || !strings.Contains(audit, `"sha256"`) || strings.Contains(audit, goneMark) {
		t.Errorf("the audit trail has no record of it, or its data: %s", audit)
	}
	// Once more finds nothing, and what never was is refused.
	if out := s.run(t, "events", "erase", place); out != place+" was erased before; now what was left of it: 0 waiting deliveries, 0 retries, 0 dead letters, 0 answers of receivers\n" {
		t.Errorf("got %q", out)
	}
	if p := s.start(t, "events", "erase", "artifact/999"); p.wait(t) == 0 || !strings.Contains(p.stderr.String(), "artifact") {
		t.Errorf("an event that never was is erased: %s%s", p.stdout, p.stderr)
	}
	before := up.count()
	s.run(t, "subscription", "resume", "paused")
	up.waitFor(t, before+6)
	eventually(t, "the others are made", func() bool { return len(s.attempts(t, "paused")) == 6 })
	s.kill()     // so that a start
	s.restart(t) // reads all files
	if attempts := s.attempts(t, "paused"); len(attempts) != 6 {
		t.Errorf("%d deliveries were made of what was paused, want 6", len(attempts))
	}
	if streams := s.filesWith(t, goneMark); len(streams) > 0 {
		t.Errorf("after a restart the data is in %v", streams)
	}
}

// A dead letter that is discarded leaves nothing of its event in the file that held it,
// whether it goes alone, with others, or because its delivery is made again.
func TestDiscardedLetterIsOverwritten(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c, up := switched(t)
	s.subscribe(t, "dead", c.URL, []string{"artifact.deployed"}, object{"delivery": withoutBreaker(object{"retry": object{"schedule": []string{}}})})
	var marks []string
	for n := range 5 {
		h, mark := marked("e" + strconv.Itoa(n))
		s.publish(t, h)
		marks = append(marks, mark)
		eventually(t, "it is a dead letter", func() bool { return len(s.letters(t, "dead")) == n+1 })
	}
	kept := func(mark string) bool { return slices.Contains(s.filesWith(t, mark), "DEADLETTERS") }
	for n, mark := range marks {
		if !kept(mark) {
			t.Errorf("the data of dead letter %d is not in its file", n+1)
		}
	}
	up.Store(true)
	s.do(t, http.MethodPost, "/v1/dead-letters/1/discard", object{})
	s.run(t, "deadletters", "discard", "2", "3")
	s.run(t, "deadletters", "redrive", "4")
	for n, mark := range marks {
		if got, want := kept(mark), n == 4; got != want {
			t.Errorf("the file has the data of dead letter %d: %t, want %t", n+1, got, want)
		}
	}
}

// An event is erased while a sender makes a request with it, which fails afterwards and
// would leave a timer, and while it is not routed yet: nothing brings it back.
func TestErasedInHand(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	asked := make(chan struct{}, 1)
	release := make(chan struct{})
	hanging := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		asked <- struct{}{}
		<-release
		w.WriteHeader(http.StatusInternalServerError)
	})
	s.subscribe(t, "slow", hanging.URL, []string{"artifact.deployed"}, object{
		"endpoint": object{"timeout": "2s"}, "delivery": withoutBreaker(object{"retry": object{"schedule": []string{"0s", "1h"}}, "max_age": "100h"}),
	})
	h, mark := marked("e1")
	s.publish(t, h)
	<-asked
	erasing := s.start(t, "events", "erase", "artifact/1")
	eventually(t, "the log has it no more", func() bool { return !slices.Contains(s.filesWith(t, mark), "EVENTS_artifact") })
	close(release)
	if code := erasing.wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, erasing.stderr)
	}
	if out := erasing.stdout.String(); !strings.Contains(out, "1 waiting deliveries, 1 retries, 0 dead letters") {
		t.Errorf("got %q, want the delivery in hand and the timer that it left", out)
	}
	if attempts := s.attempts(t, "slow"); len(attempts) != 1 {
		t.Errorf("got %+v, want the attempt", attempts)
	}
	eventually(t, "no file has the data", func() bool { return len(s.filesWith(t, mark)) == 0 })
}
