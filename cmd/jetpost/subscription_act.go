package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/subscription"
)

// subscriptionPauseCmd is `jetpost subscription pause`.
type subscriptionPauseCmd struct {
	apiFlags
	outputFlag

	ID     string `arg:"" complete:"subscription" help:"Which subscription."`
	Reason string `env:"-" placeholder:"TEXT" help:"Why, for those who look at it."`
}

// Help is the long text of --help.
func (c *subscriptionPauseCmd) Help() string {
	return `What is in flight is finished. Events go on being matched, and their deliveries wait in the
queue until the subscription is resumed.

  jetpost subscription pause ci --reason 'the receiver is being moved'`
}

// Run pauses it.
func (c *subscriptionPauseCmd) Run(e *env) error {
	return c.act(e, &c.apiFlags, c.ID, "/pause", map[string]string{"reason": c.Reason}, "paused: deliveries wait until \"jetpost subscription resume "+c.ID+"\"")
}

// subscriptionResumeCmd is `jetpost subscription resume`.
type subscriptionResumeCmd struct {
	apiFlags
	outputFlag

	ID string `arg:"" complete:"subscription" help:"Which subscription."`
}

// Help is the long text of --help.
func (c *subscriptionResumeCmd) Help() string {
	return `Deliveries that have waited are made at once. It also enables a subscription that was
disabled, by hand or because its receiver was gone.

  jetpost subscription resume ci`
}

// Run resumes it.
func (c *subscriptionResumeCmd) Run(e *env) error {
	return c.act(e, &c.apiFlags, c.ID, "/resume", nil, "active")
}

// act does what changes a subscription's state.
func (f outputFlag) act(e *env, flags *apiFlags, id, action string, body any, result string) error {
	api, err := flags.client(e.ctx)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := api.send(e.ctx, http.MethodPost, subscriptionPath(id, action), body, &raw); err != nil {
		return err
	}
	return f.show(e, raw, func() error {
		_, err := fmt.Fprintf(e.stdout, "subscription %s is %s\n", shown(id, shownField), shown(result, shownLine))
		return err
	})
}

// subscriptionRotateCmd is `jetpost subscription rotate`.
type subscriptionRotateCmd struct {
	apiFlags
	outputFlag

	ID      string        `arg:"" complete:"subscription" help:"Which subscription."`
	Overlap time.Duration `env:"-" default:"24h" help:"How long deliveries carry signatures by the old secrets as well, 0s to 168h. 0s: the old ones are known to others."`
	Secret  string        `env:"JETPOST_NEW_SECRET" placeholder:"SECRET" help:"The new secret. @FILE is read from a file. Default: one is made. Other users of this machine can read arguments: a file, or the environment variable, is safer."`
}

// Help is the long text of --help.
func (c *subscriptionRotateCmd) Help() string {
	return `The next attempt is signed by the new secret as well as, during the overlap, by the
old ones: receivers can change over in that time without missing a delivery.

  jetpost subscription rotate ci
  jetpost subscription rotate ci --overlap 0s      at once, when a secret has leaked`
}

// Run rotates the secret.
func (c *subscriptionRotateCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	body := map[string]string{"overlap": c.Overlap.String()}
	secret, err := secretValue("--secret", c.Secret)
	if err != nil {
		return err
	}
	if secret != "" {
		body["secret"] = secret
	}
	var raw json.RawMessage
	if err := api.send(e.ctx, http.MethodPost, subscriptionPath(c.ID, "/rotate-secret"), body, &raw); err != nil {
		return err
	}
	type answer struct {
		Secret        string    `json:"secret"`
		OldValidUntil time.Time `json:"old_valid_until"`
	}
	return showAs(e, c.outputFlag, raw, func(a *answer) error {
		_, err := fmt.Fprintf(e.stdout, "new secret of %s: %s\nThe old one signs as well until %s.\n",
			shown(c.ID, shownField), shown(a.Secret, shownField), a.OldValidUntil.Local().Format(time.RFC3339))
		return err
	})
}

// subscriptionHandshakeCmd is `jetpost subscription handshake`.
type subscriptionHandshakeCmd struct {
	apiFlags
	outputFlag

	ID   string        `arg:"" complete:"subscription" help:"Which subscription."`
	Wait time.Duration `env:"-" default:"10s" help:"How long to wait for the answer. 0s: not at all."`
}

// Help is the long text of --help.
func (c *subscriptionHandshakeCmd) Help() string {
	return `What the receiver has answered before is forgotten: it is asked by OPTIONS, as it was
before the first delivery. Where its consent is required, deliveries wait meanwhile.

  jetpost subscription handshake ci
  jetpost subscription update ci --handshake required      to have it asked at all`
}

// Run asks, and waits for the answer. One that is no consent is an error.
func (c *subscriptionHandshakeCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := api.send(e.ctx, http.MethodPost, subscriptionPath(c.ID, "/handshake"), nil, &raw); err != nil {
		return err
	}
	var s shownSubscription
	for until := time.Now().Add(c.Wait); ; {
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if s.Handshake.Consent != subscription.Pending || time.Now().After(until) {
			break
		}
		select {
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if err := api.get(e.ctx, subscriptionPath(c.ID), nil, &raw); err != nil {
			return err
		}
	}
	err = c.show(e, raw, func() error {
		_, err := fmt.Fprintf(e.stdout, "handshake of %s: %s\n", shown(c.ID, shownField), shown(handshakeLine(&s.Handshake), shownLine))
		return err
	})
	if err == nil && s.Handshake.Consent == subscription.Denied {
		err = errors.New("the receiver has not consented")
	}
	return err
}

// subscriptionTestCmd is `jetpost subscription test`.
type subscriptionTestCmd struct {
	apiFlags
	outputFlag

	ID   string        `arg:"" complete:"subscription" help:"Which subscription."`
	Type string        `env:"-" complete:"type" placeholder:"TYPE" help:"Which of its types to send an example of. Default: the first."`
	Wait time.Duration `env:"-" default:"10s" help:"How long to wait for the first attempt. 0s: not at all."`
}

// Help is the long text of --help.
func (c *subscriptionTestCmd) Help() string {
	return `The event is the example of its type in the catalogue, and goes to this subscription only,
whatever its filters are. Exits with 1 when the receiver has not accepted it.

  jetpost subscription test ci
  jetpost subscription test ci --type git.pull_request --wait 30s`
}

// Run sends the event and waits for its first attempt. An attempt that failed is
// an error.
func (c *subscriptionTestCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	// The log is read from where it ended before: nothing can be missed.
	var before struct {
		Items []delivery.Attempt `json:"items"`
	}
	if err := api.get(e.ctx, subscriptionPath(c.ID, "/attempts"), url.Values{"limit": {"1"}}, &before); err != nil {
		return err
	}
	body := map[string]string{}
	if c.Type != "" {
		body["type"] = c.Type
	}
	var sent struct {
		DeliveryID string `json:"delivery_id"`
		EventID    string `json:"event_id"`
		EventType  string `json:"event_type"`
		State      string `json:"state"`
	}
	var raw json.RawMessage
	if err := api.send(e.ctx, http.MethodPost, subscriptionPath(c.ID, "/test"), body, &raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &sent); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if c.people() {
		_, _ = fmt.Fprintf(e.stdout, "sent %s as %s\n", shown(sent.EventType, shownField), shown(sent.DeliveryID, shownField))
	}
	switch {
	case sent.State == string(subscription.Paused):
		_, _ = fmt.Fprintf(e.stderr, "jetpost: the subscription is paused, so the delivery waits\n")
	case c.Wait > 0:
		from := uint64(1)
		if len(before.Items) > 0 {
			from = before.Items[0].Sequence + 1
		}
		attempt, err := c.firstAttempt(e.ctx, api, sent.DeliveryID, from)
		if err != nil || attempt != nil {
			return errors.Join(err, c.report(e, attempt))
		}
		_, _ = fmt.Fprintf(e.stderr, "jetpost: no attempt within %s; see \"jetpost attempts %s\"\n", c.Wait, c.ID)
	}
	return c.show(e, raw, func() error { return nil }) // people have been told
}

// firstAttempt returns nil when there is none in time.
func (c *subscriptionTestCmd) firstAttempt(ctx context.Context, api *client, id string, from uint64) (*delivery.Attempt, error) {
	return awaitAttempt(ctx, api, c.ID, from, c.Wait, func(a *delivery.Attempt) bool { return a.DeliveryID == id })
}

// awaitAttempt returns the first attempt that is wanted of those that a subscription
// has in its log after from, or nil when there is none in time.
func awaitAttempt(ctx context.Context, api *client, id string, from uint64, wait time.Duration, wanted func(*delivery.Attempt) bool) (*delivery.Attempt, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var found *delivery.Attempt
	err := api.follow(ctx, subscriptionPath(id, "/attempts"), url.Values{"from_seq": {strconv.FormatUint(from, 10)}}, func(line []byte) error {
		var a delivery.Attempt
		if err := json.Unmarshal(line, &a); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if wanted(&a) {
			found = &a
			return io.EOF
		}
		return nil
	})
	if found != nil || ctx.Err() != nil {
		return found, nil
	}
	return nil, err
}

// attempted prints an attempt that a person has asked for, and its answer.
func (f outputFlag) attempted(e *env, a *delivery.Attempt) error {
	return f.show(e, a, func() error {
		if err := printAttempt(e.stdout, a, false); err != nil || a.ResponseBody == "" {
			return err
		}
		_, err := fmt.Fprintln(e.stdout, "    "+shown(a.ResponseBody, shownLine))
		return err
	})
}

// sequenceAfter is where a log goes on after a record of it.
func sequenceAfter(record json.RawMessage) (uint64, error) {
	var at struct {
		Sequence uint64 `json:"sequence"`
	}
	if err := json.Unmarshal(record, &at); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return at.Sequence + 1, nil
}

// report prints an attempt. One that failed is an error.
func (c *subscriptionTestCmd) report(e *env, a *delivery.Attempt) error {
	if a == nil {
		return nil
	}
	if err := c.attempted(e, a); err != nil {
		return err
	}
	switch a.Outcome {
	case delivery.Delivered:
		return nil
	case delivery.Retry:
		return errors.New("the receiver has not accepted it; it will be tried again")
	case delivery.Gone, delivery.Rejected, delivery.Exhausted:
	}
	return fmt.Errorf("the receiver has not accepted it, and it will not be tried again: %s", a.Outcome)
}
