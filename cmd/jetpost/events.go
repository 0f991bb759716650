package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// eventsCmd is `jetpost events`.
type eventsCmd struct {
	List eventsListCmd `cmd:"" aliases:"ls" help:"Print events that were published."`
	Show eventsShowCmd `cmd:"" aliases:"get" help:"Print an event, or its whole story."`
	Tail eventsTailCmd `cmd:"" help:"Print events as they are published."`

	Erase eventsEraseCmd `cmd:"" help:"Erase the data of an event everywhere."`
}

// eventSelection is which events are meant.
type eventSelection struct {
	Domain   string    `env:"-" complete:"domain" placeholder:"NAME" help:"Only events of this domain."`
	Type     string    `env:"-" complete:"type" placeholder:"TYPE" help:"Only events of this type, or of a domain as <domain>.*"`
	FromTime time.Time `env:"-" placeholder:"TIME" help:"From what was stored at this time on: 2026-01-31T12:00:00Z."`
	FromSeq  uint64    `env:"-" placeholder:"N" help:"From this sequence on; needs --domain or --type, since every domain counts by itself."`
	Data     bool      `env:"-" help:"Print the whole event in CloudEvents' JSON format below its line, without white space. For the data byte for byte: jetpost events show --data."`
}

func (s *eventSelection) query() url.Values {
	query := url.Values{}
	if s.Domain != "" {
		query.Set("domain", s.Domain)
	}
	if s.Type != "" {
		query.Set("type", s.Type)
	}
	if !s.FromTime.IsZero() {
		query.Set("from_time", s.FromTime.Format(time.RFC3339Nano))
	}
	if s.FromSeq > 0 {
		query.Set("from_seq", strconv.FormatUint(s.FromSeq, 10))
	}
	return query
}

// A loggedEvent is an event and where it is kept.
type loggedEvent struct {
	Domain   string          `json:"domain"`
	Stream   string          `json:"stream"`
	Sequence uint64          `json:"sequence"`
	StoredAt time.Time       `json:"stored_at"`
	Event    json.RawMessage `json:"event,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// eventsListCmd is `jetpost events list`.
type eventsListCmd struct {
	apiFlags
	outputFlag
	eventSelection

	Limit int `short:"n" env:"-" default:"50" placeholder:"N" help:"How many to print. 0: all."`
}

// Help is the long text of --help.
func (c *eventsListCmd) Help() string {
	return `Prints the last events, or with --from-time or --from-seq the first ones from there on;
the newest is at the bottom either way. Events are kept for 30 days.

  jetpost events list
  jetpost events list --type git.push --data
  jetpost events list --from-time 2026-01-31T12:00:00Z -n 0 --output json`
}

// Run prints history.
func (c *eventsListCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	forward := !c.FromTime.IsZero() || c.FromSeq > 0
	query := c.query()
	out := c.records(e, false)
	var newestFirst []json.RawMessage
	for printed := 0; ; {
		size := 500
		if c.Limit > 0 {
			size = min(size, c.Limit-printed)
		}
		query.Set("limit", strconv.Itoa(size))
		var page struct {
			Items      []json.RawMessage `json:"items"`
			NextCursor string            `json:"next_cursor"`
		}
		if err := api.get(e.ctx, "/v1/events", query, &page); err != nil {
			return err
		}
		printed += len(page.Items)
		if forward {
			for _, raw := range page.Items {
				if err := c.printEvent(e, out, raw); err != nil {
					return err
				}
			}
		} else {
			newestFirst = append(newestFirst, page.Items...)
		}
		if page.NextCursor == "" || c.Limit > 0 && printed >= c.Limit {
			break
		}
		query.Set("cursor", page.NextCursor)
	}
	for _, raw := range slices.Backward(newestFirst) {
		if err := c.printEvent(e, out, raw); err != nil {
			return err
		}
	}
	return out.end()
}

// eventsTailCmd is `jetpost events tail`.
type eventsTailCmd struct {
	apiFlags
	outputFlag
	eventSelection
}

// Help is the long text of --help.
func (c *eventsTailCmd) Help() string {
	return `Prints every event from now on, or from --from-time or --from-seq, until it is stopped.

  jetpost events tail
  jetpost events tail --type 'git.*' --data
  jetpost events tail --output json | jq .event.id`
}

// Run follows the event logs.
func (c *eventsTailCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	// After a lost connection it goes on a little before the last event, and leaves
	// out what it has printed.
	out := c.records(e, true)
	printed := map[string]uint64{}
	var last time.Time
	query := func() url.Values {
		q := c.query()
		if !last.IsZero() {
			q.Del("from_seq")
			q.Set("from_time", last.Add(-time.Minute).UTC().Format(time.RFC3339Nano))
		}
		return q
	}
	return api.keepFollowing(e.ctx, e.stderr, "/v1/events", query, func(line []byte) error {
		var event loggedEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
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
func (s *eventSelection) printEvent(e *env, out *recordPrinter, raw json.RawMessage) error {
	return out.print(raw, func() error {
		var event loggedEvent
		if err := json.Unmarshal(raw, &event); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		return s.printLine(e.stdout, &event)
	})
}

func (s *eventSelection) printLine(w io.Writer, event *loggedEvent) error {
	limit := styleOf(w).limit(shownField)
	parts := []string{clock(event.StoredAt), event.Domain, strconv.FormatUint(event.Sequence, 10)}
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
		parts[i] = shown(parts[i], limit)
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
	_, err := fmt.Fprintln(w, "    "+shown(line.String(), line.Len()))
	return err
}
