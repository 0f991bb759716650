package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream"
)

// deadlettersCmd is `jetpost deadletters`.
type deadlettersCmd struct {
	apiFlags
	outputFlag

	ID      string `arg:"" optional:"" help:"Of which subscription."`
	Invalid bool   `env:"-" help:"Messages that no router or sender could read, instead of a subscription's."`
	Limit   int    `short:"n" env:"-" default:"50" placeholder:"N" help:"How many of the last ones to print. 0: all that are kept, 90 days."`
}

// Help is the long text of --help.
func (c *deadlettersCmd) Help() string {
	return `A delivery that is given up is kept with its event and the reason: its attempts were
used up (exhausted), the receiver is gone (gone) or has refused it for good (rejected), it
was too old (expired), the queue was full (overflow).

  jetpost deadletters ci
  jetpost deadletters --invalid`
}

// Run prints dead letters, newest first.
func (c *deadlettersCmd) Run(e *env) error {
	path := subscriptionPath(c.ID, "/dead-letters")
	switch {
	case c.Invalid && c.ID != "":
		return errors.New("give a subscription or --invalid, not both")
	case c.Invalid:
		path = "/v1/dead-letters/" + stream.InvalidLetters
	case c.ID == "":
		return errors.New("give a subscription, or --invalid")
	}
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	letters, err := listRecords[delivery.DeadLetter](e.ctx, api, path, c.Limit)
	if err != nil {
		return err
	}
	if c.json() {
		for i := range letters {
			if err := printLine(e.stdout, &letters[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(letters) == 0 {
		_, _ = fmt.Fprintln(e.stderr, "no dead letters")
		return nil
	}
	t := newTable(e.stdout, "GIVEN UP", "REASON", "ATTEMPTS", "STATUS", "EVENT", "DELIVERY", "ERROR")
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
		t.row(clock(l.At), string(l.Reason), strconv.Itoa(l.Attempts), status, event, l.DeliveryID, l.Error)
	}
	return t.flush()
}

// listRecords reads up to limit records of a list, newest first; 0 means all.
func listRecords[T any](ctx context.Context, api *client, path string, limit int) ([]T, error) {
	const most = 500 // of a page
	var records []T
	query := url.Values{}
	for {
		size := most
		if limit > 0 {
			size = min(most, limit-len(records))
		}
		query.Set("limit", strconv.Itoa(size))
		var page struct {
			Items      []T    `json:"items"`
			NextCursor string `json:"next_cursor"`
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
