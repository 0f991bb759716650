package precondition_test

import (
	"strings"
	"testing"

	"github.com/jetpost/jetpost/admin/precondition"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	seven := precondition.Current{Exists: true, ETag: `"7"`}
	weak := precondition.Current{Exists: true, ETag: `W/"7"`}
	untagged := precondition.Current{Exists: true}
	missing := precondition.Current{}
	const (
		proceed, notMatched, matched, unreadable = precondition.Proceed, precondition.NotMatched, precondition.Matched, precondition.Unreadable
		absent                                   = "-"
	)
	for _, tt := range []struct {
		match, noneMatch string // lines are separated by line feeds
		now              precondition.Current
		want             precondition.Decision
	}{
		{absent, absent, seven, proceed},
		{absent, absent, missing, proceed},
		// If-Match compares strongly.
		{`*`, absent, seven, proceed},
		{` * `, absent, seven, proceed},
		{`*`, absent, untagged, proceed},
		{`*`, absent, missing, notMatched},
		{`"7"`, absent, seven, proceed},
		{`"8"`, absent, seven, notMatched},
		{`"7"`, absent, missing, notMatched},
		{`"7"`, absent, untagged, notMatched},
		{`W/"7"`, absent, seven, notMatched},
		{`"7"`, absent, weak, notMatched},
		{`W/"7"`, absent, weak, notMatched},
		{`"8", "7"`, absent, seven, proceed},
		{`"8","7"`, absent, seven, proceed},
		{"\"8\"\t,\t\"7\"", absent, seven, proceed},
		{`,, "8" ,,"7", ,`, absent, seven, proceed},
		{"\"8\"\n\"7\"", absent, seven, proceed},
		{"\"8\"\n", absent, seven, notMatched},
		{`W/"7", "7"`, absent, seven, proceed},
		{`"a,b", "7"`, absent, seven, proceed},
		{`"a,b"`, absent, precondition.Current{Exists: true, ETag: `"a,b"`}, proceed},
		{`"a", "b"`, absent, precondition.Current{Exists: true, ETag: `"a,b"`}, notMatched},
		{`"b"`, absent, precondition.Current{Exists: true, ETag: `"a,b"`}, notMatched},
		{`""`, absent, precondition.Current{Exists: true, ETag: `""`}, proceed},
		{`""`, absent, untagged, notMatched},
		{"\"\xe9\"", absent, precondition.Current{Exists: true, ETag: "\"\xe9\""}, proceed},
		// An empty one names nothing, and neither does one that cannot be read.
		{``, absent, seven, notMatched},
		{`,`, absent, seven, notMatched},
		{`7`, absent, seven, notMatched},
		{`"7`, absent, seven, notMatched},
		{`w/"7"`, absent, seven, notMatched},
		{`W/ "7"`, absent, seven, notMatched},
		{`"7" "7"`, absent, seven, notMatched},
		{`"7";"7"`, absent, seven, notMatched},
		{`"7", *`, absent, seven, notMatched},
		{"*\n*", absent, seven, notMatched},
		{"\"7\"\n*", absent, seven, notMatched},
		{"\"7\", \"a\x01\"", absent, seven, notMatched},
		{`"7", "a b"`, absent, seven, notMatched},
		// If-None-Match compares weakly.
		{absent, `*`, seven, matched},
		{absent, `*`, untagged, matched},
		{absent, `*`, missing, proceed},
		{absent, `"7"`, seven, matched},
		{absent, `W/"7"`, seven, matched},
		{absent, `"7"`, weak, matched},
		{absent, `W/"7"`, weak, matched},
		{absent, `"8"`, seven, proceed},
		{absent, `"7"`, missing, proceed},
		{absent, `"7"`, untagged, proceed},
		{absent, `"8", W/"7"`, seven, matched},
		{absent, "\"8\"\n\"7\"", seven, matched},
		{absent, ``, seven, proceed},
		{absent, `, ,`, seven, proceed},
		{absent, `7`, seven, unreadable},
		{absent, `7`, missing, unreadable},
		{absent, `"7", *`, missing, unreadable},
		{absent, `"7"x`, seven, unreadable},
		// Both: If-Match comes first.
		{`*`, `*`, seven, matched},
		{`*`, `*`, missing, notMatched},
		{`"7"`, `"8"`, seven, proceed},
		{`"8"`, `"8"`, seven, notMatched},
		{`"7"`, `"7"`, seven, matched},
		{`"7"`, `7`, seven, unreadable},
	} {
		lines := func(text string) []string {
			if text == absent {
				return nil
			}
			return strings.Split(text, "\n")
		}
		c := precondition.Read(lines(tt.match), lines(tt.noneMatch))
		if got := c.Decide(tt.now); got != tt.want {
			t.Errorf("If-Match: %q, If-None-Match: %q of %+v: got %d, want %d", tt.match, tt.noneMatch, tt.now, got, tt.want)
		}
		if none := tt.match == absent && tt.noneMatch == absent; c.None() != none || c.Bound() != (tt.match != absent) {
			t.Errorf("If-Match: %q, If-None-Match: %q: none %t, bound %t", tt.match, tt.noneMatch, c.None(), c.Bound())
		}
	}
}
