package main

import (
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/subscription"
)

// subscriptionBacklogCmd is `jetpost subscription backlog`.
type subscriptionBacklogCmd struct {
	apiFlags
	outputFlag

	ID    string `arg:"" optional:"" complete:"subscription" help:"Which subscription. Default: those with most that waits."`
	Sort  string `env:"-" default:"waiting" enum:"waiting,oldest" placeholder:"ORDER" help:"Of a list: waiting, most first; or oldest, what has waited longest first."`
	Limit int    `short:"n" env:"-" default:"50" placeholder:"N" help:"How many to list, up to 500."`
}

// Help is the long text of --help.
func (c *subscriptionBacklogCmd) Help() string {
	return `Shows how many deliveries wait, since when, how many are in flight, and how many wait for
the time of their next attempt.

  jetpost subscription backlog
  jetpost subscription backlog --sort oldest -n 10
  jetpost subscription backlog ci`
}

// Run shows it.
func (c *subscriptionBacklogCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	if c.ID != "" {
		var raw json.RawMessage
		if err := api.get(e.ctx, subscriptionPath(c.ID, "/backlog"), nil, &raw); err != nil {
			return err
		}
		return showAs(e, c.outputFlag, raw, func(b *waitingState) error { return printBacklogs(e, []waitingState{*b}, true) })
	}
	var page struct {
		Items []json.RawMessage `json:"items"`
	}
	query := url.Values{"sort": {c.Sort}, "limit": {strconv.Itoa(c.Limit)}}
	if err := api.get(e.ctx, "/v1/backlogs", query, &page); err != nil {
		return err
	}
	return showList(e, c.outputFlag, page.Items, "no subscriptions", func(all []waitingState) error { return printBacklogs(e, all, false) })
}

// waitingState is a backlog, as the API answers.
type waitingState struct {
	SubscriptionID string                `json:"subscription_id"`
	State          string                `json:"state"`
	Breaker        string                `json:"breaker"`
	Waiting        uint64                `json:"waiting"`
	InFlight       uint64                `json:"in_flight"`
	OldestAge      subscription.Duration `json:"oldest_age"`
	Retries        uint64                `json:"retries"`
	NextRetryAt    time.Time             `json:"next_retry_at"`
	OverBudgetAt   time.Time             `json:"filters_over_budget_at"`
	NoQueue        bool                  `json:"no_queue"`
}

// printBacklogs prints them, with when the next retry is due where one subscription was
// asked for: the API does not look for it in lists.
func printBacklogs(e *env, all []waitingState, one bool) error {
	header := []string{"SUBSCRIPTION", "STATE", "BREAKER", "WAITING", "OLDEST", "IN FLIGHT", "RETRIES", "NEXT RETRY"}
	if !one {
		header = header[:len(header)-1]
	}
	t := newTable(e.stdout, header...)
	for i := range all {
		b := &all[i]
		oldest, next, state := "", "", b.State
		if b.OldestAge > 0 {
			oldest = b.OldestAge.String()
		}
		if !b.NextRetryAt.IsZero() {
			next = clock(b.NextRetryAt)
		}
		if b.NoQueue {
			state += ", no queue"
		}
		if !b.OverBudgetAt.IsZero() {
			state += ", filters over budget at " + clock(b.OverBudgetAt)
		}
		row := []string{b.SubscriptionID, state, b.Breaker, strconv.FormatUint(b.Waiting, 10), oldest, strconv.FormatUint(b.InFlight, 10), strconv.FormatUint(b.Retries, 10), next}
		t.row(row[:len(header)]...)
	}
	return t.flush()
}
