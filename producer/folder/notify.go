package folder

import (
	"maps"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// A notifier reports changes in its folders. It is used by
// the goroutine that watches and the one that scans.
type notifier struct {
	events <-chan fsnotify.Event
	errors <-chan error
	fs     *fsnotify.Watcher // nil: it reports nothing

	mu   sync.Mutex
	dirs map[string]struct{} // absolute
}

func newNotifier() (*notifier, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &notifier{events: w.Events, errors: w.Errors, fs: w, dirs: map[string]struct{}{}}, nil
}

// add makes the notifier report changes in dir.
func (n *notifier) add(dir string) error {
	if n.fs == nil {
		return nil
	}
	if err := n.fs.Add(dir); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dirs[dir] = struct{}{}
	return nil
}

// forget stops watching dir and all below it, and reports whether dir was
// watched. When a folder is moved this must come before the new name is added:
// to the kernel it is the same folder, and it would be reported by its old name.
func (n *notifier) forget(dir string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, watched := n.dirs[dir]; !watched {
		return false
	}
	maps.DeleteFunc(n.dirs, func(d string, _ struct{}) bool {
		if d != dir && !strings.HasPrefix(d, dir+"/") {
			return false
		}
		_ = n.fs.Remove(d) // it is removed already if the folder is
		return true
	})
	return true
}

func (n *notifier) close() error {
	if n.fs == nil {
		return nil
	}
	return n.fs.Close()
}
