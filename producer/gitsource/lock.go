package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// lockRetry is the time between two tries to take a lock that another process holds.
const lockRetry = 10 * time.Millisecond

// A fileLock is held until it is released or its process ends, however it ends. It is a
// lock of the file, not of its name: renaming the file leaves it as it is.
type fileLock struct{ lock *flock.Flock }

func (l *fileLock) release() { _ = l.lock.Close() }

// lockFile takes the lock of the file at path, which is made if it is missing.
// It waits for it until ctx ends.
func lockFile(ctx context.Context, path string, mode fs.FileMode) (*fileLock, error) {
	// Made here, for it must be open to other users before anybody waits for it.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	// Against the umask. It fails, and need not succeed, for a file of another user.
	_ = f.Chmod(mode)
	if err := f.Close(); err != nil {
		return nil, err
	}
	return lockExisting(ctx, path)
}

// lockExisting is lockFile for a file that must be there: the error wraps
// fs.ErrNotExist if it is not.
func lockExisting(ctx context.Context, path string) (*fileLock, error) {
	if runtime.GOOS == "windows" { // where a folder cannot be synced, so that a power loss could lose an event
		return nil, errors.ErrUnsupported
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
	for {
		taken, err := lock.TryLockContext(ctx, lockRetry)
		switch {
		case taken:
			return &fileLock{lock}, nil
		case errors.Is(err, syscall.EINTR): // by a signal to this process, on a network file system
		case ctx.Err() != nil:
			return nil, fmt.Errorf("wait for the lock %s: %w", path, context.Cause(ctx))
		case err != nil:
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}
