// Package bench measures the pipeline beside the bare limits of the machine.
package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/memory"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Cmd is `jetpost bench`: jetpost beside its own limits, in one run.
//
//	bench ──► embedded NATS, router, sender ──► jetpost receiver --quiet (a process of its own)
//	   └────► bare net/http client ────────────►   "
//
// The receiver verifies the signature of every request, as receivers do. Machines
// drift, so every figure is also given as a share of the bare figure that was
// measured right before and after it, on the same bytes and the same receiver.
type Cmd struct {
	output.Flag

	Measure       []string      `default:"throughput,latency,isolation,flaky,comeback" enum:"throughput,latency,isolation,flaky,comeback" placeholder:"WHAT" help:"throughput: as much as the machine can do, beside its own limits. latency: at a steady rate. isolation: what a dead and a dripping receiver cost the others. flaky: what a receiver that refuses one delivery in ten once costs the others. comeback: many deliveries wait for a receiver that was down. Default: all."`
	Events        int           `default:"40000" help:"Deliveries per measurement of throughput and flaky."`
	Size          int           `default:"1024" help:"Bytes of data in an event."`
	Fanout        []int         `default:"1,10" help:"Subscriptions that want each event."`
	Rate          int           `default:"100" help:"Events per second when latency is measured."`
	Latency       time.Duration `default:"10s" help:"How long to measure latency."`
	Subscriptions int           `default:"100" help:"Subscriptions when isolation is measured; two of them get the bad receivers."`
	Isolation     time.Duration `default:"10s" help:"How long each round of isolation takes."`
	Waiting       int           `default:"100000" help:"Deliveries that wait for the receiver which comes back, at most 200000."`
	Rounds        int           `default:"3" help:"How often to measure each throughput, isolation and flaky; the median counts."`
	JSON          bool          `name:"json" hidden:"" help:"The same as --output json."`
	Profile       string        `placeholder:"FILE" help:"Write a CPU profile of the pipeline."`
}

const (
	benchConnections = 64  // that the bare client keeps busy
	benchInFlight    = 256 // deliveries that a subscription may have in hand: requests, and records on their way
)

// What can be measured.
const (
	measureThroughput = "throughput"
	measureLatency    = "latency"
	measureIsolation  = "isolation"
	measureFlaky      = "flaky"
	measureComeback   = "comeback"
)

func (c *Cmd) has(what string) bool { return slices.Contains(c.Measure, what) }

// Validate is called when the flags are read.
func (c *Cmd) Validate() error {
	if c.Subscriptions < 3 || c.Waiting < 1 || c.Waiting > stream.MaxQueued || c.Rounds < 1 {
		return fmt.Errorf("use at least 3 subscriptions, 1 round, and 1 to %d deliveries that wait", stream.MaxQueued)
	}
	return nil
}

// Help is the long text of --help.
func (c *Cmd) Help() string {
	return `Measures jetpost and the bare limits of this machine in the same run, since machines drift.
It takes a few minutes and disturbs other programs on this machine.

  jetpost bench
  jetpost bench --measure throughput --fanout 1,10 --rounds 1
  jetpost bench -o json > bench.json`
}

// Run measures and prints.
func (c *Cmd) Run(e *terminal.Env) error {
	memory.Tune()
	b := &bench{
		Cmd: c, log: zap.NewNop(), progress: e.Stderr,
		secret: subscription.NewSigningKey(keyring.Secret{}, time.Now()).Secret,
	}
	if c.has(measureThroughput) {
		receiver, err := startBenchReceiver(e.Ctx, b.secret, e.Stderr)
		if err != nil {
			return err
		}
		defer receiver.stop()
		b.url = receiver.url + "/hook"
	}
	report, err := b.run(e.Ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		c.Output = output.FormatJSON
	}
	return c.Show(e, report, func() error {
		report.print(e.Stdout)
		return nil
	})
}

// receiverProcess is the receiver, in a process of its own.
type receiverProcess struct {
	url     string
	process *exec.Cmd
}

func startBenchReceiver(ctx context.Context, secret keyring.Secret, stderr io.Writer) (*receiverProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	process := exec.CommandContext(ctx, self, "receiver", "--quiet", "--addr", "127.0.0.1:0")
	process.Env = append(os.Environ(), "JETPOST_RECEIVER_SECRET="+secret.Reveal())
	process.Stderr = stderr
	stdout, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("start receiver: %w", err)
	}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start receiver: %w", err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // its counts each second
	_, url, _ := strings.Cut(strings.TrimSpace(line), "listening on ")
	return &receiverProcess{url: url, process: process}, nil
}

func (r *receiverProcess) stop() {
	_ = r.process.Process.Signal(os.Interrupt)
	_ = r.process.Wait()
}

// benchReport is what a run found.
type benchReport struct {
	Machine    string       `json:"machine"`
	Go         string       `json:"go"`
	HTTP       bareHTTP     `json:"bare_http"`
	NATS       bareNATS     `json:"bare_nats"`
	Throughput []throughput `json:"throughput"`
	Latency    latency      `json:"latency"`
	Isolation  isolation    `json:"isolation"`
	Flaky      []flaky      `json:"flaky"`
	Comeback   comeback     `json:"comeback"`
	PeakMemory int64        `json:"peak_memory_bytes"`
}

type bareHTTP struct {
	PerSecond float64       `json:"requests_per_second"` // mean over the run: H
	CPU       time.Duration `json:"cpu_per_request_ns"`  // of the client
}

type bareNATS struct {
	PublishPerSecond float64       `json:"publishes_per_second"`
	PublishCPU       time.Duration `json:"cpu_per_publish_ns"` // client and server
	ConsumePerSecond float64       `json:"consumes_per_second"`
	ConsumeCPU       time.Duration `json:"cpu_per_consume_ns"`
}

type throughput struct {
	Fanout     int           `json:"fanout"`
	Events     float64       `json:"events_per_second"`
	Deliveries float64       `json:"deliveries_per_second"`
	OfHTTP     float64       `json:"share_of_bare_http"` // Deliveries / H measured around it
	CPU        time.Duration `json:"cpu_per_delivery_ns"`
	OfCPU      float64       `json:"cpu_ratio"`          // CPU / the bare client's
	OfParts    float64       `json:"cpu_ratio_of_parts"` // CPU / that of the bare steps it is made of
}

type latency struct {
	Rate          int `json:"events_per_second"`
	Count         int `json:"count"`
	P50, P90, P99 time.Duration
	Max           time.Duration
}

func (r *benchReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %s\n", r.Machine, r.Go)
	if len(r.Throughput) > 0 {
		r.printThroughput(w)
	}
	if l := r.Latency; l.Count > 0 {
		fmt.Fprintf(w, "\npublish to received at %d events/s: %s, max %s (%d events)\n", l.Rate, l.percentiles(), millis(l.Max), l.Count)
	}
	if i := r.Isolation; i.Subscriptions > 0 {
		fmt.Fprintf(w, "\npublish to received of %d subscriptions at %d events/s each\n", i.Subscriptions-2, i.Rate)
		fmt.Fprintf(w, "  beside two more like them:         %s\n", i.Alone.percentiles())
		fmt.Fprintf(w, "  beside a dead and a dripping one:  %s; p99 ratio %.2f\n", i.Disturbed.percentiles(), i.Ratio)
	}
	if len(r.Flaky) > 0 {
		fmt.Fprintf(w, "\nfirst attempts when one delivery in %d is refused once, beside none\n", flakyOneIn)
	}
	for _, f := range r.Flaky {
		fmt.Fprintf(w, "  made again after %-6s %.0f/s beside %.0f/s; ratio %.2f; CPU for each %s beside %s\n", f.Delay.String()+":", f.Flaky, f.Well, f.Ratio,
			f.FlakyCPU.Round(time.Microsecond), f.WellCPU.Round(time.Microsecond))
	}
	fmt.Fprintf(w, "\npeak memory of the process: %d MB\n", r.PeakMemory>>20)
	if c := r.Comeback; c.Waiting > 0 {
		fmt.Fprintf(w, "\n%d deliveries waited for a receiver that was down, which took %d requests to know\n", c.Waiting, c.Refused)
		fmt.Fprintf(w, "  %d arrived in %s after it was back, %d of them twice\n", c.Arrived, c.Draining.Round(time.Second/10), c.Repeats)
		fmt.Fprintf(w, "  most requests in any second: %d, at a limit of %d\n", c.Most, c.Limit)
		fmt.Fprintf(w, "  live heap: %d MB when they waited, %d MB at most while they were delivered\n", c.Before>>20, c.Largest>>20)
	}
}

func (l *latency) percentiles() string {
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s", millis(l.P50), millis(l.P90), millis(l.P99))
}

func (r *benchReport) printThroughput(w io.Writer) {
	fmt.Fprintf(w, "\n%-34s %12s %10s %12s %10s\n", "", "per second", "of H", "CPU each", "of bare")
	fmt.Fprintf(w, "%-34s %12.0f %10s %12s %10s\n", "bare HTTP POST, 64 connections (H)", r.HTTP.PerSecond, "1.00", micros(r.HTTP.CPU), "1.0")
	fmt.Fprintf(w, "%-34s %12.0f %10.2f %12s\n", "bare JetStream, publish", r.NATS.PublishPerSecond, r.NATS.PublishPerSecond/r.HTTP.PerSecond, micros(r.NATS.PublishCPU))
	fmt.Fprintf(w, "%-34s %12.0f %10.2f %12s\n", "bare JetStream, consume and ack", r.NATS.ConsumePerSecond, r.NATS.ConsumePerSecond/r.HTTP.PerSecond, micros(r.NATS.ConsumeCPU))
	for _, t := range r.Throughput {
		fmt.Fprintf(w, "%-34s %12.0f %10.2f %12s %10.1f   %.0f events/s; %.1f of its bare steps\n", fmt.Sprintf("jetpost deliveries, fan-out %d", t.Fanout),
			t.Deliveries, t.OfHTTP, micros(t.CPU), t.OfCPU, t.Events, t.OfParts)
	}
}

func micros(d time.Duration) string {
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func machineName() string {
	name := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores", name, runtime.NumCPU())
}
