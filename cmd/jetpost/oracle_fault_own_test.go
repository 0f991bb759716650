package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPlanOfFaults: the same seed plans the same faults, and each deed has its turn
// before any has two.
func TestPlanOfFaults(t *testing.T) {
	t.Parallel()
	var deeds []*deed
	for i := range 5 {
		deeds = append(deeds, &deed{
			kind: fmt.Sprint("deed ", i), targets: []string{"a", "b", "c"}, effects: func(string) effects { return effects{} },
			atLeast: time.Second, atMost: 3 * time.Second,
		})
	}
	planned := func(seed uint64) string {
		var b strings.Builder
		for _, p := range planFaults(rand.New(rand.NewPCG(seed, 1)), deeds, 15) {
			fmt.Fprintln(&b, p.kind, p.target, p.pause, p.lasts, p.early, p.seed)
			if p.lasts < p.atLeast || p.lasts > p.atMost {
				t.Errorf("%s lasts %v", p.kind, p.lasts)
			}
		}
		return b.String()
	}
	plannedOnce := planned(1)
	if again := planned(1); again != plannedOnce {
		t.Errorf("the same seed plans differently:\n%s\n%s", plannedOnce, again)
	}
	if planned(2) == plannedOnce {
		t.Error("the seed does not matter")
	}
	plan := planFaults(rand.New(rand.NewPCG(3, 1)), deeds, 15)
	for first := 0; first < len(plan); first += len(deeds) {
		kinds := make(map[string]bool)
		for _, p := range plan[first : first+len(deeds)] {
			kinds[p.kind] = true
		}
		if len(kinds) != len(deeds) {
			t.Errorf("the deck from %d has only %d kinds", first, len(kinds))
		}
	}
}

// TestKilledLater: on a busy machine a process works for a while after its kill was decided.
// What it does until it is dead is explained by the kill; what others do from then on is not.
func TestKilledLater(t *testing.T) {
	t.Parallel()
	at := time.Now()
	after := func(ms int) time.Time { return at.Add(time.Duration(ms) * time.Millisecond) }
	f := &fault{effects: effects{requests: true, records: true}, kind: "kill sender", at: at}
	o := &oracle{faultList: faultList{faults: []*fault{f}}}
	if err := o.strike(t, f, func() error { return nil }); err != nil || f.struck.Before(at) {
		t.Fatalf("struck at %v: %v", f.struck, err)
	}
	f.struck, f.end = after(500), after(600)
	for _, c := range []struct {
		what       string
		sent, done int
		want       bool
	}{
		{"made before, and settled", -9000, -8000, false},
		{"made before, and not settled", -300, -200, true},
		{"made before the process is dead", 200, 300, true},
		{"under way when it dies", 400, 700, true},
		{"made by another one afterwards", 550, 560, false},
	} {
		if got := o.during(f, []*oRequest{{sent: after(c.sent), done: after(c.done)}}); got != c.want {
			t.Errorf("%s: explained %t, want %t", c.what, got, c.want)
		}
	}
}

// TestBadWire: each fault of a wire does what it says, and is gone when it is healed.
func TestBadWire(t *testing.T) {
	t.Parallel()
	const size = 3 << 10 // more than any limit
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(receiver.Close)
	for _, kind := range wireFaults() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newBadWire(t, "wire", receiver.Listener.Addr().String())
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			exchange := func(patience time.Duration) error {
				client.Timeout = patience
				answer, err := client.Post("http://"+w.address, "text/plain", strings.NewReader(strings.Repeat("x", size)))
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				got, err := io.ReadAll(answer.Body)
				if err == nil && len(got) != size {
					err = fmt.Errorf("got %d bytes", len(got))
				}
				return err
			}
			if err := exchange(factDeadline); err != nil {
				t.Fatalf("before: %v", err)
			}
			for seed := range uint64(2) { // and with them directions
				if err := w.spoil(kind, rand.New(rand.NewPCG(seed, 1))); err != nil {
					t.Fatal(err)
				}
				patience := factDeadline
				if kind == "half-open" {
					patience = 500 * time.Millisecond
				}
				began := time.Now()
				err := exchange(patience)
				took := time.Since(began)
				switch kind {
				case "latency":
					if err != nil || took < 300*time.Millisecond {
						t.Errorf("%v after %v", err, took)
					}
				case "slow close":
					if err != nil {
						t.Error(err)
					}
				case "1 KB/s":
					if err != nil || took < time.Second {
						t.Errorf("%v after %v", err, took)
					}
				default:
					if err == nil {
						t.Errorf("a wire with %q works", kind)
					}
				}
				if err := w.heal(t.Context()); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the wire works again", func() bool { return exchange(factDeadline) == nil })
			}
		})
	}
}

// TestStoryOfProcesses: a discrepancy is printed with what the processes around it have logged,
// and with those that had ended by then left out.
func TestStoryOfProcesses(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Minute)
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	o := &oracle{oReceivers: &oReceivers{}, began: began}
	lives := func(name string, from time.Time) *program {
		p := &program{name: name, cmd: &exec.Cmd{Process: &os.Process{Pid: 7}}, stderr: new(printed), exited: make(chan struct{}), began: from}
		for s := range 40 {
			line := func(level, message string) {
				_, _ = fmt.Fprintf(p.stderr, `{"level":%q,"time":%q,"msg":%q,"subscription_id":"a"}`+"\n", level, at(s).Format(time.RFC3339Nano), message)
			}
			line("info", "attempt")
			line("warn", fmt.Sprint("trouble of ", name, " at ", s))
		}
		o.programs = append(o.programs, p)
		return p
	}
	lives("sender-0", at(0))
	dead := lives("sender-1", at(0))
	dead.ended = at(10)
	close(dead.exited)
	lives("sender-1 again", at(30))
	got := o.processesAround([]*oRequest{{sent: at(20), at: at(21)}}, "a")
	want := "    sender-0: process 7, started at 0.000s, lives; attempts for a logged: 6\n"
	for s := 18; s <= 23; s++ {
		want += fmt.Sprintf(`        {"level":"warn","time":%q,"msg":"trouble of sender-0 at %d","subscription_id":"a"}`+"\n", at(s).Format(time.RFC3339Nano), s)
	}
	if diff := cmp.Diff(strings.TrimSuffix(want, "\n"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
