package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/cli/catalogue"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
)

// shopFolder is a folder of one domain with the event "created".
func shopFolder(tb testing.TB, name, schema string) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	for file, text := range map[string]string{
		"domain.json":          `{"name": "` + name + `", "description": "What is sold."}`,
		"created.schema.json":  schema,
		"created.example.json": "{\n  \"total\": 12345678901234567890\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

const (
	shopSchema   = `{"type": "object", "description": "An order.", "properties": {"total": {"type": "integer"}}}`
	widerSchema  = `{"type": "object", "description": "An order.", "properties": {"total": {"type": "integer"}, "note": {"type": "string"}}}`
	narrowSchema = `{"type": "object", "description": "An order.", "required": ["total"], "properties": {"total": {"type": "integer"}}}`
)

func TestSchemasPush(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	dir := shopFolder(t, "shop", shopSchema)
	s.cli("schemas", "push", dir, "--dry-run").ok("shop would be created\n  + shop.created\n")
	s.cli("schemas", "show", "shop.created").fails("unknown event type")
	s.cli("schemas", "push", filepath.Dir(dir)).ok("shop created\n  + shop.created\n")
	s.cli("schemas", "push", dir).ok("shop unchanged\n")

	// It can be used at once.
	s.cli("schemas", "list", "--domain", "shop").ok("shop.created", "An order.")
	s.cli("schemas", "list", "-o", "json").ok(`"type": "shop.created"`, `"type": "git.push"`)
	s.cli("schemas", "show", "shop.created").ok("An order.", `"total": 12345678901234567890`, "schema:", "example:")
	s.cli("schemas", "show", "shop.created", "--example").ok(`12345678901234567890`)
	s.cli("schemas", "show", "shop.created", "-o", "json").ok(`"event": "created"`)
	s.cliWith(t.Context(), `{"total":5}`, "schemas", "validate", "shop.created").ok("valid data of shop.created")
	bad := s.cliWith(t.Context(), `{"total":"5"}`, "schemas", "validate", "shop.created").fails("1 problems")
	if bad.stdout != "/total must be an integer, is a string\n" || exitCode(bad.err) != 1 || !errors.Is(bad.err, catalogue.ErrInvalidData) {
		t.Errorf("%q, %v", bad.stdout, bad.err)
	}
	s.cliWith(t.Context(), `{"total":5.5}`, "schemas", "validate", "shop.created", "-o", "json").fails("not valid")
	s.cli("publish", "--type", "shop.created", "--source", "/shop", "--data", `{"total":5}`).ok()

	// Versions.
	s.cli("schemas", "push", shopFolder(t, "shop", widerSchema), "--dry-run").ok("shop would be updated\n  ~ shop.created\n", "note: created.schema.json#/properties/note is described for the first time")
	narrow := shopFolder(t, "shop", narrowSchema)
	refused := s.cli("schemas", "push", narrow).fails("nothing was pushed")
	if !strings.Contains(refused.stdout, `incompatible: created.schema.json#/required requires "total"`) {
		t.Errorf("got %s", refused.stdout)
	}
	s.cli("schemas", "push", narrow, "--dry-run").fails("would be refused")
	s.cli("schemas", "push", narrow, "--force").ok("shop updated")
	s.cli("schemas", "push", shopFolder(t, "shop", `{"type":"objekt"}`)).fails("created.schema.json", "/type")
	s.cli("schemas", "push", shopFolder(t, "git", shopSchema)).fails("the domain git is already defined by jetpost itself")

	s.cli("schemas", "push", shopFolder(t, "empty", shopSchema)).ok("empty created")
	s.cli("schemas", "delete", "shop").fails("1 are kept in its event log")
	s.cli("schemas", "delete", "empty").ok("domain empty is deleted")
	s.cli("schemas", "delete", "git").fails("comes with jetpost")
}

// Of several domains either all are pushed or none.
func TestSchemasPushMany(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cli("schemas", "push", shopFolder(t, "b", shopSchema)).ok()
	dir := filepath.Dir(shopFolder(t, "b", narrowSchema))
	if err := os.CopyFS(filepath.Join(dir, "a"), os.DirFS(shopFolder(t, "a", shopSchema))); err != nil {
		t.Fatal(err)
	}
	s.cli("schemas", "push", dir).fails("nothing was pushed")
	s.cli("schemas", "list", "--domain", "a").fails("there is no domain")
	s.cli("schemas", "push", dir, "--force", "-o", "json").ok(`"name": "a"`, `"change": "created"`, `"name": "b"`, `"compatible": false`)
	s.cli("schemas", "list", "--domain", "a").ok("a.created")
}

// Without a server.
func TestSchemasOffline(t *testing.T) {
	t.Parallel()
	s := &apiServer{tb: t, url: "http://127.0.0.1:1"}
	dir := shopFolder(t, "shop", shopSchema)
	s.cli("schemas", "list", "--offline").ok("git.push")
	s.cli("schemas", "list", "--schemas", dir, "--domain", "shop").ok("shop.created")
	s.cli("schemas", "list", "--offline", "--domain", "shop").fails(`there is no domain "shop"`)
	s.cli("schemas", "show", "git.push", "--offline", "--schema").ok(`"$schema"`)
	s.cli("schemas", "show", "git.psuh", "--offline").fails("did you mean")
	example := s.cli("schemas", "show", "git.push", "--offline", "--example").ok().stdout
	s.cliWith(t.Context(), example, "schemas", "validate", "git.push", "-", "--offline").ok("valid")
	s.cli("schemas", "validate", "git.push", testkit.File(t, "push.json", example), "--offline").ok("valid")
	s.cli("schemas", "validate", "shop.created", testkit.File(t, "order.json", `{"total":1.5}`), "--schemas", dir).fails("not valid")
	s.cliWith(t.Context(), " ", "schemas", "validate", "git.push", "--offline").fails("there is none")
	s.cliWith(t.Context(), strings.Repeat("x", stream.MaxEventSize+1), "schemas", "validate", "git.push", "--offline").fails("256 KiB")
	s.cli("schemas", "list").fails("no server answers")
}
