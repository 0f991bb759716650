package jfrog

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	profile "github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/timestamp"
)

// textUnexpectedStatus is what the platform says of an answer that is no success.
const textUnexpectedStatus = "error executing webhook: unexpected HTTP response status"

// Limits of a list of attempts.
const (
	defaultCount = 100
	maxCount     = 1000
	// maxScanned is how many attempts are looked at for them.
	maxScanned = 20_000
	scanChunk  = 500
)

// A record is an attempt as the platform shows it. What jetpost does not keep of
// attempts (the headers, the body that was sent) is empty: it is not guessed.
type record struct {
	Timestamp     int64          `json:"timestamp"` // ms
	ElapsedMillis int64          `json:"elapsed_millis"`
	Errors        []string       `json:"errors"`
	Request       recordRequest  `json:"request"`
	Response      recordResponse `json:"response"`
	Event         recordEvent    `json:"event"`
}

type recordRequest struct {
	Method           string            `json:"method"`
	URL              string            `json:"url"` // without its query
	Headers          map[string]string `json:"headers"`
	Payload          string            `json:"payload"`
	RetriesAttempted int               `json:"retries_attempted"`
}

type recordResponse struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// A recordEvent is the event as the body that was sent has it.
type recordEvent struct {
	ID              string          `json:"id"`
	SubscriptionKey string          `json:"subscription_key"`
	Domain          string          `json:"domain"`
	EventType       string          `json:"event_type"`
	Data            json.RawMessage `json:"data,omitempty"` // missing when the event log has it no more
	Source          string          `json:"source"`
}

// A query is what a client wants to see.
type query struct {
	key, target string
	start, end  time.Time
	count       int
}

func readQuery(values url.Values) (query, error) {
	var found problems
	q := query{key: values.Get("subscription"), target: values.Get("target"), count: defaultCount}
	q.start = readTime(values.Get("start"), "start", &found)
	q.end = readTime(values.Get("end"), "end", &found)
	if text := values.Get("count"); text != "" {
		n, err := strconv.Atoi(text) // of more than can be counted it is the most that can
		if err != nil && !errors.Is(err, strconv.ErrRange) || n < 1 {
			found.add("count", "'"+clip(text)+"' is not a number of records")
		}
		q.count = min(n, maxCount)
	}
	return q, found.err()
}

// readTime reads milliseconds since 1970, in which records have their time, or an RFC
// 3339 time. Which of them the platform takes is not known.
func readTime(text, field string, found *problems) time.Time {
	if text == "" {
		return time.Time{}
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms)
	}
	t, err := timestamp.Parse(text)
	if err != nil {
		found.add(field, "'"+clip(text)+"' is no time: give milliseconds since 1970, or a time as in 2026-01-31T12:00:00Z ("+err.Error()+")")
	}
	return t
}

// troubleshooting lists the attempts that have failed, the newest first, and all of
// those of documents with "debug":true.
func (j *API) troubleshooting(ctx context.Context, r *http.Request) (answer, error) {
	q, err := readQuery(r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	all, err := j.webhooks.all(ctx)
	if err != nil {
		return answer{}, err
	}
	wanted := make(map[string]shownHandler) // by the id of the subscription
	for _, p := range all {
		if p.first == nil || q.key != "" && p.key() != q.key {
			continue
		}
		s, err := stateOf(p.first)
		if err != nil {
			continue // list says so
		}
		for n := range s.document.handlers {
			if q.target != "" && shownURL(ctx, s.document.handlers[n].url) != q.target {
				continue
			}
			h := shownHandler{key: p.key(), debug: s.document.debug}
			if sub := p.part(n); sub != nil {
				h.source = sub.Settings[profile.SettingSource]
			}
			wanted[idOf(p.key(), n)] = h
		}
	}
	records := []record{}
	if len(wanted) > 0 {
		if records, err = j.records(ctx, q, wanted); err != nil {
			return answer{}, err
		}
	}
	return answer{status: http.StatusOK, json: encode(records)}, nil
}

// A shownHandler is what records say of the handler that a request was made for.
type shownHandler struct {
	key    string
	debug  bool   // what succeeded is shown too
	source string // the setting, for events whose source does not have the platform's form
}

// records reads the attempt log backwards.
func (j *API) records(ctx context.Context, q query, wanted map[string]shownHandler) ([]record, error) {
	subject := "*" // of all subscriptions
	if len(wanted) == 1 {
		for id := range wanted {
			subject = id
		}
	}
	records := []record{}
	before := uint64(0)
	for scanned := 0; scanned < maxScanned; {
		attempts, err := j.services.Attempts.Latest(ctx, subject, before, scanChunk)
		if err != nil {
			return nil, err
		}
		for i := range attempts {
			a := &attempts[i]
			handler, ours := wanted[a.SubscriptionID]
			switch {
			case !ours || a.Outcome == delivery.Delivered && !handler.debug || !q.end.IsZero() && a.At.After(q.end):
				continue
			case !q.start.IsZero() && a.At.Before(q.start):
				// Records are in the order in which the requests ended: what began earlier may
				// still come, within the time that one takes.
				if q.start.Sub(a.At) > time.Minute {
					return records, nil
				}
				continue
			}
			records = append(records, j.record(ctx, a, handler))
			if len(records) == q.count {
				return records, nil
			}
		}
		if len(attempts) < scanChunk {
			return records, nil
		}
		before = attempts[len(attempts)-1].Sequence
		scanned += len(attempts)
	}
	return records, nil
}

func (j *API) record(ctx context.Context, a *delivery.Attempt, handler shownHandler) record {
	domain, eventType, _ := wire.SplitType(a.Event.Type)
	r := record{
		Timestamp: a.At.UnixMilli(), ElapsedMillis: time.Duration(a.Duration).Milliseconds(), Errors: []string{},
		Request:  recordRequest{Method: a.Method, URL: strings.TrimSuffix(a.URL, "?…"), Headers: map[string]string{}, RetriesAttempted: max(a.Attempt-1, 0)},
		Response: recordResponse{Status: a.Status, Headers: map[string]string{}, Body: a.ResponseBody},
		Event:    recordEvent{ID: a.Event.ID, SubscriptionKey: handler.key, Domain: domain, EventType: eventType, Source: profile.Source(a.Event.Source, handler.source)},
	}
	switch {
	case a.Outcome == delivery.Delivered:
	case a.Status != 0:
		r.Errors = append(r.Errors, textUnexpectedStatus)
	default:
		r.Errors = append(r.Errors, "error executing webhook: "+a.Error)
	}
	if d, err := delivery.FromEventLog(ctx, j.services.JS, a); err == nil && event.IsJSON(d.Event.DataContentType) {
		switch data := d.Event.Data; {
		case len(data) == 0:
			r.Event.Data = json.RawMessage("{}") // as in the body
		case json.Valid(data):
			r.Event.Data = compact(data)
		}
	}
	return r
}
