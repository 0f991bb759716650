package gitsource

import (
	"slices"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/stream"
)

// maxData is what an event's data may take, in bytes. The rest of the event's
// limit is for its attributes: a ref may be long, and most of its characters
// escaped.
const maxData = stream.MaxEventSize - 16<<10

// render encodes data within limit bytes. What does not fit is left out, the
// least useful first, and data then says so: the ends of the largest file lists,
// the ends of the longest messages, the oldest commits.
//
// The room that is left for messages and for file lists is shared so that a
// small one stays whole: a commit that imports a tree of files does not cost its
// neighbours theirs.
func render(data *pushData, limit int) ([]byte, error) {
	whole, err := encode(data)
	if err != nil || len(whole) <= limit {
		return whole, err
	}
	total := max(data.CommitsTotal, len(data.Commits))
	data.CommitsTotal, data.Truncated = total, true

	all := data.Commits
	data.Commits = []commit{}
	frame, err := encode(data)
	if err != nil {
		return nil, err
	}
	room := limit - len(frame)
	kept, bare := newest(all, room)
	room -= bare
	data.Commits = slices.Clone(kept)

	messages, files := make([]int, len(kept)), make([]int, len(kept))
	for i := range kept {
		messages[i] = encodedSize(kept[i].Message)
		files[i] = listSize(kept[i].Added) + listSize(kept[i].Removed) + listSize(kept[i].Modified)
	}
	// Messages get half of the room, and more if the files do not need theirs.
	share := fairShare(messages, max(room/2, room-sum(files)))
	for i := range data.Commits {
		c := &data.Commits[i]
		c.Message = cutText(c.Message, share)
		room -= encodedSize(c.Message)
	}
	share = fairShare(files, room)
	for i := range data.Commits {
		c, left := &data.Commits[i], share
		c.Modified, left = cutList(c.Modified, left)
		c.Added, left = cutList(c.Added, left)
		c.Removed, _ = cutList(c.Removed, left)
	}
	return encode(data)
}

// newest returns as many commits from the end of the list as fit into room
// without their messages and files and still leave half of it to those; at least
// one if that fits at all. It also returns what these take.
func newest(commits []commit, room int) (kept []commit, size int) {
	for i, c := range slices.Backward(commits) {
		c.Message, c.Added, c.Removed, c.Modified = "", []string{}, []string{}, []string{}
		b, err := encode(c)
		bare := len(b) + 1 // a comma
		if err != nil || size+bare > room || size+bare > room/2 && i < len(commits)-1 {
			return commits[i+1:], size
		}
		size += bare
	}
	return commits, size
}

// fairShare returns the largest share such that all that need less get
// what it needs, everybody else gets the share, and all of it is at most room.
func fairShare(needs []int, room int) int {
	sorted := slices.Sorted(slices.Values(needs))
	for i, need := range sorted {
		left := len(sorted) - i
		if need*left > room {
			return max(room, 0) / left
		}
		room -= need
	}
	return slices.Max(append(sorted, 0))
}

// cutText returns the longest beginning of s that takes at most room bytes
// between the quotes of a JSON string.
func cutText(s string, room int) string {
	for i := 0; i < len(s); {
		c, width := utf8.DecodeRuneInString(s[i:])
		if room -= runeSize(c, width); room < 0 {
			return s[:i]
		}
		i += width
	}
	return s
}

// cutList returns the beginning of the list that fits into room, and the room
// that is left. It never returns nil: an empty list is [] in the payload.
func cutList(paths []string, room int) ([]string, int) {
	for i := range paths {
		size := listSize(paths[i : i+1])
		if size > room {
			return append([]string{}, paths[:i]...), 0
		}
		room -= size
	}
	return paths, room
}

// listSize is what the paths take as elements of a JSON array: with quotes and commas.
func listSize(paths []string) int {
	size := 0
	for _, path := range paths {
		size += encodedSize(path) + 3
	}
	return size
}

// encodedSize is what s takes between the quotes of a JSON string.
func encodedSize(s string) int {
	size := 0
	for i := 0; i < len(s); {
		c, width := utf8.DecodeRuneInString(s[i:])
		size += runeSize(c, width)
		i += width
	}
	return size
}

// runeSize is what encoding/json writes for a character without escaping for HTML.
func runeSize(c rune, width int) int {
	switch {
	case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f':
		return 2
	case c < 0x20, c == utf8.RuneError && width == 1, c == '\u2028', c == '\u2029':
		return 6
	default:
		return width
	}
}

func sum(values []int) int {
	total := 0
	for _, v := range values {
		total += v
	}
	return total
}
