// Package deliveries has the commands attempts, deadletters and redeliver.
package deliveries

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// AttemptsCmd is `jetpost attempts`.
type AttemptsCmd struct {
	connect.Flags
	output.Flag

	ID     string `arg:"" optional:"" complete:"subscription" help:"Subscription. Default: all."`
	Follow bool   `short:"f" env:"-" help:"Continue, and print each attempt as it is made."`
	Limit  int    `short:"n" env:"-" default:"20" placeholder:"N" help:"Number of attempts to print, from the last. 0: all that are kept, 30 days."`
}

// Help is the long text of --help.
func (c *AttemptsCmd) Help() string {
	return `Prints one line for each attempt, the last one at the bottom. A failed attempt shows the
reason, and when the next one is due.

  jetpost attempts                         the last attempts for all subscriptions
  jetpost attempts ci --follow             and new ones, as they are made
  jetpost attempts ci -n 0 --output json   everything, as one JSON array`
}

// Run prints attempts, oldest first like every log.
func (c *AttemptsCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	attempts, err := connect.ReadPages(func(p client.Paging, o client.Option) iter.Seq2[*v1.Page[v1.Attempt], error] {
		return api.Attempts.Pages(e.Ctx, client.AttemptFilter{Subscription: c.ID, Paging: p}, o)
	}, c.Limit)
	if err != nil {
		return err
	}
	out := c.Records(e, c.Follow)
	next := uint64(0)
	for _, raw := range slices.Backward(attempts) {
		if next, err = c.print(e, out, raw); err != nil {
			return err
		}
	}
	if !c.Follow {
		if len(attempts) == 0 && c.People() {
			_, _ = fmt.Fprintln(e.Stderr, "no attempts were made")
		}
		return out.End()
	}
	if next == 0 {
		next = 1 // there was none
	}
	return connect.KeepFollowing(e.Ctx, e.Stderr, func(o client.Option) iter.Seq2[*v1.Attempt, error] {
		return api.Attempts.Follow(e.Ctx, c.ID, next, o)
	}, func(_ *v1.Attempt, line json.RawMessage) error {
		next, err = c.print(e, out, line)
		return err
	})
}

// print prints an attempt, and returns the sequence after it.
func (c *AttemptsCmd) print(e *terminal.Env, out *output.Printer, raw json.RawMessage) (next uint64, err error) {
	var a v1.Attempt
	if err := json.Unmarshal(raw, &a); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return a.Sequence + 1, out.Print(raw, func() error { return printAttempt(e.Stdout, &a, c.ID == "") })
}

// printAttempt prints an attempt as a line.
func printAttempt(w io.Writer, a *v1.Attempt, named bool) error {
	_, err := fmt.Fprintln(w, attemptLine(output.StyleOf(w), a, named))
	return err
}

// attemptLine is an attempt as people read it:
//
//	18:03:04.123  ci  1  delivered  200      1.9 ms  git.push 85c7e78e  dlv_0k3…
//	18:03:09.456  ci  2  retry      503     12.4 ms  git.push 85c7e78e  dlv_0k3…  next in 4m58s
func attemptLine(s output.Style, a *v1.Attempt, named bool) string {
	status := "---"
	if a.Status != 0 {
		status = strconv.Itoa(a.Status)
	}
	took := a.Duration()
	parts := []string{output.Clock(a.At)}
	if named {
		parts = append(parts, fmt.Sprintf("%-16s", plain.Shown(a.SubscriptionID, plain.FieldLimit)))
	}
	parts = append(parts,
		fmt.Sprintf("%2d", a.Attempt), s.Tinted(fmt.Sprintf("%-9s", a.Outcome)), status,
		fmt.Sprintf("%8.1f ms", float64(took.Microseconds())/1000),
		plain.Shown(a.Event.Type+" "+a.Event.ID, s.Limit(plain.FieldLimit)), plain.Shown(a.DeliveryID, plain.FieldLimit))
	if a.Manual {
		parts = append(parts, "manual")
	}
	if a.NextAttempt != nil {
		if wait := time.Until(*a.NextAttempt).Round(time.Second); wait > 0 {
			parts = append(parts, "next in "+wait.String())
		} else {
			parts = append(parts, "next was due "+output.Clock(*a.NextAttempt))
		}
	}
	if a.Error != "" {
		parts = append(parts, plain.Shown(a.Error, s.Limit(plain.FieldLimit)))
	}
	return strings.Join(parts, "  ")
}
