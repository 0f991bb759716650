//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOracleOfPowerLoss takes images of the data folder at random moments while the program
// works, as a power loss would leave it, and starts from them:
//
//	always     every file as it was at one moment: all that was written is on the disk
//	interval   two images some time apart. Of each file the disk has the earlier
//	           version, the later one, or of one that has grown any part of what was
//	           added: files reach the disk separately
//
// With always every event that was acknowledged before the moment is delivered. With
// interval events may be lost; those that are acknowledged after the start are delivered
// all the same, whatever places they get, to ordered subscriptions too.
func TestOracleOfPowerLoss(t *testing.T) {
	t.Parallel()
	seed := uint64(numberFrom(t, seedVariable, int(time.Now().UnixNano()&0x7fffffff))) //nolint:gosec // positive
	rounds := max(numberFrom(t, faultsVariable, 48)/24, 2)
	for _, sync := range []string{"always", "interval"} {
		for round := range rounds {
			t.Run(fmt.Sprintf("%s/%d", sync, round), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, uint64(round))) //nolint:gosec // a plan, no secret
				t.Logf("seed %d, to be given in %s", seed, seedVariable)
				losePower(t, sync, random)
			})
		}
	}
}

// powerCut is one server that loses power.
type powerCut struct {
	*server

	sync   string
	random *rand.Rand
	plain  *catcher
	turns  *catcher // of an ordered subscription

	mu        sync.Mutex
	published atomic.Int64
	acked     []string
}

func losePower(t *testing.T, syncs string, random *rand.Rand) {
	t.Helper()
	c := &powerCut{
		server: startServer(t, "--nats-sync", syncs), sync: syncs, random: random, plain: startCatcher(t, nil), turns: startCatcher(t, nil),
	}
	c.subscribe(t, "plain", c.plain.URL, []string{"artifact.*"}, nil)
	c.subscribe(t, "in-order", c.turns.URL, []string{"artifact.*"}, object{"delivery": object{"ordered": true}})

	load, stopLoad := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	for range 4 {
		publishing.Go(func() { c.publishUntil(load, "before") })
	}
	defer func() { stopLoad(); publishing.Wait() }()
	c.awaitAcked(t, 50+random.IntN(200))
	earlier := c.image(t)
	c.awaitAcked(t, c.ackedSoFar()+50+random.IntN(300))
	freeze(t, c.cmd.Process)
	later := c.copyData(t)
	before := slices.Clone(c.idsAcked())
	c.kill()
	stopLoad()
	publishing.Wait()

	if syncs == "interval" {
		c.mix(t, earlier, later)
	}
	c.replaceData(t, later)
	c.restart(t)
	after := c.publishAfter(t, 150)
	want := after
	if syncs == "always" {
		want = append(before, after...)
	}
	for _, receiver := range []*catcher{c.plain, c.turns} {
		receiver.wantAll(t, want, repeats[syncs])
	}
	if syncs == "interval" {
		c.acceptLosses(t)
	}
	c.wantReady(t)
	c.report(t, len(before)+len(after), before)
}

// repeats is how many requests may be made again. With always these are the ones in
// flight. With interval the attempt log may have lost what was made since the earlier
// image, and the queues that it was.
var repeats = map[string]int{"always": 64, "interval": 5000} //nolint:gochecknoglobals // a table

// report prints the figures of a run.
func (c *powerCut) report(t *testing.T, acknowledged int, before []string) {
	t.Helper()
	requests, again, lost := 0, 0, 0
	for _, receiver := range []*catcher{c.plain, c.turns} {
		got := make(map[string]bool)
		for _, id := range eventIDs(t, receiver.arrivals()) {
			got[id] = true
		}
		for _, id := range before {
			if !got[id] {
				lost++
			}
		}
		requests += receiver.count()
		again += receiver.count() - receiver.deliveries()
	}
	failed := 0
	if t.Failed() {
		failed = 1
	}
	line := fmt.Sprintf("power loss, %s: 1 faults; %d events acknowledged, %d requests, %d deliveries repeated, of %d the events were lost with the power; %d discrepancies",
		c.sync, acknowledged, requests, again, lost, failed)
	t.Log(line)
	figures(t, line)
}

// publishUntil publishes one event after the other, and notes those that are acknowledged.
func (c *powerCut) publishUntil(ctx context.Context, prefix string) {
	for ctx.Err() == nil {
		id := fmt.Sprintf("%s-%d", prefix, c.published.Add(1))
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := c.tryPublish(within, deployed(id, "libs"))
		cancel()
		if err == nil {
			c.mu.Lock()
			c.acked = append(c.acked, id)
			c.mu.Unlock()
		}
	}
}

func (c *powerCut) idsAcked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acked
}

func (c *powerCut) ackedSoFar() int { return len(c.idsAcked()) }

func (c *powerCut) awaitAcked(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d events are acknowledged", n), func() bool { return c.ackedSoFar() >= n })
}

// image is the data folder at one moment; the program goes on afterwards.
func (c *powerCut) image(t *testing.T) string {
	t.Helper()
	thaw := freeze(t, c.cmd.Process)
	defer thaw()
	return c.copyData(t)
}

func (c *powerCut) copyData(t *testing.T) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "image")
	from := os.DirFS(c.data)
	err := fs.WalkDir(from, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(copied, path), 0o700)
		}
		b, err := fs.ReadFile(from, path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(copied, path), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

func (c *powerCut) replaceData(t *testing.T, image string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(c.data), os.Rename(image, c.data)); err != nil {
		t.Fatal(err)
	}
}

// mix makes of the later image what the disk may have of it: see TestOracleOfPowerLoss.
func (c *powerCut) mix(t *testing.T, earlier, later string) {
	t.Helper()
	streams := filepath.Join("nats", "jetstream")
	err := fs.WalkDir(os.DirFS(later), streams, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		old, err := os.ReadFile(filepath.Join(earlier, path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // most are there from the beginning; a name without its file is nothing that jetpost can know of
		}
		if err != nil {
			return err
		}
		name := filepath.Join(later, path)
		now, err := os.ReadFile(name)
		if err != nil || bytes.Equal(old, now) {
			return err
		}
		kept := old
		if c.random.IntN(2) == 0 {
			kept = now
		}
		if bytes.HasPrefix(now, old) {
			kept = now[:len(old)+c.random.IntN(len(now)-len(old)+1)]
		}
		return os.WriteFile(name, kept, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// publishAfter publishes so many events after the start, each until it is acknowledged.
func (c *powerCut) publishAfter(t *testing.T, n int) []string {
	t.Helper()
	ids := numbered("after", n)
	for _, id := range ids {
		var last error
		if !holdsWithin(t.Context(), factDeadline, func() bool {
			_, last = c.tryPublish(t.Context(), deployed(id, "libs"))
			return last == nil
		}) {
			t.Fatalf("event %s is not accepted: %v", id, last)
		}
	}
	return ids
}

// acceptLosses says that what the streams have lost may be lost: until then it is not
// ready, and names nothing else as the reason.
func (c *powerCut) acceptLosses(t *testing.T) {
	t.Helper()
	eventually(t, "it is ready once its losses are accepted", func() bool {
		var state struct {
			Checks map[string]string `json:"checks"`
		}
		r := c.do(t, http.MethodGet, "/readyz", nil)
		if r.status == http.StatusOK {
			return true
		}
		if err := json.Unmarshal(r.body, &state); err != nil {
			t.Fatalf("/readyz: %s: %v", r.body, err)
		}
		if state.Checks["streams"] == "ok" {
			return false
		}
		t.Logf("lost: %s", state.Checks["streams"])
		if r := c.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": []string{"all"}}); r.status != http.StatusOK {
			t.Fatalf("accept: %d %s", r.status, r.body)
		}
		return false
	})
}

// wantReady checks that nothing is left to repair.
func (c *powerCut) wantReady(t *testing.T) {
	t.Helper()
	r := c.do(t, http.MethodGet, "/readyz", nil)
	if r.status != http.StatusOK {
		t.Errorf("/readyz: %d %s", r.status, r.body)
	}
	for _, line := range c.stderr.lines(`"level":"error"`) {
		if !strings.Contains(line, "lost") {
			t.Errorf("said: %s", line)
		}
	}
}

// Damage at the head of an event log has NATS begin it at 1 again, while the routers'
// consumer stands behind all that was there. What is published then is routed.
func TestHeadOfLogIsDamaged(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"artifact.*"}, nil)
	before := numbered("before", 200)
	for _, id := range before {
		s.publish(t, deployed(id, "libs"))
	}
	c.wantAll(t, before, 0)
	s.stop(t)
	block := filepath.Join(s.data, "nats", "jetstream", "$G", "streams", "EVENTS_artifact", "msgs", "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	b[10] ^= 1
	if err := os.WriteFile(block, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	after := numbered("after", 60)
	for _, id := range after {
		s.publish(t, deployed(id, "libs"))
	}
	c.wantAll(t, after, len(before))
	if last := s.publish(t, deployed("last", "libs")); last.Sequence != 61 {
		t.Errorf("the log has not begun again, it is at %d: this shows nothing", last.Sequence)
	}
	if said := s.logged(t, "ahead of its stream"); !strings.Contains(said, `"level":"error"`) {
		t.Errorf("said: %s", said)
	}
	eventually(t, "it is published as an event", func() bool {
		r := s.do(t, http.MethodGet, "/v1/events?domain=jetpost&type=jetpost.consumer.reset", nil)
		return strings.Contains(string(r.body), `"stream":"EVENTS_artifact"`)
	})
}
