//go:build !linux

package folder

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func stampOf(info fs.FileInfo) stamp {
	return stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
}

func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

const openFlags = os.O_RDONLY

// beingWritten does not know here.
func beingWritten(*os.File) bool { return false }
