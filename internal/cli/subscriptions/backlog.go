package subscriptions

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
)

// backlogCmd is `jetpost subscription backlog`.
type backlogCmd struct {
	connect.Flags
	output.Flag

	ID    string `arg:"" optional:"" complete:"subscription" help:"Which subscription. Default: those with most that waits."`
	Sort  string `env:"-" default:"waiting" enum:"waiting,oldest" placeholder:"ORDER" help:"Of a list: waiting, most first; or oldest, what has waited longest first."`
	Limit int    `short:"n" env:"-" default:"50" placeholder:"N" help:"How many to list, up to 500."`
}

// Help is the long text of --help.
func (c *backlogCmd) Help() string {
	return `Shows how many deliveries wait, since when, how many are in flight, and how many wait for
the time of their next attempt.

  jetpost subscription backlog
  jetpost subscription backlog --sort oldest -n 10
  jetpost subscription backlog ci`
}

// Run shows it.
func (c *backlogCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	if c.ID != "" {
		var answer client.Response
		b, err := api.Subscriptions.Backlog(e.Ctx, c.ID, client.WithResponse(&answer))
		if err != nil {
			return err
		}
		return c.Show(e, json.RawMessage(answer.Body), func() error { return printBacklogs(e, []v1.Backlog{*b}, true) })
	}
	items, err := c.list(e.Ctx, api)
	if err != nil {
		return err
	}
	return output.List(e, c.Flag, items, "no subscriptions", func(all []v1.Backlog) error { return printBacklogs(e, all, false) })
}

// list is the first page.
func (c *backlogCmd) list(ctx context.Context, api *connect.Client) ([]json.RawMessage, error) {
	if c.Limit == 0 { // which the API takes for none given
		return nil, errors.New("query.limit: expected number >= 1")
	}
	var answer client.Response
	f := client.BacklogFilter{Sort: c.Sort, Paging: client.Paging{PageSize: c.Limit}}
	for _, err := range api.Subscriptions.BacklogPages(ctx, f, client.WithResponse(&answer)) {
		if err != nil {
			return nil, err
		}
		break
	}
	return connect.RawItems(answer.Body)
}

// printBacklogs prints them, with when the next retry is due where one subscription was
// asked for: the API does not look for it in lists.
func printBacklogs(e *terminal.Env, all []v1.Backlog, one bool) error {
	header := []string{"SUBSCRIPTION", "STATE", "BREAKER", "WAITING", "OLDEST", "IN FLIGHT", "RETRIES", "NEXT RETRY"}
	if !one {
		header = header[:len(header)-1]
	}
	t := output.NewTable(e.Stdout, header...)
	for i := range all {
		b := &all[i]
		oldest, next, state := "", "", string(b.State)
		if b.OldestAge > 0 {
			oldest = b.OldestAge.String()
		}
		if !b.NextRetryAt.IsZero() {
			next = output.Clock(b.NextRetryAt)
		}
		if b.NoQueue {
			state += ", no queue"
		}
		if !b.OverBudgetAt.IsZero() {
			state += ", filters over budget at " + output.Clock(b.OverBudgetAt)
		}
		row := []string{b.SubscriptionID, state, b.Breaker, strconv.FormatUint(b.Waiting, 10), oldest, strconv.FormatUint(b.InFlight, 10), strconv.FormatUint(b.Retries, 10), next}
		t.Row(row[:len(header)]...)
	}
	return t.Flush()
}
