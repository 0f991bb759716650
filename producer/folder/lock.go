package folder

import (
	"errors"
	"runtime"

	"github.com/gofrs/flock"
)

// lockFile takes the lock of the file at path, which is made if it is missing. It does
// not wait. Closing the lock, or the end of the process, releases it.
func lockFile(path string) (*flock.Flock, error) {
	if runtime.GOOS == "windows" { // where a journal that is open cannot be replaced
		return nil, errors.ErrUnsupported
	}
	lock := flock.New(path)
	taken, err := lock.TryLock()
	if err == nil && !taken {
		err = ErrLocked
	}
	if err != nil {
		return nil, err
	}
	return lock, nil
}
