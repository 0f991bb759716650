package main

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
)

// attemptsCmd is `jetpost attempts`.
type attemptsCmd struct {
	apiFlags
	outputFlag

	ID     string `arg:"" optional:"" complete:"subscription" help:"Of which subscription. Default: all."`
	Follow bool   `short:"f" env:"-" help:"Go on and print each request as it is made."`
	Limit  int    `short:"n" env:"-" default:"20" placeholder:"N" help:"How many of the last ones to print. 0: all that are kept, 30 days."`
}

// Help is the long text of --help.
func (c *attemptsCmd) Help() string {
	return `One line for each request that was made, the last one at the bottom. A request that
failed shows why, and when the next attempt is due.

  jetpost attempts                         the last requests for all subscriptions
  jetpost attempts ci --follow             and those to come, as they are made
  jetpost attempts ci -n 0 --output json   everything, as one JSON array`
}

// Run prints attempts, oldest first like every log.
func (c *attemptsCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	attempts, err := readPages(func(p client.Paging, o client.Option) iter.Seq2[*v1.Page[v1.Attempt], error] {
		return api.Attempts.Pages(e.ctx, client.AttemptFilter{Subscription: c.ID, Paging: p}, o)
	}, c.Limit)
	if err != nil {
		return err
	}
	out := c.records(e, c.Follow)
	next := uint64(0)
	for _, raw := range slices.Backward(attempts) {
		if next, err = c.print(e, out, raw); err != nil {
			return err
		}
	}
	if !c.Follow {
		if len(attempts) == 0 && c.people() {
			_, _ = fmt.Fprintln(e.stderr, "no requests were made")
		}
		return out.end()
	}
	if next == 0 {
		next = 1 // there was none
	}
	return keepFollowing(e.ctx, e.stderr, func(o client.Option) iter.Seq2[*v1.Attempt, error] {
		return api.Attempts.Follow(e.ctx, c.ID, next, o)
	}, func(_ *v1.Attempt, line json.RawMessage) error {
		next, err = c.print(e, out, line)
		return err
	})
}

// print prints an attempt, and returns the sequence after it.
func (c *attemptsCmd) print(e *env, out *recordPrinter, raw json.RawMessage) (next uint64, err error) {
	var a v1.Attempt
	if err := json.Unmarshal(raw, &a); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return a.Sequence + 1, out.print(raw, func() error { return printAttempt(e.stdout, &a, c.ID == "") })
}

// printAttempt prints an attempt as a line.
func printAttempt(w io.Writer, a *v1.Attempt, named bool) error {
	_, err := fmt.Fprintln(w, attemptLine(styleOf(w), a, named))
	return err
}

// attemptLine is an attempt as people read it:
//
//	18:03:04.123  ci  1  delivered  200      1.9 ms  git.push 85c7e78e  dlv_0k3…
//	18:03:09.456  ci  2  retry      503     12.4 ms  git.push 85c7e78e  dlv_0k3…  next in 4m58s
func attemptLine(s style, a *v1.Attempt, named bool) string {
	status := "---"
	if a.Status != 0 {
		status = strconv.Itoa(a.Status)
	}
	took := a.Duration()
	parts := []string{clock(a.At)}
	if named {
		parts = append(parts, fmt.Sprintf("%-16s", shown(a.SubscriptionID, shownField)))
	}
	parts = append(parts,
		fmt.Sprintf("%2d", a.Attempt), s.tinted(fmt.Sprintf("%-9s", a.Outcome)), status,
		fmt.Sprintf("%8.1f ms", float64(took.Microseconds())/1000),
		shown(a.Event.Type+" "+a.Event.ID, s.limit(shownField)), shown(a.DeliveryID, shownField))
	if a.Manual {
		parts = append(parts, "manual")
	}
	if a.NextAttempt != nil {
		if wait := time.Until(*a.NextAttempt).Round(time.Second); wait > 0 {
			parts = append(parts, "next in "+wait.String())
		} else {
			parts = append(parts, "next was due "+clock(*a.NextAttempt))
		}
	}
	if a.Error != "" {
		parts = append(parts, shown(a.Error, s.limit(shownField)))
	}
	return strings.Join(parts, "  ")
}
