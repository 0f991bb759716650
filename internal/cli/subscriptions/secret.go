package subscriptions

import (
	"fmt"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// secretCmd is `jetpost subscription secret`.
type secretCmd struct {
	connect.Flags
	output.Flag

	ID string `arg:"" complete:"subscription" help:"Which subscription."`
}

// Help is the long text of --help.
func (c *secretCmd) Help() string {
	return `Prints the secrets that sign its deliveries now, one per line: the newest first, and during a
rotation the older ones below.

  jetpost subscription secret ci
  JETPOST_RECEIVER_SECRET=$(jetpost subscription secret ci | head -1) jetpost receiver`
}

// Run prints them.
func (c *secretCmd) Run(e *terminal.Env) error {
	a, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.Secrets, error) {
		return api.Subscriptions.Secret(e.Ctx, c.ID, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error {
		if len(a.Secrets) == 0 {
			_, _ = fmt.Fprintln(e.Stderr, "it has no signing secret")
		}
		for _, secret := range a.Secrets {
			if terminal.IsTerminal(e.Stdout) {
				secret = plain.Shown(secret, plain.LineLimit)
			}
			_, _ = fmt.Fprintln(e.Stdout, secret) // a program gets it as it is
		}
		return nil
	})
}
