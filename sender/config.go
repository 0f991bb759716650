package sender

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

// Config of a sender.
type Config struct {
	// Egress decides which addresses may be called. Required.
	Egress *egress.Guard
	// Proxies are those that endpoints may name. A request for an unknown one is retried
	// later, and never sent without it. Default: none.
	Proxies *subscription.Proxies
	// UserAgent of every request. Default: "jetpost".
	UserAgent string
	// Origin is the name under which receivers are asked for their consent, one host name
	// for all senders of an installation. Default: the name of this machine.
	Origin string
	// PublicURL is where the API is reached from outside, https://host without a slash at
	// its end: receivers call back below it. Default: they are not asked to.
	PublicURL string
	// Grace is how long requests under way may take to end, and to be recorded, after
	// Run's context has ended. Longer ones are aborted and made again by another sender.
	// Default: 45 s, the longest request and 15 s.
	Grace time.Duration
	// Version of jetpost, for the list of senders.
	Version string
	// PID is the id of this process. By it a sender that starts on the same machine notices
	// that this one is dead, and need not wait until its record expires. Default: 0, it
	// waits.
	PID int
	// Heartbeat is how often this sender publishes that it is alive, at least twice within
	// stream.MembersTTL. Default: 1.5 s.
	Heartbeat time.Duration
	// Debounce is how long this sender continues with a subscription that another one has
	// taken over. Default: 2 s.
	Debounce time.Duration
	// OrderedRecheck is how often the first delivery of an ordered subscription is looked at
	// while it waits for its next attempt: a change of the subscription has it attempted at
	// once, after that time at most. Default: 30 s.
	OrderedRecheck time.Duration
	// Probes is when an endpoint whose breaker is open is probed. Default: after 5 s,
	// doubling up to 1 h, with full jitter.
	Probes breaker.Timing
	// Health is notified of streams that store nothing. Default: none.
	Health *stream.Health
	// Events is where operational events are published. The caller keeps it running.
	// Default: nowhere.
	Events *operational.Publisher
	// LaggingAfter is how long the first delivery of a queue may wait before an event is
	// published. Default: 15 min; negative: none is.
	LaggingAfter time.Duration
	// LookEvery is how often queues in which deliveries wait are looked at, give or take
	// a third. Default: 45 s.
	LookEvery time.Duration
	// Connections is how many connections to receivers may be open at a time. Requests
	// beyond that wait. Default: 0, no bound.
	Connections int
	// FreeFiles is how many more files this process may open, beside those reserved for
	// storage. It is called for each connection. Default: not called.
	FreeFiles func() int
	// Memory bounds what the deliveries in hand take, over all subscriptions together;
	// each has a share. Default: their number is the only bound.
	Memory *budget.Budget
	// Publishing bounds what is on its way to NATS and not stored yet. Default: no bound.
	Publishing *budget.Budget
}

func (c Config) withDefaults() Config {
	if c.UserAgent == "" {
		c.UserAgent = "jetpost"
	}
	if c.Origin == "" {
		c.Origin, _ = os.Hostname() // missing: see validate
	}
	if c.OrderedRecheck == 0 {
		c.OrderedRecheck = 30 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 45 * time.Second
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 1500 * time.Millisecond
	}
	if c.Debounce == 0 {
		c.Debounce = 2 * time.Second
	}
	if c.LaggingAfter == 0 {
		c.LaggingAfter = 15 * time.Minute
	}
	if c.LookEvery == 0 {
		c.LookEvery = 45 * time.Second
	}
	return c
}

func (c Config) validate() error {
	if c.Egress == nil {
		return errors.New("sender: no egress rules: which addresses may be called must be decided")
	}
	if c.Origin == "" || c.LookEvery < 0 || c.OrderedRecheck < 0 {
		return errors.New("sender: the origin must be a host name, and the intervals positive")
	}
	if c.Heartbeat < 0 || c.Heartbeat > stream.MembersTTL/2 || c.Debounce < 0 {
		return fmt.Errorf("sender: the heartbeat must be positive and at most %s, and the debounce positive", stream.MembersTTL/2)
	}
	return nil
}
