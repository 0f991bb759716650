package main

import (
	"strconv"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
)

// sendersCmd is `jetpost senders`.
type sendersCmd struct {
	apiFlags
	outputFlag

	Subscription string `env:"-" complete:"subscription" placeholder:"ID" help:"Only those that make the deliveries of this subscription."`
}

// Help is the long text of --help.
func (c *sendersCmd) Help() string {
	return `Senders share the subscriptions among themselves: each belongs to one of them, or to as
many as its delivery.senders says. One that dies is missed after five seconds, one that is
stopped hands over at once.

  jetpost senders
  jetpost senders --subscription ci                who makes the deliveries of ci
  jetpost subscription update ci --senders 3       more of them at a time`
}

// Run lists them.
func (c *sendersCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	var answer client.Response
	if _, err := api.Senders.List(e.ctx, c.Subscription, client.WithResponse(&answer)); err != nil {
		return err
	}
	items, err := rawItems(answer.Body)
	if err != nil {
		return err
	}
	return showList(e, c.outputFlag, items, c.nobody(), func(senders []v1.Sender) error {
		t := newTable(e.stdout, "ID", "HOST", "VERSION", "STARTED", "LAST SEEN", "STATE", "SUBSCRIPTIONS")
		for _, s := range senders {
			state := "alive"
			if s.Draining {
				state = "draining"
			}
			t.row(s.ID, s.Host, s.Version, shortClock(s.Started), shortClock(s.LastSeen), state, strconv.Itoa(s.Subscriptions))
		}
		return t.flush()
	})
}

func (c *sendersCmd) nobody() string {
	text := "no sender is alive: deliveries wait until one is started (jetpost serve --roles sender)"
	if c.Subscription != "" {
		text = "no sender makes deliveries of " + shown(c.Subscription, shownField) + ": it is not active, or no sender is alive"
	}
	return text
}
