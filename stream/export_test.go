package stream

import "time"

// Stall has p take the process to have stood still until now.
func (p *Pulse) Stall() { p.stalled.Store(int64(time.Since(started))) }

// Age has the server not know for a while that m is in hand here.
func (m *Message) Age(d time.Duration) { m.known.Store(int64(time.Since(started) - d)) }
