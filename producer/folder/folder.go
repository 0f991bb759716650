// Package folder watches a folder of files and turns changes in it into
// artifact.deployed and artifact.deleted events.
//
// It reads the folder, by notifications of the operating system and by scanning
// it now and then, and a journal of what it has announced. It writes the journal
// and hands the events to a Publish function.
//
//	notifications ─┐                      unchanged        content
//	               ├─► a path was seen ─► for a while? ──► is new? ──► journal ─► Publish
//	scans ─────────┘         ▲                 │ no                        ▲          │
//	                         └─────────────────┘                          └── done ──┘
//
// It promises that every file is announced as it is once no process writes to it
// any more: what is created, changed or deleted while it runs, and what was while
// it did not. Intermediate states may be left out, the last one is not. A lost
// notification only delays an event until the next scan. For one path, events
// are published one after the other. An event that was offered is offered again,
// with the same source, id and bytes, until it is acknowledged or refused; a
// crash in between does not change that.
//
// Links and special files are not files here, nor is anything whose name, or
// whose folder's name, begins with a dot or ends in one of the suffixes that
// programs give to what they have not finished: ~, .tmp, .part, .swp.
package folder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
)

// The types of the events of this package.
const (
	TypeDeployed = "artifact.deployed"
	TypeDeleted  = "artifact.deleted"
)

// ErrRejected is wrapped by a Publish function when it makes no sense to offer
// the same events again soon: the server has read and refused them. Any other
// error means that they can be sent later.
var ErrRejected = errors.New("the events are refused")

// ErrLocked is wrapped by the error of Run when another watcher, in this process
// or another one, is at work on the same folder with the same journal.
var ErrLocked = errors.New("another process watches this folder")

// A Publish function stores events: all of them when it returns nil. What it
// returns an error for is offered again, so it must be idempotent by source and
// id. It gets 1 to 100 events and is not called concurrently.
type Publish func(ctx context.Context, events []*event.Event) error

// Config says which folder is watched and how.
type Config struct {
	// Folder that is watched, with all folders below it.
	Folder string
	// RepoKey is the key of the repository that the files appear to be in:
	// letters, digits, dots, dashes and underscores. Default: the folder's name,
	// with dashes for everything else.
	RepoKey string
	// Source is the source attribute of the events, a URI reference.
	// Default: "/folder/" and the repository key.
	Source string
	// StateDir is where the journal is kept, in a folder of its own named after
	// the folder that is watched. It may be inside that; it is not watched then.
	// Default: .local/share/jetpost/folders in the user's home folder.
	StateDir string
	// Settle is how long a file must not have changed before it is announced.
	// Default: 200 ms.
	Settle time.Duration
	// WriteGrace is how long, after its last change, a file that a program on
	// this machine still has open for writing is not announced. Only on Linux,
	// and only for files of the user that watches; others are announced after
	// Settle. Default: 1 min. Negative: do not look.
	WriteGrace time.Duration
	// Rescan is the time between two scans of the whole folder, which find what
	// no notification reported. Default: 1 min.
	Rescan time.Duration
	// Hashers is how many files are read at a time. Default: the number of CPUs.
	Hashers int
	// Grace is how long Run continues after its context has ended, for the publish
	// that is under way. Default: 5 s.
	Grace time.Duration
}

// A Watcher watches one folder.
type Watcher struct {
	cfg      Config
	root     string // absolute, without links
	stateDir string // this watcher's own
	publish  Publish
	log      *zap.Logger

	notify *notifier // replaced by tests; nil: that of the operating system
}

var repoKeyPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// New checks cfg and fills in its defaults. The folder must exist. It starts nothing.
// A nil log is none.
func New(cfg Config, publish Publish, log *zap.Logger) (*Watcher, error) {
	root, err := filepath.Abs(cfg.Folder)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return nil, fmt.Errorf("watch folder: %w", err)
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("watch folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("watch folder: %w", &fs.PathError{Op: "watch", Path: root, Err: errors.New("not a folder")})
	}
	if cfg, err = cfg.withDefaults(root); err != nil {
		return nil, fmt.Errorf("watch folder: %w", err)
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("watch folder: %w", err)
	}
	if log == nil {
		log = zap.NewNop()
	}
	// The key is part of the name: under another one, every file is new.
	sum := sha256.Sum256([]byte(root + "\x00" + cfg.RepoKey))
	return &Watcher{
		cfg:      cfg,
		root:     root,
		stateDir: filepath.Join(cfg.StateDir, cfg.RepoKey+"-"+hex.EncodeToString(sum[:6])),
		publish:  publish,
		log:      log.Named("folder").With(zap.String("folder", root), zap.String("repo_key", cfg.RepoKey)),
	}, nil
}

func (c Config) withDefaults(root string) (Config, error) {
	if c.RepoKey == "" {
		c.RepoKey = repoKey(filepath.Base(root))
	}
	if c.Source == "" {
		c.Source = "/folder/" + url.PathEscape(c.RepoKey)
	}
	if c.StateDir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return c, fmt.Errorf("find a place for the journal: %w", err)
		}
		c.StateDir = filepath.Join(home, ".local", "share", "jetpost", "folders")
	}
	stateDir, err := filepath.Abs(c.StateDir)
	if err != nil {
		return c, err
	}
	c.StateDir = stateDir
	for value, standard := range map[*time.Duration]time.Duration{
		&c.Settle: 200 * time.Millisecond, &c.WriteGrace: time.Minute, &c.Rescan: time.Minute, &c.Grace: 5 * time.Second,
	} {
		if *value == 0 {
			*value = standard
		}
	}
	if c.Hashers == 0 {
		c.Hashers = runtime.NumCPU()
	}
	return c, nil
}

func (c Config) validate() error {
	switch {
	case !repoKeyPattern.MatchString(c.RepoKey):
		return fmt.Errorf("repository key %q: use letters, digits, dots, dashes and underscores", c.RepoKey)
	case c.Settle < 0 || c.Rescan < 0 || c.Grace < 0 || c.Hashers < 0:
		return errors.New("a duration or a number is negative")
	}
	return event.CheckSource(c.Source)
}

// repoKey makes a repository key of a folder's name.
func repoKey(name string) string {
	key := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
			return c
		}
		return '-'
	}, name)
	key = strings.Trim(key[:min(len(key), 100)], ".-_")
	if key == "" {
		return "files"
	}
	return key
}

// ignored reports whether path, relative to the folder, is none of our business.
func ignored(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(segment, ".") {
			return true
		}
		for _, suffix := range [...]string{"~", ".tmp", ".part", ".swp"} {
			if strings.HasSuffix(segment, suffix) {
				return true
			}
		}
	}
	return false
}

// ownState reports whether the absolute path is in a place for journals.
func (w *Watcher) ownState(name string) bool {
	dir := w.cfg.StateDir
	if dir == w.root {
		dir = w.stateDir
	}
	return name == dir || strings.HasPrefix(name, dir+string(filepath.Separator))
}
