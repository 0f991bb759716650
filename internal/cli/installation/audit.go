// Package installation has the commands for operators: audit, repository, senders, storage and
// token.
package installation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// AuditCmd is `jetpost audit`.
type AuditCmd struct {
	List   auditListCmd   `cmd:"" aliases:"ls" default:"withargs" help:"List changes, and reads of secrets. The default."`
	Show   auditShowCmd   `cmd:"" aliases:"get" help:"Show a record, with the state before and after."`
	Follow auditFollowCmd `cmd:"" help:"Print records as they are written."`
	Export auditExportCmd `cmd:"" help:"Write all records, byte for byte, to a file."`
	Head   auditHeadCmd   `cmd:"" help:"Print the head of the trail, to publish it."`
	Verify auditVerifyCmd `cmd:"" help:"Prove that no record is missing or was altered."`
}

// Help is the long text of --help.
func (c *AuditCmd) Help() string {
	return `Every change is recorded before it takes effect: its actor, the address, the state before
and after. So is every read of a secret. Records are kept for 400 days; each carries the hash
of the one before it.

  jetpost audit                               the last records
  jetpost audit --target subscriptions/ci     those about one subscription
  jetpost audit show 17                       what was changed exactly
  jetpost audit export audit.ndjson           all of them, as they are stored
  jetpost audit verify audit.ndjson           none is missing, none was altered
  jetpost audit head                          a line to publish, see docs/audit.md`
}

// auditFlags select records.
type auditFlags struct {
	Action string `env:"-" placeholder:"ACTION" help:"Only records of this action, subscription.create, or of all of a kind of thing: subscription.*"`
	Target string `env:"-" placeholder:"TARGET" help:"Only records about this, subscriptions/ci, or about what begins alike: subscriptions/*"`
	Actor  string `env:"-" placeholder:"ID" help:"Only what was done with the token of this id, or by jetpost."`
	Since  string `env:"-" placeholder:"WHEN" help:"Only records written at this time or later: 2h, for two hours ago, or 2026-01-31T12:00:00Z."`
	Until  string `env:"-" placeholder:"WHEN" help:"Only records written before this time."`
}

func (f *auditFlags) filter(now time.Time) (client.AuditFilter, error) {
	selected := client.AuditFilter{Action: f.Action, Target: f.Target, Actor: f.Actor}
	var err error
	if selected.From, err = input.Time("--since", f.Since, now); err != nil {
		return selected, err
	}
	selected.To, err = input.Time("--until", f.Until, now)
	return selected, err
}

// auditListCmd is `jetpost audit list`.
type auditListCmd struct {
	connect.Flags
	output.Flag
	auditFlags

	Limit int `short:"n" env:"-" default:"50" placeholder:"N" help:"How many of the last ones to print. 0: all that are kept, 400 days."`
}

// Help is the long text of --help.
func (c *auditListCmd) Help() string {
	return `Prints one line for each record, the last one at the bottom: time, number, action, target,
actor, address, and the changed fields.

  jetpost audit list --action 'subscription.*' --since 24h
  jetpost audit list --target subscriptions/ci -n 0 --output json
  jetpost audit list --action subscription.show_secret`
}

// Run prints records, oldest first like every log.
func (c *auditListCmd) Run(e *terminal.Env) error {
	selected, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	records, err := connect.ReadPages(func(p client.Paging, o client.Option) iter.Seq2[*v1.Page[v1.AuditEntry], error] {
		selected.Paging = p
		return api.Audit.Pages(e.Ctx, selected, o)
	}, c.Limit)
	if err != nil {
		return err
	}
	out := c.Records(e, false)
	for _, raw := range slices.Backward(records) {
		if _, err := printAudit(e, out, raw); err != nil {
			return err
		}
	}
	if len(records) == 0 && c.People() {
		_, _ = fmt.Fprintln(e.Stderr, "no records")
	}
	return out.End()
}

// printAudit prints a record, and returns the sequence after it.
func printAudit(e *terminal.Env, out *output.Printer, raw json.RawMessage) (next uint64, err error) {
	var r v1.AuditEntry
	if err := json.Unmarshal(raw, &r); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return r.Sequence + 1, out.Print(raw, func() error {
		_, err := fmt.Fprintln(e.Stdout, auditLine(output.StyleOf(e.Stdout), &r))
		return err
	})
}

// auditLine is a record as people read it:
//
//	18:03:04.123  17  subscription.change  subscriptions/ci  by u3kq7vd2mcfa (Ann) from 192.0.2.1  endpoint.url, labels
//	18:03:09.456  18  subscription.delete  subscriptions/ci  by u3kq7vd2mcfa (Ann) from 192.0.2.1  failed 17: …
func auditLine(s output.Style, r *v1.AuditEntry) string {
	parts := []string{
		output.Clock(r.At), fmt.Sprintf("%4d", r.Sequence), fmt.Sprintf("%-26s", plain.Shown(r.Action, plain.FieldLimit)), plain.Shown(r.Target, s.Limit(plain.FieldLimit)),
		"by " + auditActor(&r.AuditRecord),
	}
	if len(r.Changed) > 0 {
		parts = append(parts, plain.Shown(strings.Join(r.Changed, ", "), s.Limit(plain.FieldLimit)))
	}
	if r.Reason != "" {
		parts = append(parts, plain.Shown(strconv.Quote(r.Reason), s.Limit(plain.FieldLimit)))
	}
	if r.Failed != "" {
		parts = append(parts, s.Tinted(fmt.Sprintf("failed %d: %s", r.Of, plain.Shown(r.Failed, s.Limit(plain.LineLimit)))))
	}
	return strings.Join(parts, "  ")
}

func auditActor(r *v1.AuditRecord) string {
	actor := plain.Shown(r.Actor, plain.FieldLimit)
	if r.ActorName != "" {
		actor += " (" + plain.Shown(r.ActorName, plain.FieldLimit) + ")"
	}
	if r.Address != "" {
		actor += " from " + plain.Shown(r.Address, plain.FieldLimit)
	}
	return actor
}

// auditShowCmd is `jetpost audit show`.
type auditShowCmd struct {
	connect.Flags
	output.Flag

	Number uint64 `arg:"" help:"Of the record, which lists show."`
}

// Help is the long text of --help.
func (c *auditShowCmd) Help() string {
	return `Shows all of a record, with its target before and after. Secrets are placeholders; a changed
secret is among the changed fields.

  jetpost audit show 17
  jetpost audit show 17 --output json`
}

// Run prints one record.
func (c *auditShowCmd) Run(e *terminal.Env) error {
	r, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.AuditEntry, error) {
		return api.Audit.Get(e.Ctx, c.Number, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error { return showAudit(e, r) })
}

func showAudit(e *terminal.Env, r *v1.AuditEntry) error {
	of := ""
	if r.Of > 0 {
		of = strconv.FormatUint(r.Of, 10)
	}
	_, _ = fmt.Fprintf(e.Stdout, "record %d\n\n", r.Sequence)
	err := output.Details(e.Stdout,
		"at", r.At.Format(time.RFC3339Nano), "action", r.Action, "target", r.Target, "by", auditActor(&r.AuditRecord), "role", r.Role,
		"request", r.RequestID, "reason", r.Reason, "changed", strings.Join(r.Changed, ", "), "failed", r.Failed, "of record", of,
		"previous", r.Previous, "hash", r.Hash)
	for _, state := range [...]struct {
		name string
		text json.RawMessage
	}{{"before", r.Before}, {"after", r.After}} {
		var indented bytes.Buffer
		if err == nil && len(state.text) > 0 && json.Indent(&indented, state.text, "  ", "  ") == nil {
			_, err = fmt.Fprintf(e.Stdout, "\n%s\n  %s\n", state.name, shownText(indented.String()))
		}
	}
	return err
}

// shownText is JSON over several lines as it is printed: JSON itself escapes what a
// terminal would obey, but for what is above ASCII.
func shownText(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = plain.Shown(line, plain.LineLimit)
	}
	return strings.Join(lines, "\n")
}

// auditFollowCmd is `jetpost audit follow`.
type auditFollowCmd struct {
	connect.Flags
	output.Flag
	auditFlags

	FromSeq uint64 `env:"-" placeholder:"N" help:"Begin with this record. Default: with what is written from now on."`
}

// Help is the long text of --help.
func (c *auditFollowCmd) Help() string {
	return `Runs until it is stopped, and resumes where it was after a lost connection.

  jetpost audit follow
  jetpost audit follow --from-seq 1 --output json
  jetpost audit follow --action subscription.show_secret`
}

// Run prints records as they arrive.
func (c *auditFollowCmd) Run(e *terminal.Env) error {
	selected, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	next := c.FromSeq
	if next == 0 { // asked for here, so that nothing is missed when the connection is lost at once
		head, err := api.Audit.Head(e.Ctx)
		if err != nil {
			return err
		}
		next = head.Sequence + 1
	}
	out := c.Records(e, true)
	return connect.KeepFollowing(e.Ctx, e.Stderr, func(o client.Option) iter.Seq2[*v1.AuditEntry, error] {
		return api.Audit.Follow(e.Ctx, selected, next, o)
	}, func(_ *v1.AuditEntry, line json.RawMessage) error {
		next, err = printAudit(e, out, line)
		return err
	})
}
