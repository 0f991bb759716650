package deliveries

import (
	"errors"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/stream"
)

// DeadlettersCmd is `jetpost deadletters`.
type DeadlettersCmd struct {
	List    deadlettersListCmd    `cmd:"" default:"withargs" aliases:"ls" help:"List dead letters. The default: jetpost deadletters SUBSCRIPTION."`
	Show    deadlettersShowCmd    `cmd:"" aliases:"get" help:"Show a dead letter with its event."`
	Redrive deadlettersRedriveCmd `cmd:"" help:"Make the deliveries of dead letters again."`
	Jobs    deadlettersJobsCmd    `cmd:"" help:"List redrive jobs, or follow one."`
	Cancel  deadlettersCancelCmd  `cmd:"" help:"Cancel a redrive job."`
	Discard deadlettersDiscardCmd `cmd:"" help:"Delete dead letters."`
}

// Help is the long text of --help.
func (c *DeadlettersCmd) Help() string {
	return `A delivery that is given up is kept as a dead letter, with its event and the reason: its
attempts were used up (exhausted), the receiver answered 410 (gone) or refused it for good
(rejected), it was too old (expired), the queue was full (overflow), it is not readable
(unreadable), or the filters exceeded their step limit (match_budget).

  jetpost deadletters                          the last ones of all subscriptions
  jetpost deadletters ci                       of one
  jetpost deadletters show 17                  with its event and the last answer
  jetpost deadletters redrive 17 18            make these two deliveries again
  jetpost deadletters redrive ci --since 2h    those given up in the last two hours`
}

// deadLetterFlags select dead letters.
type deadLetterFlags struct {
	Reason []string `env:"-" placeholder:"REASON" enum:"exhausted,rejected,gone,expired,overflow,unreadable,match_budget" help:"Only those given up for this reason. Can be repeated: for one of them."`
	Type   []string `env:"-" complete:"type" placeholder:"TYPE" help:"Only those with an event of this type, or of types that begin alike: artifact.* Can be repeated."`
	Since  string   `env:"-" placeholder:"WHEN" help:"Only those given up at this time or later: 2h, for two hours ago, or 2026-01-31T12:00:00Z."`
	Until  string   `env:"-" placeholder:"WHEN" help:"Only those given up before this time."`
}

func (f *deadLetterFlags) empty() bool {
	return len(f.Reason) == 0 && len(f.Type) == 0 && f.Since == "" && f.Until == ""
}

// times are the bounds; zero where there is none.
func (f *deadLetterFlags) times(now time.Time) (from, to time.Time, err error) {
	if from, err = input.Time("--since", f.Since, now); err != nil {
		return from, to, err
	}
	to, err = input.Time("--until", f.Until, now)
	return from, to, err
}

func (f *deadLetterFlags) reasons() []v1.Reason {
	var reasons []v1.Reason
	for _, reason := range f.Reason {
		reasons = append(reasons, v1.Reason(reason))
	}
	return reasons
}

// filter is the selection as a list takes it.
func (f *deadLetterFlags) filter(now time.Time) (client.LetterFilter, error) {
	from, to, err := f.times(now)
	return client.LetterFilter{Reasons: f.reasons(), Types: f.Type, From: from, To: to}, err
}

// deadlettersListCmd is `jetpost deadletters list`.
type deadlettersListCmd struct {
	connect.Flags
	output.Flag
	deadLetterFlags

	ID      string `arg:"" optional:"" complete:"subscription" help:"Subscription. Default: all."`
	Invalid bool   `env:"-" help:"Messages that no router or sender could read, instead of a subscription's."`
	Limit   int    `short:"n" env:"-" default:"50" placeholder:"N" help:"How many of the last ones to print. 0: all that are kept, 90 days."`
}

// Help is the long text of --help.
func (c *deadlettersListCmd) Help() string {
	return `The first column is the number by which the other commands know a dead letter.

  jetpost deadletters list ci --reason exhausted --since 24h
  jetpost deadletters list --type 'artifact.*' -n 0 --output json
  jetpost deadletters list --invalid`
}

// Run prints dead letters, newest first.
func (c *deadlettersListCmd) Run(e *terminal.Env) error {
	selected, err := c.filter(time.Now())
	switch {
	case err != nil:
		return err
	case c.Invalid && c.ID != "":
		return errors.New("give a subscription or --invalid, not both")
	case c.Invalid:
		selected.Subscription = stream.InvalidLetters
	case c.ID != "":
		selected.Subscription = c.ID
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	list := api.DeadLetters.Pages
	if c.ID != "" {
		list = api.DeadLetters.PagesOf
	}
	deadLetters, err := connect.ReadPages(func(p client.Paging, o client.Option) iter.Seq2[*v1.Page[v1.DeadLetter], error] {
		selected.Paging = p
		return list(e.Ctx, selected, o)
	}, c.Limit)
	if err != nil {
		return err
	}
	return output.List(e, c.Flag, deadLetters, "no dead letters", func(deadLetters []v1.DeadLetter) error {
		return printDeadLetters(e.Stdout, deadLetters)
	})
}

func printDeadLetters(w io.Writer, deadLetters []v1.DeadLetter) error {
	t := output.NewTable(w, "NUMBER", "GIVEN UP", "SUBSCRIPTION", "REASON", "ATTEMPTS", "STATUS", "EVENT", "DELIVERY", "ERROR")
	for i := range deadLetters {
		l := &deadLetters[i]
		status := ""
		if l.Status != 0 {
			status = strconv.Itoa(l.Status)
		}
		event := l.Event.Type + " " + l.Event.ID
		if l.Event.Type == "" { // unreadable
			event = l.Event.Stream + " " + strconv.FormatUint(l.Event.Sequence, 10)
		}
		t.Row(strconv.FormatUint(l.Sequence, 10), output.Clock(l.At), l.SubscriptionID, string(l.Reason), strconv.Itoa(l.Attempts), status, event, l.DeliveryID, l.Error)
	}
	return t.Flush()
}
