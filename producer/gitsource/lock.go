package gitsource

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// A fileLock is held until it is released or its process ends, however it ends.
type fileLock struct{ f *os.File }

func (l *fileLock) release() { _ = l.f.Close() }

// lockFile takes the lock of the file at path, which is made if it is missing.
// It waits for it until ctx ends.
func lockFile(ctx context.Context, path string, mode fs.FileMode) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	// Against the umask. It fails, and need not succeed, for a file of another user.
	_ = f.Chmod(mode)
	l, err := lockOpen(ctx, f)
	if err != nil {
		_ = f.Close()
	}
	return l, err
}

// lockOpen takes the lock of an open file. Releasing it closes the file.
func lockOpen(ctx context.Context, f *os.File) (*fileLock, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		locked, err := tryLock(f)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if locked {
			return &fileLock{f}, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock %s: %w", f.Name(), context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}
