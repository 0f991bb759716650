package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jetpost/jetpost/event"
)

// An oRequest is one request that the receiver of a subscription got.
type oRequest struct {
	nth      int // of its delivery
	attempt  string
	fault    string
	sent     time.Time // as it says itself, in whole seconds: on a busy machine, or over a bad wire, long before at
	at, done time.Time // done is zero while it is being answered
	ok       bool      // it was answered with 2xx, to the end
}

// oReceivers are the receivers of all subscriptions: they answer as planned, look
// at all that they get, and remember it.
type oReceivers struct {
	clock *setClock // of all processes; nil: that of the machine
	*httptest.Server
	seed uint64

	mu         sync.Mutex
	subs       map[string]*oSub
	events     []*oEvent
	requests   map[string][]*oRequest // by delivery
	of         map[string]*oSub       // the subscription of each
	violations []string
	leaveAfter time.Time // from when on a leaver leaves; zero: not yet
}

func newReceivers(seed uint64) *oReceivers {
	o := &oReceivers{
		seed: seed, subs: make(map[string]*oSub), requests: make(map[string][]*oRequest), of: make(map[string]*oSub),
	}
	o.Server = httptest.NewServer(http.HandlerFunc(o.receive))
	return o
}

func (o *oReceivers) addSub(s *oSub) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.subs[s.id] = s
}

func (o *oReceivers) addEvent(e *oEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
}

// wrong notes what should never happen.
func (o *oReceivers) wrong(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.violations = append(o.violations, fmt.Sprintf(format, args...))
}

// receive is the handler.
func (o *oReceivers) receive(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the sender was killed while it sent
	}
	id := r.Header.Get("Webhook-Id")
	o.mu.Lock()
	s := o.subs[strings.TrimPrefix(r.URL.Path, "/hook/")]
	if s == nil {
		o.mu.Unlock()
		o.wrong("a request to %s, which is no endpoint", r.URL)
		return
	}
	e := o.eventOf(s, id)
	req := &oRequest{nth: len(o.requests[id]) + 1, attempt: r.Header.Get("Jetpost-Attempt"), at: began, sent: began}
	if seconds, err := strconv.ParseInt(r.Header.Get("Webhook-Timestamp"), 10, 64); err == nil { // or its signature is wrong
		req.sent = o.clock.latest(time.Unix(seconds, 0), began)
	}
	o.requests[id] = append(o.requests[id], req)
	o.of[id] = s
	leaveAfter := o.leaveAfter
	o.mu.Unlock()

	switch {
	case e == nil:
		o.wrong("%s got %s, and no published event has that id", s.id, id)
	case !s.wants(e):
		o.wrong("%s got %s, which it does not want", s.id, e.id)
	default:
		if err := o.inspect(s, e, r, body); err != nil {
			o.wrong("%s got %s (%s, attempt %s): %v", s.id, e.id, id, req.attempt, err)
		}
	}
	o.checkLife(s, e, req.sent)

	req.fault = s.plan.fault(o.seed, id, req.nth)
	if s.plan.leaving && s.leaves(id, began, leaveAfter) {
		req.fault = "410"
	}
	if s.plan.slow > 0 {
		pause(r, s.plan.slow)
	}
	ok := o.answer(w, r, req.fault)
	o.mu.Lock()
	req.done, req.ok = time.Now(), ok
	o.mu.Unlock()
	if !ok && (req.fault == "reset" || req.fault == "cut") {
		panic(http.ErrAbortHandler)
	}
}

// eventOf returns the event of a delivery. The caller holds o.mu.
func (o *oReceivers) eventOf(s *oSub, delivery string) *oEvent {
	for ; s.indexed < len(o.events); s.indexed++ {
		e := o.events[s.indexed]
		s.byDelivery[deliveryID(s.id, e.source, e.id)] = e
	}
	return s.byDelivery[delivery]
}

// leaves decides which delivery is answered with 410: the first that comes after
// a moment, and that one always.
func (s *oSub) leaves(delivery string, now, after time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leftOver == "" && !after.IsZero() && now.After(after) {
		s.leftOver, s.left = delivery, now
	}
	return delivery == s.leftOver
}

// answer does what the fault says, and reports whether that was a complete 2xx.
func (o *oReceivers) answer(w http.ResponseWriter, r *http.Request, fault string) bool {
	switch fault {
	case "":
		w.WriteHeader(http.StatusOK)
		return r.Context().Err() == nil
	case "hang":
		<-r.Context().Done()
	case "reset":
	case "cut": // a 200 whose body breaks off
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "only the beginning")
		_ = http.NewResponseController(w).Flush()
	case "429":
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case "patience":
		w.Header().Set("Retry-After", "11")
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		status := map[string]int{"302": 302, "400": 400, "404": 404, "410": 410, "500": 500, "503": 503}[fault]
		w.Header().Set("Location", "/hook/none")
		w.WriteHeader(status)
	}
	return false
}

// pause waits for d, or until the sender has given up.
func pause(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// settling is how long after a change was answered a request may still be sent by
// who had begun before.
const settling = 5 * time.Second

// checkLife finds requests for subscriptions that are paused or deleted, and for
// events that came after the end. sent is in whole seconds, or up to one too early.
func (o *oReceivers) checkLife(s *oSub, e *oEvent, sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.deleted.IsZero() && sent.After(s.deleted.Add(settling)) {
		o.wrong("%s got a request sent %v after it was deleted", s.id, sent.Sub(s.deleted))
	}
	for _, stop := range s.stops {
		if sent.After(stop.from.Add(settling)) && (stop.to.IsZero() || sent.Add(time.Second).Before(stop.to)) {
			o.wrong("%s got a request sent %v after it was paused", s.id, sent.Sub(stop.from))
		}
	}
	if e == nil || s.deleted.IsZero() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.began.After(s.deleted) {
		o.wrong("%s got %s, which was published after its deletion", s.id, e.id)
	}
}

// inspect compares a request with the event that it must carry.
func (o *oReceivers) inspect(s *oSub, e *oEvent, r *http.Request, body []byte) error {
	a := &arrival{method: r.Method, target: r.URL.RequestURI(), header: r.Header, body: body}
	s.mu.Lock()
	secrets := slices.Clone(s.secrets)
	s.mu.Unlock()
	if !slices.ContainsFunc(secrets, func(secret string) bool { return a.verify(secret) == nil }) {
		return errors.New("the signature is wrong")
	}
	if got := r.Header.Get("Jetpost-Subscription"); got != s.id {
		return fmt.Errorf("it says that it is for %q", got)
	}
	if s.profile == "standard" {
		var got struct {
			Type string
			Data json.RawMessage
		}
		if err := json.Unmarshal(body, &got); err != nil {
			return err
		}
		if got.Type != e.kind || !bytes.Equal(got.Data, bytes.TrimSpace(e.data)) {
			return fmt.Errorf("the body is %s", body)
		}
		return nil
	}
	a.header = a.header.Clone()
	for name, values := range a.header {
		if strings.HasPrefix(name, "Ce-") {
			text, err := event.DecodeHeaderValue(values[0])
			if err != nil {
				return err
			}
			a.header[name] = []string{text}
		}
	}
	got, err := a.event()
	if err != nil {
		return err
	}
	want, have := e.data, got.Data()
	if s.profile == "cloudevents-binary" {
		have = body
	}
	if e.isJSON() { // in structured mode the space around it is not a part of it
		want, have = bytes.TrimSpace(want), bytes.TrimSpace(have)
	}
	switch {
	case !bytes.Equal(have, want):
		return fmt.Errorf("got data %q, want %q", have, want)
	case got.ID() != e.id || got.Source() != e.source || got.Type() != e.kind || got.Subject() != e.subject || got.DataContentType() != e.contentType:
		return fmt.Errorf("got event %s", got)
	case len(got.Extensions()) != len(e.extensions):
		return fmt.Errorf("got extensions %v", got.Extensions())
	}
	for name, value := range e.extensions {
		if got.Extensions()[name] != value {
			return fmt.Errorf("got extensions %v, want %v", got.Extensions(), e.extensions)
		}
	}
	return nil
}
