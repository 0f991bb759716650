package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/cli/publish"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
)

// artifact is data that the catalogue accepts.
func artifact(n int) string {
	return fmt.Sprintf(`{"repo_key":"libs","path":"a/%d.jar","name":"%d.jar","sha256":"%s","size":%d}`, n, n, strings.Repeat("a", 64), n)
}

func artifactEvent(n int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"e%d","source":"/t","type":"artifact.deployed","datacontenttype":"application/json","data":%s}`, n, artifact(n))
}

// stored are the events of a domain's log, oldest first.
func (s *apiServer) stored(domain string) []*event.Event {
	s.tb.Helper()
	var events []*event.Event
	for record, err := range stream.Read(s.tb.Context(), s.js, s.layout.EventLog(domain), stream.Range{}) {
		if err != nil {
			s.tb.Fatal(err)
		}
		e, err := event.FromMessage(record.Header, record.Data)
		if err != nil {
			s.tb.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func TestPublishOne(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	data := `{ "size":1.0, ` + artifact(1)[1:strings.LastIndex(artifact(1), ",")] + `}`
	args := []string{"publish", "--type", "artifact.deployed", "--source", "/me", "--subject", "a b", "--id", "one", "--ext", "team=red", "--time", "2026-01-31T12:00:00Z", "--data", data}
	s.cli(args...).ok("stored as EVENTS_artifact 1: event one from /me")
	s.cli(args...).ok("was stored before as EVENTS_artifact 1")
	file := testkit.File(t, "data.json", artifact(2))
	s.cli("publish", "--type", "artifact.deployed", "--data-file", file, "-o", "json").ok(`"sequence": 2`, `"duplicate": false`)
	s.cliWith(t.Context(), artifact(3), "publish", "--type", "artifact.deployed", "--data-file", "-").ok("EVENTS_artifact 3")

	got := s.stored("artifact")
	if len(got) != 3 {
		t.Fatalf("%d events are stored", len(got))
	}
	want := &event.Event{
		ID: "one", Source: "/me", Type: "artifact.deployed", Subject: "a b", Time: "2026-01-31T12:00:00Z",
		DataContentType: "application/json", Extensions: []event.Attribute{{Name: "team", Value: "red"}}, Data: []byte(data),
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got[1].ID == got[2].ID || got[1].Source != "/jetpost/publish" || got[1].Time == "" {
		t.Errorf("got %+v", got[1])
	}

	s.cli("publish", "--type", "artifact.deployed", "--data", `{"repo_key":5}`).fails("/data/repo_key must be a string", "/data/size is required")
	s.cli("publish", "--type", "artifact.deployed", "--data", `{`).fails("not JSON", "--content-type")
	s.cli("publish", "--type", "artifact.deploy", "--data", `{}`).fails("did you mean")
	s.cli("publish", "--type", "artifact.deployed", "--data", "x", "--content-type", "text/plain").fails("datacontenttype")
	s.cli("publish", "--type", "artifact.deployed", "--ext", "No=x", "--data", "{}").fails("attribute name")
	for _, source := range []string{"%zz", ":nope", "http://[::1", "/my shop"} {
		s.cli("publish", "--type", "artifact.deployed", "--source", source, "--data", artifact(4)).fails("source is not a URI reference")
	}
	s.cli("publish", "--type", "artifact.deployed", "--data-schema", "a.json", "--data", artifact(4)).fails("dataschema is not an absolute URI")
	for _, args := range [][]string{
		{"publish"},
		{"publish", "--type", "a.b", "--rejects", "x"},
		{"publish", "--ndjson", "--id", "x"},
		{"publish", "--ndjson", "--subject", "x"},
		{"publish", "--type", "a.b", "--data", "1", "--data-file", "x"},
	} {
		if code := exitCode(s.cli(args...).fails().err); code != 2 {
			t.Errorf("%v: got exit status %d", args, code)
		}
	}
	if len(s.stored("artifact")) != 3 {
		t.Error("something wrong was stored")
	}
}

func TestPublishLines(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	var in strings.Builder
	want := 0
	bad := map[int]string{ // line: why it is refused
		1: "not JSON", 150: "/type unknown event type", 151: "/data/size is required", 152: "attribute source is missing", 299: "longer than", 300: "/data/size",
	}
	for n := 1; n <= 450; n++ {
		switch n {
		case 1:
			in.WriteString("nonsense\n")
		case 150:
			in.WriteString(strings.Replace(artifactEvent(n), "deployed", "deploy", 1) + "\n")
		case 151, 300:
			in.WriteString(strings.Replace(artifactEvent(n), `"size"`, `"siz"`, 1) + "\n")
		case 152:
			in.WriteString(strings.Replace(artifactEvent(n), `"source":"/t",`, "", 1) + "\n")
		case 200:
			in.WriteString(" \n")
		case 299:
			in.WriteString(strings.Repeat("x", 3<<20) + "\n")
		case 350:
			in.WriteString(artifactEvent(n) + "\r\n")
			want++
		case 450:
			in.WriteString(artifactEvent(n)) // no end of line
			want++
		default:
			in.WriteString(artifactEvent(n) + "\n")
			want++
		}
	}
	rejects := filepath.Join(t.TempDir(), "rejects")
	r := s.cliWith(t.Context(), in.String(), "publish", "--ndjson", "--rejects", rejects, "--output", "json").fails("6 of 449 lines were rejected")
	if exitCode(r.err) != 1 {
		t.Errorf("got exit status %d", exitCode(r.err))
	}
	var report publish.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	if report.Published != want || report.Duplicates != 0 || report.Rejected != len(bad) || report.DoneThrough != 450 {
		t.Errorf("got %+v", report)
	}
	for _, line := range report.Lines {
		if !strings.Contains(line.Reason, bad[line.Line]) || bad[line.Line] == "" {
			t.Errorf("line %d: %s", line.Line, line.Reason)
		}
	}
	kept, err := os.ReadFile(rejects)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(kept), "\n"); lines != len(bad) || !strings.Contains(string(kept), "nonsense\n") {
		t.Errorf("%d lines are kept", lines)
	}
	if got := s.stored("artifact"); len(got) != want || got[0].ID != "e2" || got[len(got)-1].ID != "e450" {
		t.Errorf("%d events are stored", len(got))
	}

	// Again, and all that was stored is known.
	again := s.cliWith(t.Context(), in.String(), "publish", "--ndjson").fails("6 of 449")
	if !strings.Contains(again.stdout, fmt.Sprintf("published 0, duplicates %d, rejected 6", want)) || !strings.Contains(again.stderr, "line 1: ") || !strings.Contains(again.stderr, "nonsense") {
		t.Errorf("got %s%s", again.stdout, again.stderr)
	}
	s.cliWith(t.Context(), "", "publish", "--ndjson").ok("published 0, duplicates 0, rejected 0")
}

func TestPublishLinesOfData(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	in := artifact(1) + "\n" + artifact(2) + "\n" + `{"size":1}` + "\n"
	r := s.cliWith(t.Context(), in, "publish", "--ndjson", "--type", "artifact.deployed", "--source", "/files", "--id-from", "path").fails("1 of 3")
	if !strings.Contains(r.stderr, "line 3: the data has no path") {
		t.Errorf("got %s", r.stderr)
	}
	s.cliWith(t.Context(), in, "publish", "--ndjson", "--type", "artifact.deployed", "--source", "/files", "--id-from", "path").fails()
	got := s.stored("artifact")
	if len(got) != 2 || got[0].ID != "a/1.jar" || got[1].ID != "a/2.jar" || string(got[0].Data) != artifact(1) {
		t.Errorf("%d events are stored", len(got))
	}
}

// Lines are published as they come, not only when there are many.
func TestPublishLinesOfAProgram(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	in, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(&terminal.Env{Ctx: t.Context(), Stdin: in, Stdout: io.Discard, Stderr: io.Discard}, s.args("publish", "--ndjson"))
	}()
	line := func(w io.Writer, n int) {
		t.Helper()
		if _, err := io.WriteString(w, artifactEvent(n)+"\n"); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(apiPatience); len(s.stored("artifact")) != n+1; {
			if time.Now().After(deadline) {
				t.Fatalf("line %d is not published while the next one is awaited", n)
			}
		}
	}
	for n := range 3 {
		line(w, n)
	}
	_ = w.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// Stopping it does not wait for a line that never comes.
	ctx, stop := context.WithCancel(t.Context())
	in, w = io.Pipe()
	go func() {
		ended <- run(&terminal.Env{Ctx: ctx, Stdin: in, Stdout: io.Discard, Stderr: io.Discard}, s.args("publish", "--ndjson"))
	}()
	line(w, 3)
	line(w, 4)
	if _, err := io.WriteString(w, `{"half`); err != nil {
		t.Fatal(err)
	}
	stop()
	// The second line was sent after the first one's receipt; its own may not have
	// been read yet.
	if err := <-ended; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "lines 1 to 1 are done") && !strings.Contains(err.Error(), "lines 1 to 2 are done") {
		t.Errorf("stopped with %v", err)
	}
}

func TestPublishWaitsForTheServer(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	var asked atomic.Int32
	s.setIntercept(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 2 {
			s.setIntercept(nil)
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"status":503,"detail":"the event is not known to be stored"}`)
	})
	began := time.Now()
	s.cliWith(t.Context(), artifactEvent(1)+"\n"+artifactEvent(2), "publish", "--ndjson").ok("published 2")
	if took := time.Since(began); asked.Load() != 2 || took < 2*time.Second {
		t.Errorf("asked %d times in %v, want to wait as long as the server says", asked.Load()+1, took)
	}

	s.setIntercept(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	s.cliWith(t.Context(), artifactEvent(3)+"\n", "publish", "--ndjson", "--patience", "300ms").fails("lines 1 to 0 are done", "tail -n +1 ")
	s.cli("publish", "--type", "artifact.deployed", "--data", artifact(4), "--patience", "0s").fails("503")
	s.setIntercept(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	s.cliWith(t.Context(), artifactEvent(5)+"\n", "publish", "--ndjson").fails("403")
}

// A refusal that names no event is narrowed down.
func TestPublishLinesNarrowsDown(t *testing.T) {
	t.Parallel()
	var sizes []int
	server := eventsServer(t, func(events []json.RawMessage) (int, string) {
		sizes = append(sizes, len(events))
		for _, e := range events {
			if strings.Contains(string(e), `"id":"e5"`) {
				return http.StatusRequestEntityTooLarge, `{"status":413,"detail":"too large"}`
			}
		}
		receipts := strings.TrimSuffix(strings.Repeat(`{"stream":"S","sequence":1},`, len(events)), ",")
		return http.StatusCreated, `{"receipts":[` + receipts + `]}`
	})
	var in strings.Builder
	for n := range 8 {
		in.WriteString(artifactEvent(n) + "\n")
	}
	var stdout, stderr strings.Builder
	err := run(&terminal.Env{Ctx: t.Context(), Stdin: strings.NewReader(in.String()), Stdout: &stdout, Stderr: &stderr},
		[]string{"publish", "--ndjson", "--server", server, "--token", apiToken})
	if err == nil || !strings.Contains(stdout.String(), "published 7, duplicates 0, rejected 1") || !strings.Contains(stderr.String(), "line 6: too large") {
		t.Errorf("got %v\n%s%s(sizes %v)", err, stdout.String(), stderr.String(), sizes)
	}
}

// eventsServer answers POST /v1/events as the test says.
func eventsServer(tb testing.TB, answer func([]json.RawMessage) (int, string)) string {
	tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []json.RawMessage
		body, err := io.ReadAll(r.Body)
		if err != nil {
			tb.Error(err)
		}
		if err := json.Unmarshal(body, &events); err != nil {
			events = []json.RawMessage{body}
		}
		status, text := answer(events)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	tb.Cleanup(server.Close)
	return server.URL
}
