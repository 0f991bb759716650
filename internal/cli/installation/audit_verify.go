package installation

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/replacefile"
)

// auditExportCmd is `jetpost audit export`.
type auditExportCmd struct {
	connect.Flags

	File string `arg:"" optional:"" help:"Where to write. A file that exists is replaced when all is there. Default: standard output."`
	From uint64 `env:"-" placeholder:"N" help:"Begin with this record. Default: with the oldest."`
	To   uint64 `env:"-" placeholder:"N" help:"End with this record. Default: with the newest."`
}

// Help is the long text of --help.
func (c *auditExportCmd) Help() string {
	return `Writes one record per line, oldest first, byte for byte as it is stored: the SHA-256 of a
line, without its line feed, is "previous" in the next one. Without jetpost that is

  sed -n 1p audit.ndjson | tr -d '\n' | sha256sum

Examples:

  jetpost audit export audit.ndjson
  jetpost audit export --from 1001 > more.ndjson`
}

// Run copies what the server sends, and fails when that is not whole.
func (c *auditExportCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	body, err := api.Audit.Export(e.Ctx, c.From, c.To)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if c.File == "" {
		return copyExport(e.Stdout, body)
	}
	var broken error
	err = replacefile.WriteFrom(c.File, 0o600, func(w io.Writer) error {
		broken = copyExport(w, body)
		return broken
	})
	if err != nil && broken == nil {
		return fmt.Errorf("export: %w", err)
	}
	return err
}

func copyExport(w io.Writer, body io.Reader) error {
	to, done := output.AsPublished(w)
	_, err := io.Copy(to, body)
	if err := errors.Join(err, done()); err != nil {
		return fmt.Errorf("export: it broke off: %w", err)
	}
	return nil
}

// auditHeadCmd is `jetpost audit head`.
type auditHeadCmd struct {
	connect.Flags
	output.Flag
}

// Help is the long text of --help.
func (c *auditHeadCmd) Help() string {
	return `Prints the sequence and the hash of the last record. That line proves later that all records
up to it are unchanged: publish it regularly, where it cannot be changed afterwards.

  jetpost audit head
  jetpost audit head >> heads.txt
  jetpost audit verify --heads heads.txt`
}

// Run prints the head in the form that verify reads.
func (c *auditHeadCmd) Run(e *terminal.Env) error {
	head, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.AuditHead, error) {
		return api.Audit.Head(e.Ctx, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error {
		switch {
		case head.Sequence == 0:
			return errors.New("the audit trail has no records yet")
		case head.Hash == "":
			return fmt.Errorf("the last record of the audit trail, %d, is there no more: see jetpost audit verify", head.Sequence)
		}
		_, err := fmt.Fprintln(e.Stdout, audit.Head(head.AuditPlace))
		return err
	})
}

// auditVerifyCmd is `jetpost audit verify`.
type auditVerifyCmd struct {
	connect.Flags
	output.Flag

	File  string   `arg:"" optional:"" help:"What jetpost audit export has written; - for standard input. No server is asked then. Default: the records of the server."`
	Head  []string `env:"-" placeholder:"SEQUENCE:HASH" help:"A head that was published: this record must be there, with this hash. Can be repeated."`
	Heads string   `env:"-" type:"existingfile" placeholder:"FILE" help:"File with heads, one a line, as jetpost audit head prints them; # begins a comment."`
}

// Help is the long text of --help.
func (c *auditVerifyCmd) Help() string {
	return `Each record carries the hash of the one before it. The check proves that no record between
the first and the last one is missing, altered, inserted or moved; a published head proves it
of the last record and the end of the trail. The exit status is 0 only if all checks pass.

  jetpost audit verify                                      the records of the server
  jetpost audit verify audit.ndjson --heads heads.txt       an export, without a server
  jetpost audit verify audit.ndjson --head 1024:5891b5b5…`
}

// Run checks a trail and says what it has found.
func (c *auditVerifyCmd) Run(e *terminal.Env) error {
	heads, err := c.heads()
	if err != nil {
		return err
	}
	var report audit.Report
	if c.File == "" {
		report, err = c.verifyServer(e, heads)
	} else {
		report, err = c.verifyFile(e, audit.NewVerifier(heads...))
	}
	if err != nil {
		return err
	}
	if err := c.print(e, &report); err != nil {
		return err
	}
	if report.Break != nil {
		return fmt.Errorf("the audit trail is not whole: %s", plain.Shown(report.Break.String(), plain.LineLimit))
	}
	return nil
}

// heads are those that were given.
func (c *auditVerifyCmd) heads() ([]audit.Head, error) {
	given := c.Head
	if c.Heads != "" {
		text, err := plain.ReadFile(c.Heads)
		if err != nil {
			return nil, fmt.Errorf("read heads: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			given = append(given, strings.Fields(line)...)
		}
	}
	var heads []audit.Head
	for _, text := range given {
		head, err := audit.ParseHead(text)
		if err != nil {
			return nil, terminal.UsageError{Err: err}
		}
		heads = append(heads, head)
	}
	return heads, nil
}

// verifyServer checks the records of a server, and that they go as far as it says, and
// as far as it knows that they went.
func (c *auditVerifyCmd) verifyServer(e *terminal.Env, heads []audit.Head) (audit.Report, error) {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return audit.Report{}, err
	}
	head, err := api.Audit.Head(e.Ctx)
	if err != nil {
		return audit.Report{}, err
	}
	known := heads
	if head.Seen.Sequence > 0 && !slices.ContainsFunc(heads, func(h audit.Head) bool { return h.Sequence == head.Seen.Sequence }) {
		known = append(slices.Clone(heads), audit.Head(head.Seen))
	}
	v := audit.NewVerifier(known...)
	body, err := api.Audit.Export(e.Ctx, 0, 0)
	if err != nil {
		return audit.Report{}, err
	}
	defer func() { _ = body.Close() }()
	if err := verifyLines(body, v); err != nil {
		return audit.Report{}, err
	}
	report := v.Report()
	if report.Break == nil && len(head.Lost) > 0 {
		lost := head.Lost[len(head.Lost)-1]
		report.Break = &audit.Break{Sequence: max(lost.Now, 1), Reason: fmt.Sprintf("is missing or is another one: on %s the trail was found to have lost what it had (%s)", lost.Found.Format(time.RFC3339), lost.Detail)}
	}
	if report.Break == nil && report.Last < head.Sequence {
		reason := fmt.Sprintf("is missing: the trail has been as far as record %d", head.Sequence)
		if report.Records == 0 {
			reason = fmt.Sprintf("is missing, and so are all others up to %d: they were taken away, or nothing was changed for 400 days", head.Sequence)
		}
		report.Break = &audit.Break{Sequence: report.Last + 1, Reason: reason}
	}
	return report, nil
}

func (c *auditVerifyCmd) verifyFile(e *terminal.Env, v *audit.Verifier) (audit.Report, error) {
	in := e.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return audit.Report{}, fmt.Errorf("read the export: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	err := verifyLines(in, v)
	return v.Report(), err
}

// verifyLines checks one record a line. That something is wrong is no error of its own.
func verifyLines(in io.Reader, v *audit.Verifier) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), connect.MaxLine)
	for first := true; lines.Scan(); first = false {
		line := lines.Bytes()
		if first { // a shell may have written the file with a mark, or as UTF-16
			var err error
			if line, err = plain.Text(line); err != nil {
				return fmt.Errorf("read the records: %w", err)
			}
		}
		if !v.Add(line) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the records: %w", err)
	}
	return nil
}

func (c *auditVerifyCmd) print(e *terminal.Env, r *audit.Report) error {
	return c.Show(e, r, func() error { return printReport(e, r) })
}

func printReport(e *terminal.Env, r *audit.Report) error {
	if r.Records == 0 {
		_, err := fmt.Fprintln(e.Stdout, "no records")
		return err
	}
	_, _ = fmt.Fprintf(e.Stdout, "records %d to %d follow each other, %s to %s\n", r.First, r.Last, r.FirstAt.Format(time.RFC3339), r.LastAt.Format(time.RFC3339))
	_, _ = fmt.Fprintf(e.Stdout, "head %s\n", audit.Head{Sequence: r.Last, Hash: r.Hash})
	if r.First > 1 {
		_, _ = fmt.Fprintf(e.Stdout, "records 1 to %d are missing: they are older than 400 days, were not exported, or were removed\n", r.First-1)
	}
	for _, sequence := range r.Confirmed {
		_, _ = fmt.Fprintf(e.Stdout, "the head of record %d holds\n", sequence)
	}
	for _, sequence := range r.Unchecked {
		_, _ = fmt.Fprintf(e.Stdout, "the head of record %d cannot be checked: the records begin later\n", sequence)
	}
	return nil
}
