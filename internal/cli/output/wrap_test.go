package output

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// On a narrow terminal a text goes on below, and another last column is cut; a pipe gets
// all of it in one line.
func TestTableOnNarrowTerminal(t *testing.T) {
	t.Parallel()
	const why = "it wants that data.ref fits refs/heads/release*, and it is refs/heads/main"
	printed := func(s Style, wraps bool) string {
		var b bytes.Buffer
		table := &Table{w: &b, style: s, Wraps: wraps, rows: [][]string{{"ID", "WHY"}}}
		table.Row("ci", why)
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	narrow := Style{terminal: true, width: 40}
	for _, c := range []struct {
		style Style
		wraps bool
		want  string
	}{
		{narrow, true, "ID  WHY\nci  it wants that data.ref fits\n    refs/heads/release*, and it is\n    refs/heads/main\n"},
		{narrow, false, "ID  WHY\nci  it wants that data.ref fits refs/he…\n"},
		{Style{}, true, "ID  WHY\nci  " + why + "\n"},
		{Style{terminal: true, width: 10}, true, "ID  WHY\nci  " + why + "\n"}, // there is no room to wrap in
	} {
		if diff := cmp.Diff(c.want, printed(c.style, c.wraps)); diff != "" {
			t.Errorf("%+v, wraps %v (-want +got):\n%s", c.style, c.wraps, diff)
		}
	}
}
