package producer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/stream"
)

// Retry-After in seconds: when the event log does not accept events, and when an operator has
// to make room first.
const (
	retryAfter     = 2
	retryAfterFull = 30
)

// Handler is the HTTP ingest, POST /v1/events on whatever path it is mounted. It
// takes CloudEvents in binary, structured and batch mode, distinguished by their
// Content-Type, and answers:
//
//	201  stored: a receipt, or for a batch {"receipts":[…]} in the batch's order
//	400  not a CloudEvent, an unknown type, or data that breaks its schema
//	403  a type of jetpost's own domain, or of one that the token is not for
//	405  not a POST
//	408  the body did not arrive in Config.BodyTimeout
//	413  an event over its limits, or a batch over its own
//	415  neither of the three modes
//	503  not known to be stored, with Retry-After; sending it again is safe. Also when
//	     there is no room in memory for the body (Config.Memory)
//
// Errors are problem documents (RFC 9457) whose errors name the fields. A batch
// is checked whole before anything of it is stored. An empty one answers 200.
//
// The handler does not ask who is calling: "jetpost serve" has checked the token of a
// request before, which may be for some domains only. Any other program that mounts it
// must let in only those who may publish.
func (p *Producer) Handler() http.Handler { return http.HandlerFunc(p.ingest) }

func (p *Producer) ingest(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeProblem(w, newProblem(http.StatusMethodNotAllowed, "events are published with POST"))
		return
	}
	in, leave, problem := p.read(w, r)
	defer leave()
	if problem != nil {
		p.refuse(w, problem)
		return
	}
	ready, problem := p.check(r.Context(), in)
	if problem != nil {
		p.refuse(w, problem)
		return
	}
	receipts, err := p.store(r.Context(), ready)
	switch {
	case err != nil:
		p.unavailable(w, in, receipts, err)
	case !in.batch:
		writeJSON(w, http.StatusCreated, "application/json", receipts[0])
	case len(receipts) == 0:
		writeJSON(w, http.StatusOK, "application/json", receiptList{Receipts: receipts})
	default:
		writeJSON(w, http.StatusCreated, "application/json", receiptList{Receipts: receipts})
	}
}

// refuse answers what the client has to change.
func (p *Producer) refuse(w http.ResponseWriter, problem *problem) {
	p.log.Debug("refused a request", zap.Int("status", problem.Status), zap.String("detail", problem.Detail))
	if problem.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	writeProblem(w, problem)
}

// check prepares all events, or says what is wrong with which. It lists the
// problems of several events, as many as a person wants to read.
func (p *Producer) check(ctx context.Context, in input) ([]prepared, *problem) {
	refresh := p.refresher(ctx)
	ready := make([]prepared, 0, len(in.events))
	var found *problem
	for i, e := range in.events {
		one, err := p.prepare(e, &refresh)
		if err == nil {
			ready = append(ready, one)
			continue
		}
		found = found.join(eventProblem(err, in.at(i)))
	}
	if found != nil {
		return nil, found
	}
	return ready, nil
}

// store sends all events before it waits for the first receipt. On an error the
// receipts are those of the events that are known to be stored, and the error is
// that of one of the others.
func (p *Producer) store(ctx context.Context, ready []prepared) ([]api.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	var failed error
	pending := make([]*Pending, 0, len(ready))
	for _, one := range ready {
		sent, err := p.send(ctx, one)
		if err != nil {
			failed = err
			break // the next ones would only wait longer
		}
		pending = append(pending, sent)
	}
	receipts := make([]api.Receipt, 0, len(pending))
	for _, sent := range pending {
		receipt, err := sent.conclude(ctx)
		if err != nil {
			if failed == nil { // the others say the same
				failed = err
			}
			continue
		}
		receipts = append(receipts, api.Receipt{
			ID: sent.event.ID, Source: sent.event.Source,
			Stream: receipt.Stream, Sequence: receipt.Sequence, Duplicate: receipt.Duplicate,
		})
	}
	return receipts, failed
}

// unavailable answers that not all is stored.
func (p *Producer) unavailable(w http.ResponseWriter, in input, stored []api.Receipt, err error) {
	if errors.Is(err, ErrTooLarge) { // for an event log with a limit below ours
		p.refuse(w, newProblem(http.StatusRequestEntityTooLarge, "the event log takes only smaller events").withStored(stored))
		return
	}
	p.warnings.Warn("could not store events", zap.Int("events", len(in.events)), zap.Int("stored", len(stored)), zap.Error(err))
	detail := "the event is not known to be stored"
	if in.batch {
		detail = fmt.Sprintf("%d of %d events are known to be stored", len(stored), len(in.events))
	}
	wait := retryAfter
	if fault := stream.FaultOf(err); fault != stream.NoFault {
		detail += fmt.Sprintf(": %s (%s)", fault, fault.Advice())
		if fault == stream.FaultStorage || fault == stream.FaultLimit {
			wait = retryAfterFull
		}
	}
	detail += fmt.Sprintf("; sending all again is safe: within %v the same source and id are stored once", Dedupe)
	w.Header().Set("Retry-After", strconv.Itoa(wait))
	writeProblem(w, newProblem(http.StatusServiceUnavailable, detail).withStored(stored))
}

type receiptList struct {
	Receipts []api.Receipt `json:"receipts"`
}

// writeJSON answers. A client that has disconnected gets no answer.
func writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	text, err := json.Marshal(body)
	if err != nil { // strings and numbers always can
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// clearDeadline gives back to the server what setDeadline took.
func clearDeadline(w http.ResponseWriter) { setDeadline(w, time.Time{}) }

// setDeadline bounds the reading of the body. Without support for it, as in a
// test recorder, the body is at hand anyway.
func setDeadline(w http.ResponseWriter, at time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(at)
}
