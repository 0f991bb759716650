package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// An oracle is one run of the model against the program.
type oracle struct {
	*oReceivers
	seed      uint64
	killsNATS bool // with the processes
	began     time.Time
	api       *server // where publishers and changes go: its address never changes

	kills    []oKill
	programs []*program // all that were ever started
	ended    []string   // programs that ended by themselves

	tries, refused int // publishes that were tried, and that failed
	changes        int
	countMu        sync.Mutex
}

// An oKill is a process that was killed, and when its successor was started.
type oKill struct {
	at   time.Time
	what string
}

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
func await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

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
	r, err := o.api.try(ctx, http.MethodPost, "/v1/events", body, header...)
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
		r, err := o.api.try(limited, method, path, body)
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

// create makes a subscription.
func (o *oracle) create(ctx context.Context, s *oSub) {
	body := s.body()
	body["endpoint"] = object{"url": o.URL + "/hook/" + s.id, "timeout": s.timeout}
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
	o.change(ctx, http.MethodPost, "/v1/subscriptions/"+s.id+"/rotate-secret", object{"secret": secret, "overlap": pick(r, "1h", "0s")})
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

// churn changes subscriptions until ctx ends, and leaves none paused.
func (o *oracle) churn(ctx, last context.Context, changeable []*oSub) {
	r := o.random(50)
	quick := []string{"500", "reset", "429"}
	var paused, made []*oSub
	for n := 0; ctx.Err() == nil; n++ {
		await(ctx, time.Duration(r.IntN(500))*time.Millisecond)
		s := pick(r, changeable...)
		switch pick(r, "create", "create", "delete", "pause", "pause", "resume", "resume", "rotate", "rotate", "lanes") {
		case "create":
			if len(made) < 25 {
				s = newSub(r, fmt.Sprintf("made-%02d", n), plan{flaky: 0.2, faults: quick})
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
		case "lanes":
			if !s.ordered {
				o.change(last, http.MethodPatch, "/v1/subscriptions/"+s.id, object{"delivery": object{"max_in_flight": pick(r, 8, 64, 100)}})
			}
		}
	}
	for _, s := range paused {
		o.resume(last, s)
	}
}

// A victim is a process that is killed again and again.
type victim struct {
	name  string
	s     *server
	ready string  // what it prints when it works
	needs *server // that has to be ready as well before the next kill, if any
}

// start starts the victim and does not wait for it.
func (o *oracle) start(t *testing.T, v *victim) {
	t.Helper()
	p := prepareProgram(t, v.s.args...)
	p.quiet = true
	p.start(t)
	v.s.program = p
	o.programs = append(o.programs, p)
}

// kill ends the victim like a crash does.
func (o *oracle) kill(v *victim) {
	select {
	case <-v.s.exited:
		o.ended = append(o.ended, fmt.Sprintf("%s ended by itself: %s", v.name, v.s.stderr.tail(10)))
	default:
	}
	v.s.kill()
	o.kills = append(o.kills, oKill{time.Now(), v.name})
}

// killSome kills victims at random moments, n times in all. Most are killed while
// they work, some while they start. halfway is called in the middle.
func (o *oracle) killSome(t *testing.T, victims []*victim, n int, halfway func()) {
	t.Helper()
	r := o.random(10)
	for len(o.kills) < n {
		if len(o.kills) >= n/2 && halfway != nil {
			halfway()
			halfway = nil
		}
		v := pick(r, victims...)
		v.s.line(t, v.ready)
		if v.needs != nil {
			eventually(t, "everything works again", func() bool {
				r, err := v.needs.try(t.Context(), http.MethodGet, "/readyz", nil)
				return err == nil && r.status == http.StatusOK
			})
		}
		await(t.Context(), 100*time.Millisecond+time.Duration(r.IntN(1300))*time.Millisecond)
		o.kill(v)
		o.start(t, v)
		for r.IntN(4) == 0 && len(o.kills) < n {
			await(t.Context(), time.Duration(r.IntN(300))*time.Millisecond)
			o.kill(v)
			o.start(t, v)
		}
	}
	for _, v := range victims {
		v.s.line(t, v.ready)
	}
}

// waiting is what has still to be done, as the streams say, leaving out the queues
// of some subscriptions. Nothing is an empty text.
func waiting(ctx context.Context, js jetstream.JetStream, but ...string) (string, error) {
	var found []string
	streams := js.ListStreams(ctx)
	for info := range streams.Info() {
		name := info.Config.Name
		switch {
		case strings.HasPrefix(name, "EVENTS_"):
			c, err := js.Consumer(ctx, name, "router")
			if err != nil {
				return "", err
			}
			if i := c.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
				found = append(found, fmt.Sprintf("%s: %d+%d", name, i.NumPending, i.NumAckPending))
			}
		case strings.HasPrefix(name, "DELIVERIES_"), strings.HasPrefix(name, "RETRIES_"):
			if info.State.Msgs == 0 || slices.Contains(but, strings.TrimPrefix(name, "DELIVERIES_")) {
				continue
			}
			left, err := unfinished(ctx, js, name)
			if err != nil {
				return "", err
			}
			if left > 0 {
				found = append(found, fmt.Sprintf("%s: %d", name, left))
			}
		}
	}
	return strings.Join(found, ", "), streams.Err()
}

// settle waits until nothing is waiting any more. It gives up when nothing has
// changed for longer than a process that was killed can hold a message.
func (o *oracle) settle(t *testing.T, js jetstream.JetStream, but ...string) {
	t.Helper()
	const patience = 2 * time.Minute
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	before, changed := "", time.Now()
	for ; ; <-poll.C {
		left, err := waiting(t.Context(), js, but...)
		switch {
		case err == nil && left == "":
			return
		case err == nil && left != before:
			before, changed = left, time.Now()
		case time.Since(changed) > patience:
			o.wrong("work that is left does not change any more: %s (%v)", left, err)
			return
		}
	}
}

// unfinished is how many messages of a work queue are not done: those that its
// consumer has still to hand out or to hear of, and timers. A server that was killed
// between taking note of an ack and removing the message keeps the message, and
// never hands it out again; nobody owes it anything.
func unfinished(ctx context.Context, js jetstream.JetStream, name string) (uint64, error) {
	c, err := js.Consumer(ctx, name, "sender")
	if err != nil {
		return 0, err
	}
	i := c.CachedInfo()
	left := i.NumPending + uint64(i.NumAckPending) //nolint:gosec // a count
	s, err := js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	timers, err := s.Info(ctx, jetstream.WithSubjectFilter("retries.*.at.>"))
	if err != nil {
		return 0, err
	}
	for _, n := range timers.State.Subjects {
		left += n
	}
	return left, nil
}

// queued is how many deliveries wait in the queue of a subscription.
func queued(t *testing.T, js jetstream.JetStream, id string) uint64 {
	t.Helper()
	left, err := unfinished(t.Context(), js, "DELIVERIES_"+id)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// comeBack resumes a subscription that has left, until what waits for it has been
// delivered. The delivery that was answered with 410 may be in its queue again.
func (o *oracle) comeBack(t *testing.T, js jetstream.JetStream, id string) {
	t.Helper()
	for range 5 {
		if o.api.subscription(t, id).State == "disabled" {
			o.api.call(t, http.MethodPost, "/v1/subscriptions/"+id+"/resume", nil, nil)
		}
		holdsWithin(t.Context(), 5*time.Minute, func() bool {
			return queued(t, js, id) == 0 || o.api.subscription(t, id).State == "disabled"
		})
		if queued(t, js, id) == 0 {
			return
		}
	}
	o.wrong("%s: %d deliveries wait, and resuming does not help", id, queued(t, js, id))
}

// overview is what a person wants to see of a run.
func overview(lines ...[2]string) string {
	var b strings.Builder
	for _, line := range lines {
		_, _ = fmt.Fprintf(&b, "  %-44s %s\n", line[0], line[1])
	}
	return b.String()
}

// logOf returns what all programs have said about a delivery.
func (o *oracle) logOf(delivery string) string {
	var found []string
	for _, p := range o.programs {
		for _, line := range p.stderr.lines(delivery) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) == nil {
				line = fmt.Sprint(fields["time"], " ", fields["msg"], " attempt ", fields["attempt"], " ", fields["outcome"], " ", fields["status"], " ", fields["error"])
			}
			found = append(found, "    log "+line)
		}
	}
	return strings.Join(found, "\n")
}
