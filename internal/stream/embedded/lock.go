package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/gofrs/flock"
)

// ErrLocked is wrapped by the error of Start when another process, or another
// server in this one, uses the data directory.
var ErrLocked = errors.New("data directory is in use")

// A dirLock keeps other processes out of a data directory. The operating system
// drops it when the process ends, however it ends; the file stays and means
// nothing by itself.
type dirLock struct {
	mu   sync.Mutex
	file *flock.Flock // nil once released
}

func lockDir(dir string) (*dirLock, error) {
	file := flock.New(filepath.Join(dir, "jetpost.lock"))
	taken, err := file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !taken {
		return nil, fmt.Errorf("%w: %s is locked by %s", ErrLocked, dir, holder(file.Path()))
	}
	if err := writeHolder(file.Path(), strconv.Itoa(os.Getpid())+"\n"); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock file: %w", err), file.Close())
	}
	return &dirLock{file: file}, nil
}

// holder names the process that has the lock. It may have died or not yet
// written its id, so this is for people only.
func holder(path string) string {
	text, err := os.ReadFile(path)
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || convErr != nil {
		return "another process"
	}
	if pid == os.Getpid() {
		return "this process"
	}
	return fmt.Sprintf("process %d", pid)
}

// writeHolder replaces what the lock file says about its holder.
func writeHolder(path, text string) error {
	if runtime.GOOS == "windows" { // where a file that is locked can be neither read nor written
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o600)
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
	errs = append(errs, writeHolder(l.file.Path(), ""), l.file.Close())
	l.file = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}
