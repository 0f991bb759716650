// Package publish has the commands publish, git and watch, which publish events.
package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// Cmd is `jetpost publish`.
type Cmd struct {
	connect.Flags
	output.Flag
	EventFields

	Data     string `env:"-" xor:"data" placeholder:"TEXT" help:"The data of the event."`
	DataFile string `env:"-" xor:"data" placeholder:"FILE" help:"The data of the event from a file, - for standard input."`
	ID       string `name:"id" env:"-" placeholder:"ID" help:"Id of the event. With the same source and id an event is stored once within five minutes. Default: one is made."`

	NDJSON   bool          `name:"ndjson" env:"-" help:"Publish many: read a structured CloudEvent from each line of standard input, or with --type the data of one."`
	IDFrom   string        `name:"id-from" env:"-" placeholder:"PATH" help:"With --ndjson and --type: take the id from this member of the data, so that publishing a file again stores nothing twice."`
	Rejects  string        `env:"-" placeholder:"FILE" help:"With --ndjson: append the lines that were refused to this file, as they were."`
	Patience time.Duration `env:"-" default:"1m" help:"How long to keep trying while the server cannot store events."`
}

// EventFields are the attributes of the events to publish.
type EventFields struct {
	Type        string            `env:"-" complete:"type" group:"Event" placeholder:"TYPE" help:"Event type, as in git.push."`
	Source      string            `env:"-" group:"Event" default:"/jetpost/publish" placeholder:"URI" help:"Where it comes from, a URI reference."`
	Subject     string            `env:"-" group:"Event" placeholder:"TEXT" help:"What it is about."`
	Time        time.Time         `env:"-" group:"Event" placeholder:"TIME" help:"When it happened: 2026-01-31T12:00:00Z. Default: now."`
	ContentType string            `env:"-" group:"Event" default:"application/json" placeholder:"TYPE" help:"Media type of the data."`
	DataSchema  string            `env:"-" group:"Event" placeholder:"URI" help:"Schema of the data."`
	Ext         map[string]string `env:"-" mapsep:"none" group:"Event" placeholder:"NAME=VALUE" help:"An extension attribute. Can be repeated."`
}

// Help is the long text of --help.
func (c *Cmd) Help() string {
	return `The event is stored when the command ends without an error. With --ndjson, invalid lines
are reported and do not stop the others; the exit status is then 1. While the server cannot
store events, the command waits and retries.

Examples:

  jetpost publish --type artifact.deployed --data '{"repo_key":"libs","path":"a.jar","name":"a.jar","sha256":"...","size":1}'
  jetpost publish --type git.push --source /git/tug --data-file push.json
  jetpost publish --ndjson < events.ndjson                                  one CloudEvent per line
  jetpost publish --ndjson --type artifact.deployed --id-from path < files.ndjson
  jetpost publish --ndjson --rejects bad.ndjson < events.ndjson`
}

// Validate reports options that do not go together; kong calls it after parsing.
func (c *Cmd) Validate() error {
	switch {
	case !c.NDJSON && c.Type == "":
		return errors.New("--type is missing: name the event type, such as git.push")
	case !c.NDJSON && (c.IDFrom != "" || c.Rejects != ""):
		return errors.New("--id-from and --rejects go with --ndjson")
	case c.NDJSON && (c.ID != "" || c.Data != "" || c.DataFile != ""):
		return errors.New("--id, --data and --data-file do not go with --ndjson: each line has its own")
	case c.NDJSON && c.Type == "" && (c.IDFrom != "" || c.Subject != "" || len(c.Ext) > 0 || !c.Time.IsZero()):
		return errors.New("without --type each line is a whole event: --id-from, --subject, --time and --ext do not go with it")
	case c.Patience < 0:
		return errors.New("--patience cannot be negative")
	}
	return nil
}

// Run publishes.
func (c *Cmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	if c.NDJSON {
		return c.publishLines(e, api)
	}
	return c.publishOne(e, api)
}

func (c *Cmd) publishOne(e *terminal.Env, api *connect.Client) error {
	var data []byte
	switch {
	case c.DataFile != "":
		var err error
		if data, err = input.File(c.DataFile, e.Stdin); err != nil {
			return err
		}
		if event.IsJSON(c.ContentType) { // other data is stored byte for byte
			if data, err = input.AsText(c.DataFile, data); err != nil {
				return err
			}
		}
	case c.Data != "":
		data = []byte(c.Data)
	}
	made, err := c.Event(c.ID, data)
	if err != nil {
		return err
	}
	receipts, err := publishEvents(e.Ctx, api, []*event.Event{made}, c.Patience)
	if err != nil {
		return err
	}
	return c.Show(e, receipts[0], func() error {
		result := "stored"
		if receipts[0].Duplicate {
			result = "was stored before"
		}
		_, err := fmt.Fprintf(e.Stdout, "%s as %s %d: event %s from %s\n", result, plain.Shown(receipts[0].Stream, plain.FieldLimit), receipts[0].Sequence,
			plain.Shown(made.ID, plain.FieldLimit), plain.Shown(made.Source, plain.FieldLimit))
		return err
	})
}

// Event makes an event of data. An empty id means a new one.
func (f *EventFields) Event(id string, data []byte) (*event.Event, error) {
	if event.IsJSON(f.ContentType) && data != nil && !gjson.ValidBytes(data) {
		return nil, fmt.Errorf("the data is not JSON: correct it, or give its type with --content-type")
	}
	if id == "" {
		id = uuid.NewString()
	}
	at := f.Time
	if at.IsZero() {
		at = time.Now()
	}
	made := &event.Event{
		ID: id, Source: f.Source, Type: f.Type, Subject: f.Subject, Time: at.UTC().Format(time.RFC3339Nano),
		DataContentType: f.ContentType, DataSchema: f.DataSchema, Data: data,
	}
	for _, name := range slices.Sorted(maps.Keys(f.Ext)) {
		made.Extensions = append(made.Extensions, event.Attribute{Name: name, Value: f.Ext[name]})
	}
	return made, made.Validate()
}

// publishEvents stores events, all of them when it returns nil. It tries again, for
// patience, what may succeed then; the ids make that safe.
func publishEvents(ctx context.Context, c *connect.Client, events []*event.Event, patience time.Duration) ([]v1.Receipt, error) {
	contentType, body := client.ContentTypeEvent, []byte(nil)
	if len(events) == 1 {
		body = events[0].AppendStructured(body)
	} else {
		contentType, body = client.ContentTypeBatch, append(body, '[')
		for i, event := range events {
			if i > 0 {
				body = append(body, ',')
			}
			body = event.AppendStructured(body)
		}
		body = append(body, ']')
	}
	var wait connect.RetryWait
	for began := time.Now(); ; {
		receipts, err := c.Events.PublishJSON(ctx, contentType, body)
		if err == nil && len(receipts) != len(events) {
			return nil, fmt.Errorf("%s has stored %d events of %d", c.URL, len(receipts), len(events))
		}
		if err == nil || !retryable(err) || ctx.Err() != nil {
			return receipts, err
		}
		if time.Since(began) >= patience || !wait.Pause(ctx, err) {
			return nil, err
		}
	}
}

// retryable reports whether an error may be temporary. What could not be read
// of an answer is one: the events may be stored or not.
func retryable(err error) bool {
	if refused, ok := errors.AsType[*v1.Problem](err); ok {
		return refused.Temporary()
	}
	_, broken := errors.AsType[*json.SyntaxError](err)
	_, other := errors.AsType[*json.UnmarshalTypeError](err)
	return !broken && !other
}
