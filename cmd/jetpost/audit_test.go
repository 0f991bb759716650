package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/testkit"
)

// recordThree leaves three records.
func (s *apiServer) recordThree() {
	s.tb.Helper()
	s.cli("subscription", "create", "--id", "ci", "--types", "git.push", "--url", "http://127.0.0.1:9000/hook?token=swordfish").ok()
	s.cli("subscription", "pause", "ci", "--reason", "out for tea").ok()
	s.cli("subscription", "rotate", "ci").ok()
}

func TestAuditCommands(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cli("audit").ok()
	s.cli("audit", "head").fails("no records")
	s.cli("audit", "verify").ok("no records")
	follow := s.background("audit", "follow", "--from-seq", "1", "--action", "subscription.*")
	s.recordThree()
	follow.until("subscription.rotate_secret")
	if err := follow.stop(); err != nil {
		t.Errorf("follow ends with %v", err)
	}

	listed := s.cli("audit").ok("subscription.create", "subscriptions/ci", "by bootstrap (the server's own token)", `"out for tea"`, "secrets")
	if lines := strings.Split(strings.TrimSpace(listed.stdout), "\n"); len(lines) != 3 || !strings.Contains(lines[2], "rotate_secret") {
		t.Errorf("got\n%s", listed.stdout)
	}
	for args, want := range map[string]int{
		"--action subscription.pause": 1, "--target subscriptions/*": 3, "--target domains/*": 0, "--actor bootstrap": 3, "--since 1h": 3, "--until 1h": 0, "-n 2": 2,
	} {
		var got []audit.Entry
		r := s.cli(append([]string{"audit", "list", "--output", "json"}, strings.Fields(args)...)...).ok()
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || len(got) != want {
			t.Errorf("%s: got %d records, want %d, error %v:\n%s", args, len(got), want, err, r.stdout)
		}
	}
	s.cli("audit", "list", "--action", "nonsense>").fails("is not an action")
	s.cli("audit", "list", "--since", "yesterday").fails("--since")

	s.cli("audit", "show", "2").ok("record 2", "subscription.pause", "out for tea", "before", "after", `"state": "paused"`, "previous")
	var one audit.Entry
	if err := json.Unmarshal([]byte(s.cli("audit", "show", "3", "-o", "json").ok().stdout), &one); err != nil || one.Sequence != 3 {
		t.Errorf("got %+v and error %v", one, err)
	}
	s.cli("audit", "show", "4").fails("not found")

	head := strings.TrimSpace(s.cli("audit", "head").ok().stdout)
	if want := (audit.Head{Sequence: 3, Hash: one.Hash}).String(); head != want {
		t.Errorf("got head %s, want %s", head, want)
	}
	s.cli("audit", "head", "--output", "json").ok(`"sequence": 3`)
}

// What was exported is verified without a server, and without trust in one.
func TestAuditVerify(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.recordThree()
	file := filepath.Join(t.TempDir(), "audit.ndjson")
	if got := s.cli("audit", "export", file).ok().stdout; got != "" {
		t.Errorf("got %s", got)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), s.cli("audit", "export").ok().stdout); diff != "" {
		t.Errorf("the file differs from standard output:\n%s", diff)
	}
	if left, err := filepath.Glob(file + "*"); err != nil || len(left) != 1 {
		t.Errorf("got files %v and error %v", left, err)
	}
	if strings.Contains(string(text), "swordfish") {
		t.Error("the export has a secret")
	}
	head := strings.TrimSpace(s.cli("audit", "head").ok().stdout)
	second := audit.Head{Sequence: 2, Hash: audit.Hash([]byte(strings.Split(string(text), "\n")[1]))}
	heads := testkit.File(t, "heads.txt", "# published\n"+head+"  # today\n\n"+second.String()+"\n")
	s.cli("audit", "verify").ok("records 1 to 3 follow each other", "head "+head)
	s.cli("audit", "verify", "--head", head).ok("the head of record 3 holds")

	offline := func(file string, args ...string) cliResult {
		t.Helper()
		unreachable := &apiServer{tb: t, url: "http://127.0.0.1:1"}
		return unreachable.cli(append([]string{"audit", "verify", file}, args...)...)
	}
	offline(file, "--heads", heads).ok("records 1 to 3 follow each other", "head of record 2 holds", "head of record 3 holds")
	if got := s.cliWith(t.Context(), string(text), "audit", "verify", "-").ok().stdout; !strings.Contains(got, "records 1 to 3") {
		t.Errorf("got %s", got)
	}
	part := testkit.File(t, "part", s.cli("audit", "export", "--from", "2", "--to", "3").ok().stdout)
	offline(part, "--heads", heads).ok("records 2 to 3 follow each other", "records 1 to 1 are missing")
	late := testkit.File(t, "late", s.cli("audit", "export", "--from", "3").ok().stdout)
	offline(late, "--heads", heads).ok("the head of record 2 cannot be checked")

	lines := strings.SplitAfter(string(text), "\n")
	for name, wrong := range map[string]struct{ text, want string }{
		"one is missing":  {lines[0] + lines[2], "record 2 is missing"},
		"one was altered": {strings.Replace(string(text), "out for tea", "out for tee", 1), "record 2 has the hash"},
		"cut off":         {lines[0] + lines[1], "record 3 is missing: there is a head of record 3"},
		"all is gone":     {"", "record 1 is missing"},
		"the last one":    {lines[0] + lines[1] + strings.Replace(lines[2], "rotate_secret", "show_secret", 1), "record 3 has the hash"},
		"no export":       {"hello\n", "record 1 cannot be read"},
	} {
		r := offline(testkit.File(t, "wrong", wrong.text), "--heads", heads)
		if r.fails(wrong.want); exitCode(r.err) == 0 {
			t.Errorf("%s: got exit status 0", name)
		}
		var report audit.Report
		r = offline(testkit.File(t, "wrong", wrong.text), "--heads", heads, "--output", "json")
		if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || report.Break == nil || r.err == nil {
			t.Errorf("%s: got %s, error %v", name, r.stdout, r.err)
		}
	}
	if r := offline(file, "--head", "3:abc"); r.err == nil || exitCode(r.err) != 2 {
		t.Errorf("of no head: got error %v", r.err)
	}

	// A server that has lost the end of its trail says how far it went.
	log, err := s.js.Stream(t.Context(), s.layout.Audit())
	if err != nil {
		t.Fatal(err)
	}
	cfg := log.CachedInfo().Config
	if err := s.js.DeleteStream(t.Context(), cfg.Name); err != nil {
		t.Fatal(err)
	}
	cfg.DenyDelete, cfg.DenyPurge = false, false
	if log, err = s.js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := s.js.Publish(t.Context(), s.layout.AuditSubject("subscription.create"), []byte(strings.TrimSpace(line))); err != nil {
			t.Fatal(err)
		}
	}
	s.cli("audit", "verify", "--heads", heads).ok()
	if err := log.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	s.cli("audit", "verify").fails("record 3 is missing: the trail has been as far as record 3")
	s.cli("audit", "head").fails("is there no more")
	if err := log.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.cli("audit", "verify").fails("and so are all others up to 3")
}
