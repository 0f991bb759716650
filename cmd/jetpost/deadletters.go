package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/stream/timestamp"
)

// deadlettersCmd is `jetpost deadletters`.
type deadlettersCmd struct {
	List    deadlettersListCmd    `cmd:"" default:"withargs" aliases:"ls" help:"List deliveries that were given up. The default: jetpost deadletters SUBSCRIPTION."`
	Show    deadlettersShowCmd    `cmd:"" aliases:"get" help:"Show a dead letter with its event."`
	Redrive deadlettersRedriveCmd `cmd:"" help:"Make the deliveries again."`
	Jobs    deadlettersJobsCmd    `cmd:"" help:"List redrive jobs, or follow one."`
	Cancel  deadlettersCancelCmd  `cmd:"" help:"Cancel a redrive job."`
	Discard deadlettersDiscardCmd `cmd:"" help:"Delete dead letters."`
}

// Help is the long text of --help.
func (c *deadlettersCmd) Help() string {
	return `A delivery that is given up is kept with its event and the reason: its attempts were
used up (exhausted), the receiver is gone (gone) or has refused it for good (rejected), it
was too old (expired), the queue was full (overflow), it is not readable (unreadable), or the filters took too many
steps to decide whether it is wanted (match_budget).

  jetpost deadletters                          the last ones of all subscriptions
  jetpost deadletters ci                       of one
  jetpost deadletters show 17                  with its event and the last answer
  jetpost deadletters redrive 17 18            make these two deliveries again
  jetpost deadletters redrive ci --since 2h    those given up in the last two hours`
}

// letterFlags select dead letters.
type letterFlags struct {
	Reason []string `env:"-" placeholder:"REASON" enum:"exhausted,rejected,gone,expired,overflow,unreadable,match_budget" help:"Only those given up for this reason. Can be repeated: for one of them."`
	Type   []string `env:"-" complete:"type" placeholder:"TYPE" help:"Only those with an event of this type, or of types that begin alike: artifact.* Can be repeated."`
	Since  string   `env:"-" placeholder:"WHEN" help:"Only those given up at this time or later: 2h, for two hours ago, or 2026-01-31T12:00:00Z."`
	Until  string   `env:"-" placeholder:"WHEN" help:"Only those given up before this time."`
}

func (f *letterFlags) empty() bool {
	return len(f.Reason) == 0 && len(f.Type) == 0 && f.Since == "" && f.Until == ""
}

// times are the bounds; zero where there is none.
func (f *letterFlags) times(now time.Time) (from, to time.Time, err error) {
	if from, err = moment("--since", f.Since, now); err != nil {
		return from, to, err
	}
	to, err = moment("--until", f.Until, now)
	return from, to, err
}

// moment reads a time, or how long ago it was.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	ago, err := timestamp.ParseDuration(text)
	first := time.Unix(0, 0).UTC() // the first time that the server knows
	switch {
	case errors.Is(err, timestamp.ErrTooLong) && text[0] != '-':
		return first, nil
	case err == nil && ago >= 0:
		if at := now.Add(-ago).UTC(); at.After(first) {
			return at, nil
		}
		return first, nil
	case err == nil || errors.Is(err, timestamp.ErrTooLong):
		return time.Time{}, fmt.Errorf("%s %q is in the future: give how long ago it was, such as 2h, or a time such as %s", flag, text, timestamp.Example)
	}
	at, err := timestamp.Parse(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s %q: give a duration such as 2h, or a time such as %s (%w)", flag, text, timestamp.Example, err)
	}
	return at.UTC(), nil
}

// query is the selection as parameters of a list.
func (f *letterFlags) query(now time.Time) (url.Values, error) {
	from, to, err := f.times(now)
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if len(f.Reason) > 0 {
		query["reason"] = f.Reason
	}
	if len(f.Type) > 0 {
		query["type"] = f.Type
	}
	if !from.IsZero() {
		query.Set("from", from.Format(time.RFC3339Nano))
	}
	if !to.IsZero() {
		query.Set("to", to.Format(time.RFC3339Nano))
	}
	return query, nil
}

// deadlettersListCmd is `jetpost deadletters list`.
type deadlettersListCmd struct {
	apiFlags
	outputFlag
	letterFlags

	ID      string `arg:"" optional:"" complete:"subscription" help:"Of which subscription. Default: all."`
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
func (c *deadlettersListCmd) Run(e *env) error {
	path := "/v1/dead-letters"
	query, err := c.query(time.Now())
	switch {
	case err != nil:
		return err
	case c.Invalid && c.ID != "":
		return errors.New("give a subscription or --invalid, not both")
	case c.Invalid:
		query.Set("subscription", stream.InvalidLetters)
	case c.ID != "":
		path = subscriptionPath(c.ID, "/dead-letters")
	}
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	letters, err := listSelected(e.ctx, api, path, query, c.Limit)
	if err != nil {
		return err
	}
	return showList(e, c.outputFlag, letters, "no dead letters", func(letters []delivery.DeadLetter) error {
		return printLetters(e.stdout, letters)
	})
}

func printLetters(w io.Writer, letters []delivery.DeadLetter) error {
	t := newTable(w, "NUMBER", "GIVEN UP", "SUBSCRIPTION", "REASON", "ATTEMPTS", "STATUS", "EVENT", "DELIVERY", "ERROR")
	for i := range letters {
		l := &letters[i]
		status := ""
		if l.Status != 0 {
			status = strconv.Itoa(l.Status)
		}
		event := l.Event.Type + " " + l.Event.ID
		if l.Event.Type == "" { // unreadable
			event = l.Event.Stream + " " + strconv.FormatUint(l.Event.Sequence, 10)
		}
		t.row(strconv.FormatUint(l.Sequence, 10), clock(l.At), l.SubscriptionID, string(l.Reason), strconv.Itoa(l.Attempts), status, event, l.DeliveryID, l.Error)
	}
	return t.flush()
}

// listRecords reads up to limit records of a list, newest first; 0 means all.
func listRecords(ctx context.Context, api *client, path string, limit int) ([]json.RawMessage, error) {
	return listSelected(ctx, api, path, url.Values{}, limit)
}

func listSelected(ctx context.Context, api *client, path string, query url.Values, limit int) ([]json.RawMessage, error) {
	const most = 500 // of a page
	var records []json.RawMessage
	for {
		size := most
		if limit > 0 {
			size = min(most, limit-len(records))
		}
		query.Set("limit", strconv.Itoa(size))
		var page struct {
			Items      []json.RawMessage `json:"items"`
			NextCursor string            `json:"next_cursor"`
		}
		if err := api.get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		records = append(records, page.Items...)
		if page.NextCursor == "" || limit > 0 && len(records) >= limit {
			return records, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}
