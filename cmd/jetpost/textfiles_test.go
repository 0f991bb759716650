package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/testkit"
)

// asUTF16 is the form that Windows calls Unicode.
func asUTF16(text string) string {
	b := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return string(b)
}

// Every command that reads a file reads it however an editor has saved it, and says what
// is wrong with UTF-16.
func TestFilesThatPeopleEdit(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	const artifactData = `{"repo_key":"libs","path":"a/b","name":"b","sha256":"0","size":1}`
	s.cli("subscription", "create", "--id", "there", "--types", "git.push", "--url", "http://127.0.0.1:9000/").ok()
	s.cli("repository", "put", "libs", "--class", "local").ok()
	head := strings.TrimSpace(s.cli("audit", "head").ok().stdout)
	export := s.cli("audit", "export").ok().stdout
	heads := head + " # of today\n"
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const event = `{"specversion":"1.0","id":"1","source":"/s","type":"artifact.deployed","data":` + artifactData + `}`
	const fields = `"types":["artifact.*"],"endpoint":{"url":"http://127.0.0.1:9000/"}`
	for _, c := range []struct {
		name, text string
		stdin      bool
		args       func(file string) []string
		want       string
	}{
		{"create", "{" + fields + "}\n", false, func(file string) []string { return []string{"subscription", "create", "--file", file} }, "created"},
		{"create from standard input", "{" + fields + "}\n", true, func(string) []string { return []string{"subscription", "create", "--file", "-"} }, "created"},
		{"update", `{` + fields + "}\n", false, func(file string) []string { return []string{"subscription", "update", "there", "--file", file} }, "artifact.*"},
		{"apply", "id: a\ntypes: [git.push]\nendpoint:\n  url: http://127.0.0.1:9000/\n", false, func(file string) []string { return []string{"apply", "-f", file, "--dry-run"} }, "1 created"},
		{"apply JSON", `{"id":"a",` + fields + "}\n", false, func(file string) []string { return []string{"apply", "-f", file, "--dry-run"} }, "1 created"},
		{"apply standard input", "id: a\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1:9000/'}\n", true, func(string) []string { return []string{"apply", "-f", "-", "--dry-run"} }, "1 created"},
		{"explain", event + "\n", false, func(file string) []string { return []string{"explain", "--event", file} }, "valid"},
		{"validate", artifactData + "\n", false, func(file string) []string { return []string{"schemas", "validate", "artifact.deployed", file} }, "valid data"},
		{"publish", artifactData + "\n", false, func(file string) []string {
			return []string{"publish", "--type", "artifact.deployed", "--data-file", file}
		}, "stored"},
		{"publish lines", artifactData + "\n" + artifactData + "\n", true, func(string) []string { return []string{"publish", "--ndjson", "--type", "artifact.deployed"} }, "published 2"},
		{"criteria", `{"anyLocal":true}` + "\n", false, func(file string) []string {
			return []string{"subscription", "create", "--types", "artifact.deployed", "--url", "http://127.0.0.1:9000/", "--jfrog-criteria", "@" + file}
		}, "created"},
		{"heads", heads, false, func(file string) []string { return []string{"audit", "verify", "--heads", file} }, "holds"},
		{"export", export, false, func(file string) []string { return []string{"audit", "verify", file} }, "follow each other"},
		{"token file", apiToken + "\n", false, func(file string) []string { return []string{"storage", "--token-file", file} }, "installation"},
	} {
		forms := testkit.TextForms(c.text)
		forms["UTF-16"] = asUTF16(c.text)
		for form, text := range forms {
			stdin := ""
			file := write("file", text)
			if c.stdin {
				stdin = text
			}
			args := append(c.args(file), "--server", s.url)
			if c.name != "token file" {
				args = append(args, "--token", apiToken)
			}
			var out, notices bytes.Buffer
			err := run(&terminal.Env{Ctx: t.Context(), Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &notices}, args)
			switch {
			case form == "UTF-16":
				if err == nil || !strings.Contains(err.Error(), "save it as UTF-8") {
					t.Errorf("%s, %s: got %v\n%s%s", c.name, form, err, out.String(), notices.String())
				}
			case err != nil || !strings.Contains(out.String(), c.want):
				t.Errorf("%s, %s: got %v\n%s%s", c.name, form, err, out.String(), notices.String())
			}
		}
	}
}

// So is the configuration.
func TestTextOfConfiguration(t *testing.T) {
	t.Parallel()
	for form, text := range testkit.TextForms("receiver:\n  addr: 127.0.0.1:9\n") {
		var cli commandLine
		parser, err := newParser(&terminal.Env{}, &cli, kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse([]string{"--config", testkit.File(t, "config.yaml", text), "receiver"}); err != nil || cli.Receiver.Addr != "127.0.0.1:9" {
			t.Errorf("%s: got %q, %v", form, cli.Receiver.Addr, err)
		}
	}
}

// A secret with something before, behind or in it that cannot be seen is not what is
// meant. What refuses it does not show it.
func TestSecretsThatAreHardlyMeant(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	create := []string{"subscription", "create", "--types", "git.push", "--url", "http://127.0.0.1:9000/", "--profile", "github"}
	for text, hint := range map[string]string{
		" s3cret-text":            "begins with a space",
		"s3cret-text \n":          "ends with a space",
		"s3cret-text\t\r\n":       "ends with a tab",
		"s3cret-text\nand more":   "has a line end in it",
		"s3cret\x1b-text":         "has the control character U+001B in it",
		"\ufeff\ufeffs3cret-text": "begins with a byte order mark",
		"s3cret-text\u00a0":       "ends with white space (U+00A0)",
	} {
		file := testkit.File(t, "secret", text)
		direct := strings.TrimRight(text, "\r\n")
		for _, args := range [][]string{
			append(create, "--secret", "@"+file), append(create, "--secret", direct),
			append(create, "--secret-header", "X-Key=@"+file), append(create, "--secret-header", "X-Key="+direct),
			{"subscription", "create", "--types", "git.push", "--url", "http://127.0.0.1:9000/", "--profile", "jfrog-custom", "--template-secret", "key=@" + file},
			{"subscription", "rotate", "ci", "--secret", "@" + file},
			{"apply", "-f", testkit.File(t, "in.yaml", "id: ci\ntypes: [git.push]\nprofile: github\nendpoint: {url: 'http://127.0.0.1/'}\nsecret: {file: "+file+"}\n")},
		} {
			r := s.cli(args...).fails(hint)
			if strings.Contains(r.err.Error()+r.stderr+r.stdout, "s3cret") {
				t.Errorf("%q is shown: %v %s", text, r.err, r.stderr)
			}
		}
	}
	s.cli(append(create, "--secret", "@"+testkit.File(t, "empty", "\ufeff\r\n"))...).fails("is empty")
}

// Secrets that are stored go to a program as they are, to be given to a receiver.
func TestStoredSecretsArePrintedAsTheyAre(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	const odd = "päss\u200bword\u202e one"
	s.cli("subscription", "create", "--id", "odd", "--types", "git.push", "--url", "http://127.0.0.1:9000/", "--profile", "github", "--secret", odd).ok()
	if got := s.cli("subscription", "secret", "odd").ok().stdout; got != odd+"\n" {
		t.Errorf("got %q", got)
	}
	var answer struct{ Secrets []string }
	if err := json.Unmarshal([]byte(s.cli("subscription", "secret", "odd", "-o", "json").ok(`\u200bword\u202e`).stdout), &answer); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{odd}, answer.Secrets); diff != "" {
		t.Error(diff)
	}
}
