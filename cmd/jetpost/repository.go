package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// repositoryCmd is `jetpost repository`.
type repositoryCmd struct {
	List   repositoryListCmd   `cmd:"" aliases:"ls" help:"List the repositories that are registered."`
	Show   repositoryShowCmd   `cmd:"" aliases:"get" help:"Show a repository."`
	Put    repositoryPutCmd    `cmd:"" aliases:"set" help:"Register a repository, or say what it holds."`
	Delete repositoryDeleteCmd `cmd:"" aliases:"rm" help:"Take repositories from the registry."`
}

// repositoryState is a repository, as the API answers.
type repositoryState struct {
	Key         string `json:"key"`
	Class       string `json:"class"`
	PackageType string `json:"package_type"`
}

func repositoryPath(key string) string { return "/v1/repositories/" + url.PathEscape(key) }

// repositoryListCmd is `jetpost repository list`.
type repositoryListCmd struct {
	apiFlags
	outputFlag

	Class       string `env:"-" default:"" enum:",local,remote,virtual,federated" placeholder:"CLASS" help:"Only those of this class: local, remote, virtual or federated."`
	PackageType string `env:"-" placeholder:"TYPE" help:"Only those that hold this, such as docker."`
	Query       string `short:"s" name:"search" env:"-" placeholder:"TEXT" help:"Only those with this text in their key."`
}

// Help is the long text of --help.
func (c *repositoryListCmd) Help() string {
	return `Events of artifacts do not say of what class their repository is. JFrog's criteria (anyLocal,
anyRemote, anyFederated) and jetpost watch ask this registry. Clients of the JFrog Platform keep
it as well: docs/jfrog.md.

  jetpost repository list
  jetpost repository list --class remote -o json | jq -r '.[].key'`
}

// Run lists them all.
func (c *repositoryListCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	query := url.Values{"limit": {"500"}}
	for name, value := range map[string]string{"class": c.Class, "package_type": c.PackageType, "q": c.Query} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var all []json.RawMessage
	for {
		var page struct {
			Items      []json.RawMessage `json:"items"`
			NextCursor string            `json:"next_cursor"`
		}
		if err := api.get(e.ctx, "/v1/repositories", query, &page); err != nil {
			return err
		}
		all = append(all, page.Items...)
		if page.NextCursor == "" {
			break
		}
		query.Set("cursor", page.NextCursor)
	}
	nobody := `no repositories: register one with "jetpost repository put"`
	if len(query) > 1 {
		nobody = "no such repositories"
	}
	return showList(e, c.outputFlag, all, nobody, func(found []repositoryState) error {
		t := newTable(e.stdout, "KEY", "CLASS", "PACKAGE TYPE")
		for _, r := range found {
			t.row(r.Key, r.Class, r.PackageType)
		}
		return t.flush()
	})
}

// repositoryShowCmd is `jetpost repository show`.
type repositoryShowCmd struct {
	apiFlags
	outputFlag

	Key string `arg:"" complete:"repository" help:"Which repository."`
}

// Help is the long text of --help.
func (c *repositoryShowCmd) Help() string {
	return `Of what class a repository is, and what it holds.

  jetpost repository show libs-release`
}

// Run shows it.
func (c *repositoryShowCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := api.get(e.ctx, repositoryPath(c.Key), nil, &raw); err != nil {
		return err
	}
	return c.printRepository(e, raw, "")
}

// printRepository prints the repository of an answer, below a line that says what was
// done where something was.
func (f outputFlag) printRepository(e *env, raw json.RawMessage, done string) error {
	return showAs(e, f, raw, func(r *repositoryState) error {
		if done != "" {
			_, _ = fmt.Fprintf(e.stdout, "%s repository %s\n\n", done, shown(r.Key, shownField))
		}
		return details(e.stdout, "key", r.Key, "class", r.Class, "package type", r.PackageType)
	})
}

// repositoryPutCmd is `jetpost repository put`.
type repositoryPutCmd struct {
	apiFlags
	outputFlag

	Key         string  `arg:"" complete:"repository" help:"What events call it: 1 to 64 letters, digits, dashes, underscores and dots."`
	Class       string  `env:"-" required:"" enum:"local,remote,virtual,federated" placeholder:"CLASS" help:"local, remote, virtual or federated. It never changes."`
	PackageType *string `env:"-" placeholder:"TYPE" help:"What it holds: generic, docker, maven and so on. Default: what is known already."`
}

// Help is the long text of --help.
func (c *repositoryPutCmd) Help() string {
	return `Events that are published from now on are of its class. Of a remote repository NAME those of
NAME-cache are. What is not registered counts as local. To change the class, delete it first.

  jetpost repository put libs-release --class local --package-type maven
  jetpost repository put npm --class remote`
}

// Run registers it.
func (c *repositoryPutCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	body := map[string]string{"class": c.Class}
	if c.PackageType != nil {
		body["package_type"] = *c.PackageType
	}
	var raw json.RawMessage
	if err := api.send(e.ctx, http.MethodPut, repositoryPath(c.Key), body, &raw); err != nil {
		return err
	}
	return c.printRepository(e, raw, "registered")
}

// repositoryDeleteCmd is `jetpost repository delete`.
type repositoryDeleteCmd struct {
	apiFlags
	outputFlag

	Keys []string `arg:"" name:"key" complete:"repository" help:"Which repositories."`
}

// Help is the long text of --help.
func (c *repositoryDeleteCmd) Help() string {
	return `Nothing else is deleted: events of a repository that is not registered count as those of a
local one.

  jetpost repository delete npm`
}

// Run deletes them, as many as it can.
func (c *repositoryDeleteCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	out := c.records(e, false)
	var failed []error
	for _, key := range c.Keys {
		if err := api.send(e.ctx, http.MethodDelete, repositoryPath(key), nil, nil); err != nil {
			failed = append(failed, fmt.Errorf("delete repository %s: %w", shown(key, shownField), err))
			continue
		}
		if err := out.print(deletedRepository{key}, func() error {
			_, err := fmt.Fprintf(e.stdout, "deleted repository %s\n", shown(key, shownField))
			return err
		}); err != nil {
			return err
		}
	}
	return errors.Join(append(failed, out.end())...)
}

// deletedRepository is what is left of one.
type deletedRepository struct {
	Key string `json:"key"`
}
