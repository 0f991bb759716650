package httpapi

import (
	"strconv"

	v1 "github.com/jetpost/jetpost/client/api"
)

// Paged is a request for a part of a list.
type Paged struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most items to answer with."`
	Cursor string `query:"cursor" maxLength:"4096" doc:"The next_cursor of the page before this one."`
}

// Following is a request for a list that may be followed instead.
type Following struct {
	Paged
	Follow  bool   `query:"follow" doc:"Answer with what is recorded from now on, as it happens, one JSON object per line (application/x-ndjson), without end. Empty lines show that the connection lives."`
	FromSeq uint64 `query:"from_seq" doc:"With follow: begin with this sequence, to go on after a lost connection."`
}

// SequencePage reads one page of a log, newest first. The cursor is the sequence
// of the last record of the page before, so pages do not shift while records are
// added.
func SequencePage[T any](in Paged, latest func(before uint64, limit int) ([]T, error), sequence func(T) uint64) (v1.Page[T], error) {
	var before uint64
	if in.Cursor != "" {
		var err error
		if before, err = strconv.ParseUint(in.Cursor, 10, 64); err != nil || before == 0 {
			return v1.Page[T]{}, BadCursor()
		}
	}
	items, err := latest(before, in.Limit+1) // one more tells whether there is a next page
	if err != nil {
		return v1.Page[T]{}, err
	}
	found := v1.Page[T]{Items: items}
	if len(items) > in.Limit {
		found.Items = items[:in.Limit]
		found.NextCursor = strconv.FormatUint(sequence(found.Items[in.Limit-1]), 10)
	}
	if found.Items == nil {
		found.Items = []T{}
	}
	return found, nil
}
