package folder

import (
	"os"
	"path/filepath"
)

// A stamp distinguishes two states of a file without reading it. The change time,
// which no program can set, is what makes it reliable; where there is none, a
// change that keeps size and modification time is found when a notification
// reports it, not later.
type stamp struct {
	size   int64
	mtime  int64 // nanoseconds since 1970, as all times here
	ctime  int64
	inode  uint64
	device uint64
}

// look returns the stamp of the regular file at path, and whether there is one.
// What is reached through a link is not there.
func (w *Watcher) look(path string) (s stamp, there bool, err error) {
	name := filepath.Join(w.root, filepath.FromSlash(path))
	info, err := os.Lstat(name)
	if err != nil {
		if isGone(err) {
			err = nil
		}
		return stamp{}, false, err
	}
	if !info.Mode().IsRegular() {
		return stamp{}, false, nil
	}
	dir := filepath.Dir(name)
	target, err := filepath.EvalSymlinks(dir)
	if err != nil && !isGone(err) {
		return stamp{}, false, err
	}
	if target != dir {
		return stamp{}, false, nil
	}
	return stampOf(info), true, nil
}

// present reports whether the watched folder itself is there: on the device it
// was on when watching began, so that a disk that is taken away does not look
// like a folder that was emptied.
func (w *Watcher) present(device uint64) bool {
	info, err := os.Lstat(w.root)
	return err == nil && info.IsDir() && stampOf(info).device == device
}

// same is how stamps are compared: the device number of a disk may be
// another one after a restart.
func (s stamp) same(other stamp) bool {
	s.device = other.device
	return s == other
}
