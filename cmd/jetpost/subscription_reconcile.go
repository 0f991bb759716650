package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
)

// subscriptionReconcileCmd is `jetpost subscription reconcile`.
type subscriptionReconcileCmd struct {
	apiFlags
	outputFlag

	ID     string `arg:"" complete:"subscription" help:"Which subscription."`
	DryRun bool   `env:"-" help:"Say which deliveries are missing, and make none."`
	Since  string `env:"-" placeholder:"WHEN" help:"Look at events that were stored at this time or later: 2h, for two hours ago, or 2026-01-31T12:00:00Z. Default: as far back as it is known what the subscription wanted, and what was made for it."`
}

// Help is the long text of --help.
func (c *subscriptionReconcileCmd) Help() string {
	return `Compares the events that the subscription wants, by the event logs, with its queue, retry
timers, attempts and dead letters. What is in none of them was lost with a file of NATS, and is
put on the queue again, under the same webhook-id. jetpost does so by itself when it finds the
queue, or the retry timers, damaged.

  jetpost subscription reconcile ci --dry-run
  jetpost subscription reconcile ci
  jetpost subscription reconcile ci --since 2026-01-31T12:00:00Z     also from before it was created again`
}

// Run finds what is missing, and has it made.
func (c *subscriptionReconcileCmd) Run(e *env) error {
	since, err := moment("--since", c.Since, time.Now())
	if err != nil {
		return err
	}
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	var answer client.Response
	r, err := api.Subscriptions.Reconcile(e.ctx, c.ID, v1.ReconcileOptions{DryRun: c.DryRun, Since: since}, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	return c.show(e, json.RawMessage(answer.Body), func() error { return c.print(e, r) })
}

func (c *subscriptionReconcileCmd) print(e *env, r *v1.Reconciled) error {
	for _, m := range r.Items {
		_, _ = fmt.Fprintf(e.stdout, "%s  %s/%d  %s  %s  %s\n", clock(m.Stored), shown(m.Domain, shownField), m.Sequence, shown(m.EventType, shownField), shown(m.EventID, shownField), shown(m.DeliveryID, shownField))
	}
	if more := r.Missing - uint64(len(r.Items)); more > 0 {
		_, _ = fmt.Fprintf(e.stdout, "… and %d more\n", more)
	}
	result := strconv.FormatUint(r.Made, 10) + " were made again"
	if c.DryRun {
		result = "none was made again: it is a dry run"
	}
	if !r.Complete {
		result += "; not all was looked at: run it again"
	}
	_, err := fmt.Fprintf(e.stdout, "of %d deliveries owed since %s, %d are missing; %s\n", r.Owed, r.Since.Local().Format(time.RFC3339), r.Missing, result)
	return err
}
