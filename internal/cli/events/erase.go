package events

import (
	"fmt"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
)

// eraseCmd is `jetpost events erase`.
type eraseCmd struct {
	connect.Flags
	output.Flag

	Place string `arg:"" placeholder:"DOMAIN/SEQUENCE" help:"Where the event is stored, such as git/42: lists and receipts show it."`
	Why   string `env:"-" placeholder:"TEXT" help:"Why, for the audit trail."`
}

// Help is the long text of --help.
func (c *eraseCmd) Help() string {
	return `Overwrites the data of an event in its event log, in queues, retry timers and dead letters,
and removes the answers of its receivers from the attempts, since they may repeat it. Waiting
deliveries of it are not made. The attempts stay, and the audit trail keeps the event's id,
size and SHA-256. Run it again after an error. Receivers keep what they have received.

  jetpost events erase git/42 --why 'request 1234 of the person concerned'`
}

// An erasedEvent is what is printed of the answer.
type erasedEvent struct {
	Event       bool `json:"event"`
	Deliveries  int  `json:"deliveries"`
	Retries     int  `json:"retries"`
	DeadLetters int  `json:"dead_letters"`
	Answers     int  `json:"answers"`
}

// Run erases it.
func (c *eraseCmd) Run(e *terminal.Env) error {
	place := eventPlace{Place: c.Place}
	domain, sequence, err := place.split()
	if err != nil {
		return err
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	erased, err := api.Events.Erase(e.Ctx, domain, sequence, v1.EraseReason{Reason: c.Why})
	if err != nil {
		return err
	}
	answer := erasedEvent{erased.Event, erased.Deliveries, erased.Retries, erased.DeadLetters, erased.Answers}
	return c.Show(e, answer, func() error {
		what := "erased " + c.Place
		if !answer.Event {
			what = c.Place + " was erased before; now what was left of it"
		}
		_, err := fmt.Fprintf(e.Stdout, "%s: %d waiting deliveries, %d retries, %d dead letters, %d answers of receivers\n",
			what, answer.Deliveries, answer.Retries, answer.DeadLetters, answer.Answers)
		return err
	})
}
