// Package catalogue has the command schemas: event types and the domains they belong to.
package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/schemas"
)

// Cmd is `jetpost schemas`.
type Cmd struct {
	List     listCmd     `cmd:"" help:"List event types."`
	Show     showCmd     `cmd:"" help:"Show an event type: its JSON Schema and examples."`
	Validate validateCmd `cmd:"" help:"Check data against the schema of an event type."`
	Push     pushCmd     `cmd:"" help:"Register domains of your own, or new versions of them, while the server runs."`
	Delete   deleteCmd   `cmd:"" aliases:"rm" help:"Delete a registered domain that has no events."`
}

// catalogueFlags say whose event types are meant: those of a server, which knows
// what is registered, or those of this program.
type catalogueFlags struct {
	connect.Flags

	Offline bool     `env:"-" help:"Ask no server: use the domains that ship with this program."`
	Schemas []string `env:"-" type:"existingdir" placeholder:"DIR" help:"Ask no server: use the domains that ship with this program and those of these folders."`
}

// local returns the catalogue of this program, or nil when a server is to be asked.
func (f *catalogueFlags) local() (*schemas.Catalogue, error) {
	if !f.Offline && len(f.Schemas) == 0 {
		return nil, nil //nolint:nilnil // nil is to ask
	}
	return Load(f.Schemas...)
}

// listCmd is `jetpost schemas list`.
type listCmd struct {
	catalogueFlags
	output.Flag

	Domain string `env:"-" complete:"domain" placeholder:"NAME" help:"Only types of this domain."`
}

// Help is the long text of --help.
func (c *listCmd) Help() string {
	return `  jetpost schemas list
  jetpost schemas list --domain git --output json`
}

// Run lists them.
func (c *listCmd) Run(e *terminal.Env) error {
	local, err := c.local()
	if err != nil {
		return err
	}
	var found []json.RawMessage
	if local == nil {
		if found, err = c.ask(e); err != nil {
			return err
		}
	} else {
		if _, known := local.Domain(c.Domain); c.Domain != "" && !known {
			return fmt.Errorf("there is no domain %q: the domains are %s", c.Domain, strings.Join(local.Names(), ", "))
		}
		for _, d := range local.Domains() {
			for _, t := range d.Types {
				if c.Domain == "" || c.Domain == d.Name {
					raw, err := output.Raw(v1.EventType{Type: t.Name, Domain: d.Name, Description: t.Description, Validation: string(d.Validation)})
					if err != nil {
						return err
					}
					found = append(found, raw)
				}
			}
		}
	}
	return output.List(e, c.Flag, found, "", func(types []v1.EventType) error {
		table := output.NewTable(e.Stdout, "TYPE", "DOMAIN", "VALIDATION", "DESCRIPTION")
		for _, t := range types {
			table.Row(t.Type, t.Domain, t.Validation, t.Description)
		}
		return table.Flush()
	})
}

func (c *listCmd) ask(e *terminal.Env) ([]json.RawMessage, error) {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return nil, err
	}
	var answer client.Response
	if _, err := api.EventTypes.List(e.Ctx, c.Domain, client.WithResponse(&answer)); err != nil {
		return nil, err
	}
	return connect.RawItems(answer.Body)
}

// showCmd is `jetpost schemas show`.
type showCmd struct {
	catalogueFlags
	output.Flag

	Type    string `arg:"" complete:"type" help:"Which event type."`
	Schema  bool   `env:"-" xor:"part" help:"Print the JSON Schema only."`
	Example bool   `env:"-" xor:"part" help:"Print the main example only: data to publish."`
}

// Help is the long text of --help.
func (c *showCmd) Help() string {
	return `  jetpost schemas show git.push
  jetpost schemas show artifact.deployed --example > data.json`
}

// Run shows it.
func (c *showCmd) Run(e *terminal.Env) error {
	t, err := c.find(e)
	if err != nil {
		return err
	}
	switch {
	case c.Schema && t.Schema == nil:
		return fmt.Errorf("%s has no schema: its domain is open, and any data will do", t.Type)
	case c.Schema:
		return c.Show(e, t.Schema, func() error { return output.PrintIndented(e.Stdout, t.Schema) })
	case c.Example && len(t.Examples) == 0:
		return fmt.Errorf("%s has no example", t.Type)
	case c.Example:
		return c.Show(e, t.Examples[0].Data, func() error { return output.PrintIndented(e.Stdout, t.Examples[0].Data) })
	}
	printed := printedType{t.Type, t.Domain, t.Description, t.Validation, t.Event, t.Schema, t.Definitions, t.Examples}
	return c.Show(e, printed, func() error { return printType(e.Stdout, t) })
}

// A printedType is all that is printed about an event type.
type printedType struct {
	Type        string                     `json:"type"`
	Domain      string                     `json:"domain"`
	Description string                     `json:"description,omitempty"`
	Validation  string                     `json:"validation"`
	Event       string                     `json:"event"`
	Schema      json.RawMessage            `json:"schema,omitempty"`
	Definitions map[string]json.RawMessage `json:"definitions,omitempty"`
	Examples    []v1.TypeExample           `json:"examples"`
}

func printType(w io.Writer, t *v1.EventTypeDetail) error {
	_, _ = fmt.Fprintln(w, plain.Shown(t.Type, plain.FieldLimit))
	if err := output.Details(w, "description", t.Description, "domain", t.Domain, "validation", t.Validation); err != nil {
		return err
	}
	if t.Schema != nil {
		_, _ = fmt.Fprintln(w, "\nschema:")
		if err := output.PrintIndented(w, t.Schema); err != nil {
			return err
		}
	}
	for _, example := range t.Examples {
		_, _ = fmt.Fprintf(w, "\n%s:\n", strings.TrimSpace("example "+plain.Shown(example.Name, plain.FieldLimit)))
		if err := output.PrintIndented(w, example.Data); err != nil {
			return err
		}
	}
	return nil
}

func (c *showCmd) find(e *terminal.Env) (*v1.EventTypeDetail, error) {
	local, err := c.local()
	if err != nil {
		return nil, err
	}
	if local == nil {
		api, err := c.Client(e.Ctx, e.Version)
		if err != nil {
			return nil, err
		}
		return api.EventTypes.Get(e.Ctx, c.Type)
	}
	t, err := local.Resolve(c.Type)
	if err != nil {
		return nil, err
	}
	d, _ := local.Domain(t.Domain)
	found := &v1.EventTypeDetail{
		Type: t.Name, Domain: t.Domain, Event: t.Event, Description: t.Description, Validation: string(d.Validation),
		Schema: t.Schema, Definitions: d.Definitions, Examples: []v1.TypeExample{},
	}
	for _, example := range t.Examples {
		found.Examples = append(found.Examples, v1.TypeExample{Name: example.Name, Data: example.Data})
	}
	return found, nil
}

// validateCmd is `jetpost schemas validate`.
type validateCmd struct {
	catalogueFlags
	output.Flag

	Type string `arg:"" complete:"type" help:"Which event type."`
	File string `arg:"" optional:"" default:"-" help:"File with the data of an event. Default: -, standard input."`
}

// Help is the long text of --help.
func (c *validateCmd) Help() string {
	return `Prints every problem of the data with its field, and exits with 1 if there is one. Nothing is published. The data is checked even where the domain only warns.

  jetpost schemas validate git.push push.json
  jetpost schemas validate orders.created --schemas ./schemas < order.json`
}

// ErrInvalidData makes the command fail. What is wrong has been printed.
var ErrInvalidData = errors.New("the data is not valid")

// Run checks the data.
func (c *validateCmd) Run(e *terminal.Env) error {
	data, err := c.read(e)
	if err != nil {
		return err
	}
	verdict := &v1.DataVerdict{Type: c.Type, Problems: []v1.FieldProblem{}}
	local, err := c.local()
	if err != nil {
		return err
	}
	if local == nil {
		api, err := c.Client(e.Ctx, e.Version)
		if err != nil {
			return err
		}
		if verdict, err = api.EventTypes.Validate(e.Ctx, c.Type, data); err != nil {
			return err
		}
	} else {
		t, err := local.Resolve(c.Type)
		if err != nil {
			return err
		}
		for _, p := range t.CheckData(data) {
			verdict.Problems = append(verdict.Problems, v1.FieldProblem{Field: p.Field, Message: p.Message})
		}
		verdict.Valid = len(verdict.Problems) == 0
	}
	err = c.Show(e, verdict, func() error {
		if verdict.Valid {
			_, err := fmt.Fprintf(e.Stdout, "valid data of %s\n", plain.Shown(c.Type, plain.FieldLimit))
			return err
		}
		for _, p := range verdict.Problems {
			field := p.Field
			if field == "" {
				field = "data"
			}
			_, _ = fmt.Fprintf(e.Stdout, "%s %s\n", plain.Shown(field, plain.FieldLimit), plain.Shown(p.Message, plain.LineLimit))
		}
		return nil
	})
	if !verdict.Valid {
		err = errors.Join(err, fmt.Errorf("%w as %s: %d problems", ErrInvalidData, plain.Shown(c.Type, plain.FieldLimit), len(verdict.Problems)))
	}
	return err
}

// read reads the data, of which an event can have only so much.
func (c *validateCmd) read(e *terminal.Env) ([]byte, error) {
	in := e.Stdin
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return nil, fmt.Errorf("read data: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, stream.MaxEventSize+1))
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	if len(data) > stream.MaxEventSize {
		return nil, fmt.Errorf("read data: there is more than the %d KiB that an event may have", stream.MaxEventSize>>10)
	}
	if data, err = input.AsText(c.File, data); err != nil {
		return nil, err
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, errors.New("read data: there is none")
	}
	return data, nil
}
