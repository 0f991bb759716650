package gitsource

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// Bounds of what is kept of one commit, in bytes. They only save memory: an
// event has room for less, see fit.
const (
	maxText  = stream.MaxEventSize
	maxIdent = 256 // a name or an address
)

// A detail is one commit as git prints it.
type detail struct {
	id        string
	author    ident
	committer ident
	when      string // committer date, "<seconds> <zone>"
	message   string
	added     []string
	removed   []string
	modified  []string
	cut       bool // message or files are incomplete already
}

type ident struct{ name, email string }

// details reads the listed commits and what each changed, in that order.
//
// The format separates fields by NUL, and so does -z: the bytes of a message or
// of a file name cannot be mistaken for a separator. Renames are shown as one
// file removed and one added, because that is what the lists can say.
func (r *Repository) details(ctx context.Context, commits []listed) ([]detail, error) {
	if len(commits) == 0 {
		return nil, nil
	}
	var in strings.Builder
	for _, c := range commits {
		in.WriteString(strings.TrimSuffix(c.id+" "+c.parent, " ") + "\n")
	}
	var details []detail
	err := r.git.read(ctx, strings.NewReader(in.String()), func(out io.Reader) (err error) {
		details, err = parseDetails(bufio.NewReaderSize(out, 64<<10), len(commits[0].id))
		return err
	}, "diff-tree", "--stdin", "--always", "--root", "-r", "-z", "--no-renames", "--name-status",
		"--ignore-submodules=none", "--encoding=UTF-8", "--date=raw",
		"--format=%H%x00%an%x00%ae%x00%cn%x00%ce%x00%cd%x00%B")
	if err != nil {
		return nil, err
	}
	if len(details) != len(commits) {
		return nil, fmt.Errorf("git diff-tree: %d commits instead of %d", len(details), len(commits))
	}
	return details, nil
}

// parseDetails reads what details asks for:
//
//	id NUL author NUL email NUL committer NUL email NUL date NUL message NUL
//	[LF] status NUL path NUL status NUL path NUL … next id NUL …
//
// An id differs from a status by its length.
func parseDetails(br *bufio.Reader, idLength int) ([]detail, error) {
	var details []detail
	room := 0
	for {
		token, _, err := readField(br, maxText)
		if errors.Is(err, io.EOF) {
			return details, nil
		}
		if err != nil {
			return nil, err
		}
		token = strings.TrimPrefix(token, "\n")
		switch {
		case len(token) == idLength:
			d, err := parseHeader(br, token)
			if err != nil {
				return nil, err
			}
			details = append(details, d)
			room = maxText
		case len(token) == 1 && len(details) > 0:
			path, whole, err := readField(br, maxText)
			if err != nil {
				return nil, unexpected(err)
			}
			d := &details[len(details)-1]
			if room -= len(path); room < 0 || !whole {
				d.cut = true
				continue
			}
			d.add(token, path)
		default:
			return nil, fmt.Errorf("%q is neither a commit nor a status", token)
		}
	}
}

func parseHeader(br *bufio.Reader, id string) (detail, error) {
	d := detail{id: id}
	for _, field := range [...]struct {
		value *string
		max   int
	}{
		{&d.author.name, maxIdent},
		{&d.author.email, maxIdent},
		{&d.committer.name, maxIdent},
		{&d.committer.email, maxIdent},
		{&d.when, maxIdent},
		{&d.message, maxText},
	} {
		value, whole, err := readField(br, field.max)
		if err != nil {
			return d, unexpected(err)
		}
		*field.value = value
		d.cut = d.cut || !whole
	}
	return d, nil
}

// add files the path under its status. What is neither added nor deleted is
// modified: M, or T where a file has become a link.
func (d *detail) add(status, path string) {
	switch status {
	case "A":
		d.added = append(d.added, path)
	case "D":
		d.removed = append(d.removed, path)
	default:
		d.modified = append(d.modified, path)
	}
}

// readField reads up to the next NUL and returns at most limit bytes of it, and
// whether that is all.
func readField(br *bufio.Reader, limit int) (field string, whole bool, err error) {
	var kept []byte
	whole = true
	for {
		part, err := br.ReadSlice(0)
		end := err == nil
		if end {
			part = part[:len(part)-1]
		}
		if over := len(kept) + len(part) - limit; over > 0 {
			part, whole = part[:len(part)-over], false
		}
		kept = append(kept, part...)
		switch {
		case end:
			return string(kept), whole, nil
		case errors.Is(err, io.EOF) && len(kept) > 0:
			return "", false, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", false, err
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// timestamp turns git's raw date into RFC 3339, in the zone of the committer. A
// date that RFC 3339 cannot express, which git accepts, becomes the zero time.
func timestamp(raw string) string {
	seconds, zone, _ := strings.Cut(raw, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || unix < -1<<40 || unix > 1<<40 {
		return zeroTime
	}
	offset := 0
	if hhmm, err := strconv.Atoi(zone); err == nil {
		offset = (hhmm/100*60 + hhmm%100) * 60
	}
	if offset <= -24*3600 || offset >= 24*3600 {
		offset = 0
	}
	t := time.Unix(unix, 0).UTC()
	if offset != 0 {
		t = t.In(time.FixedZone("", offset))
	}
	if year := t.Year(); year < 0 || year > 9999 {
		return zeroTime
	}
	return t.Format(time.RFC3339)
}
