package publish

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// Bounds of what is published at once, and of a line.
const (
	maxLinesAtOnce  = 100
	maxBytesAtOnce  = 1 << 20
	readAtOnce      = 256 << 10
	maxPublishLine  = 1 << 20 // an event has 256 KiB at most, its JSON may be longer
	maxReasonsShown = 20      // when the lines themselves are kept in a file
)

// A Report is what became of the lines.
type Report struct {
	Published  int       `json:"published"`
	Duplicates int       `json:"duplicates"` // were stored before
	Rejected   int       `json:"rejected"`
	Lines      []badLine `json:"rejected_lines"`
	Seconds    float64   `json:"seconds"`
	// DoneThrough is the last line of those from the beginning that are all
	// published or rejected.
	DoneThrough int `json:"done_through_line"`
}

// done is how many events are stored.
func (r *Report) done() int { return r.Published + r.Duplicates }

// A badLine is a line that was rejected.
type badLine struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// A lineEvent is an event and the line it was in.
type lineEvent struct {
	number int
	text   []byte // kept for the file of rejects
	event  *event.Event
}

// linePublisher publishes the lines of an input, in these steps:
//
//	line ─► event ─► batch ─► POST ─┬─► published
//	           │                    └─► refused: again without the refused events
//	           └─► rejected  ◄──────────────┘
type linePublisher struct {
	cmd     *Cmd
	api     *connect.Client
	rejects io.Writer // nil: none
	notices io.Writer
	report  Report
	batch   []lineEvent
	size    int
}

// publishLines publishes standard input. It returns an error if not everything
// is published.
func (c *Cmd) publishLines(e *terminal.Env, api *connect.Client) (err error) {
	p := &linePublisher{cmd: c, api: api, notices: e.Stderr, report: Report{Lines: []badLine{}}}
	if c.Rejects != "" {
		f, openErr := os.OpenFile(c.Rejects, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if openErr != nil {
			return fmt.Errorf("keep rejected lines: %w", openErr)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		p.rejects = f
	}
	began := time.Now()
	progress := output.NewProgress(e.Stderr)
	err = p.run(e.Ctx, e.Stdin, func() { progress.Update(func() string { return p.report.progress(time.Since(began)) }) })
	progress.Clear()
	p.report.Seconds = time.Since(began).Seconds()
	if printErr := p.print(e, c.Flag); err == nil {
		err = printErr
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w\nlines 1 to %d are done; publish the rest with: tail -n +%d FILE | jetpost publish --ndjson",
			err, p.report.DoneThrough, p.report.DoneThrough+1)
	case p.report.Rejected > 0:
		return fmt.Errorf("%d of %d lines were rejected", p.report.Rejected, p.report.Rejected+p.report.done())
	}
	return nil
}

func (p *linePublisher) print(e *terminal.Env, flag output.Flag) error {
	return flag.Show(e, &p.report, func() error {
		rate := float64(p.report.done()) / max(p.report.Seconds, 1e-3)
		_, err := fmt.Fprintf(e.Stdout, "published %d, duplicates %d, rejected %d  (%.1f s, %.0f/s)\n",
			p.report.Published, p.report.Duplicates, p.report.Rejected, p.report.Seconds, rate)
		return err
	})
}

// run reads until the input ends. Nothing is held back while it waits for more,
// so that lines can come from a program that never ends.
func (p *linePublisher) run(ctx context.Context, in io.Reader, progress func()) error {
	lines := bufio.NewReaderSize(input.Interruptible(ctx, in), readAtOnce)
	for number := 1; ; number++ {
		text, tooLong, readErr := readLine(lines)
		if number == 1 {
			var err error
			if text, err = input.AsText("-", text); err != nil {
				return err
			}
		}
		if readErr == nil || errors.Is(readErr, io.EOF) && len(text) > 0 { // the last line may have no end
			if err := p.add(ctx, number, text, tooLong); err != nil {
				return err
			}
		}
		if readErr != nil || !lineAtHand(lines) {
			if err := p.flush(ctx); err != nil {
				return err
			}
			progress()
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return fmt.Errorf("read standard input: %w", readErr)
		}
	}
}

// lineAtHand reports whether the next line can be read without waiting.
func lineAtHand(r *bufio.Reader) bool {
	buffered, err := r.Peek(r.Buffered())
	return err == nil && bytes.IndexByte(buffered, '\n') >= 0
}

// readLine returns a line without its end. Of one that is too long it returns the
// beginning.
func readLine(r *bufio.Reader) (text []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(text)+len(part) <= maxPublishLine {
			text = append(text, part...)
		} else {
			tooLong = true
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimRight(text, "\r\n"), tooLong, err
	}
}

// add takes one line up, and publishes when there are enough of them.
func (p *linePublisher) add(ctx context.Context, number int, text []byte, tooLong bool) error {
	one := lineEvent{number: number, text: text}
	switch {
	case tooLong:
		return p.reject(one, fmt.Sprintf("is longer than %d bytes", maxPublishLine))
	case len(bytes.TrimSpace(text)) == 0:
		return nil
	}
	var err error
	if one.event, err = p.parse(text); err != nil {
		return p.reject(one, err.Error())
	}
	if len(p.batch) == maxLinesAtOnce || len(p.batch) > 0 && p.size+len(text) > maxBytesAtOnce {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	p.batch, p.size = append(p.batch, one), p.size+len(text)
	return nil
}

// parse makes an event of a line.
func (p *linePublisher) parse(text []byte) (*event.Event, error) {
	if p.cmd.Type == "" {
		return event.ParseStructured(text)
	}
	id := ""
	if p.cmd.IDFrom != "" {
		if id = gjson.GetBytes(text, p.cmd.IDFrom).String(); id == "" {
			return nil, fmt.Errorf("the data has no %s to take the id from", p.cmd.IDFrom)
		}
	}
	return p.cmd.Event(id, text)
}

// flush publishes what has been taken up.
func (p *linePublisher) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	last := p.batch[len(p.batch)-1].number
	err := p.publish(ctx, p.batch)
	p.batch, p.size = p.batch[:0], 0
	if err != nil {
		return err
	}
	p.report.DoneThrough = max(p.report.DoneThrough, last)
	return nil
}

// publish stores a batch. The server refuses one as a whole, and says what is
// wrong with which events: these are rejected and the others offered again.
func (p *linePublisher) publish(ctx context.Context, batch []lineEvent) error {
	for len(batch) > 0 {
		events := make([]*event.Event, len(batch))
		for i := range batch {
			events[i] = batch[i].event
		}
		receipts, err := publishEvents(ctx, p.api, events, p.cmd.Patience)
		if err == nil {
			for _, r := range receipts {
				if r.Duplicate {
					p.report.Duplicates++
				} else {
					p.report.Published++
				}
			}
			return nil
		}
		refused, ok := errors.AsType[*v1.Problem](err)
		if !ok || !refused.Rejects() {
			return err
		}
		if len(batch) == 1 {
			return p.reject(batch[0], reasonOf(refused))
		}
		faults := faultsOf(refused, len(batch))
		if len(faults) == 0 { // it does not say which
			half := len(batch) / 2
			if err := p.publish(ctx, batch[:half]); err != nil {
				return err
			}
			batch = batch[half:]
			continue
		}
		var rest []lineEvent
		for i := range batch {
			if reason, bad := faults[i]; !bad {
				rest = append(rest, batch[i])
			} else if err := p.reject(batch[i], reason); err != nil {
				return err
			}
		}
		batch = rest
	}
	return nil
}

// faultsOf are the events of a batch that a refusal names, by their index:
// "/3/data/size" is about the fourth.
func faultsOf(refused *v1.Problem, n int) map[int]string {
	faults := map[int]string{}
	for _, one := range refused.Errors {
		pointer, ok := strings.CutPrefix(one.Field, "/")
		if !ok {
			continue
		}
		text, field, _ := strings.Cut(pointer, "/")
		i, err := strconv.Atoi(text)
		if err != nil || i < 0 || i >= n {
			continue
		}
		reason := one.Message
		if field != "" {
			reason = "/" + field + " " + one.Message
		}
		if faults[i] != "" {
			reason = faults[i] + "; " + reason
		}
		faults[i] = reason
	}
	return faults
}

func reasonOf(refused *v1.Problem) string {
	return strings.ReplaceAll(connect.ProblemText(refused), "\n  ", "; ")
}

// reject reports a line, and keeps it if there is a place for it.
func (p *linePublisher) reject(one lineEvent, reason string) error {
	p.report.Rejected++
	p.report.Lines = append(p.report.Lines, badLine{one.number, reason})
	notice := fmt.Sprintf("line %d: %s", one.number, plain.Shown(reason, plain.LineLimit))
	switch {
	case p.rejects == nil:
		_, _ = fmt.Fprintf(p.notices, "%s\n    %s\n", notice, plain.Shown(string(one.text), plain.LineLimit))
		return nil
	case p.report.Rejected <= maxReasonsShown:
		_, _ = fmt.Fprintln(p.notices, notice)
	case p.report.Rejected == maxReasonsShown+1:
		_, _ = fmt.Fprintln(p.notices, "and more; they are all in "+p.cmd.Rejects)
	}
	if _, err := p.rejects.Write(append(bytes.Clone(one.text), '\n')); err != nil {
		return fmt.Errorf("keep rejected line %d: %w", one.number, err)
	}
	return nil
}

// progress is the report as people see it while the command runs.
func (r *Report) progress(elapsed time.Duration) string {
	return fmt.Sprintf("published %d, duplicates %d, rejected %d, %.0f/s", r.Published, r.Duplicates, r.Rejected, float64(r.done())/elapsed.Seconds())
}
