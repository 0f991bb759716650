package access

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	wrongBurst   = 60     // wrong tokens that one address may bring at once
	maxAddresses = 10_000 // that are remembered; all others share one limit
	tidyEvery    = time.Second
)

// addresses count the wrong tokens of each address. Of IPv6, a network of 64 bits
// counts as one: a client with an address there has all of them.
type addresses struct {
	limit rate.Limit

	mu     sync.Mutex
	known  map[netip.Addr]*rate.Limiter
	others *rate.Limiter
	tidied time.Time // when tidy was last called
}

func newAddresses(perSecond float64) *addresses {
	a := &addresses{limit: rate.Limit(perSecond), known: map[netip.Addr]*rate.Limiter{}}
	a.others = a.limiter()
	return a
}

func (a *addresses) limiter() *rate.Limiter {
	return rate.NewLimiter(a.limit, max(wrongBurst, int(2*a.limit)))
}

// exhausted reports whether an address has brought too many.
func (a *addresses) exhausted(address string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, known := a.known[network(address)]
	if !known {
		if len(a.known) < maxAddresses {
			return false
		}
		l = a.others
	}
	return l.TokensAt(now) < 1
}

// count reports whether one more is within the limit of its address.
func (a *addresses) count(address string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := network(address)
	l, known := a.known[key]
	if !known {
		if len(a.known) >= maxAddresses && now.Sub(a.tidied) >= tidyEvery {
			a.tidied = now
			a.tidy(now)
		}
		l = a.others
		if len(a.known) < maxAddresses {
			l = a.limiter()
			a.known[key] = l
		}
	}
	return l.AllowN(now, 1)
}

// tidy removes addresses without a recent failure. It visits all of them, so
// that not every wrong token may have it done.
func (a *addresses) tidy(now time.Time) {
	for key, l := range a.known {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(a.known, key)
		}
	}
}

// wait is how long it takes until one more is checked.
func (a *addresses) wait() time.Duration {
	return max(time.Second, time.Duration(float64(time.Second)/float64(a.limit)))
}

// network is what an address counts as; the zero value for what is none.
func network(address string) netip.Addr {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Addr{}
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ip
	}
	return prefix.Addr()
}
