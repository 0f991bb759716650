package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// An eventPlace says which stored event is meant: by its place, git/42, or by source
// and id.
type eventPlace struct {
	Place  string `arg:"" optional:"" placeholder:"DOMAIN/SEQUENCE" help:"Where the event is stored, such as git/42: lists and receipts show it."`
	Source string `env:"-" placeholder:"SOURCE" help:"Instead of its place: the event's source, with --id. The newest one counts."`
	ID     string `env:"-" placeholder:"ID" help:"Instead of its place: the event's id, with --source."`
}

var errNoPlace = errors.New("say which event: its place, such as git/42, or --source and --id")

// split is the domain and the sequence of a place.
func (p *eventPlace) split() (domain string, sequence uint64, err error) {
	domain, text, ok := strings.Cut(p.Place, "/")
	sequence, err = strconv.ParseUint(text, 10, 64)
	if !ok || err != nil {
		return "", 0, terminal.UsageError{Err: errNoPlace}
	}
	return domain, sequence, nil
}

// showCmd is `jetpost events show`.
type showCmd struct {
	connect.Flags
	output.Flag
	eventPlace

	Data         bool   `env:"-" xor:"what" help:"Only the data, byte for byte as it was published."`
	Story        bool   `env:"-" xor:"what" help:"Its deliveries: for each subscription whether it matches and why, every attempt, and where the delivery is."`
	Subscription string `env:"-" complete:"subscription" placeholder:"ID" help:"With --story: only this subscription, with every attempt."`
}

// Help is the long text of --help.
func (c *showCmd) Help() string {
	return `Prints a stored event, or with --story its deliveries: which subscriptions match and which
do not, and why; and for each delivery how it ended, or where it waits.

  jetpost events show git/42
  jetpost events show git/42 --data > data.json
  jetpost events show git/42 --story
  jetpost events show --source /git/widgets --id 7b1c --story
  jetpost events show git/42 --story --subscription ci`
}

// Run prints it.
func (c *showCmd) Run(e *terminal.Env) error {
	if (c.Place == "") == (c.Source == "" || c.ID == "") {
		return terminal.UsageError{Err: errNoPlace}
	}
	if c.Subscription != "" && !c.Story {
		return terminal.UsageError{Err: errors.New("--subscription is for the story of an event: give --story as well")}
	}
	if c.Data && !c.People() {
		return terminal.UsageError{Err: errors.New("--data prints what was published, in no other format: leave --output out")}
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	var answer client.Response
	story, err := c.ask(e.Ctx, api, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	event := &story.StoredEvent
	switch {
	case c.Data:
		return printData(e.Stdout, event)
	case c.Story:
		return c.Show(e, json.RawMessage(answer.Body), func() error { return printStory(e, story, c.Subscription != "") })
	case c.Place == "": // it was found by its story: show no more of that than was asked for
		return c.Show(e, event, func() error { return printStored(e, event) })
	}
	return c.Show(e, json.RawMessage(answer.Body), func() error { return printStored(e, event) })
}

// ask returns the story, or where it is not asked for at least the event.
func (c *showCmd) ask(ctx context.Context, api *connect.Client, option client.Option) (*v1.Story, error) {
	if c.Place == "" {
		return api.Events.FindStory(ctx, client.StoryFilter{Source: c.Source, ID: c.ID, Subscription: c.Subscription}, option)
	}
	domain, sequence, err := c.split()
	if err != nil {
		return nil, err
	}
	if c.Story {
		return api.Events.Story(ctx, domain, sequence, c.Subscription, option)
	}
	event, err := api.Events.Get(ctx, domain, sequence, option)
	if err != nil {
		return nil, err
	}
	return &v1.Story{StoredEvent: *event}, nil
}

// printData prints the data of an event as it was published.
func printData(w io.Writer, stored *v1.StoredEvent) error {
	if stored.Error != "" {
		return fmt.Errorf("the event is not readable: %s", plain.Shown(stored.Error, plain.LineLimit))
	}
	data, err := dataOf(stored.Event)
	if err != nil {
		return err
	}
	to, done := output.AsPublished(w)
	_, err = to.Write(data)
	return errors.Join(err, done())
}

// dataOf takes the data out of an event in CloudEvents' JSON format. White space around
// JSON data belongs to it too, though no reader of JSON sees it: the API writes it as the
// last member.
func dataOf(structured json.RawMessage) ([]byte, error) {
	var e struct {
		Type       string          `json:"datacontenttype"`
		Data       json.RawMessage `json:"data"`
		DataBase64 []byte          `json:"data_base64"`
	}
	if err := json.Unmarshal(structured, &e); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	var text string
	switch {
	case len(e.Data) == 0:
		return e.DataBase64, nil
	case !event.IsJSON(e.Type) && json.Unmarshal(e.Data, &text) == nil:
		return []byte(text), nil
	}
	at := gjson.GetBytes(structured, "data").Index
	from := bytes.LastIndexByte(structured[:at], ':') + 1
	return structured[from : len(structured)-1], nil
}

func printStored(e *terminal.Env, event *v1.StoredEvent) error {
	_, _ = fmt.Fprintf(e.Stdout, "%s/%d, stored at %s\n", plain.Shown(event.Domain, plain.FieldLimit), event.Sequence, event.StoredAt.Local().Format(time.RFC3339Nano))
	if event.Error != "" {
		_, err := fmt.Fprintln(e.Stdout, "not readable: "+plain.Shown(event.Error, plain.LineLimit))
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, event.Event, "", "  "); err != nil {
		return fmt.Errorf("print the event: %w", err)
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(e.Stdout, plain.Shown(strings.TrimSuffix(line, "\n"), len(line))); err != nil {
			return err
		}
	}
	return nil
}

func printStory(e *terminal.Env, s *v1.Story, attempts bool) error {
	// The event itself is one line, so that its story is not lost below its data.
	if err := (&eventSelection{}).printLine(e.Stdout, &s.StoredEvent); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(e.Stdout, "routed: "+plain.Shown(strings.ReplaceAll(s.Routing, "_", " "), plain.FieldLimit))
	for _, what := range s.NotLookedAt {
		_, _ = fmt.Fprintln(e.Stdout, "not searched: "+plain.Shown(what, plain.LineLimit))
	}
	if len(s.Subscriptions) > 0 {
		_, _ = fmt.Fprintln(e.Stdout)
		t := output.NewTable(e.Stdout, "SUBSCRIPTION", "OUTCOME", "ATTEMPTS", "DETAIL")
		t.Wraps = true
		for i := range s.Subscriptions {
			part := &s.Subscriptions[i]
			detail := part.Detail
			if part.ChangedSince {
				detail += " (changed since)"
			}
			t.Row(part.SubscriptionID, part.Outcome, strconv.Itoa(len(part.Attempts)+part.MoreAttempts), detail)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if attempts && len(s.Subscriptions) == 1 {
		if err := printAttempts(e, &s.Subscriptions[0]); err != nil {
			return err
		}
	}
	if len(s.NotMatched) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(e.Stdout)
	t := output.NewTable(e.Stdout, "DOES NOT WANT IT", "WHY")
	t.Wraps = true
	for _, one := range s.NotMatched {
		t.Row(one.SubscriptionID, one.Reason)
	}
	if more := s.NotMatchedAll - len(s.NotMatched); more > 0 {
		t.Row("…", strconv.Itoa(more)+" more: jetpost explain "+s.Domain+"/"+strconv.FormatUint(s.Sequence, 10))
	}
	return t.Flush()
}

func printAttempts(e *terminal.Env, p *v1.StoryPart) error {
	if len(p.Attempts) == 0 {
		_, err := fmt.Fprintln(e.Stdout, "\n"+plain.Shown(p.Reason, plain.LineLimit))
		return err
	}
	_, _ = fmt.Fprintln(e.Stdout)
	t := output.NewTable(e.Stdout, "ATTEMPT", "AT", "OUTCOME", "STATUS", "TOOK", "NEXT", "ERROR")
	t.Wraps = true
	for i := range p.Attempts {
		a := &p.Attempts[i]
		number, status, next := strconv.Itoa(a.Attempt), "", ""
		if a.Manual {
			number = "manual"
		}
		if a.Status != 0 {
			status = strconv.Itoa(a.Status)
		}
		if a.NextAttempt != nil {
			next = output.Clock(*a.NextAttempt)
		}
		t.Row(number, output.Clock(a.At), string(a.Outcome), status, a.Duration().Round(time.Millisecond).String(), next, a.Error)
	}
	return t.Flush()
}
