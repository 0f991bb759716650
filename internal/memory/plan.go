package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream/budget"
)

// Size is how much memory a process may take, in bytes; 0: it is detected.
type Size int64

// UnmarshalText reads 512MiB, 2GiB, a number of bytes, or auto. The name of the method
// is that of encoding.TextUnmarshaler.
func (m *Size) UnmarshalText(text []byte) error {
	written := strings.TrimSpace(string(text))
	if strings.EqualFold(written, "auto") {
		*m = 0
		return nil
	}
	unit := int64(1)
	number := written
	for suffix, bytes := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40} {
		if cut, found := strings.CutSuffix(written, suffix); found {
			number, unit = strings.TrimSpace(cut), bytes
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if errors.Is(err, strconv.ErrRange) && n > 0 || err == nil && n > math.MaxInt64/unit {
		return fmt.Errorf("%q is more than a machine can have: write auto, or a number with KiB, MiB or GiB, such as 512MiB", written)
	}
	if err != nil {
		return fmt.Errorf("%q is not an amount of memory: write auto, or a number with KiB, MiB or GiB, such as 512MiB", written)
	}
	if n*unit < leastMemory {
		return fmt.Errorf("%q is too little: jetpost needs at least %d MiB", written, leastMemory>>20)
	}
	*m = Size(n * unit)
	return nil
}

const (
	// leastMemory is what one process of any kind can work with.
	leastMemory = 128 << 20
	// plannedMost is how much a process plans with when nothing is configured: what a busy one needs
	// is less, and on a large machine it must not take the memory of others.
	plannedMost = 1 << 30
	// servedPercent of the memory is for the program where there is an embedded NATS
	// server, alonePercent where there is not. The rest is for the operating system, that
	// writes what the server stores, and keeps the buffers of connections.
	servedPercent, alonePercent = 65, 90
)

// A Plan says what may take how much memory in this process. docs/memory.md
// has it as a table.
type Plan struct {
	Source string // how it is known how much there is

	Deliveries *budget.Budget // in hand of the sender, with what was asked for
	Events     *budget.Budget // in work of the router
	Ingest     *budget.Budget // request bodies of the producer
	publishing int64          // bytes on their way to NATS, of each service

	Streams int64 // what the embedded server may take for streams in memory
	Inbound int64 // and for what one stream has not stored yet
}

// divide divides what the Go runtime may take. Half of each budget is in use when
// everything is busy, the other half is for the first items of users that have none.
func divide(source string, limit int64) Plan {
	share := func(percent int64) int64 { return limit / 100 * percent }
	return Plan{
		Source:     source,
		Deliveries: budget.New(share(20)), Events: budget.New(share(5)).PauseHeld(routedEvery), Ingest: budget.New(share(10)),
		publishing: share(5),
		Streams:    min(share(10), 256<<20), Inbound: min(share(5), 128<<20),
	}
}

// Publishing is a budget for one service.
func (p *Plan) Publishing() *budget.Budget { return budget.New(p.publishing) }

// Register has /metrics show how much of each budget is in use.
func (p *Plan) Register(reg prometheus.Registerer) error {
	for use, b := range map[string]*budget.Budget{"deliveries": p.Deliveries, "events": p.Events, "requests": p.Ingest} {
		labels := prometheus.Labels{"use": use}
		for _, gauge := range []prometheus.Collector{
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "jetpost_memory_budget_bytes", Help: "Memory that work in hand may take, by what it is; half of it when all are busy.", ConstLabels: labels,
			}, func() float64 { return float64(b.Size()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "jetpost_memory_used_bytes", Help: "Memory that work in hand takes, by what it is.", ConstLabels: labels,
			}, func() float64 { return float64(b.Used()) }),
		} {
			if err := reg.Register(gauge); err != nil {
				return fmt.Errorf("register metrics of memory: %w", err)
			}
		}
	}
	return nil
}

// NewPlan finds out how much memory there is, and has the Go runtime keep to it. A process
// that embeds a NATS server leaves more to it.
func NewPlan(given Size, embedded bool, log *zap.Logger) Plan {
	source, total := find(given, log)
	percent := int64(alonePercent)
	if embedded {
		percent = servedPercent
	}
	limit := total / 100 * percent
	switch written := os.Getenv("GOMEMLIMIT"); {
	case source == fromEnvironment:
		limit = debug.SetMemoryLimit(-1)
	case written == "" && total > 0: // off is for an operator who wants no limit
		debug.SetMemoryLimit(limit)
	}
	Tune()
	planned := limit
	if source == fromMachine {
		planned = min(planned, plannedMost)
	}
	plan := divide(source, planned)
	log.Info("memory", zap.String("from", source), zap.Int64("bytes", total), zap.Int64("limit", debug.SetMemoryLimit(-1)), zap.Int64("planned", planned))
	if planned < leastMemory*servedPercent/100 {
		log.Warn("there is less memory than jetpost needs: give it more, or it may be killed", zap.Int64("planned", planned), zap.Int64("needed", leastMemory))
	}
	return plan
}

// The sources of how much memory there is.
const (
	fromFlag        = "--memory"
	fromEnvironment = "GOMEMLIMIT"
	fromCgroup      = "cgroup"
	fromMachine     = "machine"
)

// find returns how much memory this process may take, and its source: the flag, the
// environment, the cgroup that it runs in, or half of the machine. 0: it is unknown.
func find(given Size, log *zap.Logger) (source string, bytes int64) {
	if given > 0 {
		return fromFlag, int64(given)
	}
	if debug.SetMemoryLimit(-1) < math.MaxInt64 {
		return fromEnvironment, 0
	}
	machine, err := memlimit.FromSystem()
	if err != nil || machine > math.MaxInt64 {
		log.Warn("cannot find out how much memory this machine has: say with --memory how much jetpost may take", zap.Error(err))
		machine = 2 * plannedMost
	}
	group, err := memlimit.FromCgroup()
	switch {
	case err == nil && group < machine: // a larger one is none
		return fromCgroup, int64(group) //nolint:gosec // smaller than the machine's
	case err != nil && !errors.Is(err, memlimit.ErrNoLimit) && !errors.Is(err, memlimit.ErrNoCgroup) && !errors.Is(err, memlimit.ErrCgroupsNotSupported):
		log.Warn("cannot read the memory limit of the cgroup: say with --memory how much jetpost may take", zap.Error(err))
	}
	return fromMachine, int64(machine / 2) //nolint:gosec // bounded above
}

const (
	// watchEvery is how often the memory in use is compared with the limit.
	watchEvery = 20 * time.Millisecond
	// Above heldPercent of its limit the runtime does not collect as fast as memory is used,
	// by the embedded server for the most part. Budgets are held until it is below.
	heldPercent = 105
	// routedEvery is how long a router rests between two events meanwhile. Each becomes a
	// message in every queue that wants it, and the embedded server keeps what it has
	// written for 10 s, so without rest memory grows although hardly any work is in progress.
	routedEvery = 250 * time.Millisecond
)

// Watch has nothing more taken in hand while the runtime is above its limit, until ctx
// ends. The limit is a wish: when memory is used faster than it is collected, on a busy
// machine, it is exceeded, and beyond it is that of the cgroup, which kills.
func (p *Plan) Watch(ctx context.Context) {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return
	}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for held := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(samples)
		used := int64(samples[0].Value.Uint64() - samples[1].Value.Uint64()) //nolint:gosec // memory is smaller
		if above := used/100 > limit/100*heldPercent/100 || held && used > limit; above != held {
			held = above
			for _, b := range []*budget.Budget{p.Deliveries, p.Events, p.Ingest} {
				b.Hold(held)
			}
		}
	}
}
