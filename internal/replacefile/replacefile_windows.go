package replacefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A pendingFile does on Windows what renameio does elsewhere. Renameio leaves Windows out,
// and its package maybe writes over the old file there, of which a crash leaves half;
// os.Rename replaces it, although Windows does not promise that this is atomic.
type pendingFile struct {
	*os.File
	path string
}

func create(path string, _ fs.FileMode) (*pendingFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"*")
	if err != nil {
		return nil, err
	}
	return &pendingFile{f, path}, nil
}

// CloseAtomicallyReplace gives the file its name.
func (f *pendingFile) CloseAtomicallyReplace() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), f.path)
}

// Cleanup removes what was not given its name.
func (f *pendingFile) Cleanup() error {
	if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return os.Remove(f.Name())
}
