package catalogue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/schemas"
)

// Load reads the domains that ship and those of folders.
func Load(dirs ...string) (*schemas.Catalogue, error) {
	var folders []fs.FS
	for _, dir := range dirs {
		folders = append(folders, schemas.Dir(dir))
	}
	return schemas.Load(folders...)
}

// pushCmd is `jetpost schemas push`.
type pushCmd struct {
	connect.Flags
	output.Flag

	Dir    string `arg:"" type:"existingdir" help:"A domain's folder, or a folder of such folders."`
	DryRun bool   `env:"-" help:"Show the changes without making them. Exits with 1 if it is not compatible."`
	Force  bool   `env:"-" help:"Push even versions that refuse events accepted before."`
	Stored int    `env:"-" name:"stored-events" default:"1000" help:"How many of the last stored events a new version is checked against, up to 10000. 0: none."`
}

// Help is the long text of --help.
func (c *pushCmd) Help() string {
	return `Each folder has a domain.json, and a <event>.schema.json with a <event>.example.json for
each event; see docs/schemas.md. All are checked before the first one is pushed, here and by
the server. Afterwards every producer accepts the events and every router delivers them,
without a restart.

A new version must accept what the old one did: it is checked by rules, against its examples,
and against the last stored events. If it does not, the error names the file and the place,
or the event and its field, and nothing is changed.

  jetpost schemas push ./schemas --dry-run
  jetpost schemas push ./schemas/orders`
}

// A pushResult is what is printed of what the server has done with a domain, or would do.
type pushResult struct {
	Name         string            `json:"name"`
	Change       string            `json:"change"`
	DryRun       bool              `json:"dry_run,omitempty"`
	Compatible   bool              `json:"compatible"`
	Checked      int               `json:"stored_events_checked"`
	Refused      int               `json:"stored_events_refused"`
	Incompatible []v1.FieldProblem `json:"incompatible,omitempty"`
	Warnings     []v1.FieldProblem `json:"warnings,omitempty"`
	Added        []string          `json:"added,omitempty"`
	Changed      []string          `json:"changed,omitempty"`
	Removed      []string          `json:"removed,omitempty"`
	Revision     uint64            `json:"revision,omitempty"`
}

func pushResultOf(c *v1.DomainChange) pushResult {
	return pushResult{
		Name: c.Name, Change: c.Change, DryRun: c.DryRun, Compatible: c.Compatible, Checked: c.Checked, Refused: c.Refused,
		Incompatible: c.Incompatible, Warnings: c.Warnings, Added: c.Added, Changed: c.Changed, Removed: c.Removed, Revision: c.Revision,
	}
}

// errIncompatible makes the command fail. The places have been printed.
var errIncompatible = errors.New("nothing was pushed: events that are accepted now would be refused; change the schemas, or give --force")

// Run pushes all domains, or none when one of them is refused.
func (c *pushCmd) Run(e *terminal.Env) error {
	local, err := Load(c.Dir)
	if err != nil {
		return err
	}
	var domains []schemas.Domain
	for _, d := range local.Domains() {
		if !d.Shipped {
			domains = append(domains, d)
		}
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	results, err := c.put(e.Ctx, api, domains, true)
	if err != nil {
		return err
	}
	compatible := true
	for _, r := range results {
		compatible = compatible && r.Compatible
	}
	refused := !compatible && !c.Force
	if !refused && !c.DryRun {
		if results, err = c.put(e.Ctx, api, domains, false); err != nil {
			return err
		}
	}
	err = c.Show(e, results, func() error {
		for _, r := range results {
			r.print(e.Stdout)
		}
		return nil
	})
	if refused {
		err = errors.Join(err, errIncompatible)
	}
	return err
}

// put sends all domains.
func (c *pushCmd) put(ctx context.Context, api *connect.Client, domains []schemas.Domain, dryRun bool) ([]pushResult, error) {
	options := []client.Option{client.StoredEvents(c.Stored)}
	if dryRun {
		options = append(options, client.DryRun())
	}
	if c.Force {
		options = append(options, client.Force())
	}
	results := []pushResult{}
	for _, d := range domains {
		var body bytes.Buffer
		encoder := json.NewEncoder(&body)
		encoder.SetEscapeHTML(false) // examples stay as they are
		if err := encoder.Encode(map[string]schemas.Files{"files": d.Files()}); err != nil {
			return nil, fmt.Errorf("push domain %s: %w", d.Name, err)
		}
		change, err := api.Domains.PutJSON(ctx, d.Name, body.Bytes(), options...)
		if err != nil {
			return nil, fmt.Errorf("push domain %s: %w", d.Name, err)
		}
		results = append(results, pushResultOf(change))
	}
	return results, nil
}

func (r pushResult) print(w io.Writer) {
	would := ""
	if r.DryRun {
		would = "would be "
	}
	_, _ = fmt.Fprintf(w, "%s %s%s\n", plain.Shown(r.Name, plain.FieldLimit), would, plain.Shown(r.Change, plain.FieldLimit))
	for _, types := range []struct {
		sign  string
		names []string
	}{{"+", r.Added}, {"~", r.Changed}, {"-", r.Removed}} {
		for _, name := range types.names {
			_, _ = fmt.Fprintf(w, "  %s %s\n", types.sign, plain.Shown(name, plain.FieldLimit))
		}
	}
	for _, i := range r.Incompatible {
		_, _ = fmt.Fprintf(w, "  incompatible: %s %s\n", plain.Shown(i.Field, plain.FieldLimit), plain.Shown(i.Message, plain.LineLimit))
	}
	if r.Refused > 0 {
		_, _ = fmt.Fprintf(w, "  incompatible: %d of the last %d stored events would be refused\n", r.Refused, r.Checked)
	} else if r.Checked > 0 {
		_, _ = fmt.Fprintf(w, "  checked against the last %d stored events\n", r.Checked)
	}
	for _, i := range r.Warnings {
		_, _ = fmt.Fprintf(w, "  note: %s %s\n", plain.Shown(i.Field, plain.FieldLimit), plain.Shown(i.Message, plain.LineLimit))
	}
}

// deleteCmd is `jetpost schemas delete`.
type deleteCmd struct {
	connect.Flags
	output.Flag

	Domain string `arg:"" complete:"domain" help:"Which domain."`
}

// Help is the long text of --help.
func (c *deleteCmd) Help() string {
	return `A domain that has events in its log, or that a subscription names, is not deleted.

  jetpost schemas delete orders`
}

// Run deletes it.
func (c *deleteCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	if err := api.Domains.Delete(e.Ctx, c.Domain); err != nil {
		return err
	}
	return c.Show(e, map[string]string{"deleted": c.Domain}, func() error {
		_, err := fmt.Fprintf(e.Stdout, "domain %s is deleted\n", plain.Shown(c.Domain, plain.FieldLimit))
		return err
	})
}
