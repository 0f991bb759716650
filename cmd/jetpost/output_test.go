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
			t.Errorf("%s has no --output: embed outputFlag and print by show", name)
		case output != nil && (output.Short != 'o' || output.Enum != "table,json,yaml" || output.Default != "table"):
			t.Errorf("%s has an --output of its own: -%c %s %s", name, output.Short, output.Enum, output.Default)
		}
	})
}

// walkCommands calls each with every command that has none below it.
func walkCommands(t *testing.T, each func(*kong.Node)) {
	t.Helper()
	parser, err := newParser(&env{}, &commandLine{})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(false) {
		each(leaf)
	}
}

func TestOutputForms(t *testing.T) {
	t.Parallel()
	const record = `{"id":"ci","big":395969746957422600,"huge":123456789012345678901234567890,"ratio":1.50,"html":"<a&b>","list":[],"object":{},"none":null,"on":"yes"}`
	for _, each := range []struct {
		name, format string
		endless      bool
		records      int
		want         string
	}{
		{"an empty list", "json", false, 0, "[]\n"},
		{"an empty list", "yaml", false, 0, "[]\n"},
		{"a list", "json", false, 2, `[
  {
    "id": "ci",
    "big": 395969746957422600,
    "huge": 123456789012345678901234567890,
    "ratio": 1.50,
    "html": "<a&b>",
    "list": [],
    "object": {},
    "none": null,
    "on": "yes"
  },
  {
    "id": "ci",
    "big": 395969746957422600,
    "huge": 123456789012345678901234567890,
    "ratio": 1.50,
    "html": "<a&b>",
    "list": [],
    "object": {},
    "none": null,
    "on": "yes"
  }
]
`},
		{"a list", "yaml", false, 1, `- id: ci
  big: 395969746957422600
  huge: 123456789012345678901234567890
  ratio: 1.50
  html: <a&b>
  list: []
  object: {}
  none: null
  "on": "yes"
`},
		{"a log", "json", true, 2, record + "\n" + record + "\n"},
		{"a log", "yaml", true, 1, `---
id: ci
big: 395969746957422600
huge: 123456789012345678901234567890
ratio: 1.50
html: <a&b>
list: []
object: {}
none: null
"on": "yes"
`},
		{"an empty log", "yaml", true, 0, ""},
		{"what people read", "table", false, 2, "read\nread\n"},
	} {
		var out strings.Builder
		e := &env{stdout: &out}
		p := outputFlag{Output: each.format}.records(e, each.endless)
		for range each.records {
			err := p.print(json.RawMessage(record), func() error {
				_, err := out.WriteString("read\n")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := p.end(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(each.want, out.String()); diff != "" {
			t.Errorf("%s as %s (-want +got):\n%s", each.name, each.format, diff)
		}
	}
}

// A list that is printed at once has the form of one that is printed record by record.
func TestListsHaveOneForm(t *testing.T) {
	t.Parallel()
	items := []json.RawMessage{[]byte(`{"a":1}`), []byte(`{"b":["x"]}`)}
	for _, format := range []string{"json", "yaml"} {
		var whole, single bytes.Buffer
		err := showList(&env{stdout: &whole}, outputFlag{Output: format}, items, "", func([]any) error { return errors.New("for people") })
		p := outputFlag{Output: format}.records(&env{stdout: &single}, false)
		for _, item := range items {
			err = errors.Join(err, p.print(item, nil))
		}
		if err := errors.Join(err, p.end()); err != nil || whole.String() != single.String() {
			t.Errorf("%v: got\n%s\nand\n%s", err, whole.String(), single.String())
		}
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
		raw, err := rawJSON(map[string]any{text: []string{text, text}, "x": map[string]string{"y": text}})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := printYAML(&out, raw); err != nil {
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

func TestYAMLOfDuplicateNames(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := printYAML(&out, []byte(`{"a":1,"b":2,"a":3}`)); err != nil || out.String() != "a: 3\nb: 2\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestTableForms(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	flushed := func(s style) string {
		var out strings.Builder
		table := newTable(&out, "ID", "STATE", "ERROR")
		table.style = s
		table.row("ci", "active", long)
		table.row("docs-and-more", "disabled", "a\x1b[31m\nb\t c")
		table.row("é", "", "")
		if err := table.flush(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	piped := "ID             STATE     ERROR\n" +
		"ci             active    " + long + "\n" +
		"docs-and-more  disabled  a\\u001b[31m b c\n" +
		"é              -         -\n"
	if diff := cmp.Diff(piped, flushed(style{})); diff != "" {
		t.Errorf("piped (-want +got):\n%s", diff)
	}
	if got := flushed(style{terminal: true, width: 60}); strings.Contains(got, "\x1b") {
		t.Errorf("colours where none are wanted:\n%s", got)
	} else {
		for line := range strings.Lines(got) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 60 {
				t.Errorf("a line of %d on a terminal of 60:\n%s", n, line)
			}
		}
	}
	coloured := flushed(style{terminal: true, colour: true, width: 60})
	for _, want := range []string{"\x1b[1mID\x1b[0m  ", "\x1b[32mactive\x1b[0m  ", "\x1b[31mdisabled\x1b[0m"} {
		if !strings.Contains(coloured, want) {
			t.Errorf("%q is not in\n%q", want, coloured)
		}
	}
}
