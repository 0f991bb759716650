package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream"
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
func (p *eventPlace) split() (domain, sequence string, err error) {
	domain, sequence, ok := strings.Cut(p.Place, "/")
	if _, parse := strconv.ParseUint(sequence, 10, 64); !ok || parse != nil {
		return "", "", usageError{errNoPlace}
	}
	return domain, sequence, nil
}

// eventsShowCmd is `jetpost events show`.
type eventsShowCmd struct {
	apiFlags
	outputFlag
	eventPlace

	Data         bool   `env:"-" xor:"what" help:"Only the data, byte for byte as it was published."`
	Story        bool   `env:"-" xor:"what" help:"What has become of it: for each subscription whether it wants the event and why, every attempt, and where the delivery is."`
	Subscription string `env:"-" complete:"subscription" placeholder:"ID" help:"With --story: only this subscription, with every attempt."`
}

// Help is the long text of --help.
func (c *eventsShowCmd) Help() string {
	return `Prints an event that is stored, or with --story what has become of it: which subscriptions
want it and which do not, and why; and for each delivery how it ended, or where it waits.

  jetpost events show git/42
  jetpost events show git/42 --data > data.json
  jetpost events show git/42 --story
  jetpost events show --source /git/widgets --id 7b1c --story
  jetpost events show git/42 --story --subscription ci`
}

// Run prints it.
func (c *eventsShowCmd) Run(e *env) error {
	if (c.Place == "") == (c.Source == "" || c.ID == "") {
		return usageError{errNoPlace}
	}
	if c.Subscription != "" && !c.Story {
		return usageError{errors.New("--subscription is for the story of an event: give --story as well")}
	}
	if c.Data && !c.people() {
		return usageError{errors.New("--data prints what was published, in no other format: leave --output out")}
	}
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	path, query := "/v1/events/story", url.Values{}
	if c.Place != "" {
		domain, sequence, err := c.split()
		if err != nil {
			return err
		}
		if path = "/v1/events/" + url.PathEscape(domain) + "/" + sequence; c.Story {
			path += "/story"
		}
	} else {
		query.Set("source", c.Source)
		query.Set("id", c.ID)
	}
	if c.Subscription != "" {
		query.Set("subscription", c.Subscription)
	}
	var raw json.RawMessage
	if err := api.get(e.ctx, path, query, &raw); err != nil {
		return err
	}
	if c.Data {
		return printData(e.stdout, raw)
	}
	if !c.Story && c.Place == "" { // it was found by its story: show no more of that than was asked for
		var event loggedEvent
		if err := json.Unmarshal(raw, &event); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		return c.show(e, event, func() error { return printStored(e, &event) })
	}
	if !c.Story {
		return showAs(e, c.outputFlag, raw, func(event *loggedEvent) error { return printStored(e, event) })
	}
	return showAs(e, c.outputFlag, raw, func(s *eventStory) error { return s.print(e, c.Subscription != "") })
}

// printData prints the data of an event as it was published.
func printData(w io.Writer, answer json.RawMessage) error {
	var stored loggedEvent
	if err := json.Unmarshal(answer, &stored); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if stored.Error != "" {
		return fmt.Errorf("the event is not readable: %s", shown(stored.Error, shownLine))
	}
	data, err := dataOf(stored.Event)
	if err != nil {
		return err
	}
	to, done := asPublished(w)
	_, err = to.Write(data)
	return errors.Join(err, done())
}

// dataOf takes the data out of an event in CloudEvents' JSON format. White space around
// JSON data belongs to it too, though no reader of JSON sees it: the API writes it as the
// last member.
func dataOf(event json.RawMessage) ([]byte, error) {
	var e struct {
		Type       string          `json:"datacontenttype"`
		Data       json.RawMessage `json:"data"`
		DataBase64 []byte          `json:"data_base64"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	var text string
	switch {
	case len(e.Data) == 0:
		return e.DataBase64, nil
	case !stream.IsJSON(e.Type) && json.Unmarshal(e.Data, &text) == nil:
		return []byte(text), nil
	}
	at := gjson.GetBytes(event, "data").Index
	from := bytes.LastIndexByte(event[:at], ':') + 1
	return event[from : len(event)-1], nil
}

func printStored(e *env, event *loggedEvent) error {
	_, _ = fmt.Fprintf(e.stdout, "%s/%d, stored at %s\n", shown(event.Domain, shownField), event.Sequence, event.StoredAt.Local().Format(time.RFC3339Nano))
	if event.Error != "" {
		_, err := fmt.Fprintln(e.stdout, "not readable: "+shown(event.Error, shownLine))
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, event.Event, "", "  "); err != nil {
		return fmt.Errorf("print the event: %w", err)
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(e.stdout, shown(strings.TrimSuffix(line, "\n"), len(line))); err != nil {
			return err
		}
	}
	return nil
}

// An eventStory is the story of an event, as the API answers.
type eventStory struct {
	loggedEvent

	Routing       string      `json:"routing"`
	Complete      bool        `json:"complete"`
	NotLookedAt   []string    `json:"not_looked_at"`
	Subscriptions []storyPart `json:"subscriptions"`
	NotMatched    []struct {
		SubscriptionID string `json:"subscription_id"`
		Reason         string `json:"reason"`
	} `json:"not_matched"`
	NotMatchedTotal int `json:"not_matched_total"`
}

type storyPart struct {
	SubscriptionID string             `json:"subscription_id"`
	Reason         string             `json:"reason"`
	Outcome        string             `json:"outcome"`
	Detail         string             `json:"detail"`
	ChangedSince   bool               `json:"changed_since"`
	MoreAttempts   int                `json:"more_attempts"`
	Attempts       []delivery.Attempt `json:"attempts"`
}

func (s *eventStory) print(e *env, attempts bool) error {
	// The event itself is one line, so that its story is not lost below its data.
	if err := (&eventSelection{}).printLine(e.stdout, &s.loggedEvent); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(e.stdout, "routed: "+shown(strings.ReplaceAll(s.Routing, "_", " "), shownField))
	for _, what := range s.NotLookedAt {
		_, _ = fmt.Fprintln(e.stdout, "not looked at: "+shown(what, shownLine))
	}
	if len(s.Subscriptions) > 0 {
		_, _ = fmt.Fprintln(e.stdout)
		t := newTable(e.stdout, "SUBSCRIPTION", "OUTCOME", "ATTEMPTS", "DETAIL")
		t.wraps = true
		for i := range s.Subscriptions {
			part := &s.Subscriptions[i]
			detail := part.Detail
			if part.ChangedSince {
				detail += " (changed since)"
			}
			t.row(part.SubscriptionID, part.Outcome, strconv.Itoa(len(part.Attempts)+part.MoreAttempts), detail)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if attempts && len(s.Subscriptions) == 1 {
		if err := s.Subscriptions[0].printAttempts(e); err != nil {
			return err
		}
	}
	if len(s.NotMatched) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(e.stdout)
	t := newTable(e.stdout, "DOES NOT WANT IT", "WHY")
	t.wraps = true
	for _, one := range s.NotMatched {
		t.row(one.SubscriptionID, one.Reason)
	}
	if more := s.NotMatchedTotal - len(s.NotMatched); more > 0 {
		t.row("…", strconv.Itoa(more)+" more: jetpost explain "+s.Domain+"/"+strconv.FormatUint(s.Sequence, 10))
	}
	return t.flush()
}

func (p *storyPart) printAttempts(e *env) error {
	if len(p.Attempts) == 0 {
		_, err := fmt.Fprintln(e.stdout, "\n"+shown(p.Reason, shownLine))
		return err
	}
	_, _ = fmt.Fprintln(e.stdout)
	t := newTable(e.stdout, "ATTEMPT", "AT", "OUTCOME", "STATUS", "TOOK", "NEXT", "ERROR")
	t.wraps = true
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
			next = clock(*a.NextAttempt)
		}
		t.row(number, clock(a.At), a.Outcome.String(), status, time.Duration(a.Duration).Round(time.Millisecond).String(), next, a.Error)
	}
	return t.flush()
}
