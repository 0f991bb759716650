package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/producer/gitsource"
)

// GitCmd is `jetpost git`.
type GitCmd struct {
	Install   gitInstallCmd   `cmd:"" help:"Install a post-receive hook that publishes every push."`
	Uninstall gitUninstallCmd `cmd:"" help:"Remove the hook."`
	Flush     gitFlushCmd     `cmd:"" help:"Publish stored pushes, for which the server was unreachable."`
	Hook      gitHookCmd      `cmd:"" hidden:"" help:"What the installed hook runs."`
}

// gitFields are what events say about a repository.
type gitFields struct {
	Resource repositoryName `name:"repository" env:"-" group:"Repository" placeholder:"NAME" help:"What the repository is called where hooks are kept through the API of Secure Source Manager: projects/*/locations/*/repositories/*. It becomes the end of the source, and its parts the name and the owner."`
	Name     string         `env:"-" group:"Repository" placeholder:"NAME" help:"Name of the repository. Default: the end of --repository, or that of its folder, without .git."`
	Owner    string         `env:"-" group:"Repository" placeholder:"NAME" help:"Project, team or user it belongs to. Default: the project of --repository, or the name of the folder it is in."`
	BaseURL  string         `name:"base-url" env:"-" group:"Repository" placeholder:"URL" help:"Web interface, to which owner and name are added."`
	CloneURL string         `name:"clone-url" env:"-" group:"Repository" placeholder:"URL" help:"Where to clone from."`
	SSHURL   string         `name:"ssh-url" env:"-" group:"Repository" placeholder:"URL" help:"Where to clone from by SSH."`
	APIURL   string         `name:"api-url" env:"-" group:"Repository" placeholder:"URL" help:"Where the API of the repository's server is, to which /v1/ and --repository are added. Default: none."`
	Source   string         `env:"-" group:"Repository" placeholder:"URI" help:"Source attribute of the events. Default: /git/ and --repository, or the name."`
}

// A repositoryName is a flag with the resource name of a repository.
type repositoryName string

// UnmarshalText refuses what no hook can be of.
func (n *repositoryName) UnmarshalText(text []byte) error {
	if !securesourcemanager.ValidRepository(string(text)) {
		return fmt.Errorf("%q is not the name of a repository: write projects/*/locations/*/repositories/*", text)
	}
	*n = repositoryName(text)
	return nil
}

// AfterApply refuses flags that contradict each other: hooks would not get the events.
func (f *gitFields) AfterApply() error {
	switch {
	case f.Resource == "" && f.APIURL != "":
		return errors.New("--api-url needs --repository: it is the address of the API, and not of the repository in it")
	case f.Resource != "" && f.Source != "" && f.Source != string(f.Resource) && !strings.HasSuffix(f.Source, "/"+string(f.Resource)):
		return fmt.Errorf("--source must end with /%s, for hooks to get the events: leave it out", f.Resource)
	}
	return nil
}

func (f gitFields) config(dir string) gitsource.Config {
	cfg := gitsource.Config{
		Dir: dir, Env: os.Environ(), Name: f.Name, Owner: f.Owner,
		BaseURL: f.BaseURL, CloneURL: f.CloneURL, SSHURL: f.SSHURL, Source: f.Source,
	}
	if parts := strings.Split(string(f.Resource), "/"); len(parts) > 1 { // projects/*/locations/*/repositories/*
		cfg.Name, cfg.Owner = cmp.Or(cfg.Name, parts[5]), cmp.Or(cfg.Owner, parts[1])
		cfg.Source = cmp.Or(cfg.Source, "/git/"+string(f.Resource))
		if f.APIURL != "" {
			cfg.APIURL = strings.TrimRight(f.APIURL, "/") + "/v1/" + string(f.Resource)
		}
	}
	return cfg
}

// args are the flags that make the same again.
func (f gitFields) args() []string {
	var args []string
	for _, flag := range [][2]string{
		{"--repository", string(f.Resource)},
		{"--name", f.Name},
		{"--owner", f.Owner},
		{"--base-url", f.BaseURL},
		{"--clone-url", f.CloneURL},
		{"--ssh-url", f.SSHURL},
		{"--api-url", f.APIURL},
		{"--source", f.Source},
	} {
		if flag[1] != "" {
			args = append(args, flag[0]+"="+flag[1])
		}
	}
	return args
}

// gitInstallCmd is `jetpost git install`.
type gitInstallCmd struct {
	connect.Flags
	output.Flag
	gitFields

	Path string `arg:"" optional:"" default:"." type:"path" help:"The repository: its working tree or the bare repository."`
}

// Help is the long text of --help.
func (c *gitInstallCmd) Help() string {
	return `Each push becomes a git.push event with its commits, one for each ref. The hook
never refuses or loses a push: it writes the event to the repository's own folder first, and
publishes it now or, when the server is unreachable, with the next push or by "jetpost git
flush". An existing hook is kept and still runs.

The hook uses the server and token that are in use now. Users who push must be able to read
the token file.

  jetpost git install path/to/repository
  jetpost git install /srv/git/tug.git --owner harbor --base-url https://git.example.com
  jetpost git install /srv/git/tug.git --repository projects/harbor/locations/north/repositories/tug`
}

// A hookResult is what has become of a hook.
type hookResult struct {
	Path    string   `json:"path"`
	Changed bool     `json:"changed"`
	Then    string   `json:"then,omitempty"` // the hook that it runs afterwards
	Server  string   `json:"server,omitempty"`
	Advice  []string `json:"advice,omitempty"`
}

// Run installs the hook.
func (c *gitInstallCmd) Run(e *terminal.Env) error {
	found, err := c.Resolve(e.Ctx)
	if err != nil {
		return err
	}
	if found.TokenFile == "" {
		return errors.New("the hook needs the token in a file, as it must not stand in the hook itself: give --token-file")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	tokenFile, err := filepath.Abs(found.TokenFile)
	if err != nil {
		return err
	}
	command := append([]string{program, "git", "hook", "--server=" + found.URL, "--token-file=" + tokenFile}, c.args()...)
	installed, err := gitsource.Install(e.Ctx, c.config(c.Path), command)
	if err != nil {
		return err
	}
	result := hookResult{Path: installed.Path, Changed: installed.Changed, Then: installed.Chained, Server: found.URL, Advice: installed.Advice}
	return c.Show(e, result, func() error {
		switch {
		case installed.Changed && installed.Chained != "":
			_, _ = fmt.Fprintf(e.Stdout, "installed %s, which runs %s afterwards\n", installed.Path, filepath.Base(installed.Chained))
		case installed.Changed:
			_, _ = fmt.Fprintf(e.Stdout, "installed %s\n", installed.Path)
		default:
			_, _ = fmt.Fprintf(e.Stdout, "%s is up to date\n", installed.Path)
		}
		_, _ = fmt.Fprintf(e.Stdout, "pushes are announced to %s\n", found.URL)
		for _, sentence := range installed.Advice {
			_, _ = fmt.Fprintln(e.Stdout, sentence)
		}
		return nil
	})
}

// gitUninstallCmd is `jetpost git uninstall`.
type gitUninstallCmd struct {
	output.Flag

	Path string `arg:"" optional:"" default:"." type:"path" help:"The repository."`
}

// Help is the long text of --help.
func (c *gitUninstallCmd) Help() string {
	return `Restores the hook that was there before.

  jetpost git uninstall path/to/repository`
}

// Run takes the hook out.
func (c *gitUninstallCmd) Run(e *terminal.Env) error {
	removed, err := gitsource.Uninstall(e.Ctx, gitFields{}.config(c.Path))
	if err != nil {
		return err
	}
	return c.Show(e, hookResult{Path: removed.Path, Changed: removed.Changed}, func() error {
		text := "removed from " + removed.Path
		if !removed.Changed {
			text = "there is no hook of jetpost at " + removed.Path
		}
		_, err := fmt.Fprintln(e.Stdout, text)
		return err
	})
}

// gitFlushCmd is `jetpost git flush`.
type gitFlushCmd struct {
	connect.Flags
	output.Flag
	gitFields

	Path string `arg:"" optional:"" default:"." type:"path" help:"The repository."`
}

// Help is the long text of --help.
func (c *gitFlushCmd) Help() string {
	return `Publishes the stored pushes. Pushes that the server refuses are kept in the repository, and
listed.

  jetpost git flush path/to/repository`
}

// Run publishes what waits.
func (c *gitFlushCmd) Run(e *terminal.Env) error {
	repository, err := gitsource.Open(e.Ctx, c.config(c.Path), publishGit(&c.Flags, e.Version))
	if err != nil {
		return err
	}
	report, err := repository.Flush(e.Ctx)
	result := map[string]int{"published": report.Sent, "rejected": report.Rejected, "waiting": report.Waiting}
	err = errors.Join(err, c.Show(e, result, func() error {
		_, err := fmt.Fprintf(e.Stdout, "published %d events, %d rejected, %d pushes waiting\n", report.Sent, report.Rejected, report.Waiting)
		return err
	}))
	if err == nil && report.Rejected > 0 {
		err = fmt.Errorf("%d events were rejected and are kept in the repository: %w", report.Rejected, report.Reason)
	}
	return err
}

// gitHookCmd is `jetpost git hook`, the post-receive hook. Git runs it in the
// repository, with its variables and the pushed refs on standard input.
type gitHookCmd struct {
	connect.Flags
	gitFields

	Timeout time.Duration `env:"-" default:"10s" help:"How long a push waits for its events to be published."`
}

// Run announces a push.
func (c *gitHookCmd) Run(e *terminal.Env) error {
	cfg := c.config("")
	cfg.Timeout = c.Timeout
	repository, err := gitsource.Open(e.Ctx, cfg, publishGit(&c.Flags, e.Version))
	if err != nil {
		return err
	}
	return repository.PostReceive(e.Ctx, e.Stdin, plain.NewWriter(e.Stderr))
}

// publishGit publishes over the API. It looks for the server when there is
// something to publish: a push must be recorded whether there is one or not.
func publishGit(flags *connect.Flags, version string) gitsource.Publish {
	return func(ctx context.Context, events []*event.Event) error {
		return publishOver(ctx, flags, version, events, gitsource.ErrRejected)
	}
}

// publishOver publishes events once. A permanent error wraps rejected.
func publishOver(ctx context.Context, flags *connect.Flags, version string, events []*event.Event, rejected error) error {
	api, err := flags.Client(ctx, version)
	if err != nil {
		return err
	}
	if _, err = publishEvents(ctx, api, events, 0); err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*v1.Problem](err); ok && refused.Rejects() {
		return fmt.Errorf("%w: %w", rejected, err)
	}
	return err
}
