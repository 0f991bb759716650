package subscriptions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/deliveries"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// pauseCmd is `jetpost subscription pause`.
type pauseCmd struct {
	connect.Flags
	output.Flag

	ID     string `arg:"" complete:"subscription" help:"Which subscription."`
	Reason string `env:"-" placeholder:"TEXT" help:"The reason, which the API shows."`
}

// Help is the long text of --help.
func (c *pauseCmd) Help() string {
	return `Requests in flight are finished. Events are still matched, and their deliveries wait in the
queue until the subscription is resumed.

  jetpost subscription pause ci --reason 'the receiver is being moved'`
}

// Run pauses it.
func (c *pauseCmd) Run(e *terminal.Env) error {
	return act(e, c.Flag, &c.Flags, c.ID, func(api *connect.Client, o client.Option) error {
		_, err := api.Subscriptions.Pause(e.Ctx, c.ID, v1.PauseOptions{Reason: c.Reason}, o)
		return err
	}, "paused: deliveries wait until \"jetpost subscription resume "+c.ID+"\"")
}

// resumeCmd is `jetpost subscription resume`.
type resumeCmd struct {
	connect.Flags
	output.Flag

	ID string `arg:"" complete:"subscription" help:"Which subscription."`
}

// Help is the long text of --help.
func (c *resumeCmd) Help() string {
	return `Waiting deliveries are made at once. Also enables a subscription that was disabled, by hand
or because its receiver answered 410.

  jetpost subscription resume ci`
}

// Run resumes it.
func (c *resumeCmd) Run(e *terminal.Env) error {
	return act(e, c.Flag, &c.Flags, c.ID, func(api *connect.Client, o client.Option) error {
		_, err := api.Subscriptions.Resume(e.Ctx, c.ID, o)
		return err
	}, "active")
}

// act does what changes a subscription's state.
func act(e *terminal.Env, f output.Flag, flags *connect.Flags, id string, do func(*connect.Client, client.Option) error, result string) error {
	api, err := flags.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	var answer client.Response
	if err := do(api, client.WithResponse(&answer)); err != nil {
		return err
	}
	return f.Show(e, json.RawMessage(answer.Body), func() error {
		_, err := fmt.Fprintf(e.Stdout, "subscription %s is %s\n", plain.Shown(id, plain.FieldLimit), plain.Shown(result, plain.LineLimit))
		return err
	})
}

// rotateCmd is `jetpost subscription rotate`.
type rotateCmd struct {
	connect.Flags
	output.Flag

	ID      string        `arg:"" complete:"subscription" help:"Which subscription."`
	Overlap time.Duration `env:"-" default:"24h" help:"How long deliveries carry signatures by the old secrets as well, 0s to 168h. 0s: the old ones are known to others."`
	Secret  string        `env:"JETPOST_NEW_SECRET" placeholder:"SECRET" help:"The new secret. @FILE is read from a file. Default: one is made. Other users of this machine can read arguments: a file, or the environment variable, is safer."`
}

// Help is the long text of --help.
func (c *rotateCmd) Help() string {
	return `The next attempt is signed with the new secret and, during the overlap, with the old ones:
receivers can switch in that time without missing a delivery.

  jetpost subscription rotate ci
  jetpost subscription rotate ci --overlap 0s      at once, when a secret has leaked`
}

// Run rotates the secret.
func (c *rotateCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	overlap := v1.Duration(c.Overlap)
	body := v1.RotateOptions{Overlap: &overlap}
	if body.Secret, err = input.Secret("--secret", c.Secret); err != nil {
		return err
	}
	var answer client.Response
	a, err := api.Subscriptions.RotateSecret(e.Ctx, c.ID, body, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	return c.Show(e, json.RawMessage(answer.Body), func() error {
		_, err := fmt.Fprintf(e.Stdout, "new secret of %s: %s\nThe old one signs as well until %s.\n",
			plain.Shown(c.ID, plain.FieldLimit), plain.Shown(a.Secret, plain.FieldLimit), a.OldValidUntil.Local().Format(time.RFC3339))
		return err
	})
}

// handshakeCmd is `jetpost subscription handshake`.
type handshakeCmd struct {
	connect.Flags
	output.Flag

	ID   string        `arg:"" complete:"subscription" help:"Which subscription."`
	Wait time.Duration `env:"-" default:"10s" help:"How long to wait for the answer. 0s: not at all."`
}

// Help is the long text of --help.
func (c *handshakeCmd) Help() string {
	return `Discards the receiver's earlier answer and asks it again by OPTIONS, as before the first
delivery. Where its consent is required, deliveries wait meanwhile.

  jetpost subscription handshake ci
  jetpost subscription update ci --handshake required      to enable it`
}

// Run asks, and waits for the answer. One that is no consent is an error.
func (c *handshakeCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	var answer client.Response
	s, err := api.Subscriptions.AskForConsent(e.Ctx, c.ID, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	for until := time.Now().Add(c.Wait); ; {
		if s.Handshake.Consent != v1.Pending || time.Now().After(until) {
			break
		}
		select {
		case <-e.Ctx.Done():
			return e.Ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if s, err = api.Subscriptions.Get(e.Ctx, c.ID, client.WithResponse(&answer)); err != nil {
			return err
		}
	}
	err = c.Show(e, json.RawMessage(answer.Body), func() error {
		_, err := fmt.Fprintf(e.Stdout, "handshake of %s: %s\n", plain.Shown(c.ID, plain.FieldLimit), plain.Shown(handshakeLine(&s.Handshake), plain.LineLimit))
		return err
	})
	if err == nil && s.Handshake.Consent == v1.Denied {
		err = errors.New("the receiver has not consented")
	}
	return err
}

// testCmd is `jetpost subscription test`.
type testCmd struct {
	connect.Flags
	output.Flag

	ID   string        `arg:"" complete:"subscription" help:"Which subscription."`
	Type string        `env:"-" complete:"type" placeholder:"TYPE" help:"Which of its types to send an example of. Default: the first."`
	Wait time.Duration `env:"-" default:"10s" help:"How long to wait for the first attempt. 0s: not at all."`
}

// Help is the long text of --help.
func (c *testCmd) Help() string {
	return `The event is the example of its type in the catalogue, and goes to this subscription only,
whatever its filters are. Exits with 1 when the receiver has not accepted it.

  jetpost subscription test ci
  jetpost subscription test ci --type git.pull_request --wait 30s`
}

// Run sends the event and waits for its first attempt. An attempt that failed is
// an error.
func (c *testCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	// The log is read from where it ended before: nothing can be missed.
	from, err := deliveries.NextAttempt(e.Ctx, api, c.ID)
	if err != nil {
		return err
	}
	var answer client.Response
	sent, err := api.Subscriptions.Test(e.Ctx, c.ID, v1.TestOptions{Type: c.Type}, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	if c.People() {
		_, _ = fmt.Fprintf(e.Stdout, "sent %s as %s\n", plain.Shown(sent.EventType, plain.FieldLimit), plain.Shown(sent.DeliveryID, plain.FieldLimit))
	}
	switch {
	case sent.State == string(v1.Paused):
		_, _ = fmt.Fprintf(e.Stderr, "jetpost: the subscription is paused, so the delivery waits\n")
	case c.Wait > 0:
		attempt, err := c.firstAttempt(e.Ctx, api, sent.DeliveryID, from)
		if err != nil || attempt != nil {
			return errors.Join(err, c.report(e, attempt))
		}
		_, _ = fmt.Fprintf(e.Stderr, "jetpost: no attempt within %s; see \"jetpost attempts %s\"\n", c.Wait, c.ID)
	}
	return c.Show(e, json.RawMessage(answer.Body), func() error { return nil }) // people have read it
}

// firstAttempt returns nil when there is none in time.
func (c *testCmd) firstAttempt(ctx context.Context, api *connect.Client, id string, from uint64) (*v1.Attempt, error) {
	return deliveries.AwaitAttempt(ctx, api, c.ID, from, c.Wait, func(a *v1.Attempt) bool { return a.DeliveryID == id })
}

// report prints an attempt. One that failed is an error.
func (c *testCmd) report(e *terminal.Env, a *v1.Attempt) error {
	if a == nil {
		return nil
	}
	if err := deliveries.ShowAttempt(e, c.Flag, a); err != nil {
		return err
	}
	switch a.Outcome {
	case v1.Delivered:
		return nil
	case v1.Retry:
		return errors.New("the receiver has not accepted it; it will be tried again")
	case v1.Gone, v1.Rejected, v1.Exhausted:
	}
	return fmt.Errorf("the receiver has not accepted it, and it will not be tried again: %s", a.Outcome)
}
