package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// What is done to the program while it works, and what may come of it. The plan
// follows from the seed; when exactly a fault happens does not.

// effects are what a fault may cause. Each is as little as the mechanisms promise;
// docs/faults.md has them in words.
type effects struct {
	// requests that are under way, or whose end has not reached the queue, may be
	// made again.
	requests bool
	// records of these requests may be missing.
	records bool
	// routing of events under way may be done again. That shows only where the queues
	// have forgotten meanwhile what they had.
	routing bool
	// forgets: a NATS server starts again, and knows of its queues only what they hold.
	forgets bool
	// outage: while it lasts nothing is settled.
	outage bool
	// stall: it does harm for as long as it lasts, and none when it is over.
	stall bool
	// wire on which requests and answers are lost or late; "": none.
	wire string
}

// A fault is one that has happened.
type fault struct {
	effects
	kind, target string
	at           time.Time // before it began
	struck       time.Time // when it had: a busy machine takes its time to kill a process
	end          time.Time // when everything was as before; zero: it lasts

	repeated map[string]map[string]bool // what it explains: deliveries by subscription
	rerouted map[string]bool            // and events
	inFlight map[string]int             // how many deliveries of each subscription it may have hit
}

func (f *fault) String() string { return strings.TrimSpace(f.kind + " " + f.target) }

// until is the last moment at which it could do harm.
func (f *fault) until() time.Time {
	switch {
	case f.end.IsZero():
		return time.Now()
	case f.stall:
		return f.end
	case f.records && f.outage: // everything was killed, and has connections when it is ready
		return f.end
	case f.outage || f.wire != "":
		return f.end.Add(comesBack)
	}
	// A process works until it is killed: until then it makes requests that it does not settle.
	return later(f.at, f.struck)
}

// comesBack is how long it may take, on a busy machine, until connections that were
// lost are there again.
const comesBack = 3 * time.Second

// hits reports whether the fault fell into a time.
func (f *fault) hits(from, to time.Time) bool { return f.at.Before(to) && f.until().After(from) }

// A deed is a kind of fault that a scenario has in store.
type deed struct {
	kind    string
	targets []string
	effects func(target string) effects
	// atLeast and atMost say how long it lasts.
	atLeast, atMost time.Duration
	begin           func(t *testing.T, target string, r *rand.Rand) error
	end             func(t *testing.T, target string) error
}

// A plannedFault is a deed that will be done.
type plannedFault struct {
	*deed
	target       string
	pause, lasts time.Duration
	// early: it does not wait until everything works again.
	early bool
	seed  uint64
}

// planFaults takes every deed once, in any order, before it takes one again.
func planFaults(r *rand.Rand, deeds []*deed, n int) []plannedFault {
	var plan []plannedFault
	var deck []*deed
	for len(plan) < n && len(deeds) > 0 {
		if len(deck) == 0 {
			deck = slices.Clone(deeds)
			r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		d := deck[0]
		deck = deck[1:]
		p := plannedFault{
			deed: d, target: pick(r, d.targets...), pause: 100*time.Millisecond + upTo(r, 1300*time.Millisecond),
			lasts: d.atLeast + upTo(r, d.atMost-d.atLeast), early: r.IntN(5) == 0, seed: r.Uint64(),
		}
		if p.early {
			p.pause = upTo(r, 300*time.Millisecond)
		}
		plan = append(plan, p)
	}
	return plan
}

func upTo(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most) + 1))
}

// faultList is what has happened so far.
type faultList struct {
	faultMu sync.Mutex
	faults  []*fault
	planned int
}

// happens notes that a fault begins.
func (o *oracle) happens(t *testing.T, p plannedFault) *fault {
	t.Helper()
	f := &fault{
		effects: p.effects(p.target), kind: p.kind, target: p.target, at: time.Now(),
		repeated: make(map[string]map[string]bool), rerouted: make(map[string]bool), inFlight: make(map[string]int),
	}
	o.faultMu.Lock()
	o.faults = append(o.faults, f)
	n := len(o.faults)
	o.faultMu.Unlock()
	o.progress(t, "fault %d of %d: %s", n, o.planned, f)
	return f
}

// strike begins what is planned, and notes when it has begun.
func (o *oracle) strike(t *testing.T, f *fault, begin func() error) error {
	t.Helper()
	err := begin()
	o.faultMu.Lock()
	defer o.faultMu.Unlock()
	f.struck = time.Now()
	return err
}

func (o *oracle) ended(faults ...*fault) {
	o.faultMu.Lock()
	defer o.faultMu.Unlock()
	for _, f := range faults {
		if f.end.IsZero() {
			f.end = time.Now()
		}
	}
}

// progress is for who watches a long run.
func (o *oracle) progress(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("%s %6.1fs "+format, append([]any{o.name, time.Since(o.began).Seconds()}, args...)...)
}

// harmProcesses does what is planned to processes, one thing after the other. Most
// is done while everything works, some while it is starting. halfway is called in the
// middle.
func (o *oracle) harmProcesses(t *testing.T, plan []plannedFault, halfway func()) {
	t.Helper()
	var open []*fault
	for i, p := range plan {
		if i >= len(plan)/2 && halfway != nil {
			halfway()
			halfway = nil
		}
		if !p.early {
			o.awaitReady(t)
			o.ended(open...)
			open = nil
		}
		await(t.Context(), p.pause)
		f := o.happens(t, p)
		open = append(open, f)
		if err := o.strike(t, f, func() error { return p.begin(t, p.target, rand.New(rand.NewPCG(p.seed, 1))) }); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		await(t.Context(), p.lasts)
		if p.end == nil {
			continue
		}
		if err := p.end(t, p.target); err != nil {
			t.Fatalf("end %s: %v", f, err)
		}
	}
	o.awaitReady(t)
	o.ended(open...)
}

// harmWires does what is planned to wires, beside what happens to processes.
func (o *oracle) harmWires(t *testing.T, plan []plannedFault) {
	t.Helper()
	for _, p := range plan {
		await(t.Context(), p.pause+500*time.Millisecond)
		f := o.happens(t, p)
		if err := o.strike(t, f, func() error { return p.begin(t, p.target, rand.New(rand.NewPCG(p.seed, 1))) }); err != nil {
			o.wrong("%s: %v", f, err)
		}
		await(t.Context(), p.lasts)
		if err := p.end(t, p.target); err != nil {
			o.wrong("end %s: %v", f, err)
		}
		o.ended(f)
	}
}

// A victim is a process that is killed again and again.
type victim struct {
	name  string
	s     *server
	ready string // what it prints when it works
	// health is a URL that answers 200 when it works. Optional.
	health string
	env    []string // of its next start, beside what all have
}

// start starts the victim and does not wait for it.
func (o *oracle) start(t *testing.T, v *victim) {
	t.Helper()
	p := prepareProgram(t, v.s.args...)
	p.name, p.quiet = v.name, true
	p.cmd.Env, v.env = append(p.cmd.Env, v.env...), nil
	if o.clock != nil {
		o.clock.give(p)
	}
	p.start(t)
	v.s.program = p
	o.programs = append(o.programs, p)
}

// kill ends the victim like a crash does.
func (o *oracle) kill(v *victim) {
	o.noteEnded(v)
	v.s.kill()
}

// noteEnded takes note of a victim that has ended by itself.
func (o *oracle) noteEnded(v *victim) {
	select {
	case <-v.s.exited:
		o.endedAlone = append(o.endedAlone, fmt.Sprintf("%s (process %d) ended by itself at %.3fs, %s: %s",
			v.name, v.s.cmd.Process.Pid, v.s.ended.Sub(o.began).Seconds(), v.s.cmd.ProcessState, v.s.stderr.tail(10)))
	default:
	}
}

// awaitLine waits until the victim says that it works. On a cluster whose servers
// have just been killed as well that takes its time.
func (v *victim) awaitLine(t *testing.T) {
	t.Helper()
	ended := false
	eventuallyWithin(t, 3*factDeadline, v.name+" works", func() bool {
		select {
		case <-v.s.exited:
			ended = true
		default:
		}
		return ended || len(v.s.stdout.lines(v.ready)) > 0
	})
	if len(v.s.stdout.lines(v.ready)) == 0 {
		t.Fatalf("%s has ended instead of working:\n%s", v.name, v.s.stderr.tail(30))
	}
}

// awaitReady waits until all processes work.
func (o *oracle) awaitReady(t *testing.T) {
	t.Helper()
	for _, v := range o.victims {
		v.awaitLine(t)
	}
	for _, v := range o.victims {
		if v.health == "" {
			continue
		}
		said := ""
		if !holdsWithin(t.Context(), 2*factDeadline, func() (ok bool) {
			said, ok = healthy(t.Context(), v.health)
			return ok
		}) {
			t.Fatalf("%s does not recover: %s", v.name, said)
		}
	}
}

func healthy(ctx context.Context, url string) (said string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reply, err := (&server{url: url, client: http.DefaultClient}).try(ctx, http.MethodGet, "", nil)
	if err != nil {
		return err.Error(), false
	}
	return string(reply.body), reply.status == http.StatusOK
}

// killing is the deed of killing some victims, each started again at once.
func (o *oracle) killing(kind string, does effects, victims ...*victim) *deed {
	d := &deed{kind: "kill " + kind, effects: func(string) effects { return does }, atMost: 300 * time.Millisecond}
	byName := make(map[string]*victim)
	for _, v := range victims {
		d.targets = append(d.targets, v.name)
		byName[v.name] = v
	}
	d.begin = func(_ *testing.T, target string, _ *rand.Rand) error {
		o.kill(byName[target])
		return nil
	}
	d.end = func(t *testing.T, target string) error {
		t.Helper()
		o.start(t, byName[target])
		return nil
	}
	return d
}

// freezing is the deed of stopping some victims for a while, which is longer or shorter
// than the server's patience, and having them go on as if nothing were.
func (o *oracle) freezing(kind string, does effects, victims ...*victim) *deed {
	does.stall = true
	d := &deed{kind: "freeze " + kind, effects: func(string) effects { return does }, atLeast: time.Second, atMost: stream.AckWait + 4*time.Second}
	byName := make(map[string]*victim)
	for _, v := range victims {
		d.targets = append(d.targets, v.name)
		byName[v.name] = v
	}
	thaw := func() {} // one is frozen at a time
	d.begin = func(t *testing.T, target string, _ *rand.Rand) error {
		t.Helper()
		thaw = freeze(t, byName[target].s.cmd.Process)
		return nil
	}
	d.end = func(*testing.T, string) error { thaw(); return nil }
	return d
}

// maxWrong is by how much the clock is wrong at most: receivers refuse signatures whose
// times are further off.
const maxWrong = 2 * time.Minute

// setting is the deed of setting the clock of all processes. Ack waits of what is under
// way are over when it is set forward.
func (o *oracle) setting() *deed {
	return &deed{
		kind: "set clock", targets: []string{"back", "forward"}, atMost: 300 * time.Millisecond,
		effects: func(target string) effects {
			forward := target == "forward"
			return effects{requests: forward, routing: forward}
		},
		begin: func(t *testing.T, target string, r *rand.Rand) error {
			t.Helper()
			room := o.clock.by + maxWrong // back
			if target == "forward" {
				room = maxWrong - o.clock.by
			}
			by := room/2 + upTo(r, room/2)
			if target == "back" {
				by = -by
			}
			o.clock.set(t, by)
			return nil
		},
	}
}

// spoiling are the deeds of making wires bad, one for each way.
func (o *oracle) spoiling(where string, does func(kind, target string) effects, wires ...*badWire) []*deed {
	var deeds []*deed
	byName := make(map[string]*badWire)
	for _, kind := range wireFaults() {
		d := &deed{
			kind: where + " " + kind, atLeast: time.Second, atMost: 4 * time.Second,
			effects: func(target string) effects { return does(kind, target) },
		}
		for _, w := range wires {
			d.targets = append(d.targets, w.name)
			byName[w.name] = w
		}
		d.begin = func(_ *testing.T, target string, r *rand.Rand) error { return byName[target].spoil(kind, r) }
		d.end = func(t *testing.T, target string) error { t.Helper(); return byName[target].heal(t.Context()) }
		deeds = append(deeds, d)
	}
	return deeds
}
