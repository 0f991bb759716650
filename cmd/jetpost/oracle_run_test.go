package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetpost/jetpost/internal/testkit"
)

// An oracle is one run of the model against the program.
type oracle struct {
	*oReceivers
	faultList
	name    string
	seed    uint64
	schemas string
	home    string // the data directory of the first process, which makes the key
	began   time.Time
	large   float64 // share of events that are large

	natsURLs []string  // of NATS servers in processes of their own
	apis     []*server // where publishers and changes go: their addresses never change
	next     atomic.Uint64
	victims  []*victim  // all processes
	wires    []*badWire // to the receivers
	allWires []*badWire // and to NATS

	programs   []*program // all that were ever started
	endedAlone []string   // programs that ended by themselves

	breakersClosed int // by hand, at the end
	tries, refused int // publishes that were tried, and that failed
	changes        int
	countMu        sync.Mutex
}

// api is where the next request goes: every process that answers gets some.
func (o *oracle) api() *server { return o.apis[o.next.Add(1)%uint64(len(o.apis))] }

// random returns the random numbers of one purpose.
func (o *oracle) random(purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(o.seed, purpose)) }

// publish publishes events until ctx ends, each until there is a receipt; a few are
// given up after a failure, which leaves open whether they are stored.
func (o *oracle) publish(ctx, last context.Context, client int, every time.Duration) {
	r := o.random(100 + uint64(client))
	for n := 0; ctx.Err() == nil; {
		var events []*oEvent
		for range pick(r, 1, 1, 1, 1, 1, 1, 3, 5) {
			e := newEvent(r, fmt.Sprintf("e%d-%05d", client, n))
			if o.large > 0 && r.Float64() < o.large {
				e.enlarge(r)
			}
			o.addEvent(e)
			events = append(events, e)
			n++
		}
		mode := pick(r, "binary", "structured")
		if len(events) > 1 {
			mode = "batch"
		}
		again, persist := r.IntN(50) == 0, r.IntN(25) > 0
		for tries := 0; last.Err() == nil && (tries == 0 || persist); tries++ {
			if o.send(last, events, mode) {
				if !again {
					break
				}
				again = false // the same once more, perhaps in another mode
				continue
			}
			await(last, 30*time.Millisecond)
		}
		await(ctx, time.Duration(float64(every)*2*r.Float64()))
	}
}

// await waits for d or until ctx ends.
func await(ctx context.Context, d time.Duration) { testkit.Pause(ctx, d) }

// send publishes events in one request and reports whether they are accepted.
func (o *oracle) send(ctx context.Context, events []*oEvent, mode string) bool {
	body, header := events[0].binary()
	switch mode {
	case "structured":
		body, header = events[0].structured(), []string{"Content-Type", "application/cloudevents+json"}
	case "batch":
		texts := make([]string, len(events))
		for i, e := range events {
			texts[i] = string(e.structured())
		}
		body, header = []byte("["+strings.Join(texts, ",")+"]"), []string{"Content-Type", "application/cloudevents-batch+json"}
	}
	now := time.Now()
	for _, e := range events {
		e.publishing(now)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := o.api().try(ctx, http.MethodPost, "/v1/events", body, header...)
	o.countMu.Lock()
	defer o.countMu.Unlock()
	o.tries++
	if err != nil || r.status >= 500 {
		o.refused++
		return false
	}
	if r.status != http.StatusCreated {
		o.wrong("publish %s in mode %s: %d %s", events[0].id, mode, r.status, r.body)
		return true
	}
	now = time.Now()
	for _, e := range events {
		e.receipt(now)
	}
	return true
}

// change makes a change through the API, again until it is answered. It returns
// the status, and whether an earlier try may have made the change already.
func (o *oracle) change(ctx context.Context, method, path string, body any, accepted ...int) (status int, repeated bool) {
	for ; ctx.Err() == nil; repeated = true {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		r, err := o.api().try(limited, method, path, body)
		cancel()
		if err == nil && r.status < 500 {
			if r.status/100 != 2 && !slices.Contains(accepted, r.status) {
				o.wrong("%s %s: %d %s", method, path, r.status, r.body)
			}
			o.countMu.Lock()
			o.changes++
			o.countMu.Unlock()
			return r.status, repeated
		}
		await(ctx, 50*time.Millisecond)
	}
	return 0, repeated
}

// endpoint is where the requests of a subscription go.
func (o *oracle) endpoint(s *oSub) string {
	base := o.URL
	if s.wire >= 0 {
		base = "http://" + o.wires[s.wire].address
	}
	return base + "/hook/" + s.id
}

// create makes a subscription.
func (o *oracle) create(ctx context.Context, s *oSub) {
	body := s.body()
	body["endpoint"] = object{"url": o.endpoint(s), "timeout": s.timeout}
	o.addSub(s)
	status, repeated := o.change(ctx, http.MethodPost, "/v1/subscriptions", body, http.StatusConflict)
	if status == http.StatusConflict && !repeated {
		o.wrong("creation of %s: it exists already", s.id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = time.Now()
}

func (o *oracle) pause(ctx context.Context, s *oSub) {
	o.change(ctx, http.MethodPost, "/v1/subscriptions/"+s.id+"/pause", nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops = append(s.stops, span{from: time.Now()})
}

func (o *oracle) resume(ctx context.Context, s *oSub) {
	s.mu.Lock()
	s.stops[len(s.stops)-1].to = time.Now()
	s.mu.Unlock()
	o.change(ctx, http.MethodPost, "/v1/subscriptions/"+s.id+"/resume", nil)
}

func (o *oracle) rotate(ctx context.Context, s *oSub, r *rand.Rand) {
	secret := newSecret(r)
	s.mu.Lock()
	s.secrets = slices.Insert(s.secrets, 0, secret)
	s.mu.Unlock()
	path := "/v1/subscriptions/" + s.id + "/rotate-secret"
	status, _ := o.change(ctx, http.MethodPost, path, object{"secret": secret, "overlap": pick(r, "1h", "0s")}, http.StatusConflict)
	if status == http.StatusConflict { // as many sign as can
		o.change(ctx, http.MethodPost, path, object{"secret": secret, "overlap": "0s"})
	}
}

func (o *oracle) remove(ctx context.Context, s *oSub) {
	s.mu.Lock()
	s.deleting = time.Now()
	s.mu.Unlock()
	status, repeated := o.change(ctx, http.MethodDelete, "/v1/subscriptions/"+s.id, nil, http.StatusNotFound)
	if status == http.StatusNotFound && !repeated {
		o.wrong("deletion of %s: it does not exist", s.id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted = time.Now()
}

// churn changes subscriptions until ctx ends, and leaves none paused. It makes no more
// than most at a time.
func (o *oracle) churn(ctx, last context.Context, changeable []*oSub, most int) {
	r := o.random(50)
	quick := []string{"500", "reset", "429"}
	var paused, made []*oSub
	for n := 0; ctx.Err() == nil; n++ {
		await(ctx, time.Duration(r.IntN(500))*time.Millisecond)
		s := pick(r, changeable...)
		switch pick(r, "create", "create", "delete", "pause", "pause", "resume", "resume", "rotate", "rotate", "limits") {
		case "create":
			if len(made) < most {
				s = newSub(r, fmt.Sprintf("made-%02d", n), plan{flaky: 0.2, faults: quick})
				if wire := r.IntN(2 * len(o.wires)); wire < len(o.wires) {
					s.over(wire)
				}
				o.create(last, s)
				made, changeable = append(made, s), append(changeable, s)
			}
		case "delete":
			if i := len(made) - 1; i >= 3 && !slices.Contains(paused, made[i]) {
				o.remove(last, made[i])
				changeable = slices.DeleteFunc(changeable, func(s *oSub) bool { return s == made[i] })
				made = made[:i]
			}
		case "pause":
			if !slices.Contains(paused, s) {
				o.pause(last, s)
				paused = append(paused, s)
			}
		case "resume":
			if len(paused) > 0 {
				o.resume(last, paused[0])
				paused = paused[1:]
			}
		case "rotate":
			o.rotate(last, s, r)
		case "limits":
			if s.ordered {
				continue // one at a time
			}
			most := pick(r, 8, 64, 100)
			s.mu.Lock()
			s.mostInFlight = max(s.mostInFlight, most)
			s.mu.Unlock()
			o.change(last, http.MethodPatch, "/v1/subscriptions/"+s.id, object{"delivery": object{"max_in_flight": most}})
		}
	}
	for _, s := range paused {
		o.resume(last, s)
	}
}
