package gitsource

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/event"
)

// An outbox is a folder with the pushes that are not published yet, each in one
// of two forms:
//
//	000000000007.push    a JSON line {"at","pusher"}, then what git gave to the hook
//	000000000007.events  the events of that push, one per line, structured JSON
//	rejected/            events that the server refused, each with its reason
//	lock, sending        locks: of the numbers, of who publishes
//
// Numbers give the order. A file has its final name only when all of it is on
// disk; where both forms exist the events count.
//
// The folder is as open to other users as the repository itself: where several
// of them push to one repository, each must be able to send what another left.
type outbox struct {
	dir  string
	mode fs.FileMode // of folders
}

const (
	pushSuffix   = ".push"
	eventsSuffix = ".events"
	tempPrefix   = ".tmp-"
)

// A push is the input of the hook, and its time.
type push struct {
	At      time.Time `json:"at"`
	Pusher  pusher    `json:"pusher"`
	Updates []Update  `json:"-"` // refs need not be UTF-8, so they follow as lines
}

// An entry is one push in the outbox.
type entry struct {
	base string // path without suffix
	lock *fileLock
}

func (e *entry) push() string   { return e.base + pushSuffix }
func (e *entry) events() string { return e.base + eventsSuffix }

// unlock lets another process work on the entry.
func (e *entry) unlock() {
	if e.lock != nil {
		e.lock.release()
		e.lock = nil
	}
}

func newOutbox(repository string) outbox {
	o := outbox{dir: filepath.Join(repository, "jetpost", "outbox"), mode: 0o700}
	if info, err := os.Stat(filepath.Join(repository, "objects")); err == nil {
		o.mode |= info.Mode() & (fs.ModePerm | fs.ModeSetgid)
	}
	return o
}

func (o outbox) rejected() string { return filepath.Join(o.dir, "rejected") }

func (o outbox) fileMode() fs.FileMode { return o.mode & 0o666 }

// mkdir makes the folder and those above it, if they are missing, with the
// outbox's mode whatever the umask is.
func (o outbox) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := o.mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(dir, o.mode)
}

// add records a push under the next number. The entry is locked by the caller,
// who is expected to build its events and then to unlock it.
func (o outbox) add(ctx context.Context, p push) (*entry, error) {
	header, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	content := bytes.NewBuffer(append(header, '\n'))
	for _, u := range p.Updates {
		fmt.Fprintf(content, "%s %s %s\n", u.Before, u.After, u.Ref)
	}
	if err := o.mkdir(o.dir); err != nil {
		return nil, err
	}
	numbers, err := lockFile(ctx, filepath.Join(o.dir, "lock"), o.fileMode())
	if err != nil {
		return nil, err
	}
	defer numbers.release()
	entries, err := o.list()
	if err != nil {
		return nil, err
	}
	next := uint64(1)
	if len(entries) > 0 {
		last, err := strconv.ParseUint(filepath.Base(entries[len(entries)-1].base), 10, 64)
		if err != nil {
			return nil, err
		}
		next = last + 1
	}
	e := &entry{base: filepath.Join(o.dir, fmt.Sprintf("%012d", next))}
	// Locked before it has its name: no process finds it unlocked.
	err = o.create(e.push(), func(w io.Writer, temp string) error {
		if e.lock, err = lockExisting(context.WithoutCancel(ctx), temp); err != nil { // no other process has it
			return err
		}
		_, err := content.WriteTo(w)
		return err
	})
	if err != nil {
		e.unlock()
		return nil, err
	}
	return e, nil
}

// list returns the entries in order.
func (o outbox) list() ([]*entry, error) {
	files, err := os.ReadDir(o.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var bases []string
	for _, f := range files {
		name, isPush := strings.CutSuffix(f.Name(), pushSuffix)
		name, isEvents := strings.CutSuffix(name, eventsSuffix)
		if (isPush || isEvents) && name != "" && strings.Trim(name, "0123456789") == "" {
			bases = append(bases, filepath.Join(o.dir, name))
		}
	}
	slices.Sort(bases)
	entries := make([]*entry, 0, len(bases))
	for _, base := range slices.Compact(bases) {
		entries = append(entries, &entry{base: base})
	}
	return entries, nil
}

func (o outbox) count() (int, error) {
	entries, err := o.list()
	return len(entries), err
}

// readPush reads the first form of an entry.
func readPush(r io.Reader) (push, error) {
	var p push
	br := bufio.NewReader(r)
	header, err := br.ReadBytes('\n')
	if err != nil {
		return p, unexpected(err)
	}
	if err := json.Unmarshal(header, &p); err != nil {
		return p, err
	}
	p.Updates, err = ParseUpdates(br)
	return p, err
}

// refusal is a file in the folder of rejected events.
type refusal struct {
	At     time.Time       `json:"at"`
	Reason string          `json:"reason"`
	Event  json.RawMessage `json:"event"`
}

// reject keeps an event that was refused. An event that is refused twice is kept once.
func (o outbox) reject(e *event.Event, reason error) error {
	if err := o.mkdir(o.rejected()); err != nil {
		return err
	}
	content, err := encode(refusal{time.Now().UTC(), reason.Error(), e.AppendStructured(nil)})
	if err != nil {
		return err
	}
	return o.write(filepath.Join(o.rejected(), e.ID+".json"), func(w io.Writer) error {
		_, err := w.Write(append(content, '\n'))
		return err
	})
}

// create writes a file that either is there as a whole, also after a crash, or is not
// there. write gets the name that the file has until then.
func (o outbox) create(path string, write func(w io.Writer, temp string) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriter(f)
	if err := write(w, f.Name()); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), f.Chmod(o.fileMode()), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// write is create for those who do not need to know that name.
func (o outbox) write(path string, write func(io.Writer) error) error {
	return o.create(path, func(w io.Writer, _ string) error { return write(w) })
}

// tidy removes what killed processes have left half written.
func (o outbox) tidy(now time.Time) {
	leftovers, _ := filepath.Glob(filepath.Join(o.dir, tempPrefix+"*"))
	for _, path := range leftovers {
		if info, err := os.Lstat(path); err == nil && now.Sub(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(path)
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
