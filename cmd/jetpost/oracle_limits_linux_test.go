package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitedMemory is what a process with little memory has. Nothing of jetpost has to work
// with less than 128 MiB, and the test binary is larger than the program.
const limitedMemory = 192 << 20

// TestOracleOfLimits is the same with processes that may open few files, from their start or
// suddenly, or have little memory, and with events that are large now and then. What
// the machine does not let a process do is no attempt: it uses none up, repeats nothing and
// loses nothing. Memory is limited by a cgroup where the machine lets a test make one, and
// by JETPOST_MEMORY elsewhere, which is said at the beginning.
func TestOracleOfLimits(t *testing.T) {
	t.Parallel()
	runOracle(t, "limits", workload{every: 150 * time.Millisecond, made: 8, share: 8, large: 0.1}, func(t *testing.T, o *oracle) []*deed {
		t.Helper()
		o.addNATS(t)
		front := o.addService(t, "front", "producer,admin,router", o.natsURLs[0])
		var senders []*victim
		for i := range 2 {
			senders = append(senders, o.addService(t, fmt.Sprint("sender-", i), "sender", o.natsURLs[0]))
		}
		all := append([]*victim{front}, senders...)
		return []*deed{
			o.takingFiles(all...),
			o.startingWith("few files", func(r *rand.Rand, _ *victim) string { return fmt.Sprint(descriptorsVariable, "=", 72+r.IntN(60)) }, senders...),
			o.startingWith("little memory", o.littleMemory(t, all...), senders...),
		}
	}, nil)
}

// littleMemory gives each process a cgroup of its own, which it is put into when it starts.
func (o *oracle) littleMemory(t *testing.T, victims ...*victim) func(*rand.Rand, *victim) string {
	t.Helper()
	groups := make(map[*victim]memoryGroup)
	for _, v := range victims {
		if group, ok := newMemoryGroup(t, limitedMemory, t.TempDir()); ok {
			groups[v] = group
		}
	}
	o.progress(t, "%d of %d processes can have their memory limited by a cgroup, the others by a setting", len(groups), len(victims))
	return func(_ *rand.Rand, v *victim) string {
		if group, ok := groups[v]; ok {
			return groupVariable + "=" + group.procs()
		}
		return fmt.Sprintf("JETPOST_MEMORY=%dMiB", limitedMemory>>20)
	}
}

// startingWith is the deed of killing processes, and of starting them again with something
// in their environment, for a while. They are killed at its end too: another fault.
func (o *oracle) startingWith(what string, variable func(*rand.Rand, *victim) string, victims ...*victim) *deed {
	does := effects{requests: true, records: true}
	d := o.killing("sender, which gets "+what, does, victims...)
	after := o.killing("sender, which had "+what, does, victims...)
	d.atLeast, d.atMost = 2*time.Second, 6*time.Second
	kill, start := d.begin, d.end
	d.begin = func(t *testing.T, target string, r *rand.Rand) error {
		t.Helper()
		for _, v := range victims {
			if v.name == target {
				v.env = []string{variable(r, v)}
			}
		}
		return errors.Join(kill(t, target, r), start(t, target))
	}
	d.end = func(t *testing.T, target string) error {
		t.Helper()
		f := o.happens(t, plannedFault{deed: after, target: target})
		defer o.ended(f)
		return errors.Join(o.strike(t, f, func() error { return kill(t, target, nil) }), start(t, target))
	}
	return d
}

// takingFiles is the deed of letting a process that works open hardly another file, for a
// while: what it has open stays. Nothing may come of it but that it waits.
func (o *oracle) takingFiles(victims ...*victim) *deed {
	d := &deed{kind: "no more files for", effects: func(string) effects { return effects{} }, atLeast: 2 * time.Second, atMost: 8 * time.Second}
	byName := make(map[string]*victim)
	for _, v := range victims {
		d.targets = append(d.targets, v.name)
		byName[v.name] = v
	}
	var before unix.Rlimit // one at a time
	d.begin = func(t *testing.T, target string, r *rand.Rand) error {
		t.Helper()
		byName[target].awaitLine(t) // one that is starting gives up, as it should
		pid := byName[target].s.cmd.Process.Pid
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return err
		}
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
			return err
		}
		few := unix.Rlimit{Cur: uint64(len(open)/2 + r.IntN(4)), Max: before.Max} //nolint:gosec // a count
		return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, nil)
	}
	d.end = func(_ *testing.T, target string) error {
		return unix.Prlimit(byName[target].s.cmd.Process.Pid, unix.RLIMIT_NOFILE, &before, nil)
	}
	return d
}
