package schemas_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/schemas"
)

// A process has a catalogue of its own, on a connection of its own.
type process struct {
	*schemas.Live
	*schemas.Store

	js   jetstream.JetStream
	logs *observer.ObservedLogs
}

func newServer(t *testing.T) *streamtest.Server {
	t.Helper()
	s := streamtest.New(t)
	if err := s.Layout.Ensure(t.Context(), s.JS(), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func startProcess(t *testing.T, s *streamtest.Server) *process {
	t.Helper()
	js, err := stream.JetStream(s.Connect(nats.ReconnectBufSize(-1)))
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	live, err := schemas.NewLive(load(t), js, s.Layout.Prefix(), zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{js: js, logs: logs, Live: live}
	p.Store = schemas.NewStore(js, p.Live, zap.New(core))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

// oneEvent is a domain of one event.
func oneEvent(name, schema string) schemas.Files {
	return schemas.Files{
		"domain.json":          json.RawMessage(`{"name":"` + name + `"}`),
		"created.schema.json":  json.RawMessage(schema),
		"created.example.json": json.RawMessage(`{"a":1}`),
	}
}

func mustPut(t *testing.T, p *process, name, schema string) *schemas.Change {
	t.Helper()
	change, err := p.Put(t.Context(), name, oneEvent(name, schema), schemas.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func synced(t *testing.T, p *process) *schemas.Catalogue {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := p.Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b := startProcess(t, s), startProcess(t, s)

	change := mustPut(t, a, "orders", `{"type":"object"}`)
	if !change.Created || change.Unchanged || len(change.Added) != 1 || change.Domain.Revision == 0 {
		t.Errorf("created: %+v", change)
	}
	d, err := b.Get(t.Context(), "orders")
	if err != nil || d.Revision != change.Domain.Revision || !d.Registered() || d.UpdatedAt.IsZero() || string(d.Files()["created.example.json"]) != `{"a":1}` {
		t.Errorf("got %+v, %v", d, err)
	}
	if again := mustPut(t, b, "orders", ` {"type": "object"} `); !again.Unchanged || again.Created || again.Domain.Revision != d.Revision {
		t.Errorf("the same again: %+v", again)
	}
	if all, err := b.List(t.Context()); err != nil || !slices.ContainsFunc(all, func(d schemas.Domain) bool { return d.Name == "orders" }) {
		t.Errorf("list: %v", err)
	}

	// A version that does not go with the last one, unless it is forced. Trying out
	// changes nothing.
	narrow := oneEvent("orders", `{"type":"object","required":["a"]}`)
	change, err = a.Put(t.Context(), "orders", narrow, schemas.PutOptions{})
	refused, ok := errors.AsType[*schemas.IncompatibleError](err)
	if !ok || len(refused.Problems) != 1 || refused.Problems[0].Place() != "created.schema.json#/required" || len(change.Incompatible) != 1 {
		t.Fatalf("narrower: %v", err)
	}
	change, err = a.Put(t.Context(), "orders", narrow, schemas.PutOptions{DryRun: true})
	if err != nil || len(change.Incompatible) != 1 || len(change.Changed) != 1 {
		t.Errorf("dry run: %+v, %v", change, err)
	}
	if now := synced(t, b); len(now.Current().Types()) == 0 || now.Validate(newEvent("orders.created", []byte("{}"))) != nil {
		t.Error("the old version is gone")
	}
	change, err = a.Put(t.Context(), "orders", narrow, schemas.PutOptions{Force: true})
	if err != nil || change.Domain.Revision <= d.Revision {
		t.Fatalf("forced: %v", err)
	}
	if err := synced(t, b).Validate(newEvent("orders.created", []byte("{}"))); err == nil {
		t.Error("the new version is not there")
	}

	// Revisions.
	stale, none := d.Revision, uint64(0)
	for name, revision := range map[string]*uint64{"stale": &stale, "none": &none} {
		if _, err := a.Put(t.Context(), "orders", narrow, schemas.PutOptions{Revision: revision, Force: true}); !errors.Is(err, schemas.ErrConflict) {
			t.Errorf("%s revision: %v", name, err)
		}
	}

	if err := a.Delete(t.Context(), "orders", stale); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("delete with an old revision: %v", err)
	}
	if err := a.Delete(t.Context(), "orders", change.Domain.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "orders"); !errors.Is(err, schemas.ErrNotFound) {
		t.Errorf("after deletion: %v", err)
	}
	for name, want := range map[string]error{"git": schemas.ErrReserved, "none": schemas.ErrNotFound, "": schemas.ErrNotFound, "a b": schemas.ErrNotFound} {
		if err := a.Delete(t.Context(), name, 0); !errors.Is(err, want) {
			t.Errorf("delete %q: %v", name, err)
		}
	}
	if change := mustPut(t, b, "orders", `{"type":"object"}`); !change.Created {
		t.Errorf("registered again: %+v", change)
	}
}

func TestStoreRefuses(t *testing.T) {
	t.Parallel()
	p := startProcess(t, newServer(t))
	mustPut(t, p, "shop", `{"type":"object"}`)
	if _, err := p.Put(t.Context(), "log", schemas.Files{"domain.json": json.RawMessage(`{"name":"log","open":true}`)}, schemas.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	prefixed := func(name, prefix string) schemas.Files {
		files := oneEvent(name, `{}`)
		files["domain.json"] = json.RawMessage(`{"name":"` + name + `","type_prefix":"` + prefix + `"}`)
		return files
	}
	large := oneEvent("large", `{}`)
	for n := range 5 {
		large[fmt.Sprintf("created.n%d.example.json", n)] = json.RawMessage(`"` + strings.Repeat("x", 120<<10) + `"`)
	}
	for _, tt := range []struct {
		name, domain string
		files        schemas.Files
		want         string
	}{
		{"a shipped one", "git", oneEvent("git", `{}`), "it comes with jetpost"},
		{"jetpost's own", "jetpost", oneEvent("jetpost", `{}`), "it comes with jetpost"},
		{"a prefix of a shipped one", "mine", prefixed("mine", "git."), "has the type_prefix git., which already belongs to the domain git"},
		{"a prefix within jetpost's own", "mine", prefixed("mine", "jetpost.mine."), "types that begin with jetpost. are jetpost's own"},
		{"a prefix of a registered one", "mine", prefixed("mine", "shop."), "which already belongs to the domain shop"},
		{"a longer prefix, which takes types", "mine", func() schemas.Files {
			files := prefixed("mine", "shop.created.")
			return files
		}(), ""},
		{"a shorter prefix, whose types belong to others", "mine", func() schemas.Files {
			files := prefixed("mine", "git.")
			files["domain.json"] = json.RawMessage(`{"name":"mine","type_prefix":"g."}`)
			return files
		}(), ""},
		{"types of an open domain", "mine", prefixed("mine", "log.sub."), "takes types from the open domain log"},
		{"too large", "large", large, "a registered domain may have 512"},
		{"another name", "other", oneEvent("mine", `{}`), "has the name mine"},
		{"a name that is none", "A.b", oneEvent("A.b", `{}`), "use 1 to 63 lower-case letters"},
	} {
		_, err := p.Put(t.Context(), tt.domain, tt.files, schemas.PutOptions{})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		_ = p.Delete(t.Context(), "mine", 0)
	}
}

// Two who register at the same time cannot take the same types, and of two versions
// at the same time each is compared with what is there.
func TestStoreConflicts(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	processes := []*process{startProcess(t, s), startProcess(t, s), startProcess(t, s)}
	var running sync.WaitGroup
	results := make([]error, 12)
	for i := range results {
		running.Go(func() {
			name := fmt.Sprintf("orders%d", i)
			files := oneEvent(name, `{}`)
			files["domain.json"] = json.RawMessage(`{"name":"` + name + `","type_prefix":"com.example."}`)
			_, results[i] = processes[i%3].Put(t.Context(), name, files, schemas.PutOptions{})
		})
	}
	running.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else if !strings.Contains(err.Error(), "already belongs to the domain") {
			t.Errorf("a loser: %v", err)
		}
	}
	if c := synced(t, processes[0]); won != 1 || len(c.Broken()) > 0 {
		t.Errorf("%d have registered the same types, broken %v", won, c.Broken())
	}

	mustPut(t, processes[0], "range", `{"type":"object"}`)
	revision := mustPut(t, processes[0], "range", `{"type":"object","title":"T"}`).Domain.Revision
	for i := range results {
		running.Go(func() {
			_, results[i] = processes[i%3].Put(t.Context(), "range", oneEvent("range", fmt.Sprintf(`{"type":"object","title":"%d"}`, i)), schemas.PutOptions{Revision: &revision})
		})
	}
	running.Wait()
	won = 0
	for _, err := range results {
		if err == nil {
			won++
		} else if !errors.Is(err, schemas.ErrConflict) {
			t.Errorf("a loser: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d have changed the same revision", won)
	}
}

// The log is made before anybody can see the domain, and not for a domain that is
// refused.
func TestStoreCallsBefore(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p, other := startProcess(t, s), startProcess(t, s)
	called := 0
	before := func(context.Context) error {
		called++
		if _, ok := synced(t, other).Domain("orders"); ok {
			t.Error("the domain is visible before")
		}
		return nil
	}
	if _, err := p.Put(t.Context(), "orders", oneEvent("orders", `{}`), schemas.PutOptions{Before: before}); err != nil || called != 1 {
		t.Errorf("called %d times, %v", called, err)
	}
	failed := errors.New("no space")
	_, err := p.Put(t.Context(), "bills", oneEvent("bills", `{}`), schemas.PutOptions{Before: func(context.Context) error { return failed }})
	if _, ok := synced(t, other).Domain("bills"); ok || !errors.Is(err, failed) {
		t.Errorf("registered although its log failed: %v", err)
	}
}

func TestLiveOverRestart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b := startProcess(t, s), startProcess(t, s)
	mustPut(t, a, "first", `{}`)
	synced(t, b)
	for n := range 3 {
		s.Restart()
		name := fmt.Sprintf("after%d", n)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		for {
			_, err := a.Put(ctx, name, oneEvent(name, `{}`), schemas.PutOptions{})
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		cancel()
		c := synced(t, b)
		if _, ok := c.Domain(name); !ok {
			t.Errorf("after restart %d: domains %v", n, c.Names())
		}
		if _, ok := c.Domain("first"); !ok {
			t.Errorf("after restart %d the first one is gone", n)
		}
	}
}

// Changed notifies, and the catalogue that was current before stays as it was.
func TestLiveChanged(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b := startProcess(t, s), startProcess(t, s)
	synced(t, b)
	changed, before := b.Changed(), b.Current()
	mustPut(t, a, "orders", `{}`)
	testkit.Receive(t, changed, "notification by Changed")
	if _, ok := before.Domain("orders"); ok {
		t.Error("an old catalogue has changed")
	}
	if _, ok := b.Current().Domain("orders"); !ok {
		t.Error("the current catalogue lacks it")
	}
}

// A record that cannot be used takes nothing else with it, is reported once, and its
// events go on being routed.
func TestLiveBrokenRecords(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := startProcess(t, s)
	mustPut(t, p, "orders", `{}`)
	for key, value := range map[string]string{
		"later": `{"format":2,"files":{}}`,
		"text":  `not JSON`,
		"git":   `{"format":1,"files":{"domain.json":{"name":"git","open":true,"type_prefix":"mine."}}}`,
	} {
		if _, err := p.js.Publish(t.Context(), s.Layout.CatalogKey(key), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	c := synced(t, p)
	if _, ok := c.Domain("orders"); !ok {
		t.Error("a broken record takes others with it")
	}
	if d, ok := c.Domain("git"); !ok || !d.Shipped {
		t.Error("a record has taken the place of a shipped domain")
	}
	var broken []string
	for _, b := range c.Broken() {
		broken = append(broken, b.Domain+": "+b.Err.Error())
	}
	for i, want := range []string{"git: load schemas: domain.json: names the domain git, which comes with jetpost", "later: read domain later: its record has the format 2", "text: read domain text: its record is not valid JSON"} {
		if i >= len(broken) || !strings.Contains(broken[i], want) {
			t.Errorf("broken %d: want %s: %q", i, want, broken)
		}
	}
	for _, name := range []string{"git", "later", "orders", "text"} {
		if !slices.Contains(c.Names(), name) {
			t.Errorf("%s is not among the names %v", name, c.Names())
		}
	}
	mustPut(t, p, "another", `{}`)
	synced(t, p)
	if n := p.logs.FilterMessageSnippet("cannot be used").Len(); n != 3 {
		t.Errorf("reported %d times, want 3", n)
	}
	// It is put right only on purpose.
	if _, err := p.Put(t.Context(), "later", oneEvent("later", `{}`), schemas.PutOptions{}); err == nil {
		t.Error("a record of a later version was overwritten")
	}
	if _, err := p.Put(t.Context(), "later", oneEvent("later", `{}`), schemas.PutOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

// The domain of docs/schemas.md can be registered as it stands there.
func TestDocumentedDomain(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/schemas.md")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 120 {
		t.Errorf("docs/schemas.md has %d lines, want at most 120", lines)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)\n```").FindAllStringSubmatch(string(text), -1)
	files := schemas.Files{}
	for i, name := range []string{"domain.json", "created.schema.json", "created.example.json"} {
		if i < len(blocks) {
			files[name] = json.RawMessage(blocks[i][1])
		}
	}
	d, err := schemas.NewDomain("orders", files)
	if err != nil {
		t.Fatal(err)
	}
	if d.Types[0].Name != "com.example.orders.created" {
		t.Errorf("got %s", d.Types[0].Name)
	}
}

// A new version is held against the last stored events: what no rule sees is refused with
// the event and its field, so many events as were asked for, and not for longer than the
// request.
func TestPutHoldsStoredEvents(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	p := startProcess(t, server)
	mustPut(t, p, "orders", `{"type":"object"}`)
	if err := server.Layout.EnsureEventLog(t.Context(), server.JS(), "orders"); err != nil {
		t.Fatal(err)
	}
	store := func(id, data string) {
		t.Helper()
		e := &event.Event{ID: id, Source: "/s", Type: "orders.created", DataContentType: "application/json", Data: []byte(data)}
		m := nats.NewMsg("events.orders.created")
		e.SetHeader(m.Header)
		m.Data = e.Data
		if _, err := server.JS().PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	store("old", `{"kind":"old"}`)
	for i := range 30 {
		store(fmt.Sprintf("e%d", i), `{"a":1,"kind":"new"}`)
	}
	store("last", `{"a":1,"kind":"special"}`)
	store("never", `"no object"`) // which the old version refuses, too
	narrow := `{"type":"object","properties":{"kind":{"not":{"enum":["special","old"]}}}}`

	dry, err := p.Put(t.Context(), "orders", oneEvent("orders", narrow), schemas.PutOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if dry.Stored != (schemas.StoredCheck{Checked: 33, Refused: 2}) || len(dry.Incompatible) != 2 {
		t.Errorf("got %+v", dry.Comparison)
	}
	want := `created.schema.json#/data/kind of the stored event "last" (sequence 32) would be refused: it `
	if got := dry.Incompatible[1].String(); !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	for most, want := range map[int]schemas.StoredCheck{-1: {}, 1: {Checked: 1}, 2: {Checked: 2, Refused: 1}, 32: {Checked: 32, Refused: 1}} {
		got, err := p.Put(t.Context(), "orders", oneEvent("orders", narrow), schemas.PutOptions{DryRun: true, StoredEvents: most})
		if err != nil || got.Stored != want {
			t.Errorf("%d: got %+v, want %+v: %v", most, got.Stored, want, err)
		}
	}
	_, err = p.Put(t.Context(), "orders", oneEvent("orders", narrow), schemas.PutOptions{})
	if refused, ok := errors.AsType[*schemas.IncompatibleError](err); !ok || len(refused.Problems) != 2 {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Put(ended, "orders", oneEvent("orders", narrow), schemas.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	warns := oneEvent("orders", narrow)
	warns["domain.json"] = json.RawMessage(`{"name":"orders","validation":"warn"}`)
	if change, err := p.Put(t.Context(), "orders", warns, schemas.PutOptions{}); err != nil || change.Stored.Checked != 0 {
		t.Errorf("a domain that warns: %v", err)
	}
}
