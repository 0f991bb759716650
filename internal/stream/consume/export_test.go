package consume

import (
	"time"

	"github.com/nats-io/nats.go"
)

// HandBack ends a slot of p.
func HandBack(p *Pull, nc *nats.Conn, sub *nats.Subscription, arrivals <-chan *nats.Msg) {
	p.handBack(nc, sub, arrivals)
}

// Stall has p take the process to have stood still until now.
func (p *Pulse) Stall() { p.stalled.Store(int64(time.Since(started))) }

// Age has the server not know for a while that m is in hand here.
func (m *Message) Age(d time.Duration) { m.known.Store(int64(time.Since(started) - d)) }
