package gitsource

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// An Update is one ref that a push has changed.
type Update struct {
	Before string // object id; all zeros if the ref is new
	After  string // object id; all zeros if the ref is deleted
	Ref    string // full name, as bytes of any encoding: "refs/heads/main"
}

const branchPrefix = "refs/heads/"

// maxRefLength in bytes. Git itself allows what a file system takes as a path.
const maxRefLength = 4096

// ParseUpdates reads the standard input of a post-receive hook: a line
// "<before> <after> <ref>" for each ref. It refuses what git does not write.
func ParseUpdates(in io.Reader) ([]Update, error) {
	var updates []Update
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if line == "" {
			return updates, nil
		}
		u, problem := parseUpdate(strings.TrimSuffix(line, "\n"))
		if problem != "" {
			return nil, fmt.Errorf("line %d: %s", len(updates)+1, problem)
		}
		updates = append(updates, u)
	}
}

func parseUpdate(line string) (u Update, problem string) {
	var ok bool
	if u.Before, line, ok = strings.Cut(line, " "); !ok || !validID(u.Before) {
		return u, "the old object id is not 40 or 64 hexadecimal digits"
	}
	if u.After, u.Ref, ok = strings.Cut(line, " "); !ok || !validID(u.After) || len(u.After) != len(u.Before) {
		return u, "the new object id is not 40 or 64 hexadecimal digits"
	}
	if !validRef(u.Ref) {
		return u, fmt.Sprintf("%q is not a ref", u.Ref)
	}
	return u, ""
}

func validID(id string) bool {
	return (len(id) == 40 || len(id) == 64) && strings.Trim(id, "0123456789abcdef") == ""
}

// validRef keeps to the rules of "git check-ref-format" that matter here: such a
// name cannot break a line, a list or a path.
func validRef(ref string) bool {
	if !strings.HasPrefix(ref, "refs/") || len(ref) > maxRefLength {
		return false
	}
	for i := range len(ref) {
		if c := ref[i]; c <= ' ' || c == 0x7f || strings.IndexByte("~^:?*[\\", c) >= 0 {
			return false
		}
	}
	return !strings.Contains(ref, "..") && !strings.Contains(ref, "//") && !strings.HasSuffix(ref, "/")
}

func zeroID(id string) bool { return strings.Trim(id, "0") == "" }

// branch reports whether the ref is a branch, and its short name.
func (u Update) branch() (string, bool) { return strings.CutPrefix(u.Ref, branchPrefix) }
