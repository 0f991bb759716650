package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/cli/terminal"
)

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
		e := &terminal.Env{Stdout: &out}
		p := Flag{Output: each.format}.Records(e, each.endless)
		for range each.records {
			err := p.Print(json.RawMessage(record), func() error {
				_, err := out.WriteString("read\n")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := p.End(); err != nil {
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
		err := List(&terminal.Env{Stdout: &whole}, Flag{Output: format}, items, "", func([]any) error { return errors.New("for people") })
		p := Flag{Output: format}.Records(&terminal.Env{Stdout: &single}, false)
		for _, item := range items {
			err = errors.Join(err, p.Print(item, nil))
		}
		if err := errors.Join(err, p.End()); err != nil || whole.String() != single.String() {
			t.Errorf("%v: got\n%s\nand\n%s", err, whole.String(), single.String())
		}
	}
}

func TestYAMLOfDuplicateNames(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := PrintYAML(&out, []byte(`{"a":1,"b":2,"a":3}`)); err != nil || out.String() != "a: 3\nb: 2\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestTableForms(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	flushed := func(s Style) string {
		var out strings.Builder
		table := NewTable(&out, "ID", "STATE", "ERROR")
		table.style = s
		table.Row("ci", "active", long)
		table.Row("docs-and-more", "disabled", "a\x1b[31m\nb\t c")
		table.Row("é", "", "")
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	piped := "ID             STATE     ERROR\n" +
		"ci             active    " + long + "\n" +
		"docs-and-more  disabled  a\\u001b[31m b c\n" +
		"é              -         -\n"
	if diff := cmp.Diff(piped, flushed(Style{})); diff != "" {
		t.Errorf("piped (-want +got):\n%s", diff)
	}
	if got := flushed(Style{terminal: true, width: 60}); strings.Contains(got, "\x1b") {
		t.Errorf("colours where none are wanted:\n%s", got)
	} else {
		for line := range strings.Lines(got) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 60 {
				t.Errorf("a line of %d on a terminal of 60:\n%s", n, line)
			}
		}
	}
	coloured := flushed(Style{terminal: true, colour: true, width: 60})
	for _, want := range []string{"\x1b[1mID\x1b[0m  ", "\x1b[32mactive\x1b[0m  ", "\x1b[31mdisabled\x1b[0m"} {
		if !strings.Contains(coloured, want) {
			t.Errorf("%q is not in\n%q", want, coloured)
		}
	}
}
