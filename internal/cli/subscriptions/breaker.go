package subscriptions

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription"
)

// breakerCmd is `jetpost subscription breaker`.
type breakerCmd struct {
	connect.Flags
	output.Flag

	ID    string `arg:"" complete:"subscription" help:"Which subscription."`
	Reset bool   `env:"-" help:"Close it: deliveries that wait are made at once."`
}

// Help is the long text of --help.
func (c *breakerCmd) Help() string {
	return `The breaker opens when the endpoint fails many requests in a row. Deliveries then wait,
except one at a time, which probes the endpoint.

  jetpost subscription breaker ci
  jetpost subscription breaker ci --reset                                           do not wait for the next probe
  jetpost subscription update ci --patch '{"delivery":{"breaker":{"failures":50}}}'
  jetpost subscription update ci --patch '{"delivery":{"breaker":{"mode":"off"}}}'`
}

// Run shows the breaker, or closes it.
func (c *breakerCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	ask := api.Subscriptions.Breaker
	if c.Reset {
		ask = api.Subscriptions.ResetBreaker
	}
	var answer client.Response
	b, err := ask(e.Ctx, c.ID, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	return c.Show(e, json.RawMessage(answer.Body), func() error {
		_, _ = fmt.Fprintln(e.Stdout, plain.Shown("breaker of "+c.ID, plain.LineLimit))
		return output.Details(e.Stdout, breakerLines(b)...)
	})
}

func breakerLines(b *v1.BreakerState) []string {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Local().Format(time.RFC3339)
	}
	count := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	last := lastFailure(b)
	if last != "" && !b.LastFailure.IsZero() {
		last += ", at " + at(b.LastFailure)
	}
	next := at(b.NextProbe)
	if b.Probing {
		next = "being made"
	}
	return []string{
		"state", b.State, "since", at(b.Since), "reason", b.Reason, "down since", at(b.DownSince),
		"last failure", last, "failures", count(b.Failures), "successes", count(b.Successes),
		"next probe", next, "has opened", strconv.Itoa(b.Opened) + " times",
	}
}

// lastFailure is how the endpoint has failed last; empty when it has not.
func lastFailure(b *v1.BreakerState) string {
	switch {
	case b.LastStatus != 0 && b.LastError != "":
		return "status " + strconv.Itoa(b.LastStatus) + ", " + b.LastError
	case b.LastStatus != 0:
		return "status " + strconv.Itoa(b.LastStatus)
	}
	return b.LastError
}

// breakerLine says for a subscription when its breaker opens and, where it is known,
// how it stands.
func breakerLine(terms v1.Breaker, b *v1.BreakerState) string {
	if terms.Mode == subscription.BreakerOff {
		return "off"
	}
	if terms.Mode == "" { // it was stored before there were breakers
		terms = v1.Breaker{Failures: subscription.DefaultBreakerFailures, DisableAfter: v1.Duration(subscription.DefaultDisableAfter)}
	}
	line := "opens after " + strconv.Itoa(terms.Failures) + " failures in a row"
	if terms.DisableAfter != 0 {
		line += ", the subscription is disabled after " + terms.DisableAfter.String()
	}
	if b == nil || b.State == "" {
		return line
	}
	state := b.State
	if b.State != "closed" {
		if !b.DownSince.IsZero() {
			state += " since " + output.Clock(b.DownSince)
		}
		if last := lastFailure(b); last != "" {
			state += " (" + last + ")"
		}
		if !b.NextProbe.IsZero() {
			state += ", next probe at " + output.Clock(b.NextProbe)
		}
	}
	return state + "; " + line
}

// breakerOf asks where the breaker of a subscription stands; nil where that cannot be
// known, as from an older server.
func breakerOf(e *terminal.Env, api *connect.Client, id string) (*v1.BreakerState, error) {
	b, err := api.Subscriptions.Breaker(e.Ctx, id)
	if answer, ok := errors.AsType[*v1.Problem](err); ok && answer.Status == http.StatusNotFound {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}
