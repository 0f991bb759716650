// Package members says which senders there are, and which of them pull the deliveries
// of a subscription: its owners.
//
// Every sender keeps a record of itself in the bucket members, and writes it again and
// again. The record of one that has died goes away by itself.
//
//	sender ── Put, every 3 s ──► bucket members ── watch ──► Set ──► Owns(subscription)?
//
// Ownership saves pulls that would wait for nothing. It is no lock: the durable consumer
// hands each delivery to one sender, whichever pulls. So everything here may be a little
// wrong as long as no sender takes a dead one for alive: one that does not know
// of others pulls too much, and one that believes in the dead too little. A sender that
// always counts itself in makes sure of the rest: the best of all that live is
// also the best of those it knows.
package members

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A Member is one sender, by what it says of itself.
type Member struct {
	// ID is made when the sender starts, and is its key in the bucket.
	ID string `json:"id"`
	// Host is the name of its machine.
	Host string `json:"host,omitempty"`
	// PID is the id of its process there; 0: it does not say.
	PID int `json:"pid,omitempty"`
	// Version of jetpost.
	Version string `json:"version,omitempty"`
	// Started is when it did, by its own clock.
	Started time.Time `json:"started,omitzero"`
	// Draining says that it takes no more deliveries: it is being stopped.
	Draining bool `json:"draining,omitempty"`
	// LastSeen is when the record was written last, by the clock of the NATS server. Set
	// by what reads it.
	LastSeen time.Time `json:"-"`
	// Revision of the record. Set by what reads it.
	Revision uint64 `json:"-"`
}

// A Set is all senders that are known at one moment. It never changes.
type Set struct {
	all  []Member
	live []candidate // in the order of their ids
}

// NewSet is the set of these members. Those that are draining own nothing, nor do those
// whose record is older than the one written last by more than stream.MembersTTL: it should
// have expired, and has not. One that is as much younger was written before the
// server's clock was set back: a sender that lives writes its own again.
func NewSet(all []Member) *Set {
	s := &Set{all: slices.SortedFunc(slices.Values(all), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })}
	var last Member // by its revision: times may go back
	for i := range s.all {
		if m := &s.all[i]; m.Revision > last.Revision || m.Revision == last.Revision && m.LastSeen.After(last.LastSeen) {
			last = *m
		}
	}
	for i := range s.all {
		if m := &s.all[i]; !m.Draining && last.LastSeen.Sub(m.LastSeen).Abs() <= stream.MembersTTL {
			s.live = append(s.live, candidate{m.ID, hash(m.ID)})
		}
	}
	return s
}

// FromEntries is the set of what the bucket has. A record that cannot be read is that of
// a member nevertheless: a later version may have written it, and takes its share.
func FromEntries(entries map[string]follow.Entry) *Set {
	all := make([]Member, 0, len(entries))
	for id, e := range entries {
		all = append(all, parse(id, e))
	}
	return NewSet(all)
}

func parse(id string, e follow.Entry) Member {
	var m Member
	_ = json.Unmarshal(e.Value, &m) // see FromEntries
	m.ID, m.LastSeen, m.Revision = id, e.Stored, e.Revision
	return m
}

// All returns the members, also those that own nothing, in the order of their ids.
func (s *Set) All() []Member { return slices.Clone(s.all) }

// Live returns the ids of those that own subscriptions, in their order.
func (s *Set) Live() []string {
	ids := make([]string, len(s.live))
	for i, c := range s.live {
		ids[i] = c.id
	}
	return ids
}

// With is the set in which m is live, whatever s knows of it: a sender knows best
// whether it is.
func (s *Set) With(m Member) *Set {
	c := candidate{m.ID, hash(m.ID)}
	i, found := slices.BinarySearchFunc(s.live, c, func(a, b candidate) int { return cmp.Compare(a.id, b.id) })
	if found {
		return s
	}
	known := make(map[string]Member, len(s.all)+1)
	for _, each := range s.all {
		known[each.ID] = each
	}
	known[m.ID] = m
	return &Set{
		all:  slices.SortedFunc(maps.Values(known), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) }),
		live: slices.Insert(slices.Clone(s.live), i, c),
	}
}

// WithMissing is the set with the live members of old that s knows nothing of.
func (s *Set) WithMissing(old *Set) *Set {
	for i := range old.all {
		m := &old.all[i]
		if old.isLive(m.ID) && !slices.ContainsFunc(s.all, func(known Member) bool { return known.ID == m.ID }) {
			s = s.With(*m)
		}
	}
	return s
}

func (s *Set) isLive(id string) bool {
	return slices.ContainsFunc(s.live, func(c candidate) bool { return c.id == id })
}

// Owners returns the ids of the senders that pull for sub, the one with the best claim
// first: as many as sub asks for, or all there are.
func (s *Set) Owners(sub *subscription.Subscription) []string {
	return owners(s.live, sub.ID, sub.Delivery.SenderCount())
}

// Owns reports whether the sender of that id is one of sub's owners.
func (s *Set) Owns(id string, sub *subscription.Subscription) bool {
	return owns(s.live, id, sub.ID, sub.Delivery.SenderCount())
}
