package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// ErrLocked is wrapped by the error of Start when another process, or another
// server in this one, uses the data directory.
var ErrLocked = errors.New("data directory is in use")

// A dirLock keeps other processes out of a data directory. The operating system
// drops it when the process ends, however it ends; the file stays and means
// nothing by itself.
type dirLock struct {
	mu   sync.Mutex
	file *os.File // nil once released
}

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, "jetpost.lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	taken, err := tryLock(file)
	if err == nil && taken {
		err = fmt.Errorf("%w: %s is locked by %s", ErrLocked, dir, holder(file))
	} else if err == nil {
		err = writePID(file)
	}
	if err != nil {
		_ = file.Close() // the first error says it
		return nil, err
	}
	return &dirLock{file: file}, nil
}

// holder names the process that has the lock. It may have died or not yet
// written its id, so this is for people only.
func holder(file *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 32))
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || convErr != nil {
		return "another process"
	}
	if pid == os.Getpid() {
		return "this process"
	}
	return fmt.Sprintf("process %d", pid)
}

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}

// release removes the named files, which mean that the directory is in use, and
// gives up the lock.
func (l *dirLock) release(files ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	var errs []error
	for _, name := range files {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, l.file.Truncate(0), l.file.Close())
	l.file = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}
