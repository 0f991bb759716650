package subscriptions

import (
	"fmt"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// reconcileCmd is `jetpost subscription reconcile`.
type reconcileCmd struct {
	connect.Flags
	output.Flag

	ID     string `arg:"" complete:"subscription" help:"Which subscription."`
	DryRun bool   `env:"-" help:"List the missing deliveries without making them."`
	Since  string `env:"-" placeholder:"WHEN" help:"Check events stored at this time or later: 2h, for two hours ago, or 2026-01-31T12:00:00Z. Default: as far back as the subscription's filters and deliveries are known."`
}

// Help is the long text of --help.
func (c *reconcileCmd) Help() string {
	return `Compares the events that the subscription wants, by the event logs, with its queue, retry
timers, attempts and dead letters. Deliveries that are in none of them were lost with a
file of NATS, and are put on the queue again, under the same webhook-id. jetpost does so
automatically when it finds the queue, or the retry timers, damaged.

  jetpost subscription reconcile ci --dry-run
  jetpost subscription reconcile ci
  jetpost subscription reconcile ci --since 2026-01-31T12:00:00Z     also from before it was created again`
}

// Run finds what is missing, and has it made.
func (c *reconcileCmd) Run(e *terminal.Env) error {
	since, err := input.Time("--since", c.Since, time.Now())
	if err != nil {
		return err
	}
	r, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.Reconciled, error) {
		return api.Subscriptions.Reconcile(e.Ctx, c.ID, v1.ReconcileOptions{DryRun: c.DryRun, Since: since}, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error { return c.print(e, r) })
}

func (c *reconcileCmd) print(e *terminal.Env, r *v1.Reconciled) error {
	for _, m := range r.Items {
		_, _ = fmt.Fprintf(e.Stdout, "%s  %s/%d  %s  %s  %s\n", output.Clock(m.Stored), plain.Shown(m.Domain, plain.FieldLimit), m.Sequence, plain.Shown(m.EventType, plain.FieldLimit), plain.Shown(m.EventID, plain.FieldLimit), plain.Shown(m.DeliveryID, plain.FieldLimit))
	}
	if more := r.Missing - uint64(len(r.Items)); more > 0 {
		_, _ = fmt.Fprintf(e.Stdout, "… and %d more\n", more)
	}
	result := strconv.FormatUint(r.Made, 10) + " were made again"
	if c.DryRun {
		result = "none was made again: it is a dry run"
	}
	if !r.Complete {
		result += "; not all events were checked: run it again"
	}
	_, err := fmt.Fprintf(e.Stdout, "of %d deliveries owed since %s, %d are missing; %s\n", r.Owed, r.Since.Local().Format(time.RFC3339), r.Missing, result)
	return err
}
