package gitsource

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/schemas"
)

// TestMain lets this test program be the hook of the repositories it makes: the
// hook is run by git, so it must be a program of its own.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "hook" {
		os.Exit(runHook(os.Args[2]))
	}
	os.Exit(m.Run())
}

// runHook publishes into the file "events" of the spool folder. While that has a
// file "down", the server cannot be reached.
func runHook(spool string) int {
	ctx := context.Background()
	publish := func(_ context.Context, events []*event.Event) error {
		if _, err := os.Stat(filepath.Join(spool, "down")); err == nil {
			return errors.New("connect to 127.0.0.1:8080:\nconnection refused")
		}
		f, err := os.OpenFile(filepath.Join(spool, "events"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		for _, e := range events {
			if _, err := f.Write(append(e.AppendStructured(nil), '\n')); err != nil {
				return err
			}
		}
		return nil
	}
	r, err := Open(ctx, Config{Env: os.Environ(), Name: "tugboat", Owner: "harbor", BaseURL: "https://git.example.com/"}, publish)
	if err == nil {
		err = r.PostReceive(ctx, os.Stdin, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "jetpost:", err)
		return 1
	}
	return 0
}

// A fixture is a bare repository that a clone pushes to.
type fixture struct {
	t     *testing.T
	env   []string
	bare  string
	work  string
	spool string
	tick  int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{
		t:    t,
		bare: filepath.Join(dir, "harbor", "tugboat.git"), work: filepath.Join(dir, "work"), spool: filepath.Join(dir, "spool"),
	}
	f.env = isolated(dir)
	if err := os.MkdirAll(f.spool, 0o700); err != nil {
		t.Fatal(err)
	}
	f.gitIn(dir, "init", "--quiet", "--bare", f.bare)
	f.gitIn(dir, "init", "--quiet", f.work)
	f.git("remote", "add", "origin", f.bare)
	return f
}

// isolated is an environment in which git knows nothing of the machine's user.
func isolated(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(),
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_COUNT=2",
		"GIT_CONFIG_KEY_0=init.defaultBranch", "GIT_CONFIG_VALUE_0=main",
		"GIT_CONFIG_KEY_1=gc.auto", "GIT_CONFIG_VALUE_1=0",
		"GIT_AUTHOR_NAME=Ada Pilot", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ben Mate", "GIT_COMMITTER_EMAIL=ben@example.com",
		"GIT_PUSHER=cleo@example.com",
	}
}

func (f *fixture) git(args ...string) string {
	f.t.Helper()
	return f.gitIn(f.work, args...)
}

// gitIn runs git a second after the last time, by its own clock, and returns
// what it printed.
func (f *fixture) gitIn(dir string, args ...string) string {
	f.t.Helper()
	out, err := f.tryGit(dir, nil, args...)
	if err != nil {
		f.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (f *fixture) tryGit(dir string, in []byte, args ...string) (string, error) {
	f.tick++
	date := time.Date(2025, 11, 2, 9, 0, f.tick, 0, time.FixedZone("", 3600)).Format(time.RFC3339)
	cmd := exec.CommandContext(f.t.Context(), "git", args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(in)
	cmd.Env = append([]string{"GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date}, f.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// commit makes a commit with the given files, name and content in turn, and
// returns its id. Content "-" removes the file.
func (f *fixture) commit(message string, files ...string) string {
	f.t.Helper()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(f.work, files[i])
		if files[i+1] == "-" {
			f.git("rm", "--quiet", "--", files[i])
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	f.git("add", "--all")
	f.git("commit", "--quiet", "--allow-empty", "--message", message)
	return f.git("rev-parse", "HEAD")
}

func (f *fixture) config() Config {
	return Config{Dir: f.bare, Env: f.env, Name: "tugboat", Owner: "harbor", BaseURL: "https://git.example.com/"}
}

// open returns the repository with a publisher that keeps what it gets.
func (f *fixture) open() (*Repository, *published) {
	f.t.Helper()
	p := &published{}
	r, err := Open(f.t.Context(), f.config(), p.publish)
	if err != nil {
		f.t.Fatal(err)
	}
	return r, p
}

// push pushes and returns the events that this announces, read by the library
// from what git says has changed.
func (f *fixture) push(args ...string) []*event.Event {
	f.t.Helper()
	before := f.refs()
	f.git(append([]string{"push", "--quiet", "origin"}, args...)...)
	r, _ := f.open()
	events, err := r.Events(f.t.Context(), changes(before, f.refs()), time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	f.check(events)
	return events
}

// refs returns the refs of the bare repository.
func (f *fixture) refs() map[string]string {
	f.t.Helper()
	refs := map[string]string{}
	for line := range strings.Lines(f.gitIn(f.bare, "for-each-ref", "--format=%(refname) %(objectname)")) {
		ref, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[ref] = id
	}
	return refs
}

const zeros = "0000000000000000000000000000000000000000"

// changes are the updates that lead from one state of the refs to another, in
// order of their names, as git sends them.
func changes(before, after map[string]string) []Update {
	var updates []Update
	for _, ref := range sortedKeys(before, after) {
		u := Update{Before: before[ref], After: after[ref], Ref: ref}
		if u.Before == u.After {
			continue
		}
		if u.Before == "" {
			u.Before = zeros
		}
		if u.After == "" {
			u.After = zeros
		}
		updates = append(updates, u)
	}
	return updates
}

// check holds what is true of every event.
func (f *fixture) check(events []*event.Event) {
	f.t.Helper()
	catalogue, err := schemas.Load()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range events {
		if err := e.Validate(); err != nil {
			f.t.Error(err)
		}
		if err := catalogue.Validate(e); err != nil {
			f.t.Error(err)
		}
		if size := len(e.AppendStructured(nil)); size > stream.MaxEventSize {
			f.t.Errorf("the event has %d bytes, more than %d", size, stream.MaxEventSize)
		}
	}
}

// decoded is the part of the payload that the tests look at.
type decoded struct {
	Ref, Before, After string
	CompareURL         string `json:"compare_url"`
	Commits            []commit
	Repository         repository
	Pusher             user
	CommitsTotal       int `json:"commits_total"`
	Truncated          bool
}

func decode(t *testing.T, e *event.Event) decoded {
	t.Helper()
	var d decoded
	if err := json.Unmarshal(e.Data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// messages returns the first line of each commit.
func (d decoded) messages() []string {
	messages := []string{}
	for _, c := range d.Commits {
		line, _, _ := strings.Cut(c.Message, "\n")
		messages = append(messages, line)
	}
	return messages
}

// published is a Publish function that keeps what it gets, or fails.
type published struct {
	events []*event.Event
	calls  int
	fail   func(events []*event.Event) error // nil: never
}

func (p *published) publish(_ context.Context, events []*event.Event) error {
	p.calls++
	if p.fail != nil {
		if err := p.fail(events); err != nil {
			return err
		}
	}
	p.events = append(p.events, events...)
	return nil
}

// subjects returns the subjects of events, for comparing.
func subjects(events []*event.Event) []string {
	subjects := []string{}
	for _, e := range events {
		subjects = append(subjects, e.Subject)
	}
	return subjects
}

// spooled returns what the hook has published.
func (f *fixture) spooled() []*event.Event {
	f.t.Helper()
	content, err := os.ReadFile(filepath.Join(f.spool, "events"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	var events []*event.Event
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e, err := event.ParseStructured(lines.Bytes())
		if err != nil {
			f.t.Fatal(err)
		}
		events = append(events, e)
	}
	f.check(events)
	return events
}

// chain makes commits on a branch of the bare repository by git fast-import,
// message by message, and returns the last one.
func (f *fixture) chain(branch string, n int, message func(i int) string, files func(i int) []string) string {
	f.t.Helper()
	var in bytes.Buffer
	for i := range n {
		fmt.Fprintf(&in, "commit refs/heads/%s\ncommitter Ben Mate <ben@example.com> %d +0100\n", branch, 1762070400+i)
		m := message(i)
		fmt.Fprintf(&in, "data %d\n%s\n", len(m), m)
		for _, path := range files(i) {
			fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%d\n", strconv.Quote(path), len(strconv.Itoa(i)), i)
		}
	}
	if out, err := f.tryGit(f.bare, in.Bytes(), "fast-import", "--quiet", "--force"); err != nil {
		f.t.Fatalf("git fast-import: %v\n%s", err, out)
	}
	return f.gitIn(f.bare, "rev-parse", "refs/heads/"+branch)
}
