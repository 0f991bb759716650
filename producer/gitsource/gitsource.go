// Package gitsource turns what is pushed to a git repository into git.push events.
//
// It reads the lines that git gives to a post-receive hook and, with the git
// program, the repository they are about. It writes an outbox in the
// repository's own folder and hands the events to a Publish function.
//
//	git push ─► post-receive ─► outbox/N.push ─► outbox/N.events ─► Publish
//	                            what git said    ready to send        │
//	                                             outbox/rejected/ ◄───┘ refused
//
// It promises that a push is on disk before it is published, and leaves
// the disk only when its events are published or refused: a server that cannot
// be reached, or a process that is killed, delays the events and loses none. The
// pushes of a repository are published in the order in which they arrived. An
// event that is sent twice has the same source, id and bytes both times.
package gitsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/jetpost/jetpost/event"
)

// EventType is the type of every event of this package.
const EventType = "git.push"

// ErrRejected is wrapped by a Publish function when it makes no sense to offer
// the same events again: the server has read and refused them. Any other error
// means that they can be sent later.
var ErrRejected = errors.New("the events are refused")

// A Publish function stores events: all of them when it returns nil. What it
// returns an error for is offered again, so it must be idempotent by source and
// id. It gets 1 to 100 events, in order, about 1 MiB at most.
type Publish func(ctx context.Context, events []*event.Event) error

// Config says which repository is meant and how its events describe it.
type Config struct {
	// Dir is a folder of the repository: its working tree, or the bare
	// repository. Empty means what Env and the current folder say, as git
	// arranges it for a hook; otherwise the GIT_DIR and the like of Env are
	// ignored.
	Dir string
	// Env is the environment of git, as os.Environ returns it. The pusher is
	// found there as well: GIT_PUSHER, REMOTE_USER, GL_USERNAME or GL_USER.
	// Without one of these it is the user that this process runs as.
	Env []string
	// Name of the repository. Default: its folder's name, without ".git".
	Name string
	// Owner is the name of the project, team or user the repository belongs to.
	// Default: the name of the folder it is in.
	Owner string
	// BaseURL is the address of the web interface, to which owner and name are
	// added: "https://git.example.com". Default: none, and the addresses of pages
	// are empty.
	BaseURL string
	// CloneURL is the address to clone from. Default: the repository's page and
	// ".git"; without BaseURL the file URL of the repository.
	CloneURL string
	// SSHURL is the address to clone from by SSH. Default: empty.
	SSHURL string
	// APIURL is the address of the repository in an API of its server, which receivers
	// find in the payload. Default: empty.
	APIURL string
	// Source is the source attribute of the events, a URI reference. What it ends with
	// may say whose event it is: subscriptions for one repository of Secure Source
	// Manager look for projects/*/locations/*/repositories/* there.
	// Default: "/git/" and the name.
	Source string
	// Timeout limits how long a push waits for its events to be published,
	// before they are left in the outbox. Default: 10 s.
	Timeout time.Duration
}

// A Repository is one git repository and its outbox.
type Repository struct {
	cfg     Config
	git     git
	path    string // absolute, shared by all working trees; what identifies the repository
	outbox  outbox
	publish Publish
}

// Open finds the repository and reads nothing else. It fails if there is none.
func Open(ctx context.Context, cfg Config, publish Publish) (*Repository, error) {
	g := newGit(cfg)
	path, err := g.commonDir(ctx)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return &Repository{
		cfg:     cfg.withDefaults(path),
		git:     g.at(path),
		path:    path,
		outbox:  newOutbox(path),
		publish: publish,
	}, nil
}

func (c Config) withDefaults(path string) Config {
	// A repository with a working tree is known by the folder that holds ".git".
	folder := path
	if filepath.Base(folder) == ".git" {
		folder = filepath.Dir(folder)
	}
	if c.Name == "" {
		c.Name = printable(strings.TrimSuffix(filepath.Base(folder), ".git"))
	}
	if c.Owner == "" {
		c.Owner = printable(strings.Trim(filepath.Base(filepath.Dir(folder)), string(filepath.Separator)))
	}
	if c.Owner == "" {
		c.Owner = c.Name
	}
	if c.Source == "" {
		c.Source = "/git/" + url.PathEscape(c.Name)
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return c
}

// PostReceive does what the post-receive hook is for. In is the hook's standard
// input. What the person who pushes has to know, that the events wait or were
// refused, is written to notices in one line; it is not an error, because the
// push itself has succeeded. An error means that the push could not be recorded
// and will not be announced.
//
// Recording does not stop when ctx ends: git has accepted the push already, and
// a person who presses Ctrl-C means the waiting, not the event.
func (r *Repository) PostReceive(ctx context.Context, in io.Reader, notices io.Writer) error {
	updates, err := ParseUpdates(in)
	if err != nil {
		return fmt.Errorf("read the hook's input: %w", err)
	}
	if len(updates) == 0 {
		return nil
	}
	lasting := context.WithoutCancel(ctx)
	p := push{At: time.Now().UTC(), Pusher: r.pusher(lasting), Updates: updates}
	entry, err := r.outbox.add(lasting, p)
	if err != nil {
		return fmt.Errorf("record the push: %w", err)
	}
	err = r.build(lasting, entry)
	entry.unlock()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
		defer cancel()
		var report Report
		report, err = r.Flush(ctx)
		if err == nil && report.Rejected > 0 {
			_, _ = fmt.Fprintf(notices, "jetpost: %d events were refused and are kept in %s: %s\n",
				report.Rejected, r.outbox.rejected(), oneLine(report.Reason))
		}
	}
	if err != nil {
		_, _ = fmt.Fprintf(notices, "jetpost: the push is recorded and will be announced later, "+
			"with the next push or by \"jetpost git flush\": %s\n", oneLine(err))
	}
	return nil
}

// A Report says what became of the outbox.
type Report struct {
	Sent     int   // events published
	Rejected int   // events that were refused and moved to the folder "rejected"
	Reason   error // why the last one was refused
	Waiting  int   // pushes that are still in the outbox
}

// Flush publishes what is in the outbox, oldest push first, and returns when it
// is empty. It returns an error and stops at the first events that cannot be
// published now; these and the later ones wait for the next call. Several
// processes may call it at once: one sends, the others wait for it.
func (r *Repository) Flush(ctx context.Context) (Report, error) {
	report, err := r.flush(ctx)
	waiting, countErr := r.outbox.count()
	report.Waiting = waiting
	return report, errors.Join(err, countErr)
}

// oneLine keeps an error from breaking the one line it is part of.
func oneLine(err error) []byte {
	return bytes.Join(bytes.Fields([]byte(err.Error())), []byte(" "))
}
