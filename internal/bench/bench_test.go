package bench

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/cli/terminal"
)

// The figures are the machine's; the facts beside them are not.
func TestBenchFacts(t *testing.T) {
	t.Parallel()
	const waiting = 300
	var stdout, stderr bytes.Buffer
	var c Cmd
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse([]string{
		"--json", "--measure", "isolation,flaky,comeback", "--rounds", "1", "--events", "500",
		"--subscriptions", "5", "--isolation", "1s", "--waiting", "300",
	})
	if err != nil {
		t.Fatal(err)
	}
	err = parsed.Run(&terminal.Env{Ctx: t.Context(), Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		t.Fatalf("bench: %v\n%s", err, stderr.String())
	}
	var got benchReport
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if n := got.Isolation.Alone.Count; n != 3*isolationRate {
		t.Errorf("alone, %d deliveries were measured, want %d", n, 3*isolationRate)
	}
	if n := got.Isolation.Disturbed.Count; n != 3*isolationRate {
		t.Errorf("disturbed, %d deliveries were measured, want %d", n, 3*isolationRate)
	}
	facts := []int{got.Comeback.Waiting, got.Comeback.Arrived, got.Comeback.Limit}
	if diff := cmp.Diff([]int{waiting, waiting, comebackRate}, facts); diff != "" {
		t.Errorf("waiting, arrived, limit: %s", diff)
	}
	if got.Comeback.Refused == 0 || got.Comeback.Most == 0 {
		t.Errorf("the receiver was never down, or nothing was counted: %+v", got.Comeback)
	}
	if len(got.Flaky) != 3 || slices.ContainsFunc(got.Flaky, func(f flaky) bool {
		return f.Well <= 0 || f.Flaky <= 0 || f.Ratio <= 0 || f.WellCPU <= 0 || f.FlakyCPU <= 0
	}) {
		t.Errorf("with a receiver that refuses some: %+v", got.Flaky)
	}
	if len(got.Throughput) != 0 || got.Latency.Count != 0 {
		t.Errorf("what was not asked for was measured: %+v", got)
	}
}

func TestMostInASecond(t *testing.T) {
	t.Parallel()
	began := time.Now()
	at := func(offsets ...time.Duration) (times []time.Time) {
		for _, offset := range offsets {
			times = append(times, began.Add(offset))
		}
		return times
	}
	for _, tt := range []struct {
		name  string
		times []time.Time
		want  int
	}{
		{"none", nil, 0},
		{"one", at(0), 1},
		{"a second apart", at(0, time.Second, 2*time.Second), 1},
		{"just under a second", at(0, time.Second-1, 2*time.Second-2), 2},
		{"over the full second", at(900*time.Millisecond, 1100*time.Millisecond, 1899*time.Millisecond, 1901*time.Millisecond), 3},
		{"not sorted", at(3*time.Second, 0, 100*time.Millisecond, 3100*time.Millisecond, 3200*time.Millisecond), 3},
	} {
		if got := mostInASecond(tt.times); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}
