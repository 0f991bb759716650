package story

import (
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// A page of a search that has not come to the end of one log holds back what older
// events the others have.
func TestSearchedInOrder(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	found := func(minutes ...int) (records []stream.Record) {
		for _, minute := range minutes {
			records = append(records, stream.Record{Time: at(minute)})
		}
		return records
	}
	tests := []struct {
		name   string
		parts  []searched
		oldest bool
		want   int
	}{
		{"nothing", []searched{{end: true}, {}}, false, -1},
		{"the newer one", []searched{{records: found(5)}, {records: found(7)}}, false, 1},
		{"the older one", []searched{{records: found(5)}, {records: found(7)}}, true, 0},
		{"the other has more that is newer", []searched{{records: found(5)}, {back: at(6)}}, false, -1},
		{"the other is searched further back", []searched{{records: found(5)}, {back: at(4)}}, false, 0},
		{"the other has come to its end", []searched{{records: found(5)}, {back: at(6), end: true}}, false, 0},
		{"the other has more that is older", []searched{{records: found(5)}, {back: at(4)}}, true, -1},
	}
	for _, tt := range tests {
		if got := pickSearched(tt.parts, tt.oldest); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}
