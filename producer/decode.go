package producer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
)

// Media types of the CloudEvents HTTP binding 1.0.2, section 3. The beginning of the
// Content-Type is the mode; batch is checked first, because the other is a prefix of it.
const (
	batchMode      = "application/cloudevents-batch"
	structuredMode = "application/cloudevents"
)

// maxStructured is how long the body of one event in JSON may be: JSON can write
// each byte of the event as \u00XX. The event itself is measured afterwards.
const maxStructured = 6 * MaxEventSize

const (
	// bodyCopies is how often the bytes of a request are in memory: as its body, and as its
	// events. On their way to NATS they are counted there.
	bodyCopies = 2
	// requestCost is what a request takes beside its body.
	requestCost = 16 << 10
	// roomTimeout is how long a request waits for room before it is refused: shorter than
	// the timeouts of clients.
	roomTimeout = 2 * time.Second
)

// modes explains the modes to a client that has used none of them.
const modes = "send an event with its attributes in ce-… headers (at least ce-specversion, ce-id, ce-source and ce-type), " +
	"or in the body with Content-Type application/cloudevents+json, or several in a JSON array with Content-Type application/cloudevents-batch+json"

// input is what a request asks to publish.
type input struct {
	events []*event.Event
	batch  bool
}

// at is the JSON pointer to an event of the request.
func (in input) at(i int) string {
	if !in.batch {
		return ""
	}
	return fmt.Sprintf("/%d", i)
}

// read takes the body within its limits, and the events from it. leave gives back the
// memory that they take.
func (p *Producer) read(w http.ResponseWriter, r *http.Request) (in input, leave func(), found *problem) {
	leave = func() {}
	mode, limit, problem := p.mode(r.Header)
	if problem != nil {
		return input{}, leave, problem
	}
	given, problem := p.makeRoom(r, limit)
	if problem != nil {
		w.Header().Set("Connection", "close") // its body has not been read
		return input{}, leave, problem
	}
	leave = given
	setDeadline(w, time.Now().Add(p.cfg.BodyTimeout))
	body, problem := readBody(w, r, limit)
	if problem != nil {
		return input{}, leave, problem
	}
	clearDeadline(w)
	in, problem = p.decode(mode, r.Header, body)
	if problem != nil {
		p.metrics.rejected("", problem.outcome())
	}
	return in, leave, problem
}

// mode returns the mode of a request, and how long its body may be. The mode is
// batchMode, structuredMode or empty for binary.
func (p *Producer) mode(h http.Header) (mode string, limit int64, found *problem) {
	if len(h["Content-Type"]) > 1 {
		return "", 0, newProblem(http.StatusBadRequest, "the request has two Content-Type headers")
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return "", 0, newProblem(http.StatusUnsupportedMediaType, "send the body without Content-Encoding: it is kept byte for byte")
	}
	contentType := h.Get("Content-Type")
	switch {
	case hasFoldPrefix(contentType, batchMode):
		return batchMode, p.cfg.MaxBatchBytes, checkFormat(contentType, batchMode)
	case hasFoldPrefix(contentType, structuredMode):
		return structuredMode, maxStructured, checkFormat(contentType, structuredMode)
	}
	return "", MaxEventSize, checkBinary(h, contentType)
}

// checkFormat accepts the JSON format in UTF-8, which is the only one there is.
func checkFormat(contentType, mode string) *problem {
	mediaType, ok := event.MediaType(contentType)
	if !ok {
		return newProblem(http.StatusUnsupportedMediaType, "the Content-Type cannot be read: use "+mode+"+json")
	}
	if mediaType != mode && mediaType != mode+"+json" {
		return newProblem(http.StatusUnsupportedMediaType, "the only event format is JSON: use "+mode+"+json")
	}
	_, params, _ := mime.ParseMediaType(contentType) // malformed parameters say nothing
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return newProblem(http.StatusUnsupportedMediaType, "the only character set is UTF-8")
	}
	return nil
}

// checkBinary finds out early whether the request is an event at all.
func checkBinary(h http.Header, contentType string) *problem {
	if _, given := h["Ce-Datacontenttype"]; given {
		return newProblem(http.StatusBadRequest, "the header ce-datacontenttype must not be sent: in binary mode over HTTP the Content-Type says it").
			with("/datacontenttype", "must be given by Content-Type")
	}
	if _, given := h["Ce-Specversion"]; given {
		return nil
	}
	for name := range h {
		if strings.HasPrefix(name, "Ce-") {
			return newProblem(http.StatusBadRequest, "the header ce-specversion is missing").with("/specversion", "is required")
		}
	}
	if event.IsJSON(contentType) {
		return newProblem(http.StatusBadRequest, "the request has no event attributes: "+modes)
	}
	return newProblem(http.StatusUnsupportedMediaType, "the request has no event attributes: "+modes)
}

// makeRoom waits until there is room for a request whose body may have up to limit bytes. Its
// Content-Length is trusted: it can send no more. leave must be called when the request is
// answered.
func (p *Producer) makeRoom(r *http.Request, limit int64) (leave func(), found *problem) {
	if p.cfg.Memory == nil {
		return func() {}, nil
	}
	size := r.ContentLength
	if size < 0 || size > limit { // not known; or refused before it is read
		size = limit
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomTimeout)
	defer cancel()
	leave, err := p.cfg.Memory.Take(ctx, access.PrincipalOf(ctx).ID, bodyCopies*size+requestCost)
	if err != nil {
		p.metrics.rejected("", outcomeUnavailable)
		return nil, newProblem(http.StatusServiceUnavailable,
			"more is being published at this moment than this process has memory for; sending it again is safe, nothing of it is stored")
	}
	return leave, nil
}

// readBody reads up to limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *problem) {
	tooLarge := func() *problem {
		return newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have at most %d bytes", limit))
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // it is not worth reading
		return nil, tooLarge()
	}
	// The Content-Length is trusted up to a bound.
	size := min(max(r.ContentLength, 0), 64<<10)
	body := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return body.Bytes(), nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge()
	}
	w.Header().Set("Connection", "close") // what follows on it cannot be trusted
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, newProblem(http.StatusRequestTimeout, "the body did not arrive in time")
	}
	return nil, newProblem(http.StatusBadRequest, "the body ends before its length")
}

// decode takes the events from a request. It is given only what mode has accepted.
func (p *Producer) decode(mode string, h http.Header, body []byte) (input, *problem) {
	in := input{batch: mode == batchMode}
	var err error
	switch mode {
	case batchMode:
		if n := countElements(body, p.cfg.MaxBatchEvents); n > p.cfg.MaxBatchEvents {
			return in, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("a batch may have at most %d events", p.cfg.MaxBatchEvents))
		}
		in.events, err = event.ParseBatch(body)
	case structuredMode:
		in.events = make([]*event.Event, 1)
		in.events[0], err = event.ParseStructured(body)
	default:
		in.events = make([]*event.Event, 1)
		in.events[0], err = event.FromMessage(binaryHeader(h), body)
	}
	if err != nil {
		return input{}, eventProblem(err, "")
	}
	return in, nil
}

// binaryHeader makes the headers of a binary HTTP request those of a binary NATS
// message. They differ in one: here the Content-Type is the attribute
// datacontenttype, and is not percent-encoded.
func binaryHeader(h http.Header) nats.Header {
	message := make(nats.Header, 10)
	for name, values := range h {
		if strings.HasPrefix(name, "Ce-") {
			message[name] = values
		}
	}
	if contentType := h.Get("Content-Type"); contentType != "" {
		message["content-type"] = []string{contentType}
	}
	return message
}

// countElements counts the elements of a JSON array, and stops when there are
// more than most. The parser finds what is not JSON.
func countElements(b []byte, most int) int {
	n := 0
	gjson.ParseBytes(b).ForEach(func(_, _ gjson.Result) bool {
		n++
		return n <= most
	})
	return n
}

func hasFoldPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
