package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/jetpost/jetpost/delivery"
)

// redeliverCmd is `jetpost redeliver`.
type redeliverCmd struct {
	apiFlags
	outputFlag

	Subscription string        `arg:"" complete:"subscription" help:"Whose delivery it is."`
	Delivery     string        `arg:"" help:"Which one: the webhook-id, as jetpost attempts shows it."`
	Wait         time.Duration `env:"-" default:"10s" help:"How long to wait for the attempt. 0s: not at all."`
}

// Help is the long text of --help.
func (c *redeliverCmd) Help() string {
	return `Makes one more request for a delivery, whatever has become of it: delivered, waiting for
its next attempt, or given up. It has the same webhook-id as before, and is marked manual in
the attempts. When it succeeds no retry follows; when it fails, what the schedule has planned
is done all the same. A dead letter stays one; see "jetpost deadletters redrive" for those.

  jetpost redeliver ci dlv_0k3v9u5c8s1qkbmv2t0q7l4m8a`
}

// Run asks for the attempt and waits for it. One that failed is an error.
func (c *redeliverCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	// The log is read from where it ended before: nothing can be missed.
	before, err := listRecords(e.ctx, api, subscriptionPath(c.Subscription, "/attempts"), 1)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	path := subscriptionPath(c.Subscription, "/deliveries/", url.PathEscape(c.Delivery), "/redeliver")
	if err := api.send(e.ctx, http.MethodPost, path, nil, &raw); err != nil {
		return err
	}
	var sent queuedAgain
	if err := json.Unmarshal(raw, &sent); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !sent.warn(e.stderr) && c.Wait > 0 {
		from := uint64(1)
		if len(before) > 0 {
			if from, err = sequenceAfter(before[0]); err != nil {
				return err
			}
		}
		a, err := c.attempt(e.ctx, api, from)
		if err != nil {
			return err
		}
		if a != nil {
			return c.report(e, a)
		}
		_, _ = fmt.Fprintf(e.stderr, "jetpost: no attempt within %s; see \"jetpost attempts %s\"\n", c.Wait, c.Subscription)
	}
	return c.show(e, raw, func() error {
		_, err := fmt.Fprintf(e.stdout, "%s is on its queue\n", shown(sent.DeliveryID, shownField))
		return err
	})
}

// attempt returns nil when there is none in time.
func (c *redeliverCmd) attempt(ctx context.Context, api *client, from uint64) (*delivery.Attempt, error) {
	return awaitAttempt(ctx, api, c.Subscription, from, c.Wait, func(a *delivery.Attempt) bool { return a.DeliveryID == c.Delivery && a.Manual })
}

func (c *redeliverCmd) report(e *env, a *delivery.Attempt) error {
	if err := c.attempted(e, a); err != nil {
		return err
	}
	if a.Outcome == delivery.Delivered {
		return nil
	}
	return errors.New("the receiver has not accepted it")
}
