package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An oracle run takes these from the environment:
//
//	JETPOST_ORACLE_SEED     what is random follows from it; default: the time
//	JETPOST_ORACLE_FAULTS   how many faults there are, in all runs together; default: 48
//	JETPOST_ORACLE_FIGURES  a file that gets a line about each run; default: none
const (
	seedVariable    = "JETPOST_ORACLE_SEED"
	faultsVariable  = "JETPOST_ORACLE_FAULTS"
	figuresVariable = "JETPOST_ORACLE_FIGURES"
)

// TestOracle compares the program with a model: random events, subscriptions and
// receivers' faults from a printed seed, subscriptions that are made, changed and
// deleted meanwhile, and faults of processes and networks.
//
// What a publisher has a receipt for must have arrived where it was wanted, or be a
// dead letter that the receiver's plan, or its network, explains; nothing else may
// have arrived; repeats carry the same id, each is explained by a fault, and no fault
// explains more of them than were in flight; and the attempt log knows every request
// but those that were under way when their sender was killed.
//
// Here everything is in one process, NATS too, which is killed again and again, or stands
// still for a while, and whose clock is set.
func TestOracle(t *testing.T) {
	t.Parallel()
	runOracle(t, "one process", workload{every: 60 * time.Millisecond, made: 25}, func(t *testing.T, o *oracle) []*deed {
		t.Helper()
		o.clock = newClock(t)
		v := o.addService(t, "serve", allRoles, "")
		return []*deed{
			o.setting(),
			o.killing("serve", effects{requests: true, records: true, routing: true, forgets: true, outage: true}, v),
			o.freezing("serve", effects{requests: true, routing: true, outage: true}, v),
		}
	}, nil)
}

// TestOracleOfOneRole is the same with each role in two processes of its own, each
// with a wire to NATS. They are killed, or stand still for a while, and their wires are
// bad, and the NATS server lives.
func TestOracleOfOneRole(t *testing.T) {
	t.Parallel()
	var wires []*badWire
	runOracle(t, "roles apart", workload{every: 60 * time.Millisecond, made: 25}, func(t *testing.T, o *oracle) []*deed {
		t.Helper()
		o.addNATS(t)
		by := make(map[string][]*victim)
		for _, roles := range []string{"producer,admin", "router", "sender"} {
			for i := range 2 {
				name := fmt.Sprintf("%s-%d", roles[strings.LastIndexByte(roles, ',')+1:], i)
				w, url := o.addWire(t, name)
				wires = append(wires, w)
				by[roles] = append(by[roles], o.addService(t, name, roles, url))
			}
		}
		return []*deed{
			o.killing("sender", effects{requests: true, records: true}, by["sender"]...),
			o.killing("router", effects{routing: true}, by["router"]...),
			o.killing("admin", effects{}, by["producer,admin"]...),
			o.freezing("sender", effects{requests: true}, by["sender"]...),
			o.freezing("router", effects{routing: true}, by["router"]...),
		}
	}, func(o *oracle) []*deed { return o.spoilingNATS(wires...) })
}

// TestOracleOfNATS is the same with jetpost in one process, which lives, and NATS in
// another, which is killed, with a wire between them that is bad.
func TestOracleOfNATS(t *testing.T) {
	t.Parallel()
	var toNATS *badWire
	runOracle(t, "NATS apart", workload{every: 60 * time.Millisecond, made: 25}, func(t *testing.T, o *oracle) []*deed {
		t.Helper()
		v := o.addNATS(t)
		w, url := o.addWire(t, "serve")
		o.addService(t, "serve", allRoles, url)
		toNATS = w
		return []*deed{o.killing("nats", effects{requests: true, routing: true, forgets: true, outage: true}, v)}
	}, func(o *oracle) []*deed { return o.spoilingNATS(toNATS) })
}

// TestOracleOfCluster is the same on three NATS servers that replicate all streams.
// They are stopped, killed and started again, leaders hand over to others, and the
// processes of jetpost are killed as well.
func TestOracleOfCluster(t *testing.T) {
	t.Parallel()
	runOracle(t, "cluster", workload{every: 150 * time.Millisecond, made: 8}, func(t *testing.T, o *oracle) []*deed {
		t.Helper()
		nodes := o.addCluster(t)
		url := strings.Join(o.natsURLs, ",")
		admin := o.addService(t, "admin", "producer,admin", url, "--replicas", "3")
		other := o.addService(t, "admin-and-router", "producer,admin,router", url, "--replicas", "3")
		router := o.addService(t, "router", "router", url, "--replicas", "3")
		var senders []*victim
		for i := range 2 {
			senders = append(senders, o.addService(t, fmt.Sprint("sender-", i), "sender", url, "--replicas", "3"))
		}
		return append(o.clusterDeeds(t, nodes),
			o.killing("sender", effects{requests: true, records: true}, senders...),
			o.killing("router", effects{routing: true}, router, other),
			o.killing("admin", effects{}, admin),
			o.freezing("sender", effects{requests: true}, senders...),
			o.freezing("router", effects{routing: true}, router),
		)
	}, nil)
}

// spoilingNATS are the deeds of making wires between jetpost and NATS bad.
func (o *oracle) spoilingNATS(wires ...*badWire) []*deed {
	return o.spoiling("NATS wire", func(kind, target string) effects {
		does := effects{outage: true}
		if !delays(kind) {
			does.requests = strings.Contains(target, "sender") || target == "serve"
			does.routing = strings.Contains(target, "router") || target == "serve"
		}
		return does
	}, wires...)
}

func numberFrom(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// oracles is how many runs share the faults.
const oracles = 4

// A workload is how much happens beside the faults.
type workload struct {
	every time.Duration // on average, between two publishes of one client
	made  int           // subscriptions at a time, beside those that are always there
	share int           // of the faults: one in so many; default: oracles
	large float64       // how many of the events are large
}

// runOracle does one run. start starts the processes and says what may be done to
// them; wires says what may be done to the network, beside that of the receivers.
func runOracle(t *testing.T, name string, l workload, start func(*testing.T, *oracle) []*deed, wires func(*oracle) []*deed) {
	t.Helper()
	seed := uint64(numberFrom(t, seedVariable, int(time.Now().UnixNano()&0xffff_ffff)))
	share := cmp.Or(l.share, oracles)
	faults := (numberFrom(t, faultsVariable, 48) + share - 1) / share
	t.Logf("%s=%d", seedVariable, seed)
	o := &oracle{large: l.large, oReceivers: newReceivers(seed), name: name, seed: seed, began: time.Now(), schemas: shopDomain(t)}
	t.Cleanup(func() {
		o.CloseClientConnections()
		o.Close()
	})
	var receivers []*badWire
	for i := range 3 {
		receivers = append(receivers, newBadWire(t, fmt.Sprint("wire-", i), o.Listener.Addr().String()))
	}
	o.wires, o.allWires = receivers, slices.Clone(receivers)
	toProcesses := start(t, o)
	toWires := o.spoiling("receiver", func(_, target string) effects { return effects{wire: target} }, receivers...)
	if wires != nil {
		toWires = append(toWires, wires(o)...)
	}
	o.planned = faults
	network := faults * 2 / 5
	processPlan := planFaults(o.random(10), toProcesses, faults-network)
	networkPlan := planFaults(o.random(11), toWires, network)

	first := firstSubs(o.random(1), len(receivers))
	for _, sub := range first {
		o.create(t.Context(), sub)
	}
	o.progress(t, "%d processes work, and %d subscriptions wait for events", len(o.victims), len(first))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	for client := range 4 {
		running.Go(func() { o.publish(ctx, t.Context(), client, l.every) })
	}
	named := func(id string) *oSub { return first[slices.IndexFunc(first, func(s *oSub) bool { return s.id == id })] }
	sleeper := named("sleeper")
	running.Go(func() {
		o.churn(ctx, t.Context(), slices.DeleteFunc(slices.Clone(first), func(s *oSub) bool { return s == sleeper || s.plan.leaving }), l.made)
	})
	var beside sync.WaitGroup
	beside.Go(func() { o.harmWires(t, networkPlan) })
	o.harmProcesses(t, processPlan, func() {
		o.mu.Lock()
		o.leaveAfter = time.Now()
		o.mu.Unlock()
		beside.Go(func() { o.pause(t.Context(), sleeper) })
	})
	beside.Wait()
	o.awaitReady(t)
	stop()
	running.Wait()
	published := time.Now()
	o.progress(t, "everything works, and what waits is delivered")

	js := o.jetStream(t)
	o.settle(t, js, "sleeper", "leaver")
	drained := time.Now()
	o.checkSleeper(t, queued(t, js, "sleeper"), sleeper)
	o.resume(t.Context(), sleeper)
	o.comeBack(t, js, "leaver")
	o.settle(t, js)
	o.check(t, &findings{published: published.Sub(o.began), drained: drained.Sub(published), ghosts: ghosts(t, js)})
}
