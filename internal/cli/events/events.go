// Package events has the commands events and explain, which read the event logs.
package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// Cmd is `jetpost events`.
type Cmd struct {
	List listCmd `cmd:"" aliases:"ls" help:"List published events."`
	Show showCmd `cmd:"" aliases:"get" help:"Print an event, or its deliveries."`
	Tail tailCmd `cmd:"" help:"Print events as they are published."`

	Erase eraseCmd `cmd:"" help:"Erase the data of an event everywhere."`
}

// eventSelection is which events are meant.
type eventSelection struct {
	Domain   string    `env:"-" complete:"domain" placeholder:"NAME" help:"Only events of this domain."`
	Type     string    `env:"-" complete:"type" placeholder:"TYPE" help:"Only events of this type, or of a domain as <domain>.*"`
	FromTime time.Time `env:"-" placeholder:"TIME" help:"From what was stored at this time on: 2026-01-31T12:00:00Z."`
	FromSeq  uint64    `env:"-" placeholder:"N" help:"From this sequence on; needs --domain or --type, since every domain counts by itself."`
	Data     bool      `env:"-" help:"Print the whole event in CloudEvents' JSON format below its line, without white space. For the data byte for byte: jetpost events show --data."`
}

func (s *eventSelection) filter() client.EventFilter {
	return client.EventFilter{Domain: s.Domain, Type: s.Type, FromSeq: s.FromSeq, FromTime: s.FromTime}
}

// listCmd is `jetpost events list`.
type listCmd struct {
	connect.Flags
	output.Flag
	eventSelection

	Limit int `short:"n" env:"-" default:"50" placeholder:"N" help:"How many to print. 0: all."`
}

// Help is the long text of --help.
func (c *listCmd) Help() string {
	return `Prints the last events, or with --from-time or --from-seq the first ones from there on;
the newest is at the bottom either way. Events are kept for 30 days.

  jetpost events list
  jetpost events list --type git.push --data
  jetpost events list --from-time 2026-01-31T12:00:00Z -n 0 --output json`
}

// Run prints history.
func (c *listCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	forward := !c.FromTime.IsZero() || c.FromSeq > 0
	selected := c.filter()
	selected.PageSize = connect.MaxPage
	if c.Limit > 0 {
		selected.PageSize = min(c.Limit, connect.MaxPage)
	}
	out := c.Records(e, false)
	var newestFirst []json.RawMessage
	printed := 0
	var answer client.Response
	for _, err := range api.Events.Pages(e.Ctx, selected, client.WithResponse(&answer)) {
		if err != nil {
			return err
		}
		page, err := connect.RawItems(answer.Body)
		if err != nil {
			return err
		}
		if c.Limit > 0 {
			page = page[:min(len(page), c.Limit-printed)]
		}
		printed += len(page)
		if forward {
			for _, raw := range page {
				if err := c.printEvent(e, out, raw); err != nil {
					return err
				}
			}
		} else {
			newestFirst = append(newestFirst, page...)
		}
		if c.Limit > 0 && printed >= c.Limit {
			break
		}
	}
	for _, raw := range slices.Backward(newestFirst) {
		if err := c.printEvent(e, out, raw); err != nil {
			return err
		}
	}
	return out.End()
}

// tailCmd is `jetpost events tail`.
type tailCmd struct {
	connect.Flags
	output.Flag
	eventSelection
}

// Help is the long text of --help.
func (c *tailCmd) Help() string {
	return `Prints every event from now on, or from --from-time or --from-seq, until it is stopped.

  jetpost events tail
  jetpost events tail --type 'git.*' --data
  jetpost events tail --output json | jq .event.id`
}

// Run follows the event logs.
func (c *tailCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	// After a lost connection it continues a little before the last event, and leaves
	// out what it has printed.
	out := c.Records(e, true)
	printed := map[string]uint64{}
	var last time.Time
	return connect.KeepFollowing(e.Ctx, e.Stderr, func(o client.Option) iter.Seq2[*v1.StoredEvent, error] {
		selected := c.filter()
		if !last.IsZero() {
			selected.FromSeq, selected.FromTime = 0, last.Add(-time.Minute)
		}
		return api.Events.Follow(e.Ctx, selected, o)
	}, func(event *v1.StoredEvent, line json.RawMessage) error {
		if event.Sequence <= printed[event.Stream] {
			return nil
		}
		printed[event.Stream] = event.Sequence
		if event.StoredAt.After(last) {
			last = event.StoredAt
		}
		return c.printEvent(e, out, line)
	})
}

// printEvent prints an event as people read it:
//
//	18:03:04.123  git  42  git.push  refs/heads/main  85c7e78e from /git/widgets
func (s *eventSelection) printEvent(e *terminal.Env, out *output.Printer, raw json.RawMessage) error {
	return out.Print(raw, func() error {
		var event v1.StoredEvent
		if err := json.Unmarshal(raw, &event); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		return s.printLine(e.Stdout, &event)
	})
}

func (s *eventSelection) printLine(w io.Writer, event *v1.StoredEvent) error {
	limit := output.StyleOf(w).Limit(plain.FieldLimit)
	parts := []string{output.Clock(event.StoredAt), event.Domain, strconv.FormatUint(event.Sequence, 10)}
	var about struct {
		ID      string `json:"id"`
		Source  string `json:"source"`
		Type    string `json:"type"`
		Subject string `json:"subject"`
	}
	switch {
	case event.Error != "":
		parts = append(parts, "not readable: "+event.Error)
	case json.Unmarshal(event.Event, &about) != nil:
		parts = append(parts, "not an event")
	default:
		parts = append(parts, about.Type)
		if about.Subject != "" {
			parts = append(parts, about.Subject)
		}
		parts = append(parts, about.ID+" from "+about.Source)
	}
	for i := range parts {
		parts[i] = plain.Shown(parts[i], limit)
	}
	if _, err := fmt.Fprintln(w, strings.Join(parts, "  ")); err != nil || !s.Data || len(event.Event) == 0 {
		return err
	}
	// One line. JSON keeps control characters out of the terminal by itself, but for the
	// ones beyond ASCII.
	var line bytes.Buffer
	if err := json.Compact(&line, event.Event); err != nil {
		return fmt.Errorf("print the event: %w", err)
	}
	_, err := fmt.Fprintln(w, "    "+plain.Shown(line.String(), line.Len()))
	return err
}
