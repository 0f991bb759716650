package installation

import (
	"strconv"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// SendersCmd is `jetpost senders`.
type SendersCmd struct {
	connect.Flags
	output.Flag

	Subscription string `env:"-" complete:"subscription" placeholder:"ID" help:"Only those that make the deliveries of this subscription."`
}

// Help is the long text of --help.
func (c *SendersCmd) Help() string {
	return `Senders divide the subscriptions among themselves: each belongs to one sender, or to as many
as its delivery.senders. A crashed sender is replaced after five seconds, a stopped one at
once.

  jetpost senders
  jetpost senders --subscription ci                who makes the deliveries of ci
  jetpost subscription update ci --senders 3       more of them at a time`
}

// Run lists them.
func (c *SendersCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	var answer client.Response
	if _, err := api.Senders.List(e.Ctx, c.Subscription, client.WithResponse(&answer)); err != nil {
		return err
	}
	items, err := connect.RawItems(answer.Body)
	if err != nil {
		return err
	}
	return output.List(e, c.Flag, items, c.none(), func(senders []v1.Sender) error {
		t := output.NewTable(e.Stdout, "ID", "HOST", "VERSION", "STARTED", "LAST SEEN", "STATE", "SUBSCRIPTIONS")
		for _, s := range senders {
			state := "alive"
			if s.Draining {
				state = "draining"
			}
			t.Row(s.ID, s.Host, s.Version, output.ShortClock(s.Started), output.ShortClock(s.LastSeen), state, strconv.Itoa(s.Subscriptions))
		}
		return t.Flush()
	})
}

func (c *SendersCmd) none() string {
	text := "no sender is alive: deliveries wait until one is started (jetpost serve --roles sender)"
	if c.Subscription != "" {
		text = "no sender makes deliveries of " + plain.Shown(c.Subscription, plain.FieldLimit) + ": it is not active, or no sender is alive"
	}
	return text
}
