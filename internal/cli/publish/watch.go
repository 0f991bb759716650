package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/logging"
	"github.com/jetpost/jetpost/producer/folder"
)

// WatchCmd is `jetpost watch`.
type WatchCmd struct {
	connect.Flags

	Folder   string        `arg:"" type:"existingdir" help:"The folder to watch, with all folders below it."`
	RepoKey  string        `env:"-" placeholder:"KEY" help:"Key of the repository that the files appear to be in. Default: the folder's name."`
	Source   string        `env:"-" placeholder:"URI" help:"Source attribute of the events. Default: /folder/ and the repository key."`
	StateDir string        `env:"JETPOST_WATCH_STATE" type:"path" placeholder:"DIR" help:"Where to remember what was announced. Default: .local/share/jetpost/folders in the home folder."`
	Settle   time.Duration `env:"-" default:"200ms" help:"How long a file must not have changed before it is announced."`
	Rescan   time.Duration `env:"-" default:"1m" help:"Time between two scans of the whole folder, for changes that no notification reported."`
	LogLevel string        `env:"-" default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"debug, info (the default), warn or error."`
}

// Help is the long text of --help.
func (c *WatchCmd) Help() string {
	return `Publishes an artifact.deployed event with path, sha256 and size for every new or changed
file, and an artifact.deleted event for every deleted file. A file is announced when it is
no longer written to. Changes made while the command does not run are announced when it runs
again; while the server is unreachable, events wait.

  jetpost watch path/to/a/folder
  jetpost watch /srv/releases --repo-key releases`
}

// Run watches until the context ends.
func (c *WatchCmd) Run(e *terminal.Env) error {
	log, flush := logging.New(e.Stderr, c.LogLevel, "auto")
	defer flush()
	defer logging.CaptureLibraries(log)()
	publish := func(ctx context.Context, events []*event.Event) error {
		return publishOver(ctx, &c.Flags, e.Version, events, folder.ErrRejected)
	}
	watcher, err := folder.New(folder.Config{
		Folder: c.Folder, RepoKey: c.RepoKey, Source: c.Source, StateDir: c.StateDir, Settle: c.Settle, Rescan: c.Rescan,
	}, publish, log)
	if err != nil {
		return err
	}
	found, err := c.Resolve(e.Ctx)
	if err != nil {
		_, _ = fmt.Fprintf(e.Stderr, "jetpost: %v; events wait until one does\n", err)
	} else {
		_, _ = fmt.Fprintf(e.Stdout, "watching %s, events go to %s\n", c.Folder, found.URL)
	}
	return watcher.Run(e.Ctx)
}
