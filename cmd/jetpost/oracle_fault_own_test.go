package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
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
