package folder

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"
)

// A journal is the file that remembers, across restarts and crashes, which files
// were announced. It is a log of JSON lines:
//
//	{"kind":"journal", …}  first: its version, random id, folder, last number used
//	{"kind":"file", …}     a file as it was announced, or as it was touched since
//	{"kind":"change", …}   about to be announced; on disk before it is published
//	{"kind":"done", "seq"} acknowledged: the file of that change is known from now on
//	{"kind":"refused", …}  refused: forget the change
//
// A change without its "done" may have been published or not, so it is published
// again, as it was. Losing the last lines "file", "done" and "refused" does no
// harm beyond that, so only "change" waits for the disk.
//
// It belongs to the goroutine that watches; nothing here is safe for others.
type journal struct {
	path  string
	f     *os.File
	size  int64 // of what is complete
	id    string
	root  string
	seq   uint64 // the last number used
	lines int

	files   map[string]*file   // by path: what was announced and not deleted
	pending map[uint64]*change // by number: changes without an end
}

const journalVersion = 1

type record struct {
	Kind string `json:"kind"`
	Seq  uint64 `json:"seq,omitempty"`

	Version int    `json:"version,omitempty"`
	ID      string `json:"id,omitempty"`
	Folder  []byte `json:"folder,omitempty"`

	At      *time.Time `json:"at,omitempty"`
	Path    string     `json:"path,omitempty"`
	Bytes   []byte     `json:"path_bytes,omitempty"` // instead of path if that is not UTF-8
	Deleted bool       `json:"deleted,omitempty"`
	SHA256  string     `json:"sha256,omitempty"`
	Size    int64      `json:"size,omitempty"`
	MTime   int64      `json:"mtime,omitempty"`
	CTime   int64      `json:"ctime,omitempty"`
	Inode   uint64     `json:"inode,omitempty"`
}

// openJournal reads the journal at path, or makes one for the folder root. An
// incomplete last line, left by a crash, is dropped.
func openJournal(path, root string) (*journal, error) {
	j := &journal{path: path, root: root, files: map[string]*file{}, pending: map[uint64]*change{}}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails
		j.id = hex.EncodeToString(id[:])
		return j, j.rewrite()
	}
	if err != nil {
		return nil, err
	}
	j.f = f
	if err := j.load(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if j.garbage() {
		return j, j.rewrite()
	}
	return j, nil
}

func (j *journal) load() error {
	br := bufio.NewReaderSize(j.f, 1<<20)
	for {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			// Without its newline the last line is not complete.
			break
		}
		if err != nil {
			return err
		}
		var r record
		if err := json.Unmarshal(line, &r); err == nil {
			err = j.apply(&r)
			if err != nil {
				return fmt.Errorf("line %d: %w", j.lines+1, err)
			}
		} else if _, peekErr := br.Peek(1); errors.Is(peekErr, io.EOF) {
			// A crash may leave garbage, but only at the end.
			break
		} else {
			return fmt.Errorf("line %d: %w", j.lines+1, err)
		}
		j.size += int64(len(line))
	}
	if j.lines == 0 {
		return errors.New("the first line is missing")
	}
	return j.f.Truncate(j.size)
}

func (j *journal) apply(r *record) error {
	j.lines++
	if (r.Kind == "journal") != (j.lines == 1) {
		return fmt.Errorf("%q is not expected here", r.Kind)
	}
	switch r.Kind {
	case "journal":
		if r.Version != journalVersion {
			return fmt.Errorf("version %d is not known", r.Version)
		}
		if string(r.Folder) != j.root {
			return fmt.Errorf("it belongs to another folder: %s", r.Folder)
		}
		j.id, j.seq = r.ID, r.Seq
		return nil
	case "file":
		c, err := r.change()
		if err != nil {
			return err
		}
		j.files[c.path] = &c.file
	case "change":
		c, err := r.change()
		if err != nil {
			return err
		}
		j.pending[c.seq] = c
		j.seq = max(j.seq, c.seq)
	case "done":
		if c := j.pending[r.Seq]; c != nil {
			j.know(c)
		}
	case "refused":
		delete(j.pending, r.Seq)
	default:
		return fmt.Errorf("%q is not known", r.Kind)
	}
	return nil
}

// know makes a change part of what was announced.
func (j *journal) know(c *change) {
	delete(j.pending, c.seq)
	if c.deleted {
		delete(j.files, c.path)
		return
	}
	known := c.file
	j.files[c.path] = &known
}

// begin gives the changes their numbers and writes them down. It returns when
// they are on disk; after an error they have no numbers.
func (j *journal) begin(changes []*change) error {
	seq, size, count := j.seq, j.size, j.lines
	var lines bytes.Buffer
	for _, c := range changes {
		j.seq++
		c.seq = j.seq
		encodeRecord(&lines, newRecord("change", c))
	}
	err := j.append(lines.Bytes(), len(changes))
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		j.seq, j.size, j.lines = seq, size, count
		for _, c := range changes {
			c.seq = 0
		}
		return errors.Join(err, j.f.Truncate(size))
	}
	for _, c := range changes {
		j.pending[c.seq] = c
	}
	return nil
}

// done notes that changes were acknowledged.
func (j *journal) done(changes []*change) error {
	return j.end("done", changes, j.know)
}

// refused notes that changes will not be published.
func (j *journal) refused(changes []*change) error {
	return j.end("refused", changes, func(c *change) { delete(j.pending, c.seq) })
}

func (j *journal) end(kind string, changes []*change, apply func(*change)) error {
	var lines bytes.Buffer
	for _, c := range changes {
		apply(c)
		encodeRecord(&lines, record{Kind: kind, Seq: c.seq})
	}
	return j.append(lines.Bytes(), len(changes))
}

// touched notes that a file looks different and has the same content.
func (j *journal) touched(path string, f file) error {
	j.files[path] = &f
	var line bytes.Buffer
	encodeRecord(&line, newRecord("file", &change{path: path, file: f}))
	return j.append(line.Bytes(), 1)
}

// append writes complete lines or nothing.
func (j *journal) append(lines []byte, n int) error {
	if _, err := j.f.WriteAt(lines, j.size); err != nil {
		return errors.Join(err, j.f.Truncate(j.size))
	}
	j.size += int64(len(lines))
	j.lines += n
	return nil
}

// garbage reports whether most lines are superseded, so that rewriting pays.
func (j *journal) garbage() bool {
	return j.lines > 3*(len(j.files)+len(j.pending))+10_000
}

// rewrite replaces the journal by one without superseded lines. If that fails,
// the old one stays in use.
func (j *journal) rewrite() (err error) {
	f, err := os.CreateTemp(filepath.Dir(j.path), ".journal-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	bw := bufio.NewWriterSize(f, 1<<20)
	encodeRecord(bw, record{Kind: "journal", Version: journalVersion, ID: j.id, Folder: []byte(j.root), Seq: j.seq})
	for path, known := range j.files {
		encodeRecord(bw, newRecord("file", &change{path: path, file: *known}))
	}
	for _, c := range j.unfinished() {
		encodeRecord(bw, newRecord("change", c))
	}
	if err := errors.Join(bw.Flush(), f.Sync()); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), j.path); err != nil {
		return err
	}
	if j.f != nil {
		_ = j.f.Close()
	}
	j.f, j.size, j.lines = f, size, 1+len(j.files)+len(j.pending)
	return syncDir(filepath.Dir(j.path))
}

// unfinished returns the changes without an end, in the order of their numbers.
func (j *journal) unfinished() []*change {
	changes := make([]*change, 0, len(j.pending))
	for _, c := range j.pending {
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b *change) int { return cmp.Compare(a.seq, b.seq) })
	return changes
}

func (j *journal) close() error { return errors.Join(j.f.Sync(), j.f.Close()) }

func newRecord(kind string, c *change) record {
	s := c.file.stamp
	r := record{
		Kind: kind, Seq: c.seq, Deleted: c.deleted, SHA256: c.file.sum.String(),
		Size: s.size, MTime: s.mtime, CTime: s.ctime, Inode: s.inode,
	}
	if !c.at.IsZero() {
		r.At = &c.at
	}
	if utf8.ValidString(c.path) {
		r.Path = c.path
	} else {
		r.Bytes = []byte(c.path)
	}
	return r
}

func (r *record) change() (*change, error) {
	c := &change{seq: r.Seq, path: r.Path, deleted: r.Deleted}
	c.file.stamp = stamp{size: r.Size, mtime: r.MTime, ctime: r.CTime, inode: r.Inode}
	if r.Bytes != nil {
		c.path = string(r.Bytes)
	}
	if r.At != nil {
		c.at = *r.At
	}
	sum, err := hex.DecodeString(r.SHA256)
	if err != nil || len(sum) != len(c.file.sum) {
		return nil, fmt.Errorf("%q is not a SHA-256", r.SHA256)
	}
	c.file.sum = digest(sum)
	return c, nil
}

// encodeRecord writes a line to a writer that keeps its errors.
func encodeRecord(w io.Writer, r record) {
	line, _ := json.Marshal(r) // strings, numbers and times only
	_, _ = w.Write(append(line, '\n'))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
