package deliveries

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
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

// deadlettersShowCmd is `jetpost deadletters show`.
type deadlettersShowCmd struct {
	connect.Flags
	output.Flag

	Number uint64 `arg:"" help:"Which one: the first column of the list."`
}

// Help is the long text of --help.
func (c *deadlettersShowCmd) Help() string {
	return `Shows why a delivery was given up, the last answer of its receiver, and the event.

  jetpost deadletters show 17
  jetpost deadletters show 17 --output json | jq -r .data    the data of the event, byte for byte`
}

// Run prints a dead letter.
func (c *deadlettersShowCmd) Run(e *terminal.Env) error {
	l, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.ShownLetter, error) {
		return api.DeadLetters.Get(e.Ctx, c.Number, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error { return printDeadLetter(e.Stdout, l) })
}

func printDeadLetter(w io.Writer, l *v1.ShownLetter) error {
	status := ""
	if l.Status != 0 {
		status = strconv.Itoa(l.Status) + " " + http.StatusText(l.Status)
	}
	_, _ = fmt.Fprintf(w, "dead letter %d\n", l.Sequence)
	pairs := []string{
		"reason", string(l.Reason), "given up", l.At.Local().Format(time.RFC3339), "subscription", l.SubscriptionID,
		"delivery", l.DeliveryID, "attempts", strconv.Itoa(l.Attempts), "last status", status, "error", l.Error, "last answer", l.ResponseBody,
	}
	if l.Event.Stream != "" {
		pairs = append(pairs, "stored as", l.Event.Stream+" "+strconv.FormatUint(l.Event.Sequence, 10))
	}
	for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
		pairs = append(pairs, "ce "+name, l.Attributes[name])
	}
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		for _, value := range l.Headers[name] {
			pairs = append(pairs, "header "+name, value)
		}
	}
	if err := output.Details(w, pairs...); err != nil {
		return err
	}
	data := l.Data
	if l.DataBase64 != "" {
		bytes, err := base64.StdEncoding.DecodeString(l.DataBase64)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		data = fmt.Sprintf("%d bytes that are not text: see --output json", len(bytes))
	}
	_, err := fmt.Fprintf(w, "\n%s\n", plain.Shown(data, output.StyleOf(w).Limit(shownData)))
	return err
}

// shownData is how much of an event's data is shown to people, in characters.
const shownData = 4096

// deadlettersDiscardCmd is `jetpost deadletters discard`.
type deadlettersDiscardCmd struct {
	connect.Flags
	output.Flag
	deadLetterSelection

	Why string `env:"-" placeholder:"TEXT" help:"Why, for the audit trail."`
}

// Help is the long text of --help.
func (c *deadlettersDiscardCmd) Help() string {
	return `Deletes dead letters, with their events, for good: their bytes are overwritten. The events are
still in their event logs, for 30 days after they were published; see "jetpost events erase".
The audit trail records what was deleted.

  jetpost deadletters discard 17 18 --why 'sent by hand'
  jetpost deadletters discard ci --reason expired
  jetpost deadletters discard _invalid                  those that could not be read
  jetpost deadletters discard --all`
}

// Run deletes them. The server does as many as it can in the time of a request.
func (c *deadlettersDiscardCmd) Run(e *terminal.Env) error {
	body, err := c.body(time.Now())
	if err != nil {
		return err
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	total := 0
	for more := true; more; {
		answer, err := api.DeadLetters.DiscardAll(e.Ctx, &v1.DiscardOptions{SelectionOptions: body, All: c.All, Reason: c.Why})
		if err != nil {
			if total > 0 {
				_, _ = fmt.Fprintf(e.Stderr, "jetpost: %d were discarded before\n", total)
			}
			return err
		}
		total, more = total+answer.Discarded, answer.More
	}
	return c.Show(e, map[string]int{"discarded": total}, func() error {
		_, err := fmt.Fprintf(e.Stdout, "discarded %d\n", total)
		return err
	})
}

// deadLetterSelection says which dead letters something is done to.
type deadLetterSelection struct {
	deadLetterFlags

	Which []string `arg:"" optional:"" complete:"subscription" name:"number|subscription" help:"Numbers of dead letters, or one subscription."`
	All   bool     `env:"-" help:"All of them."`
}

// numbers are the dead letters that are named one by one; nil when they are not.
func (s *deadLetterSelection) numbers() []uint64 {
	var found []uint64
	for _, text := range s.Which {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			found = append(found, n)
		}
	}
	if len(found) < len(s.Which) {
		return nil
	}
	return found
}

// body is the selection as the API takes it. That nothing is selected must be meant.
func (s *deadLetterSelection) body(now time.Time) (v1.SelectionOptions, error) {
	body := v1.SelectionOptions{Reasons: s.reasons(), Types: s.Type}
	var err error
	if body.From, body.To, err = s.times(now); err != nil {
		return body, err
	}
	numbers := s.numbers()
	switch {
	case s.All && (len(s.Which) > 0 || !s.empty()):
		return body, errors.New("give --all or a selection, not both")
	case !s.All && len(s.Which) == 0 && s.empty():
		return body, errors.New("say which: numbers, a subscription, --reason, --type, --since, --until, or --all")
	case len(numbers) > 0:
		body.Sequences = numbers
	case len(s.Which) > 1:
		return body, errors.New("give numbers of dead letters, or one subscription")
	case len(s.Which) == 1:
		body.Subscription = s.Which[0]
	}
	return body, nil
}
