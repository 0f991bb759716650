package receiver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/plain"
)

const (
	shownBody = 16 << 10 // bytes of a body printed as text; JSON output has all of it
)

// A receiverOutput writes what a receiver has to say, whole entries at a time:
// text for people, or for programs a JSON object per line or a YAML document.
//
// What arrives is not trusted: control characters never reach the terminal.
type receiverOutput struct {
	json, verbose bool
	yaml          bool // instead of json

	mu sync.Mutex
	w  io.Writer
}

func (o *receiverOutput) write(entry []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.w.Write(entry) // there is no place to report it
}

func (o *receiverOutput) writeJSON(record any) {
	line, err := json.Marshal(record)
	if err != nil { // cannot happen: the records are strings and numbers
		line = strconv.AppendQuote(nil, err.Error())
	}
	if o.yaml {
		var document bytes.Buffer
		document.WriteString("---\n")
		if output.PrintYAML(&document, line) == nil { // cannot fail: it is JSON
			o.write(document.Bytes())
			return
		}
	}
	o.write(append(plain.EscapeBytes(line), '\n'))
}

func (o *receiverOutput) listening(addr net.Addr) {
	url := "http://" + addr.String()
	if o.json {
		o.writeJSON(struct {
			Kind string `json:"kind"`
			URL  string `json:"url"`
		}{"listening", url})
		return
	}
	o.write([]byte("listening on " + url + "\n"))
}

// A requestRecord is a request in JSON output.
type requestRecord struct {
	Kind             string        `json:"kind"` // request
	Time             time.Time     `json:"time"` // when its headers had arrived
	Method           string        `json:"method"`
	Path             string        `json:"path"`
	Status           int           `json:"status"`           // 0: never answered
	Reason           string        `json:"reason,omitempty"` // why this status, when not the usual one
	Signature        string        `json:"signature"`        // ok, BAD or unverified
	SignatureProblem string        `json:"signature_problem,omitempty"`
	Subscription     string        `json:"subscription,omitempty"`
	WebhookID        string        `json:"webhook_id,omitempty"`
	Attempt          string        `json:"attempt,omitempty"` // as the sender numbers it
	Arrival          int           `json:"arrival"`           // how often the webhook-id has arrived, from 1
	Size             int64         `json:"size"`              // bytes of the body
	Events           []eventRecord `json:"events,omitempty"`
	EventProblem     string        `json:"event_problem,omitempty"`
	Headers          http.Header   `json:"headers,omitempty"`
	Body             string        `json:"body,omitempty"` // when it is text, with --verbose
	BodyBase64       []byte        `json:"body_base64,omitempty"`
}

type eventRecord struct {
	Type    string `json:"type"`
	ID      string `json:"id,omitempty"`
	Source  string `json:"source,omitempty"`
	Subject string `json:"subject,omitempty"`
	Time    string `json:"time,omitempty"`
}

func (o *receiverOutput) request(x exchange) {
	h := x.req.Header
	record := requestRecord{
		Kind: "request", Time: x.arrived, Method: x.req.Method, Path: shownPath(x.req, o.verbose),
		Status: x.chosen.status, Reason: x.chosen.reason,
		Signature: x.judged.validity.String(), SignatureProblem: x.judged.problem,
		Subscription: h.Get(subscriptionHeader), WebhookID: deliveryIDOf(h),
		Attempt: h.Get(attemptHeader), Arrival: x.arrival, Size: x.size,
	}
	var events []*event.Event
	if x.size <= maxReceivedBody {
		var err error
		if events, err = readEvents(h, x.body); err != nil {
			record.EventProblem, events = err.Error(), nil
		}
	}
	for _, e := range events {
		record.Events = append(record.Events, eventRecord{e.Type, e.ID, e.Source, e.Subject, e.Time})
	}
	if !o.json {
		o.write(o.requestText(&record, events, h, x.body))
		return
	}
	if o.verbose {
		record.Headers = h
		if utf8.Valid(x.body) {
			record.Body = string(x.body)
		} else {
			record.BodyBase64 = x.body
		}
	}
	o.writeJSON(&record)
}

// requestText is a request as people read it:
//
//	18:03:04.123  200  git.push  ci  attempt 1  signature ok  1.4 KiB  POST /hook
//	    webhook-id dlv_0k3…  event 85c7e78e from /git/widgets
//	    refs/heads/main  f22fe95..85c7e78  1 commit by ada
func (o *receiverOutput) requestText(r *requestRecord, events []*event.Event, h http.Header, body []byte) []byte {
	status := statusName(r.Status)
	if r.Status == 0 {
		status = "---"
	}
	head := []string{r.Time.Local().Format("15:04:05.000"), status}
	switch len(events) {
	case 0:
	case 1:
		head = append(head, plain.Shown(r.Events[0].Type, plain.FieldLimit))
	default:
		head = append(head, plural(len(events), "event"))
	}
	if r.Subscription != "" {
		head = append(head, plain.Shown(r.Subscription, plain.FieldLimit))
	}
	if r.Attempt != "" {
		head = append(head, "attempt "+plain.Shown(r.Attempt, plain.FieldLimit))
	}
	if r.Arrival > 1 && r.WebhookID != "" {
		head = append(head, "arrival "+strconv.Itoa(r.Arrival))
	}
	head = append(head, "signature "+r.Signature, readableBytes(r.Size), plain.Shown(r.Method+" "+r.Path, plain.FieldLimit))

	var b strings.Builder
	b.WriteString(strings.Join(head, "  ") + "\n")
	detail := func(line string) { b.WriteString("    " + plain.Shown(line, plain.LineLimit) + "\n") }
	var named []string
	if r.WebhookID != "" {
		named = append(named, "webhook-id "+r.WebhookID)
	}
	if len(events) == 1 && events[0].ID != "" {
		named = append(named, "event "+events[0].ID+" from "+events[0].Source)
	}
	if len(named) > 0 {
		detail(strings.Join(named, "  "))
	}
	if r.SignatureProblem != "" {
		detail("signature: " + r.SignatureProblem)
	}
	if r.Reason != "" {
		detail("answer: " + r.Reason)
	}
	if r.EventProblem != "" {
		detail("not a readable event: " + r.EventProblem)
	}
	for i, e := range events {
		if i == listedEvents {
			detail(fmt.Sprintf("and %d more events", len(events)-i))
			break
		}
		if len(events) > 1 {
			detail(e.Type + "  event " + e.ID + " from " + e.Source)
		}
		for _, line := range describe(e) {
			detail(line)
		}
	}
	if o.verbose {
		for _, name := range slices.Sorted(maps.Keys(h)) {
			for _, value := range h[name] {
				b.WriteString("    " + plain.Shown(name+": "+value, shownBody) + "\n")
			}
		}
		writeBody(&b, body)
	}
	return []byte(b.String())
}

// writeBody prints a body as indented text, or says why it does not.
func writeBody(b *strings.Builder, body []byte) {
	rest := 0
	if len(body) > shownBody {
		body, rest = body[:shownBody], len(body)-shownBody
	}
	switch {
	case len(body) == 0:
		return
	case rest == 0 && !utf8.Valid(body):
		_, _ = fmt.Fprintf(b, "    | %s that are not text\n", readableBytes(int64(len(body))))
		return
	}
	for line := range strings.Lines(string(body)) {
		b.WriteString("    | " + plain.Shown(strings.TrimRight(line, "\r\n"), len(line)) + "\n")
	}
	if rest > 0 {
		b.WriteString("    | and " + readableBytes(int64(rest)) + " more\n")
	}
}

// shownPath is the path of a request. A query often carries a token: it is only
// shown on demand.
func shownPath(req *http.Request, verbose bool) string {
	path := req.URL.EscapedPath()
	switch {
	case req.URL.RawQuery == "":
		return path
	case verbose:
		return path + "?" + req.URL.RawQuery
	}
	return path + "?…"
}

// broken reports a request whose body never came to its end.
func (o *receiverOutput) broken(arrived time.Time, req *http.Request, problem error, quiet bool) {
	switch {
	case quiet:
	case o.json:
		o.writeJSON(struct {
			Kind    string    `json:"kind"`
			Time    time.Time `json:"time"`
			Method  string    `json:"method"`
			Path    string    `json:"path"`
			Problem string    `json:"problem"`
		}{"broken", arrived, req.Method, shownPath(req, o.verbose), problem.Error()})
	default:
		o.write([]byte(arrived.Local().Format("15:04:05.000") + "  ---  broke off: " + plain.Shown(problem.Error(), plain.FieldLimit) +
			"  " + plain.Shown(req.Method+" "+shownPath(req, o.verbose), plain.FieldLimit) + "\n"))
	}
}

// summary prints the totals. recent is what arrived since the last summary.
func (o *receiverOutput) summary(t receiverTotals, elapsed time.Duration, recent int64, final bool) {
	if o.json {
		o.writeJSON(struct {
			Kind    string  `json:"kind"`
			Final   bool    `json:"final"`
			Seconds float64 `json:"seconds"` // since the receiver started
			Recent  int64   `json:"recent"`
			receiverTotals
		}{"summary", final, elapsed.Seconds(), recent, t})
		return
	}
	var b strings.Builder
	if final {
		b.WriteString("total: ")
	}
	_, _ = fmt.Fprintf(&b, "received %d", t.Received)
	if !final {
		_, _ = fmt.Fprintf(&b, " (+%d)", recent)
	}
	_, _ = fmt.Fprintf(&b, "  distinct %d  repeats %d  signatures ok %d BAD %d unverified %d  status", t.Distinct, t.Repeats, t.Verified, t.Bad, t.Unverified)
	for _, name := range slices.Sorted(maps.Keys(t.Statuses)) {
		_, _ = fmt.Fprintf(&b, " %s:%d", name, t.Statuses[name])
	}
	if t.Broken > 0 {
		_, _ = fmt.Fprintf(&b, "  broke off %d", t.Broken)
	}
	o.write([]byte(b.String() + "\n"))
}
