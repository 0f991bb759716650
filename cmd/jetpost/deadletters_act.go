package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/delivery"
)

func letterPath(sequence uint64, action string) string {
	return "/v1/dead-letters/" + strconv.FormatUint(sequence, 10) + action
}

// deadlettersShowCmd is `jetpost deadletters show`.
type deadlettersShowCmd struct {
	apiFlags
	outputFlag

	Number uint64 `arg:"" help:"Which one: the first column of the list."`
}

// Help is the long text of --help.
func (c *deadlettersShowCmd) Help() string {
	return `Shows why a delivery was given up, the last answer of its receiver, and the event.

  jetpost deadletters show 17
  jetpost deadletters show 17 --output json | jq -r .data    the data of the event, byte for byte`
}

// Run prints a dead letter.
func (c *deadlettersShowCmd) Run(e *env) error {
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := api.get(e.ctx, letterPath(c.Number, ""), nil, &raw); err != nil {
		return err
	}
	return showAs(e, c.outputFlag, raw, func(l *shownLetter) error { return l.print(e.stdout) })
}

// A shownLetter is a dead letter as the API answers.
type shownLetter struct {
	delivery.DeadLetter

	Attributes map[string]string   `json:"attributes"`
	Headers    map[string][]string `json:"headers"`
	Data       string              `json:"data"`
	DataBase64 string              `json:"data_base64"`
}

func (l *shownLetter) print(w io.Writer) error {
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
	for _, name := range sortedKeys(l.Attributes) {
		pairs = append(pairs, "ce "+name, l.Attributes[name])
	}
	for _, name := range sortedKeys(l.Headers) {
		for _, value := range l.Headers[name] {
			pairs = append(pairs, "header "+name, value)
		}
	}
	if err := details(w, pairs...); err != nil {
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
	_, err := fmt.Fprintf(w, "\n%s\n", shown(data, styleOf(w).limit(shownData)))
	return err
}

// shownData is how much of an event's data is shown to people, in characters.
const shownData = 4096

// deadlettersDiscardCmd is `jetpost deadletters discard`.
type deadlettersDiscardCmd struct {
	apiFlags
	outputFlag
	letterSelection

	Why string `env:"-" placeholder:"TEXT" help:"Why, for the audit trail."`
}

// Help is the long text of --help.
func (c *deadlettersDiscardCmd) Help() string {
	return `Deletes dead letters, with their events, for good: their bytes are overwritten. The events are
still in their event logs, for 30 days after they were published; see "jetpost events erase".
The audit trail says what was deleted.

  jetpost deadletters discard 17 18 --why 'sent by hand'
  jetpost deadletters discard ci --reason expired
  jetpost deadletters discard _invalid                  those that nobody could read
  jetpost deadletters discard --all`
}

// Run deletes them. The server does as many as it can in the time of a request.
func (c *deadlettersDiscardCmd) Run(e *env) error {
	body, err := c.body(time.Now())
	if err != nil {
		return err
	}
	if c.All {
		body["all"] = true
	}
	body["reason"] = c.Why
	api, err := c.client(e.ctx)
	if err != nil {
		return err
	}
	total := 0
	for more := true; more; {
		var answer struct {
			Discarded int  `json:"discarded"`
			More      bool `json:"more"`
		}
		if err := api.send(e.ctx, http.MethodPost, "/v1/dead-letters/discard", body, &answer); err != nil {
			if total > 0 {
				_, _ = fmt.Fprintf(e.stderr, "jetpost: %d were discarded before\n", total)
			}
			return err
		}
		total, more = total+answer.Discarded, answer.More
	}
	return c.show(e, map[string]int{"discarded": total}, func() error {
		_, err := fmt.Fprintf(e.stdout, "discarded %d\n", total)
		return err
	})
}

// letterSelection says which dead letters something is done to.
type letterSelection struct {
	letterFlags

	Which []string `arg:"" optional:"" complete:"subscription" name:"number|subscription" help:"Numbers of dead letters, or one subscription."`
	All   bool     `env:"-" help:"All of them."`
}

// numbers are the dead letters that are named one by one; nil when they are not.
func (s *letterSelection) numbers() []uint64 {
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
func (s *letterSelection) body(now time.Time) (map[string]any, error) {
	from, to, err := s.times(now)
	if err != nil {
		return nil, err
	}
	numbers := s.numbers()
	body := map[string]any{}
	switch {
	case s.All && (len(s.Which) > 0 || !s.empty()):
		return nil, errors.New("give --all or a selection, not both")
	case !s.All && len(s.Which) == 0 && s.empty():
		return nil, errors.New("say which: numbers, a subscription, --reason, --type, --since, --until, or --all")
	case len(numbers) > 0:
		body["sequences"] = numbers
	case len(s.Which) > 1:
		return nil, errors.New("give numbers of dead letters, or one subscription")
	case len(s.Which) == 1:
		body["subscription"] = s.Which[0]
	}
	if len(s.Reason) > 0 {
		body["reasons"] = s.Reason
	}
	if len(s.Type) > 0 {
		body["types"] = s.Type
	}
	if !from.IsZero() {
		body["from"] = from
	}
	if !to.IsZero() {
		body["to"] = to
	}
	return body, nil
}
