// Package repository is the registry of the repositories that events are about: their
// keys, of what class they are and what they hold. Payloads do not say of what class a
// repository is, and criteria ask for it.
//
// It reads and writes the repositories bucket. A Registry is a live copy of it; its
// Table is immutable and is swapped whole on change. It also keeps the base URL of the
// platform that the repositories belong to, which deliveries name.
package repository

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Class is of what kind a repository is.
type Class string

// The classes. Nothing happens in a virtual repository itself: it shows what is in
// others.
const (
	Local     Class = "local"
	Remote    Class = "remote"
	Virtual   Class = "virtual"
	Federated Class = "federated"
)

// cacheSuffix is what the key of a remote repository's cache ends in: events are about
// that.
const cacheSuffix = "-cache"

// What a Registry answers when it cannot do what it is asked.
var (
	ErrNotFound = errors.New("repository not found")
	ErrConflict = errors.New("repository was changed by another client")
	// ErrClass is that of a change of the class, which the events of the repository
	// that are stored already have been given.
	ErrClass = errors.New("its class cannot be changed")
	// ErrInvalid is wrapped by the errors that say what is wrong with a repository or
	// a base URL.
	ErrInvalid = errors.New("not valid")
)

// A Repository is one of the registry.
type Repository struct {
	// Key is 1 to 64 letters, digits, dashes, underscores and dots.
	Key   string `json:"key"`
	Class Class  `json:"class"`
	// PackageType is what it holds: generic, docker, …. Empty: not known.
	PackageType string `json:"package_type,omitempty"`
	// Document is what a client of the platform has sent, which gets it back.
	Document json.RawMessage `json:"document,omitempty"`

	revision uint64
	stored   time.Time // its record: a bucket that has lost changes uses revisions again
}

// Revision is what changes with every change of the repository; 0: it is not stored.
func (r *Repository) Revision() uint64 { return r.revision }

var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$`)

// ValidKey reports whether a repository can have a key.
func ValidKey(key string) bool { return keyPattern.MatchString(key) && !strings.Contains(key, "..") }

func (r *Repository) validate() error {
	if !ValidKey(r.Key) {
		return fmt.Errorf("repository key: %w: use 1 to 64 letters, digits, dashes, underscores and dots", ErrInvalid)
	}
	if !r.Class.Valid() {
		return fmt.Errorf("class of repository %s: %w: use %s, %s, %s or %s", r.Key, ErrInvalid, Local, Remote, Virtual, Federated)
	}
	return nil
}

// Valid reports whether there is such a class.
func (c Class) Valid() bool {
	switch c {
	case Local, Remote, Virtual, Federated:
		return true
	}
	return false
}

// CheckOrigin reports what is wrong with a base URL. Empty is none, and allowed.
func CheckOrigin(origin string) error {
	if origin == "" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || len(origin) > 2048 {
		return fmt.Errorf("base URL: %w: write https://host, without user name, query and fragment", ErrInvalid)
	}
	return nil
}

// A Table is the registry at one moment. It never changes.
type Table struct {
	// Origin is the base URL of the platform, empty where none is set.
	Origin string

	repositories   map[string]Repository
	originRevision uint64
}

// Get returns a repository. Its document is shared and must not be changed.
func (t *Table) Get(key string) (Repository, bool) {
	r, ok := t.repositories[key]
	return r, ok
}

// Len is how many repositories there are.
func (t *Table) Len() int { return len(t.repositories) }

// All returns the repositories in no order.
func (t *Table) All() []Repository {
	all := make([]Repository, 0, len(t.repositories))
	for _, r := range t.repositories {
		all = append(all, r)
	}
	return all
}

// ClassOf returns of what class the repository is that an event names: the cache of a
// remote repository belongs to that. False when it is not registered.
func (t *Table) ClassOf(key string) (Class, bool) {
	if r, ok := t.repositories[key]; ok {
		return r.Class, true
	}
	if name, ok := strings.CutSuffix(key, cacheSuffix); ok {
		if r, ok := t.repositories[name]; ok && r.Class == Remote {
			return Remote, true
		}
	}
	return "", false
}
