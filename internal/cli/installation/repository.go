package installation

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// RepositoryCmd is `jetpost repository`.
type RepositoryCmd struct {
	List   repositoryListCmd   `cmd:"" aliases:"ls" help:"List registered repositories."`
	Show   repositoryShowCmd   `cmd:"" aliases:"get" help:"Show a repository."`
	Put    repositoryPutCmd    `cmd:"" aliases:"set" help:"Register a repository, or change its package type."`
	Delete repositoryDeleteCmd `cmd:"" aliases:"rm" help:"Delete repositories from the registry."`
}

// repositoryListCmd is `jetpost repository list`.
type repositoryListCmd struct {
	connect.Flags
	output.Flag

	Class       string `env:"-" default:"" enum:",local,remote,virtual,federated" placeholder:"CLASS" help:"Only those of this class: local, remote, virtual or federated."`
	PackageType string `env:"-" placeholder:"TYPE" help:"Only those that hold this, such as docker."`
	Query       string `short:"s" name:"search" env:"-" placeholder:"TEXT" help:"Only those with this text in their key."`
}

// Help is the long text of --help.
func (c *repositoryListCmd) Help() string {
	return `Artifact events do not carry the class of their repository. JFrog's criteria (anyLocal,
anyRemote, anyFederated) and jetpost watch read it from this registry. Clients of the JFrog
Platform can write it as well: see docs/jfrog.md.

  jetpost repository list
  jetpost repository list --class remote -o json | jq -r '.[].key'`
}

// Run lists them all.
func (c *repositoryListCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	all, err := connect.ReadPages(func(p client.Paging, o client.Option) iter.Seq2[*v1.Page[v1.Repository], error] {
		return api.Repositories.Pages(e.Ctx, client.RepositoryFilter{Class: v1.Class(c.Class), PackageType: c.PackageType, Query: c.Query, Paging: p}, o)
	}, 0)
	if err != nil {
		return err
	}
	none := `no repositories: register one with "jetpost repository put"`
	if c.Class != "" || c.PackageType != "" || c.Query != "" {
		none = "no such repositories"
	}
	return output.List(e, c.Flag, all, none, func(found []v1.Repository) error {
		t := output.NewTable(e.Stdout, "KEY", "CLASS", "PACKAGE TYPE")
		for _, r := range found {
			t.Row(r.Key, string(r.Class), r.PackageType)
		}
		return t.Flush()
	})
}

// repositoryShowCmd is `jetpost repository show`.
type repositoryShowCmd struct {
	connect.Flags
	output.Flag

	Key string `arg:"" complete:"repository" help:"Which repository."`
}

// Help is the long text of --help.
func (c *repositoryShowCmd) Help() string {
	return `Shows the class of a repository, and its package type.

  jetpost repository show libs-release`
}

// Run shows it.
func (c *repositoryShowCmd) Run(e *terminal.Env) error {
	r, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.Repository, error) {
		return api.Repositories.Get(e.Ctx, c.Key, o)
	})
	if err != nil {
		return err
	}
	return showRepository(e, c.Flag, answer, r, "")
}

// showRepository prints the repository of an answer, below a line that says what was
// done where something was.
func showRepository(e *terminal.Env, f output.Flag, raw json.RawMessage, r *v1.Repository, done string) error {
	return f.Show(e, raw, func() error {
		if done != "" {
			_, _ = fmt.Fprintf(e.Stdout, "%s repository %s\n\n", done, plain.Shown(r.Key, plain.FieldLimit))
		}
		return output.Details(e.Stdout, "key", r.Key, "class", string(r.Class), "package type", r.PackageType)
	})
}

// repositoryPutCmd is `jetpost repository put`.
type repositoryPutCmd struct {
	connect.Flags
	output.Flag

	Key         string  `arg:"" complete:"repository" help:"What events call it: 1 to 64 letters, digits, dashes, underscores and dots."`
	Class       string  `env:"-" required:"" enum:"local,remote,virtual,federated" placeholder:"CLASS" help:"local, remote, virtual or federated. It never changes."`
	PackageType *string `env:"-" placeholder:"TYPE" help:"What it holds: generic, docker, maven and so on. Default: what is known already."`
}

// Help is the long text of --help.
func (c *repositoryPutCmd) Help() string {
	return `Events published from now on get its class. For a remote repository NAME, events of NAME-cache
do. A repository that is not registered counts as local. To change the class, delete it first.

  jetpost repository put libs-release --class local --package-type maven
  jetpost repository put npm --class remote`
}

// Run registers it.
func (c *repositoryPutCmd) Run(e *terminal.Env) error {
	r, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.Repository, error) {
		return api.Repositories.Put(e.Ctx, c.Key, &v1.RepositoryOptions{Class: v1.Class(c.Class), PackageType: c.PackageType}, o)
	})
	if err != nil {
		return err
	}
	return showRepository(e, c.Flag, answer, r, "registered")
}

// repositoryDeleteCmd is `jetpost repository delete`.
type repositoryDeleteCmd struct {
	connect.Flags
	output.Flag

	Keys []string `arg:"" name:"key" complete:"repository" help:"Which repositories."`
}

// Help is the long text of --help.
func (c *repositoryDeleteCmd) Help() string {
	return `Only the registration is deleted: events of a repository that is not registered count as
local.

  jetpost repository delete npm`
}

// Run deletes them, as many as it can.
func (c *repositoryDeleteCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	out := c.Records(e, false)
	var failed []error
	for _, key := range c.Keys {
		if err := api.Repositories.Delete(e.Ctx, key); err != nil {
			failed = append(failed, fmt.Errorf("delete repository %s: %w", plain.Shown(key, plain.FieldLimit), err))
			continue
		}
		if err := out.Print(deletedRepository{key}, func() error {
			_, err := fmt.Fprintf(e.Stdout, "deleted repository %s\n", plain.Shown(key, plain.FieldLimit))
			return err
		}); err != nil {
			return err
		}
	}
	return errors.Join(append(failed, out.End())...)
}

// deletedRepository is what is left of one.
type deletedRepository struct {
	Key string `json:"key"`
}
