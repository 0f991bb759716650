package installation

import (
	"fmt"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// StorageCmd is `jetpost storage`.
type StorageCmd struct {
	Show       storageShowCmd   `cmd:"" default:"withargs" help:"Show what streams have lost, and queues without a subscription. The default."`
	AcceptLoss storageAcceptCmd `cmd:"" name:"accept-loss" help:"Accept the losses of streams, and continue without them."`
}

// Help is the long text of --help.
func (c *StorageCmd) Help() string {
	return `jetpost records its streams and their last sequences. A missing stream, or one with fewer
messages than recorded, is a loss: the log and /readyz report it, and the stream is not
created again before the loss is accepted. See docs/storage-faults.md.

  jetpost storage
  jetpost storage accept-loss all`
}

// storageShowCmd is `jetpost storage show`.
type storageShowCmd struct {
	connect.Flags
	output.Flag
}

// Help is the long text of --help.
func (c *storageShowCmd) Help() string {
	return `Accepted losses are shown with the actor who accepted them.

  jetpost storage
  jetpost storage show --output json`
}

// Run prints it.
func (c *storageShowCmd) Run(e *terminal.Env) error {
	s, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.Storage, error) {
		return api.Storage.Get(e.Ctx, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error { return printStorage(e, s) })
}

func printStorage(e *terminal.Env, s *v1.Storage) error {
	_, err := fmt.Fprintln(e.Stdout, "installation", plain.Shown(s.Installation, plain.FieldLimit))
	for _, l := range s.Losses {
		state := "not accepted"
		if !l.Accepted.IsZero() {
			state = "accepted " + l.Accepted.Local().Format(time.RFC3339) + " by " + plain.Shown(l.By, plain.FieldLimit)
		}
		_, err = fmt.Fprintf(e.Stdout, "%s  lost  %s  %s  (%s)\n", l.Found.Local().Format(time.RFC3339), plain.Shown(l.Stream, plain.FieldLimit), plain.Shown(l.Detail, plain.LineLimit), state)
	}
	for _, q := range s.Unowned {
		_, err = fmt.Fprintf(e.Stdout, "queue %s has no subscription %s: %s deliveries wait in it\n", plain.Shown(q.Stream, plain.FieldLimit), plain.Shown(q.Subscription, plain.FieldLimit), strconv.FormatUint(q.Messages, 10))
	}
	if len(s.Losses)+len(s.Unowned) == 0 {
		_, err = fmt.Fprintln(e.Stdout, "nothing is lost")
	}
	return err
}

// storageAcceptCmd is `jetpost storage accept-loss`.
type storageAcceptCmd struct {
	connect.Flags
	output.Flag

	Streams []string `arg:"" name:"stream" help:"The streams whose losses are accepted, as /readyz and the log name them; all for all of them."`
	Reason  string   `env:"-" placeholder:"TEXT" help:"Why, for the audit trail."`
}

// Help is the long text of --help.
func (c *storageAcceptCmd) Help() string {
	return `Missing streams are created again, empty. This needs a token with the role admin; while
jetpost waits for it, only the server's own token works. jetpost serve --accept-loss does the
same at the start.

  jetpost storage accept-loss all --reason 'no backup'`
}

// Run accepts, and prints what is left.
func (c *storageAcceptCmd) Run(e *terminal.Env) error {
	s, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.Storage, error) {
		return api.Storage.AcceptLoss(e.Ctx, &v1.AcceptOptions{Streams: c.Streams, Reason: c.Reason}, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error { return printStorage(e, s) })
}
