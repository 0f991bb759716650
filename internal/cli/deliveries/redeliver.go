package deliveries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// RedeliverCmd is `jetpost redeliver`.
type RedeliverCmd struct {
	connect.Flags
	output.Flag

	Subscription string        `arg:"" complete:"subscription" help:"Whose delivery it is."`
	Delivery     string        `arg:"" help:"Which one: the webhook-id, as jetpost attempts shows it."`
	Wait         time.Duration `env:"-" default:"10s" help:"How long to wait for the attempt. 0s: not at all."`
}

// Help is the long text of --help.
func (c *RedeliverCmd) Help() string {
	return `Makes one more attempt for a delivery in any state: delivered, waiting for its next attempt,
or given up. It has the same webhook-id, and is marked manual in the attempts. When it
succeeds no retry follows; when it fails the schedule continues. A dead letter stays one; see
"jetpost deadletters redrive" for those.

  jetpost redeliver ci dlv_0k3v9u5c8s1qkbmv2t0q7l4m8a`
}

// Run asks for the attempt and waits for it. One that failed is an error.
func (c *RedeliverCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	// The log is read from where it ended before: nothing can be missed.
	from, err := NextAttempt(e.Ctx, api, c.Subscription)
	if err != nil {
		return err
	}
	var answer client.Response
	sent, err := api.Subscriptions.Redeliver(e.Ctx, c.Subscription, c.Delivery, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	if !warnPaused(e.Stderr, sent) && c.Wait > 0 {
		a, err := c.attempt(e.Ctx, api, from)
		if err != nil {
			return err
		}
		if a != nil {
			return c.report(e, a)
		}
		_, _ = fmt.Fprintf(e.Stderr, "jetpost: no attempt within %s; see \"jetpost attempts %s\"\n", c.Wait, c.Subscription)
	}
	return c.Show(e, json.RawMessage(answer.Body), func() error {
		_, err := fmt.Fprintf(e.Stdout, "%s is on its queue\n", plain.Shown(sent.DeliveryID, plain.FieldLimit))
		return err
	})
}

// attempt returns nil when there is none in time.
func (c *RedeliverCmd) attempt(ctx context.Context, api *connect.Client, from uint64) (*v1.Attempt, error) {
	return AwaitAttempt(ctx, api, c.Subscription, from, c.Wait, func(a *v1.Attempt) bool { return a.DeliveryID == c.Delivery && a.Manual })
}

func (c *RedeliverCmd) report(e *terminal.Env, a *v1.Attempt) error {
	if err := ShowAttempt(e, c.Flag, a); err != nil {
		return err
	}
	if a.Outcome == v1.Delivered {
		return nil
	}
	return errors.New("the receiver has not accepted it")
}
