package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
)

// Every command that talks to a server or has a result takes --output, and all take
// the same.
func TestOutputIsUniform(t *testing.T) {
	t.Parallel()
	without := map[string]bool{ // these have no result: they run until they are stopped, or print a script
		"serve": true, "watch": true, "git hook": true, "completion": true,
		"audit export": true, // the bytes of the records, as they are stored
	}
	walkCommands(t, func(command *kong.Node) {
		name := strings.TrimPrefix(command.FullPath(), "jetpost ")
		var output *kong.Flag
		for _, flag := range command.Flags {
			if flag.Name == "output" {
				output = flag
			}
		}
		switch {
		case output == nil && !without[name] && !command.Hidden:
			t.Errorf("%s has no --output: embed output.Flag and print by Show", name)
		case output != nil && (output.Short != 'o' || output.Enum != "table,json,yaml" || output.Default != "table"):
			t.Errorf("%s has an --output of its own: -%c %s %s", name, output.Short, output.Enum, output.Default)
		}
	})
}

// walkCommands calls each with every command that has none below it.
func walkCommands(t *testing.T, each func(*kong.Node)) {
	t.Helper()
	parser, err := newParser(&terminal.Env{}, &commandLine{})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(false) {
		each(leaf)
	}
}

// FuzzYAMLStrings checks that whatever text is in an answer is the same text for who
// reads the YAML.
func FuzzYAMLStrings(f *testing.F) {
	for _, text := range []string{
		"", " ", "yes", "No", "~", "null", "1e3", "0x1f", "12:30:45", "2026-01-31", "<<", "=", "a: b", "- a", "#", "a #b", "é\u00a0", "\x00\x1b[31m",
		"one\ntwo\n", "one\n\ntwo", "\n", "a\n ", " a\nb", "tab\tin\nblock", "a\r\nb", "\u2028", "\ufeffx", "'\"", "|", "%x", "@x", "`", "!t", "&a", "*a", "a\n\n\n", "---\na",
		"\u202e", "a\n\u202eb", "\u009b\u2066: x", "\U000e0041", "\u061c # \u200f", "\x7f",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // JSON has none
		}
		raw, err := output.Raw(map[string]any{text: []string{text, text}, "x": map[string]string{"y": text}})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := output.PrintYAML(&out, raw); err != nil {
			t.Fatal(err)
		}
		checkTerminal(t, "YAML", out.String())
		var want, got map[string]any
		if err := errors.Join(json.Unmarshal(raw, &want), yaml.Unmarshal(out.Bytes(), &got)); err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s\n%s", text, diff, out.String())
		}
	})
}
