package publicapi_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/schemas"
)

// outsideModule makes a module of its own of testdata/outside, with the dependencies of
// this one, and returns its folder.
func outsideModule(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(path...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	mod := strings.Replace(read(root, "go.mod"), "module "+module+"\n", "module outside.example/program\n", 1)
	for name, text := range map[string]string{
		"go.mod":  mod + "\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + root + "\n",
		"go.sum":  read(root, "go.sum"),
		"main.go": read("testdata", "outside", "main.go"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goCommand runs the go command in a folder, without a network.
func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A program of another module, which can import nothing internal, publishes; and no NATS
// server is linked into it.
func TestProgramOutsidePublishes(t *testing.T) {
	t.Parallel()
	dir := outsideModule(t)
	for path := range strings.FieldsSeq(goCommand(t, dir, "list", "-deps", ".")) {
		if strings.HasPrefix(path, "github.com/nats-io/nats-server") {
			t.Errorf("it links %s", path)
		}
	}
	program := filepath.Join(dir, "program.exe")
	goCommand(t, dir, "build", "-o", program, ".")

	server := streamtest.New(t)
	layout, err := stream.NewLayout(stream.LayoutConfig{Prefix: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if err := layout.Ensure(t.Context(), server.JS(), []string{"artifact"}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, server.URL, "acme").CombinedOutput() //nolint:gosec // built above
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff("acme_EVENTS_artifact 1 false\nartifact.deleted true 1 0\n", string(out)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	record, err := stream.Get(t.Context(), server.JS(), layout.EventLog("artifact"), 1)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := event.FromMessage(record.Header, record.Data)
	if err != nil {
		t.Fatal(err)
	}
	if class, _ := stored.Attribute(schemas.RepositoryClass); stored.ID != "1" || class != "local" {
		t.Errorf("stored is %s of class %q, want 1 of class local", stored.ID, class)
	}
}
