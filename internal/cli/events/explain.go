package events

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// ExplainCmd is `jetpost explain`.
type ExplainCmd struct {
	connect.Flags
	output.Flag

	Place        string `arg:"" optional:"" placeholder:"DOMAIN/SEQUENCE" help:"Explain an event that is stored, such as git/42."`
	Event        string `env:"-" placeholder:"FILE" help:"Explain the event in this file, in CloudEvents' JSON format; - is standard input. It is not stored."`
	Subscription string `env:"-" complete:"subscription" placeholder:"ID" help:"Only this subscription, with every clause of its filters."`
	Only         string `env:"-" default:"" enum:",matched,unmatched" placeholder:"WHICH" help:"matched, or unmatched: only those."`
}

// Help is the long text of --help.
func (c *ExplainCmd) Help() string {
	return `Prints for each subscription whether it matches an event, and which clause of its filters
decides. Nothing is stored or delivered. Subscriptions are evaluated as they are now; for the
past of an event see "jetpost events show git/42 --story".

  jetpost explain git/42
  jetpost explain git/42 --subscription ci
  jetpost explain --event push.json --only matched`
}

// Run explains it.
func (c *ExplainCmd) Run(e *terminal.Env) error {
	if (c.Place == "") == (c.Event == "") {
		return terminal.UsageError{Err: fmt.Errorf("say which event: the place of one that is stored, such as git/42, or --event FILE")}
	}
	body := v1.ExplainOptions{Subscription: c.Subscription, Only: c.Only}
	if c.Place != "" {
		domain, sequence, err := (&eventPlace{Place: c.Place}).split()
		if err != nil {
			return err
		}
		body.Domain, body.Sequence = domain, sequence
	} else {
		event, err := c.readEvent(e)
		if err != nil {
			return err
		}
		body.Event = event
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	return c.explain(e, api, &body)
}

func (c *ExplainCmd) readEvent(e *terminal.Env) (json.RawMessage, error) {
	text, err := input.Text(c.Event, e.Stdin)
	if err != nil {
		return nil, fmt.Errorf("the event: %w", err)
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("%s is not JSON: give an event in CloudEvents' JSON format", c.Event)
	}
	return text, nil
}

// explain asks for all pages.
func (c *ExplainCmd) explain(e *terminal.Env, api *connect.Client, body *v1.ExplainOptions) error {
	var verdicts []json.RawMessage
	var last *v1.Explanation
	var whole client.Response
	for page, err := range api.Events.Explain(e.Ctx, body, client.Paging{PageSize: connect.MaxPage}, client.WithResponse(&whole)) {
		if err != nil {
			return err
		}
		items, err := connect.RawItems(whole.Body)
		if err != nil {
			return err
		}
		verdicts, last = append(verdicts, items...), page
	}
	if !c.People() { // it is one answer, with all items
		var answer struct {
			Event json.RawMessage   `json:"event"`
			Items []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(whole.Body, &answer); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		answer.Items = append([]json.RawMessage{}, verdicts...)
		return c.Show(e, answer, nil)
	}
	if err := printJudged(e, &last.Event); err != nil {
		return err
	}
	return output.List(e, c.Flag, verdicts, "no such subscriptions", func(found []v1.Verdict) error {
		t := output.NewTable(e.Stdout, "SUBSCRIPTION", "WANTS IT", "WHY")
		t.Wraps = true
		for i := range found {
			wants := "no"
			if found[i].Matched {
				wants = "yes"
			}
			t.Row(found[i].SubscriptionID, wants, found[i].Reason)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for i := range found {
			for j := range found[i].Filters {
				printClause(e.Stdout, &found[i].Filters[j], "  ")
			}
		}
		return nil
	})
}

// printJudged says what publishing the event would be answered.
func printJudged(e *terminal.Env, event *v1.ExplainedEvent) error {
	verdict := "valid"
	if !event.Valid {
		verdict = "would be refused"
	}
	_, _ = fmt.Fprintf(e.Stdout, "%s %s from %s: %s\n", plain.Shown(event.Type, plain.FieldLimit), plain.Shown(event.ID, plain.FieldLimit), plain.Shown(event.Source, plain.FieldLimit), verdict)
	for _, one := range event.Problems {
		_, _ = fmt.Fprintf(e.Stdout, "  %s: %s\n", plain.Shown(one.Field, plain.FieldLimit), plain.Shown(one.Message, plain.LineLimit))
	}
	_, err := fmt.Fprintln(e.Stdout)
	return err
}

// printClause shows a clause and those inside, each with a mark:
//
//	✗ filters[0].any
//	    ✗ filters[0].any[0].exact.subject "main"   subject "dev"
func printClause(w io.Writer, c *v1.Clause, indent string) {
	line := indent + "✗ " + plain.Shown(c.Path, plain.LineLimit)
	if c.Matched {
		line = indent + "✓ " + plain.Shown(c.Path, plain.LineLimit)
	}
	if c.Wanted != "" {
		line += " " + plain.Shown(strconv.Quote(c.Wanted), plain.LineLimit)
	}
	for _, v := range c.Values {
		value := strconv.Quote(v.Value)
		if v.Missing {
			value = "is missing"
		}
		line += "   " + plain.Shown(v.Name, plain.FieldLimit) + " " + plain.Shown(value, plain.LineLimit)
	}
	_, _ = fmt.Fprintln(w, line)
	for i := range c.Clauses {
		printClause(w, &c.Clauses[i], indent+"    ")
	}
}
