package deliveries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// deadlettersRedriveCmd is `jetpost deadletters redrive`.
type deadlettersRedriveCmd struct {
	connect.Flags
	output.Flag
	deadLetterSelection

	Rate   float64 `env:"-" default:"100" placeholder:"N" help:"How many per second, at most: 0.01 to 10000."`
	DryRun bool    `env:"-" help:"Only count them."`
	Wait   bool    `env:"-" default:"true" negatable:"" help:"Show the progress until all is done."`
}

// Help is the long text of --help.
func (c *deadlettersRedriveCmd) Help() string {
	return `Puts dead letters back on the queues of their subscriptions. The deliveries keep their
webhook-id, get their whole retry schedule again, and continue the attempt numbers. A dead
letter is deleted when its delivery is on the queue; a delivery that fails again becomes a
new dead letter.

The server runs it as a job, which continues when this command is stopped.

  jetpost deadletters redrive 17                        one
  jetpost deadletters redrive ci --dry-run              how many there are
  jetpost deadletters redrive ci --reason exhausted --since 24h --rate 20
  jetpost deadletters redrive --type 'artifact.*'
  jetpost deadletters redrive --all`
}

// Run redrives them.
func (c *deadlettersRedriveCmd) Run(e *terminal.Env) error {
	body, err := c.body(time.Now())
	if err != nil {
		return err
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	if numbers := c.numbers(); len(numbers) == 1 && c.empty() && !c.DryRun {
		return c.one(e, api, numbers[0])
	}
	if c.Rate == 0 { // which the API takes for none given
		return errors.New("rate: is out of range: use 0.01 to 10000 per second")
	}
	var answer client.Response
	job, err := api.Redrives.Create(e.Ctx, &v1.RedriveOptions{SelectionOptions: body, Rate: c.Rate, DryRun: c.DryRun}, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	switch {
	case c.DryRun:
		return c.Show(e, json.RawMessage(answer.Body), func() error { return printDryRun(e.Stdout, job) })
	case !c.Wait:
		return c.Show(e, json.RawMessage(answer.Body), func() error {
			_, err := fmt.Fprintf(e.Stdout, "redriving %d dead letters\n%s", job.Total, nextSteps(job.ID))
			return err
		})
	}
	return followRedrive(e, api, c.Flag, job)
}

func (c *deadlettersRedriveCmd) one(e *terminal.Env, api *connect.Client, number uint64) error {
	var answer client.Response
	queued, err := api.DeadLetters.Redrive(e.Ctx, number, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	return c.Show(e, json.RawMessage(answer.Body), func() error {
		_, err := fmt.Fprintf(e.Stdout, "%s is on its queue again: jetpost attempts %s\n", plain.Shown(queued.DeliveryID, plain.FieldLimit), plain.Shown(queued.SubscriptionID, plain.FieldLimit))
		warnPaused(e.Stderr, queued)
		return err
	})
}

// warnPaused says that a delivery waits, if it does.
func warnPaused(w io.Writer, q *v1.QueuedAgain) (waits bool) {
	if q.State == "paused" {
		_, _ = fmt.Fprintln(w, "jetpost: the subscription is paused, so the delivery waits")
	}
	return q.State == "paused"
}

func printDryRun(w io.Writer, job *v1.RedriveJob) error {
	_, _ = fmt.Fprintf(w, "%d dead letters\n", job.Total)
	var pairs []string
	for _, reason := range slices.Sorted(maps.Keys(job.Reasons)) {
		pairs = append(pairs, "reason "+reason, strconv.Itoa(job.Reasons[reason]))
	}
	for _, id := range slices.Sorted(maps.Keys(job.Subscriptions)) {
		pairs = append(pairs, "subscription "+id, strconv.Itoa(job.Subscriptions[id]))
	}
	return output.Details(w, pairs...)
}

func nextSteps(id string) string {
	id = plain.Shown(id, plain.FieldLimit)
	return "see how far it is:  jetpost deadletters jobs " + id + "\nend it:             jetpost deadletters cancel " + id + "\n"
}

// followRedrive shows the progress of a job until it has ended. A server that is
// unreachable for a while is waited for. When ctx ends the job continues.
func followRedrive(e *terminal.Env, api *connect.Client, flag output.Flag, job *v1.RedriveJob) error {
	line := output.NewProgress(e.Stderr)
	var failing connect.RetryWait
	for job.State == v1.JobRunning {
		line.Update(func() string { return fmt.Sprintf("redriven %d of %d, failed %d", job.Done, job.Total, job.Failed) })
		if connect.WaitFor(e.Ctx, 300*time.Millisecond) {
			now, err := api.Redrives.Get(e.Ctx, job.ID)
			if refused, ok := errors.AsType[*v1.Problem](err); ok && !refused.Temporary() {
				line.Clear()
				return err
			}
			if err == nil {
				job, failing = now, connect.RetryWait{}
			} else {
				failing.Pause(e.Ctx, err)
			}
		}
		if e.Ctx.Err() != nil {
			break
		}
	}
	if job.State == v1.JobRunning {
		line.Clear()
		_, _ = fmt.Fprintf(e.Stderr, "the job continues\n%s", nextSteps(job.ID))
		return nil
	}
	line.Clear()
	return printRedrive(e, flag, job)
}

// An endedRedrive is what is printed of a job that was followed to its end.
type endedRedrive struct {
	ID            string              `json:"id"`
	State         string              `json:"state"`
	Total         int                 `json:"total"`
	Done          int                 `json:"done"`
	Failed        int                 `json:"failed"`
	Gone          int                 `json:"gone"`
	Failures      []v1.RedriveFailure `json:"failures"`
	Error         string              `json:"error"`
	Rate          float64             `json:"rate"`
	StartedAt     time.Time           `json:"started_at"`
	EndedAt       *time.Time          `json:"ended_at"`
	Reasons       map[string]int      `json:"by_reason"`
	Subscriptions map[string]int      `json:"by_subscription"`
}

func endedRedriveOf(j *v1.RedriveJob) endedRedrive {
	return endedRedrive{
		ID: j.ID, State: j.State, Total: j.Total, Done: j.Done, Failed: j.Failed, Gone: j.Gone, Failures: j.Failures, Error: j.Error, Rate: j.Rate,
		StartedAt: j.StartedAt, EndedAt: j.EndedAt, Reasons: j.Reasons, Subscriptions: j.Subscriptions,
	}
}

// printRedrive prints how a job has ended. That not all could be redriven is an error.
func printRedrive(e *terminal.Env, flag output.Flag, job *v1.RedriveJob) error {
	err := flag.Show(e, endedRedriveOf(job), func() error {
		w := e.Stdout
		_, _ = fmt.Fprintf(w, "%s: redriven %d of %d, failed %d", plain.Shown(job.State, plain.FieldLimit), job.Done, job.Total, job.Failed)
		if job.Gone > 0 {
			_, _ = fmt.Fprintf(w, ", gone meanwhile %d", job.Gone)
		}
		_, _ = fmt.Fprintln(w)
		for _, failure := range job.Failures {
			_, _ = fmt.Fprintf(w, "  %d: %s\n", failure.Sequence, plain.Shown(failure.Error, plain.LineLimit))
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case job.State == v1.JobFailed:
		return fmt.Errorf("the job has failed: %s", plain.Shown(job.Error, plain.LineLimit))
	case job.Failed > 0:
		return fmt.Errorf("%d could not be redriven", job.Failed)
	}
	return nil
}

// deadlettersJobsCmd is `jetpost deadletters jobs`.
type deadlettersJobsCmd struct {
	connect.Flags
	output.Flag

	ID string `arg:"" optional:"" complete:"redrive" help:"Which job to follow until it has ended. Default: all are listed."`
}

// Help is the long text of --help.
func (c *deadlettersJobsCmd) Help() string {
	return `Redrive jobs that have ended are kept for 7 days, and 100 at most.

  jetpost deadletters jobs
  jetpost deadletters jobs rd-q5h2k7x0m3v9c8s1n4t6b2p7ra`
}

// Run lists the jobs, or follows one.
func (c *deadlettersJobsCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	if c.ID != "" {
		job, err := api.Redrives.Get(e.Ctx, c.ID)
		if err != nil {
			return err
		}
		return followRedrive(e, api, c.Flag, job)
	}
	return c.list(e.Ctx, e, api)
}

func (c *deadlettersJobsCmd) list(ctx context.Context, e *terminal.Env, api *connect.Client) error {
	jobs, err := connect.ReadPages(func(p client.Paging, o client.Option) iter.Seq2[*v1.Page[v1.RedriveJob], error] {
		return api.Redrives.Pages(ctx, p, o)
	}, 0)
	if err != nil {
		return err
	}
	return output.List(e, c.Flag, jobs, "no redrive jobs", func(jobs []v1.RedriveJob) error {
		t := output.NewTable(e.Stdout, "JOB", "STARTED", "STATE", "DONE", "FAILED", "TOTAL", "RATE", "ERROR")
		for _, job := range jobs {
			t.Row(job.ID, output.Clock(job.StartedAt), job.State, strconv.Itoa(job.Done), strconv.Itoa(job.Failed), strconv.Itoa(job.Total),
				strconv.FormatFloat(job.Rate, 'g', -1, 64)+"/s", job.Error)
		}
		return t.Flush()
	})
}

// deadlettersCancelCmd is `jetpost deadletters cancel`.
type deadlettersCancelCmd struct {
	connect.Flags
	output.Flag

	ID string `arg:"" complete:"redrive" help:"Which job."`
}

// Help is the long text of --help.
func (c *deadlettersCancelCmd) Help() string {
	return `What the job has redriven by then is delivered; the other dead letters stay.

  jetpost deadletters cancel rd-q5h2k7x0m3v9c8s1n4t6b2p7ra`
}

// Run cancels a job.
func (c *deadlettersCancelCmd) Run(e *terminal.Env) error {
	job, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.RedriveJob, error) {
		return api.Redrives.Cancel(e.Ctx, c.ID, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error {
		_, err := fmt.Fprintf(e.Stdout, "cancelled after %d of %d or a few more\n", job.Done, job.Total)
		return err
	})
}
