package folder

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetpost/jetpost/event"
)

// A digest is the SHA-256 of a file's content.
type digest [sha256.Size]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// A file is what is known of a file that was announced.
type file struct {
	stamp stamp
	sum   digest
	scan  uint32 // the last scan that has seen it
}

// A change is something to announce. With its number it is in the journal, and
// all of its event follows from it.
type change struct {
	seq     uint64 // 0: not yet in the journal
	at      time.Time
	path    string // relative, with slashes, any bytes but NUL
	deleted bool
	file    file // what is there now, or was last
}

// artifact is the data of an event, with the keys of JFrog's artifact events in
// their order.
type artifact struct {
	RepoKey string `json:"repo_key"`
	Path    string `json:"path"`
	Name    string `json:"name"`
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"`
}

// event makes the event of a change that is in the journal. Its id is made from
// what it announces and from the change's number in that journal: it is the same
// whenever the change is offered, and another one when a file comes back to
// content it has had before.
func (w *Watcher) event(journalID string, c *change) (*event.Event, error) {
	eventType := TypeDeployed
	if c.deleted {
		eventType = TypeDeleted
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		journalID, w.cfg.RepoKey, c.path, c.file.sum.String(), strconv.FormatUint(c.seq, 10),
	}, "\x00")))
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	// Names that are not UTF-8 get U+FFFD in the place of what is wrong.
	err := enc.Encode(artifact{
		RepoKey: w.cfg.RepoKey, Path: c.path, Name: path.Base(c.path), SHA256: c.file.sum.String(), Size: c.file.stamp.size,
	})
	if err != nil {
		return nil, err
	}
	subject := printable(c.path)
	if strings.TrimSpace(subject) == "" { // a file may be called so, a subject may not
		subject = ""
	}
	return &event.Event{
		ID:              "file_" + strings.ToLower(base32.HexEncoding.EncodeToString(sum[:])[:26]),
		Source:          w.cfg.Source,
		Type:            eventType,
		Subject:         subject,
		Time:            c.at.UTC().Format(time.RFC3339Nano),
		DataContentType: "application/json",
		// It does not say of what class the repository is: who publishes it looks that
		// up in the registry, and files of one that is not there count as local.
		Data: bytes.TrimSuffix(data.Bytes(), []byte("\n")),
	}, nil
}

// printable replaces what CloudEvents does not allow in an attribute.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c <= 0x9f || c >= 0xfdd0 && c <= 0xfdef || c&0xfffe == 0xfffe {
			return utf8.RuneError
		}
		return c
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}
