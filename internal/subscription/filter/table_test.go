package filter

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
)

// A subscriber is a subscription with as little as a table needs.
type subscriber struct {
	ID       string
	Types    []string
	Filters  []Filter
	Disabled bool
}

func (s *subscriber) Criteria() Criteria {
	return Criteria{ID: s.ID, Types: s.Types, Filters: s.Filters, Disabled: s.Disabled}
}

func wish(id string, types []string, filters ...Filter) *subscriber {
	return &subscriber{ID: id, Types: types, Filters: filters}
}

func newTable(tb testing.TB, subs ...*subscriber) *Table[*subscriber] {
	tb.Helper()
	table, err := NewTable(subs...)
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

func idsOf(subs []*subscriber) []string {
	out := make([]string, len(subs))
	for i, s := range subs {
		out[i] = s.ID
	}
	return out
}

func TestTableMatch(t *testing.T) {
	t.Parallel()
	disabled := wish("disabled", []string{"git.push"})
	disabled.Disabled = true
	main := Exact(map[string]string{"subject": "main"})
	table := newTable(t,
		wish("z-enabled", []string{"git.push"}), wish("paused", []string{"git.push"}), disabled,
		wish("both", []string{"git.push", "git.*", "git.push"}),
		wish("domain", []string{"git.*"}),
		wish("other-domain", []string{"artifact.*"}),
		wish("several", []string{"artifact.deployed", "git.push"}),
		wish("other-type", []string{"git.pull_request"}),
		wish("exact", []string{"git.push", "git.*"}, main),
		wish("exact-not", []string{"git.push"}, Exact(map[string]string{"subject": "dev"})),
		wish("in-all", []string{"git.push"}, All(Prefix(map[string]string{"subject": "m"}), main)),
		wish("in-any", []string{"git.push"}, Any(main, Exact(map[string]string{"subject": "dev"}))),
		wish("in-not", []string{"git.push"}, Not(main)),
		wish("two-filters", []string{"git.push"}, main, Not(Exact(map[string]string{"data.a": "b"}))),
		wish("two-filters-not", []string{"git.push"}, main, Exact(map[string]string{"data.a": "b"})),
	)
	push := &event.Event{ID: "1", Source: "s", Type: "git.push", Subject: "main"}
	want := []string{"both", "domain", "exact", "in-all", "in-any", "paused", "several", "two-filters", "z-enabled"}
	if diff := cmp.Diff(want, idsOf(table.Match("git", push, nil))); diff != "" {
		t.Errorf("git.push (-want +got):\n%s", diff)
	}
	first := wish("first", nil)
	if got := idsOf(table.Match("git", push, []*subscriber{first})); got[0] != "first" || len(got) != 1+len(want) {
		t.Errorf("dst is not kept: %s", got)
	}
	for _, tt := range []struct{ domain, eventType, want string }{
		{"git", "git.pull_request", "both domain exact other-type"},
		{"git", "git.new", "both domain exact"},
		{"artifact", "artifact.deployed", "other-domain several"},
		{"other", "git.push", strings.Replace(strings.Join(want, " "), "domain ", "", 1)}, // the domain decides, not the type's spelling
		{"other", "other.thing", ""},
		{"", "", ""},
	} {
		e := &event.Event{ID: "1", Source: "s", Type: tt.eventType, Subject: "main"}
		if got := strings.Join(idsOf(table.Match(tt.domain, e, nil)), " "); got != tt.want {
			t.Errorf("%s in %s: got %s, want %s", tt.eventType, tt.domain, got, tt.want)
		}
	}
	if _, ok := table.Get("disabled"); !ok || table.Len() != 15 {
		t.Errorf("a disabled subscription is not in the table, or %d is not 15", table.Len())
	}
}

func TestTableNeverChanges(t *testing.T) {
	t.Parallel()
	e := &event.Event{ID: "1", Source: "s", Type: "a.b", Subject: "x"}
	exact := func(id, subject string) *subscriber {
		return wish(id, []string{"a.b"}, Exact(map[string]string{"subject": subject}))
	}
	one := newTable(t, exact("a", "x"), exact("b", "x"), wish("c", []string{"a.b"}))
	two, err := one.With(exact("b", "y"), exact("d", "x"))
	if err != nil {
		t.Fatal(err)
	}
	three := two.Without("a", "nothere")
	four, err := one.With(wish("e", []string{"a.*"}, Exact(map[string]string{"data.new": "z"}))) // from one again
	if err != nil {
		t.Fatal(err)
	}
	five, err := one.With(wish("e", []string{"a.*"}, Not(Exact(map[string]string{"data.other": "z"})))) // the same slot, another path
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		table *Table[*subscriber]
		want  string
	}{{one, "a b c"}, {two, "a c d"}, {three, "c d"}, {four, "a b c"}, {five, "a b c e"}, {three.Without("c", "d", "b"), ""}} {
		if got := strings.Join(idsOf(tt.table.Match("a", e, nil)), " "); got != tt.want {
			t.Errorf("table %d: got %s, want %s", i+1, got, tt.want)
		}
	}
	empty := four.Without("a", "b", "c", "e")
	if empty.types.size != 0 || empty.domains.size != 0 || empty.Len() != 0 {
		t.Errorf("an empty table keeps indexes: %d by type, %d by domain", empty.types.size, empty.domains.size)
	}
}

func TestTableRefusesWhatWasNotValidated(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	if _, err := table.With(wish("ci", []string{"a.b"}, Exact(map[string]string{"A": "b"}))); err == nil || !strings.Contains(err.Error(), "ci") {
		t.Errorf("got %v, want an error that names the subscription", err)
	}
}

// TestTableForgetsOperands changes filters until the table has to be rebuilt.
func TestTableForgetsOperands(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	for i := range 10 * minMaxSlots {
		var err error
		table, err = table.With(wish("ci", []string{"a.b"}, Exact(map[string]string{"data.k" + strconv.Itoa(i): "v"})))
		if err != nil {
			t.Fatal(err)
		}
		if table.slots > minMaxSlots+1 {
			t.Fatalf("after %d changes %d operands are kept", i, table.slots)
		}
	}
	e := &event.Event{ID: "1", Source: "s", Type: "a.b", Data: []byte(`{"k` + strconv.Itoa(10*minMaxSlots-1) + `":"v"}`)}
	if got := table.Match("a", e, nil); len(got) != 1 {
		t.Errorf("got %d matches, want 1", len(got))
	}
}

// TestTableAgainstNaive changes a table at random and compares it with evaluating
// every subscription.
func TestTableAgainstNaive(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	names := []string{"subject", "source", "ext", "nothere", "data.a", "data.b.c", "data.list.0", "data.nothere"}
	var filter func(depth int) Filter
	filter = func(depth int) Filter {
		kind := r.IntN(11)
		if depth > 3 || kind < 7 {
			values := map[string]string{}
			for range 1 + r.IntN(2) {
				values[names[r.IntN(len(names))]] = pick("x", "y", "xy", "1", "x*", "*y", "x*y", "{x,y,1*}", "x/", "?y")
			}
			return Filter{Dialect: pick("exact", "exact", "exact", "prefix", "suffix", "glob", "ant"), Values: values}
		}
		var inner []Filter
		for range 1 + r.IntN(3) {
			inner = append(inner, filter(depth+1))
		}
		switch kind {
		case 7:
			return All(inner...)
		case 8:
			return Any(inner...)
		case 9:
			return SQL(pick("subject = 'x'", "source IN ('x', 'z')", "subject LIKE 'x%' AND ext = 'x'", "source = 'y' OR ext LIKE '1'", "nothere = 'x' OR true", "ext = 1"))
		default:
			return Not(inner[0])
		}
	}
	types := []string{"a.b", "a.c", "b.b", "a.*", "b.*"}
	table, model := newTable(t), map[string]*subscriber{}
	for step := range 2000 {
		var put []*subscriber
		var removed []string
		for range r.IntN(4) {
			id := "s" + strconv.Itoa(r.IntN(60))
			if r.IntN(3) == 0 {
				removed = append(removed, id)
				continue
			}
			s := wish(id, nil)
			for range 1 + r.IntN(3) {
				s.Types = append(s.Types, types[r.IntN(len(types))])
			}
			for range r.IntN(3) {
				s.Filters = append(s.Filters, filter(1))
			}
			s.Disabled = r.IntN(4) == 0
			put = append(put, s)
		}
		var err error
		if table, err = table.Without(removed...).With(put...); err != nil {
			t.Fatal(err)
		}
		for _, id := range removed {
			delete(model, id)
		}
		for _, s := range put {
			model[s.ID] = s
		}
		domain, name := pick("a", "b", "c"), pick("b", "c")
		e := &event.Event{
			ID: "1", Source: pick("x", "y"), Type: domain + "." + name, Subject: pick("", "x", "xy", "x//y/"),
			Extensions: []event.Attribute{{Name: "ext", Value: pick("x", "1")}},
			Data:       []byte(pick(`{"a":"x","b":{"c":1},"list":["y"]}`, `{"a":"xy","list":[true]}`, `[]`, `not JSON`, ``)),
		}
		var want []string
		for id, s := range model {
			wanted := slices.Contains(s.Types, e.Type) || slices.Contains(s.Types, domain+".*")
			for _, f := range s.Filters {
				wanted = wanted && naive(f, e)
			}
			if wanted && !s.Disabled {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		if got := idsOf(table.Match(domain, e, nil)); !slices.Equal(got, want) {
			t.Fatalf("seed %d, step %d: got %s, want %s", seed, step, got, want)
		}
	}
	if table.Len() != len(model) {
		t.Errorf("got %d subscriptions, want %d", table.Len(), len(model))
	}
}

func TestCowMap(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var m cowMap[int]
	model := map[string]int{}
	type version struct {
		m    cowMap[int]
		want map[string]int
	}
	var versions []version
	for range 300 {
		ed := new(edit)
		for range r.IntN(40) {
			key := strconv.Itoa(r.IntN(500))
			if r.IntN(3) == 0 {
				m.remove(ed, key)
				delete(model, key)
			} else {
				value := r.Int()
				m.set(ed, key, value)
				model[key] = value
			}
		}
		versions = append(versions, version{m, maps.Clone(model)})
	}
	for i, v := range versions {
		got := map[string]int{}
		for key, value := range v.m.all() {
			got[key] = value
			if again, ok := v.m.get(key); !ok || again != value {
				t.Fatalf("version %d: get %s: %d, %t, want %d", i, key, again, ok, value)
			}
		}
		if diff := cmp.Diff(v.want, got); diff != "" || v.m.size != len(v.want) {
			t.Fatalf("version %d, size %d (-want +got):\n%s", i, v.m.size, diff)
		}
	}
}

// artifactEvent has 1 KiB of data.
func artifactEvent() *event.Event {
	return &event.Event{
		ID: "1", Source: "/artifactory/a", Type: "artifact.deployed", Subject: "libs-release/org/acme/app-1.0.jar", DataContentType: "application/json",
		Data: []byte(`{"repo_key":"repo-5000","path":"org/acme/app/1.0/app-1.0.jar","name":"app-1.0.jar","sha256":"` + strings.Repeat("ab", 32) +
			`","size":12345,"properties":{"notes":"` + strings.Repeat("x", 760) + `"},"last":"z"}`),
	}
}

func BenchmarkMatch(b *testing.B) {
	deployed := []string{"artifact.deployed"}
	many := func(filter func(i int) Filter) []*subscriber {
		subs := make([]*subscriber, 10_000)
		for i := range subs {
			subs[i] = wish(fmt.Sprintf("s%05d", i), deployed, filter(i))
		}
		return subs
	}
	event := artifactEvent()
	event.Subject = "subject-5000"
	for _, bb := range []struct {
		name string
		subs []*subscriber
		want int
	}{
		{"10000/exact_subject", many(func(i int) Filter { return Exact(map[string]string{"subject": "subject-" + strconv.Itoa(i)}) }), 1},
		{"10000/exact_repo_key", many(func(i int) Filter { return Exact(map[string]string{"data.repo_key": "repo-" + strconv.Itoa(i)}) }), 1},
		{"10000/exact_half_and_half", many(func(i int) Filter {
			return Exact(map[string]string{[]string{"subject", "data.repo_key"}[i%2]: "x" + strconv.Itoa(i)})
		}), 0},
		{"10000/prefix_path", many(func(i int) Filter { return Prefix(map[string]string{"data.path": "org/" + strconv.Itoa(i) + "/"}) }), 0},
		{"10000/prefix_path_of_one_repo", many(func(i int) Filter {
			return All(Exact(map[string]string{"data.repo_key": "repo-5000"}), Prefix(map[string]string{"data.path": "org/" + strconv.Itoa(i) + "/"}))
		}), 0},
		{"10000/any_of_three_repo_keys", many(func(i int) Filter {
			one := func(repo string) Filter {
				return Exact(map[string]string{"data.repo_key": repo + strconv.Itoa(i)})
			}
			return Any(one("repo-"), one("libs-"), one("tmp-"))
		}), 1},
		{"10000/suffix_path", many(func(i int) Filter { return Suffix(map[string]string{"data.path": "-" + strconv.Itoa(i) + ".jar"}) }), 0},
		{"10000/source_and_branch", many(func(i int) Filter {
			return All(Exact(map[string]string{"source": "/artifactory/" + []string{"a", strconv.Itoa(i)}[min(i%1000, 1)]}), Glob(map[string]string{"data.path": "org/{main,release*," + strconv.Itoa(i) + "}"}))
		}), 0},
		{"10000/glob_path", many(func(i int) Filter {
			return Glob(map[string]string{"data.path": "org/{a,b}" + strconv.Itoa(i) + "/*.jar"})
		}), 0},
		{"10000/glob_without_literals", many(func(i int) Filter { return Glob(map[string]string{"data.path": "*/" + strconv.Itoa(i) + "/*"}) }), 0},
		{"10000/ant_without_literals", many(func(i int) Filter { return Ant(map[string]string{"data.path": "**/" + strconv.Itoa(i) + "/**"}) }), 0},
		{"10000/sql_equal", many(func(i int) Filter {
			return SQL("EXISTS source AND (subject = 'x-" + strconv.Itoa(i) + "' OR subject LIKE 'y-" + strconv.Itoa(i) + "-%')")
		}), 0},
		{"10000/sql_without_keys", many(func(i int) Filter { return SQL("RIGHT(subject, 10) = 'x-" + strconv.Itoa(i) + "'") }), 0},
		{"10/mixed", []*subscriber{
			wish("a", deployed, Exact(map[string]string{"subject": "subject-5000"})),
			wish("b", deployed, Exact(map[string]string{"data.repo_key": "repo-5000"})),
			wish("c", deployed, Exact(map[string]string{"data.repo_key": "other"})),
			wish("d", deployed, Prefix(map[string]string{"data.path": "org/acme/"})),
			wish("e", deployed, Suffix(map[string]string{"data.path": ".jar"}), Not(Exact(map[string]string{"data.repo_key": "tmp"}))),
			wish("f", deployed, Any(Exact(map[string]string{"data.name": "x"}), Suffix(map[string]string{"data.name": ".war"}))),
			wish("g", deployed, Prefix(map[string]string{"source": "/artifactory/b"})),
			wish("h", deployed),
			wish("i", []string{"artifact.*"}, Exact(map[string]string{"data.last": "z"})),
			wish("j", []string{"artifact.*"}, Exact(map[string]string{"subject": "x"})),
		}, 6},
		{"10/no_filter", func() (subs []*subscriber) {
			for i := range 10 {
				subs = append(subs, wish("s"+strconv.Itoa(i), deployed))
			}
			return subs
		}(), 10},
	} {
		b.Run(bb.name, func(b *testing.B) {
			table := newTable(b, bb.subs...)
			dst := make([]*subscriber, 0, 16)
			b.ReportAllocs()
			for b.Loop() {
				if dst = table.Match("artifact", event, dst[:0]); len(dst) != bb.want {
					b.Fatalf("got %d matches, want %d", len(dst), bb.want)
				}
			}
		})
	}
}

func BenchmarkTable(b *testing.B) {
	subs := make([]*subscriber, 10_000)
	for i := range subs {
		subs[i] = wish(fmt.Sprintf("s%05d", i), []string{"artifact.deployed"}, Exact(map[string]string{"data.repo_key": strconv.Itoa(i)}))
	}
	table := newTable(b, subs...)
	b.Run("build_10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			newTable(b, subs...)
		}
	})
	b.Run("change_1_of_10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := table.With(subs[5000]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remove_1_of_10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.Without("s05000")
		}
	})
}
