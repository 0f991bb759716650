package folder

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// A hashRequest asks for the content of a file that has not changed for a while.
type hashRequest struct {
	path  string
	stamp stamp
	// Anyway means: even if a process has the file open for writing.
	anyway bool
}

// A readState says whether a file was read in one piece.
type readState int

const (
	unreadable readState = iota // see err
	complete                    // no process wrote to it while it was read
	changed                     // look again
	open                        // a process has it open for writing
)

// hashed is the answer.
type hashed struct {
	hashRequest
	state readState
	sum   digest
	err   error
}

// hashFiles reads files until ctx ends.
func (w *Watcher) hashFiles(ctx context.Context, requests <-chan hashRequest, out chan<- hashed) {
	buffer := make([]byte, 256<<10)
	for {
		var r hashRequest
		select {
		case <-ctx.Done():
			return
		case r = <-requests:
		}
		h := w.hash(ctx, r, buffer)
		select {
		case <-ctx.Done():
			return
		case out <- h:
		}
	}
}

// hash reads a file. The sum counts only if the file is the same before and
// after, and still the one at that path.
func (w *Watcher) hash(ctx context.Context, r hashRequest, buffer []byte) hashed {
	h := hashed{hashRequest: r}
	f, err := os.OpenFile(filepath.Join(w.root, filepath.FromSlash(r.path)), openFlags, 0)
	if err != nil {
		if isGone(err) || errors.Is(err, syscall.ELOOP) {
			h.state = changed
		}
		h.err = err
		return h
	}
	defer f.Close()
	if !sameStamp(f, r.stamp) {
		h.state = changed
		return h
	}
	if !r.anyway && beingWritten(f) {
		h.state = open
		return h
	}
	sum := sha256.New()
	for {
		n, err := f.Read(buffer)
		sum.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			h.err = err
			return h
		}
	}
	h.state = complete
	if now, there, err := w.look(r.path); err != nil || !there || !now.same(r.stamp) || !sameStamp(f, r.stamp) {
		h.state = changed
	}
	sum.Sum(h.sum[:0])
	return h
}

func sameStamp(f *os.File, want stamp) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && stampOf(info).same(want)
}
