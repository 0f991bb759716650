package main

import (
	"encoding/json"
	"fmt"

	"github.com/jetpost/jetpost/client"
)

// subscriptionSecretCmd is `jetpost subscription secret`.
type subscriptionSecretCmd struct {
	apiFlags
	outputFlag

	ID string `arg:"" complete:"subscription" help:"Which subscription."`
}

// Help is the long text of --help.
func (c *subscriptionSecretCmd) Help() string {
	return `Prints the secrets that sign its deliveries now, one in each line: the newest first, and
while it is rotated the older ones below.

  jetpost subscription secret ci
  JETPOST_RECEIVER_SECRET=$(jetpost subscription secret ci | head -1) jetpost receiver`
}

// Run prints them.
func (c *subscriptionSecretCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	var answer client.Response
	a, err := api.Subscriptions.Secret(e.ctx, c.ID, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	return c.show(e, json.RawMessage(answer.Body), func() error {
		if len(a.Secrets) == 0 {
			_, _ = fmt.Fprintln(e.stderr, "it has no signing secret")
		}
		for _, secret := range a.Secrets {
			if isTerminal(e.stdout) {
				secret = shown(secret, shownLine)
			}
			_, _ = fmt.Fprintln(e.stdout, secret) // a program gets it as it is
		}
		return nil
	})
}
