package main

import (
	"encoding/json"
	"fmt"
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
	var raw json.RawMessage
	if err := api.get(e.ctx, subscriptionPath(c.ID, "/secret"), nil, &raw); err != nil {
		return err
	}
	type answer struct {
		Secrets []string `json:"secrets"`
	}
	return showAs(e, c.outputFlag, raw, func(a *answer) error {
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
