package repository_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// open runs a registry of its own on s until the test ends.
func open(t *testing.T, s *streamtest.Server) *repository.Registry {
	t.Helper()
	r := repository.New(s.JS(), s.Layout, zap.NewNop())
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

func start(t *testing.T) *streamtest.Server {
	t.Helper()
	s := streamtest.New(t)
	if err := s.Layout.Ensure(t.Context(), s.JS(), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func set(class repository.Class) repository.Change {
	return func(*repository.Repository) (*repository.Repository, error) {
		return &repository.Repository{Class: class, Document: []byte(`{"n":9007199254740993}`)}, nil
	}
}

func gone(*repository.Repository) (*repository.Repository, error) { return nil, nil }

// What one process has registered all know.
func TestRegistry(t *testing.T) {
	t.Parallel()
	s := start(t)
	here, there := open(t, s), open(t, s)
	for key, class := range map[string]repository.Class{"libs": repository.Local, "a.b": repository.Federated, "a_b": repository.Virtual, "npm": repository.Remote, "x-cache": repository.Local} {
		if err := here.Change(t.Context(), key, set(class)); err != nil {
			t.Fatal(err)
		}
	}
	table, err := there.Sync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]repository.Class{
		"libs": repository.Local, "a.b": repository.Federated, "a_b": repository.Virtual, "npm": repository.Remote, "npm-cache": repository.Remote,
		"x-cache": repository.Local, "libs-cache": "", "x": "", "": "", "-cache": "",
	} {
		if got, ok := table.ClassOf(key); got != want || ok != (want != "") {
			t.Errorf("%s is %q, %t", key, got, ok)
		}
	}
	if r, ok := table.Get("a.b"); !ok || string(r.Document) != `{"n":9007199254740993}` || len(table.All()) != 5 || table.Len() != 5 {
		t.Errorf("got %+v of %d", r, table.Len())
	}
	for range 2 { // deleted, and registered again
		if err := there.Change(t.Context(), "libs", gone); err != nil {
			t.Fatal(err)
		}
		if err := here.Change(t.Context(), "libs", gone); !errors.Is(err, repository.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		if err := here.Change(t.Context(), "libs", set(repository.Remote)); err != nil {
			t.Fatal(err)
		}
	}
	for _, origin := range []string{"https://example.com/", "", "https://other.example.com"} {
		if err := there.SetOrigin(t.Context(), origin); err != nil {
			t.Fatal(err)
		}
		if table, err := here.Sync(t.Context()); err != nil || table.Origin != origin {
			t.Errorf("got %v, %v", table, err)
		}
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	r := open(t, start(t))
	for _, key := range []string{"", ".", "a.", ".a", "a..b", "a b", "a/b", "a*", "ä", "a=b", strings.Repeat("a", 65)} {
		if err := r.Change(t.Context(), key, set(repository.Local)); !errors.Is(err, repository.ErrInvalid) {
			t.Errorf("%q: got %v", key, err)
		}
	}
	if err := r.Change(t.Context(), "a", set("distribution")); !errors.Is(err, repository.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	big := func(*repository.Repository) (*repository.Repository, error) {
		return &repository.Repository{Class: repository.Local, Document: fmt.Appendf(nil, "%q", strings.Repeat("x", 64<<10))}, nil
	}
	if err := r.Change(t.Context(), "a", big); !errors.Is(err, repository.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	for _, origin := range []string{"x", "ftp://a", "https://u:p@a", "https://a?b", "https://"} {
		if err := r.SetOrigin(t.Context(), origin); !errors.Is(err, repository.ErrInvalid) {
			t.Errorf("%q: got %v", origin, err)
		}
	}
}

// Of many who change one repository at the same time none is lost.
func TestChangedByMany(t *testing.T) {
	t.Parallel()
	s := start(t)
	registries := []*repository.Registry{open(t, s), open(t, s)}
	const each = 4
	ended := make(chan error)
	for _, r := range registries {
		go func() {
			for range each {
				err := r.Change(t.Context(), "counted", func(old *repository.Repository) (*repository.Repository, error) {
					next := &repository.Repository{Class: repository.Local}
					if old != nil {
						next.PackageType = old.PackageType
					}
					next.PackageType += "x"
					return next, nil
				})
				ended <- err
			}
		}()
	}
	for range each * len(registries) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	table, err := registries[0].Sync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := table.Get("counted"); len(got.PackageType) != each*len(registries) {
		t.Errorf("got %+v", got)
	}
}

// What changes nothing is not stored again, a class stays what it is, and who does
// something around a write sees what was and what will be.
func TestChangeWithin(t *testing.T) {
	t.Parallel()
	r := open(t, start(t))
	var seen []string
	within := func(before, after *repository.Repository, write func() error) error {
		name := func(r *repository.Repository) string {
			if r == nil {
				return "none"
			}
			return r.PackageType
		}
		seen = append(seen, name(before)+" to "+name(after))
		return write()
	}
	holds := func(what string) repository.Change {
		return func(*repository.Repository) (*repository.Repository, error) {
			return &repository.Repository{Class: repository.Local, PackageType: what}, nil
		}
	}
	revisions := map[uint64]bool{}
	for _, what := range []string{"npm", "npm", "maven"} {
		stored, err := r.ChangeWithin(t.Context(), "libs", holds(what), within)
		if err != nil {
			t.Fatal(err)
		}
		if now, ok := r.Current().Get("libs"); !ok || now.Revision() != stored.Revision() || now.PackageType != what {
			t.Errorf("stored is %+v, known %+v", stored, now)
		}
		revisions[stored.Revision()] = true
	}
	if len(revisions) != 2 {
		t.Errorf("got revisions %v, want two", revisions)
	}
	if _, err := r.ChangeWithin(t.Context(), "libs", set(repository.Remote), within); !errors.Is(err, repository.ErrClass) {
		t.Errorf("another class: got %v", err)
	}
	if stored, err := r.ChangeWithin(t.Context(), "libs", gone, within); err != nil || stored != nil {
		t.Errorf("deletion: got %+v, %v", stored, err)
	}
	if got, want := strings.Join(seen, ", "), "none to npm, npm to maven, maven to none"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	refuse := errors.New("not recorded")
	if _, err := r.ChangeWithin(t.Context(), "libs", holds("npm"), func(_, _ *repository.Repository, _ func() error) error { return refuse }); !errors.Is(err, refuse) {
		t.Errorf("got %v", err)
	}
	if _, ok := r.Current().Get("libs"); ok {
		t.Error("it is registered although what is around the write has refused")
	}
}
