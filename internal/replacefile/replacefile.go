// Package replacefile replaces files as a whole: a reader, or a process that starts after
// a crash, finds the old content or the new one, never half of it.
//
// What must be there after a power loss too needs its folder to be synced by the caller.
package replacefile

import (
	"errors"
	"io"
	"io/fs"
)

// Write replaces the file at path, or makes it. Its mode is the given one, whatever the
// umask is and whatever the mode of the file was before.
func Write(path string, content []byte, mode fs.FileMode) error {
	return WriteFrom(path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WriteFrom is Write for content that is not at hand as a whole. The file stays as it is
// when write fails, whose error is returned as it is.
func WriteFrom(path string, mode fs.FileMode, write func(io.Writer) error) error {
	f, err := create(path, mode)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	return nil
}
