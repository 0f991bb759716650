package gitsource

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
)

var errDown = errors.New("connect to the server:\nconnection refused")

func down([]*event.Event) error { return errDown }

// receive lets the hook see that refs have been made, and returns its notice.
func receive(t *testing.T, r *Repository, after string, refs ...string) string {
	t.Helper()
	var in strings.Builder
	for _, ref := range refs {
		fmt.Fprintf(&in, "%s %s %s\n", zeros, after, ref)
	}
	var notices bytes.Buffer
	if err := r.PostReceive(t.Context(), strings.NewReader(in.String()), &notices); err != nil {
		t.Fatal(err)
	}
	return notices.String()
}

// pushed is a fixture whose bare repository has a commit.
func pushed(t *testing.T) (f *fixture, after string) {
	t.Helper()
	f = newFixture(t)
	after = f.commit("one", "a", "1")
	f.git("push", "--quiet", "origin", "main")
	return f, after
}

func (f *fixture) outboxFiles() []string {
	f.t.Helper()
	names := []string{}
	root := filepath.Join(f.bare, "jetpost", "outbox")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if rel, _ := filepath.Rel(root, path); !d.IsDir() && rel != "lock" && rel != "sending" {
			names = append(names, rel)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	return names
}

func TestPublishedAtOnce(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	if notice := receive(t, r, after, "refs/heads/main", "refs/tags/v1"); notice != "" {
		t.Errorf("notice %q", notice)
	}
	if diff := cmp.Diff([]string{"main", "refs/tags/v1"}, subjects(p.events)); diff != "" || p.calls != 1 {
		t.Errorf("%d calls, %s", p.calls, diff)
	}
	if diff := cmp.Diff([]string{}, f.outboxFiles()); diff != "" {
		t.Error(diff)
	}
}

// A server that cannot be reached delays the events; they arrive in order, with
// the bytes that were offered first.
func TestWaitsForTheServer(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	var offered []*event.Event
	p.fail = func(events []*event.Event) error {
		offered = append(offered, events...)
		return errDown
	}
	notice := receive(t, r, after, "refs/heads/a")
	if strings.Count(notice, "\n") != 1 || !strings.Contains(notice, "connection refused") || !strings.Contains(notice, "jetpost git flush") {
		t.Errorf("notice %q", notice)
	}
	receive(t, r, after, "refs/heads/b", "refs/heads/c")
	if diff := cmp.Diff([]string{"000000000001.events", "000000000002.events"}, f.outboxFiles()); diff != "" {
		t.Error(diff)
	}
	if report, err := r.Flush(t.Context()); !errors.Is(err, errDown) || report.Waiting != 2 {
		t.Errorf("flush while down: %+v, %v", report, err)
	}
	p.fail = nil
	receive(t, r, after, "refs/heads/d")
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, subjects(p.events)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(offered[0], p.events[0]); diff != "" {
		t.Errorf("the second attempt differs: %s", diff)
	}
	if diff := cmp.Diff([]string{}, f.outboxFiles()); diff != "" {
		t.Error(diff)
	}
}

func TestFlush(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	if report, err := r.Flush(t.Context()); err != nil || report != (Report{}) {
		t.Errorf("nothing to send: %+v, %v", report, err)
	}
	if _, err := os.Stat(filepath.Join(f.bare, "jetpost")); err == nil {
		t.Error("flushing nothing has made a folder")
	}
	p.fail = down
	receive(t, r, after, "refs/heads/a", "refs/heads/b")
	p.fail = nil
	// Left by processes that were killed: long ago, and perhaps not at all.
	for name, age := range map[string]time.Duration{tempPrefix + "old": 25 * time.Hour, tempPrefix + "new": time.Hour} {
		path := filepath.Join(r.outbox.dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, time.Time{}, time.Now().Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	report, err := r.Flush(t.Context())
	if err != nil || report != (Report{Sent: 2}) {
		t.Errorf("got %+v, %v", report, err)
	}
	if diff := cmp.Diff([]string{tempPrefix + "new"}, f.outboxFiles()); diff != "" {
		t.Error(diff)
	}
}

// A process that is killed after the push was recorded loses nothing.
func TestBuiltLater(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	record := func() *entry {
		e, err := r.outbox.add(t.Context(), push{At: time.Now().UTC(), Updates: []Update{{zeros, after, "refs/heads/x\xff"}}})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	record().unlock()
	second := record()
	if err := r.build(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(second.events())
	if err != nil {
		t.Fatal(err)
	}
	// Killed after the events were built, before the first form was removed.
	if err := os.WriteFile(second.push(), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second.unlock()
	report, err := r.Flush(t.Context())
	if err != nil || report.Sent != 2 || report.Waiting != 0 {
		t.Fatalf("got %+v, %v", report, err)
	}
	if got := append(p.events[1].AppendStructured(nil), '\n'); !bytes.Equal(got, content) {
		t.Error("events that were built already were built again")
	}
}

// An entry that a hook is still working on is waited for: the order is kept.
func TestWaitsForTheBuilder(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	first, err := r.outbox.add(t.Context(), push{At: time.Now().UTC(), Updates: []Update{{zeros, after, "refs/heads/first"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || len(p.events) > 0 {
		t.Errorf("got %v, %v", subjects(p.events), err)
	}
	done := make(chan error)
	go func() {
		_, err := r.Flush(t.Context())
		done <- err
	}()
	if err := r.build(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	first.unlock()
	if err := <-done; err != nil || len(p.events) != 1 {
		t.Errorf("got %v, %v", subjects(p.events), err)
	}
}

func TestRejected(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	p.fail = func(events []*event.Event) error {
		for _, e := range events {
			if e.Subject == "bad" {
				return fmt.Errorf("%w: data.ref: too silly", ErrRejected)
			}
		}
		return nil
	}
	notice := receive(t, r, after, "refs/heads/a", "refs/heads/bad", "refs/heads/c")
	if strings.Count(notice, "\n") != 1 || !strings.Contains(notice, "too silly") || !strings.Contains(notice, r.outbox.rejected()) {
		t.Errorf("notice %q", notice)
	}
	receive(t, r, after, "refs/heads/d")
	if diff := cmp.Diff([]string{"a", "c", "d"}, subjects(p.events)); diff != "" {
		t.Error(diff)
	}
	files := f.outboxFiles()
	if len(files) != 1 || filepath.Dir(files[0]) != "rejected" {
		t.Fatalf("left in the outbox: %q", files)
	}
	content, err := os.ReadFile(filepath.Join(r.outbox.dir, files[0]))
	if err != nil {
		t.Fatal(err)
	}
	var kept refusal
	if err := json.Unmarshal(content, &kept); err != nil {
		t.Fatal(err)
	}
	e, err := event.ParseStructured(kept.Event)
	if err != nil || e.Subject != "bad" || !strings.Contains(kept.Reason, "too silly") {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

// An entry that cannot be read back does not block the ones behind it.
func TestDamagedEntry(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	p.fail = down
	receive(t, r, after, "refs/heads/a")
	receive(t, r, after, "refs/heads/b")
	receive(t, r, after, "refs/heads/c")
	for name, content := range map[string]string{"000000000001.events": "{\"specversion\":\"1.0\",", "000000000002.push": "{}\nx\n"} {
		if err := os.WriteFile(filepath.Join(r.outbox.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(r.outbox.dir, "000000000002.events")); err != nil {
		t.Fatal(err)
	}
	p.fail = nil
	report, err := r.Flush(t.Context())
	if err == nil || report.Sent != 1 || report.Rejected != 1 || report.Waiting != 1 {
		t.Errorf("got %+v, %v", report, err)
	}
	if diff := cmp.Diff([]string{"c"}, subjects(p.events)); diff != "" {
		t.Error(diff)
	}
}

// A person who presses Ctrl-C while the hook runs does not lose the event.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.fail = func([]*event.Event) error { return ctx.Err() }
	var notices bytes.Buffer
	err := r.PostReceive(ctx, strings.NewReader(zeros+" "+after+" refs/heads/main\n"), &notices)
	if err != nil || notices.Len() == 0 {
		t.Errorf("notice %q, %v", notices.String(), err)
	}
	p.fail = nil
	if report, err := r.Flush(t.Context()); err != nil || report.Sent != 1 {
		t.Errorf("got %+v, %v", report, err)
	}
}

// Concurrent pushes are each announced once, whichever process sends them.
func TestConcurrentPushes(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	var (
		mu  sync.Mutex
		got []string
		wg  sync.WaitGroup
	)
	publish := func(_ context.Context, events []*event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, subjects(events)...)
		return nil
	}
	var want []string
	for i := range 8 {
		ref := fmt.Sprintf("b%d", i)
		want = append(want, ref)
		wg.Go(func() {
			r, err := Open(t.Context(), f.config(), publish)
			if err != nil {
				t.Error(err)
				return
			}
			var notices bytes.Buffer
			err = r.PostReceive(t.Context(), strings.NewReader(zeros+" "+after+" refs/heads/"+ref+"\n"), &notices)
			if err != nil || notices.Len() > 0 {
				t.Errorf("%s: %q, %v", ref, notices.String(), err)
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{}, f.outboxFiles()); diff != "" {
		t.Error(diff)
	}
}

// A hook does not wait longer than its timeout for another one that hangs.
func TestSenderHangs(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	cfg := f.config()
	cfg.Timeout = 20 * time.Millisecond
	p := &published{}
	r, err := Open(t.Context(), cfg, p.publish)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.outbox.mkdir(r.outbox.dir); err != nil {
		t.Fatal(err)
	}
	hanging, err := lockFile(t.Context(), filepath.Join(r.outbox.dir, "sending"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if notice := receive(t, r, after, "refs/heads/a"); !strings.Contains(notice, "announced later") {
		t.Errorf("notice %q", notice)
	}
	hanging.release()
	if report, err := r.Flush(t.Context()); err != nil || report.Sent != 1 {
		t.Errorf("got %+v, %v", report, err)
	}
}

// Several users may share a repository: what one leaves, another must be able to send.
func TestOutboxIsAsOpenAsTheRepository(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	if err := os.Chmod(filepath.Join(f.bare, "objects"), 0o770|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	r, p := f.open()
	p.fail = down
	receive(t, r, after, "refs/heads/a")
	for name, want := range map[string]fs.FileMode{
		"": fs.ModeDir | fs.ModeSetgid | 0o770, "lock": 0o660, "sending": 0o660, "000000000001.events": 0o660,
	} {
		info, err := os.Stat(filepath.Join(r.outbox.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%q: mode %s, want %s", name, info.Mode(), want)
		}
	}
}

// What is handed over at once is bounded, whatever was pushed.
func TestBatches(t *testing.T) {
	t.Parallel()
	f, after := pushed(t)
	r, p := f.open()
	var refs []string
	for i := range 250 {
		refs = append(refs, fmt.Sprintf("refs/tags/v%d", i))
	}
	p.fail = func(events []*event.Event) error {
		size := 0
		for _, e := range events {
			size += len(e.Data)
		}
		if len(events) > maxBatch || size > maxBatchBytes {
			t.Errorf("a batch of %d events, %d bytes", len(events), size)
		}
		return nil
	}
	receive(t, r, after, refs...)
	if diff := cmp.Diff(refs, subjects(p.events)); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyAndBadInput(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r, _ := f.open()
	if err := r.PostReceive(t.Context(), strings.NewReader(""), &bytes.Buffer{}); err != nil {
		t.Error(err)
	}
	if err := r.PostReceive(t.Context(), strings.NewReader("x\n"), &bytes.Buffer{}); err == nil {
		t.Error("accepted")
	}
	if _, err := Open(t.Context(), Config{Dir: t.TempDir(), Env: append(f.env, "GIT_CEILING_DIRECTORIES=/")}, nil); err == nil {
		t.Error("opened a folder that is no repository")
	}
}
