// Package apply has the commands apply and export: subscriptions as files.
//
//	files ─► read ─► convert (YAML to JSON, secrets) ─► plan (a dry run for each) ─► diff ─► do
package apply

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// Cmd is `jetpost apply`.
type Cmd struct {
	connect.Flags
	output.Flag

	File           []string `short:"f" env:"-" required:"" sep:"none" placeholder:"FILE" help:"YAML or JSON with subscriptions, a folder with such files, or - for standard input. Can be repeated."`
	DryRun         bool     `env:"-" help:"Show the changes field by field, without making them."`
	ExitCode       bool     `env:"-" help:"With --dry-run: exit with 2 if anything would be changed."`
	Prune          bool     `env:"-" help:"Delete the subscriptions with --label that are not in the files, with the deliveries that wait. Those that a compatible API keeps stay."`
	Label          string   `env:"-" placeholder:"NAME[=VALUE]" help:"The label of the subscriptions that belong to these files. All subscriptions in them must have it."`
	Yes            bool     `short:"y" env:"-" help:"Do not ask before subscriptions are deleted."`
	KeepSecrets    bool     `env:"-" help:"Keep stored secrets that the files do not have although they would be sent to another host, port or scheme, or through a proxy that can read them. Needs a token with the role admin."`
	WithoutSecrets bool     `env:"-" help:"Create subscriptions also where the file has only [secret] for a secret: without it, and paused."`
}

// Help is the long text of --help.
func (c *Cmd) Help() string {
	return `Creates the subscriptions of the files that do not exist, replaces those that differ, and
leaves the others unchanged. A field that a file does not mention gets its default, except
for the state and the signing secrets, which stay as they are. All files are checked first,
by the server as well: with one error nothing is changed.

A secret can be read from the environment, or from a file beside the subscription's file:

  id: ci
  types: [git.push]
  endpoint:
    url: https://ci.example.com/hook
    secret_headers:
      Authorization: {env: CI_TOKEN}
  secret: {file: ci.secret}

See docs/cli.md for details.

Examples:

  jetpost apply -f subscriptions.yaml
  jetpost apply -f subscriptions/ --dry-run
  jetpost apply -f subscriptions/ --prune --label managed-by=git --yes
  jetpost apply -f subscriptions/ --dry-run --exit-code      for CI: 2 if anything differs
  jetpost export ci | jetpost apply -f - --server https://other.example.com`
}

// Validate reports options that do not go together; kong calls it after parsing.
func (c *Cmd) Validate() error {
	name, _, _ := strings.Cut(c.Label, "=")
	switch {
	case c.Prune && c.Label == "":
		return errors.New("--prune needs --label: it says which subscriptions belong to these files, so that no others are deleted")
	case c.Label != "" && name == "":
		return errors.New("--label: write NAME or NAME=VALUE")
	case c.ExitCode && !c.DryRun:
		return errors.New("--exit-code goes with --dry-run")
	}
	return nil
}

// An applyResult is what has become of one subscription, or would.
type applyResult struct {
	ID     string `json:"id"`
	Source string `json:"source,omitempty"` // file and line
	Result string `json:"result"`
	DryRun bool   `json:"dry_run,omitempty"`
	// Differences are the fields that differ; those of a new one are all that it says.
	Differences []difference `json:"differences,omitempty"`
	Error       string       `json:"error,omitempty"`
}

// errDifferent is the exit status of --exit-code.
var errDifferent = terminal.ExitStatusError(2)

// Run applies.
func (c *Cmd) Run(e *terminal.Env) error {
	all, err := readSubscriptions(c.File, e.Stdin)
	if err != nil {
		return err
	}
	if err := c.checkLabel(all); err != nil {
		return err
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	a := &applier{api: api, withoutSecrets: c.WithoutSecrets, keepSecrets: c.KeepSecrets}
	steps, err := a.plan(e.Ctx, all)
	if err != nil {
		return err
	}
	var deletions []*step
	if c.Prune {
		if deletions, err = c.deletions(e.Ctx, api, all); err != nil {
			return err
		}
	}
	if c.DryRun {
		return c.printPlan(e, append(steps, deletions...))
	}
	if err := c.confirm(e, deletions); err != nil {
		return err
	}
	return c.run(e, a, steps, deletions)
}

func (c *Cmd) checkLabel(all []*wanted) error {
	if c.Label == "" {
		return nil
	}
	name, value, exact := strings.Cut(c.Label, "=")
	var wrong invalidFilesError
	for _, w := range all {
		if have, ok := w.sub.Labels[name]; !ok || exact && have != value {
			wrong = append(wrong, misfit{w.at("labels"), "labels", w.ID + " does not have the label " + c.Label + ", which --label asks of all"})
		}
	}
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

// deletions are the subscriptions with the label that are in no file.
func (c *Cmd) deletions(ctx context.Context, api *connect.Client, all []*wanted) ([]*step, error) {
	items, _, err := connect.Subscriptions(ctx, api, client.SubscriptionFilter{Labels: []string{c.Label}})
	if err != nil {
		return nil, err
	}
	var steps []*step
	for _, raw := range items {
		var sub v1.Subscription
		if err := json.Unmarshal(raw, &sub); err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		kept := sub.Managed.By != "" || slices.ContainsFunc(all, func(w *wanted) bool { return w.ID == sub.ID })
		if !kept {
			steps = append(steps, &step{id: sub.ID, does: applyDeleted, before: raw, revision: sub.Revision})
		}
	}
	return steps, nil
}

// confirm asks the person at the terminal.
func (c *Cmd) confirm(e *terminal.Env, deletions []*step) error {
	if len(deletions) == 0 || c.Yes {
		return nil
	}
	var ids []string
	for _, s := range deletions {
		ids = append(ids, s.id)
	}
	what := fmt.Sprintf("%d subscriptions that are not in the files: %s", len(ids), plain.Shown(strings.Join(ids, ", "), plain.LineLimit))
	if len(ids) == 1 {
		what = "the subscription " + plain.Shown(ids[0], plain.FieldLimit) + ", which is not in the files"
	}
	if !terminal.IsTerminal(e.Stdin) || slices.Contains(c.File, "-") {
		return fmt.Errorf("nothing was changed: --prune would delete %s\ngive --yes, or review it first with --dry-run", what)
	}
	_, _ = fmt.Fprintf(e.Stderr, "Delete %s, with the deliveries that wait? [y/N] ", what)
	answer, err := bufio.NewReader(input.Interruptible(e.Ctx, e.Stdin)).ReadString('\n')
	if e.Ctx.Err() != nil {
		return e.Ctx.Err()
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); err != nil || answer != "y" && answer != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// printPlan prints the plan of a dry run.
func (c *Cmd) printPlan(e *terminal.Env, steps []*step) error {
	out := c.Records(e, false)
	var counts applyCounts
	for _, s := range steps {
		result := c.result(s)
		result.DryRun, result.Differences = true, s.differences()
		counts.add(s.does)
		err := out.Print(result, func() error {
			result.print(e, true)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := out.End(); err != nil {
		return err
	}
	if c.People() {
		_, _ = fmt.Fprintln(e.Stdout, "nothing was changed; it would be "+counts.String())
	}
	if c.ExitCode && counts.different() {
		return errDifferent
	}
	return nil
}

func (c *Cmd) result(s *step) applyResult {
	result := applyResult{ID: s.id, Result: s.does}
	if s.wanted != nil {
		result.Source = s.wanted.at("")
	}
	return result
}

// run makes all changes, and continues after a failure. Nothing is deleted then.
func (c *Cmd) run(e *terminal.Env, a *applier, steps, deletions []*step) error {
	out := c.Records(e, false)
	var counts applyCounts
	madeSecret := false
	do := func(s *step) error {
		next, err := a.do(e.Ctx, s, func(text string) { _, _ = fmt.Fprintln(e.Stderr, "jetpost:", plain.Shown(text, plain.LineLimit)) })
		result := c.result(next)
		result.Differences = next.differences()
		if err != nil {
			result.Result, result.Error = applyFailed, err.Error()
		}
		counts.add(result.Result)
		madeSecret = madeSecret || result.Result == applyCreated && !next.signedByFile()
		return out.Print(result, func() error {
			result.print(e, false)
			return nil
		})
	}
	for _, s := range steps {
		if err := do(s); err != nil {
			return err
		}
	}
	if counts[applyFailed] > 0 && len(deletions) > 0 {
		_, _ = fmt.Fprintf(e.Stderr, "jetpost: nothing is deleted, since not all could be applied\n")
		deletions = nil
	}
	for _, s := range deletions {
		if err := do(s); err != nil {
			return err
		}
	}
	if err := out.End(); err != nil {
		return err
	}
	if c.People() {
		_, _ = fmt.Fprintln(e.Stdout, counts.String())
		if madeSecret {
			_, _ = fmt.Fprintln(e.Stdout, "signing secrets were made: jetpost subscription secret ID shows one, for the receiver")
		}
	}
	if failed := counts[applyFailed]; failed > 0 {
		return fmt.Errorf("%d of %d subscriptions could not be applied", failed, len(steps)+len(deletions))
	}
	return nil
}

// print prints a result for people: one that failed on standard error as well as in
// its place.
func (r *applyResult) print(e *terminal.Env, dryRun bool) {
	s := output.StyleOf(e.Stdout)
	word := r.Result
	if dryRun && word != applyUnchanged {
		word = "would be " + word
	}
	text := plain.Shown(r.ID, plain.FieldLimit) + " " + s.Paint(word, map[string]string{applyCreated: output.Green, applyChanged: output.Yellow, applyDeleted: output.Red, applyFailed: output.Red}[r.Result])
	if r.Source != "" && r.Result != applyUnchanged {
		text += "  (" + plain.Shown(r.Source, plain.FieldLimit) + ")"
	}
	if !dryRun && r.Result == applyChanged {
		var fields []string
		for _, d := range r.Differences {
			fields = append(fields, d.Field)
		}
		text += ": " + plain.Shown(strings.Join(fields, ", "), s.Limit(plain.LineLimit))
	}
	_, _ = fmt.Fprintln(e.Stdout, text)
	if dryRun {
		for i := range r.Differences {
			r.Differences[i].print(e.Stdout)
		}
	}
	if r.Error != "" {
		_, _ = fmt.Fprintf(e.Stderr, "jetpost: %s: %s\n", plain.Shown(r.ID, plain.FieldLimit), plain.Escape(r.Error))
	}
}

// applyCounts is how many subscriptions there are of each result.
type applyCounts map[string]int

func (c *applyCounts) add(result string) {
	if *c == nil {
		*c = applyCounts{}
	}
	(*c)[result]++
}

func (c applyCounts) different() bool { return c[applyCreated]+c[applyChanged]+c[applyDeleted] > 0 }

func (c applyCounts) String() string {
	var parts []string
	for _, result := range []string{applyCreated, applyChanged, applyUnchanged, applyDeleted, applyFailed} {
		if c[result] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c[result], result))
		}
	}
	return strings.Join(parts, ", ")
}
