package embedded

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// lockOffset is far behind the process id in the file: on Windows a locked range
// cannot be read by others.
const lockOffset = 1 << 30

// tryLock takes the lock on file unless somebody else has it.
func tryLock(file *os.File) (taken bool, err error) {
	at := &windows.Overlapped{Offset: lockOffset}
	err = windows.LockFileEx(windows.Handle(file.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock data directory: %w", err)
	}
	return false, nil
}
