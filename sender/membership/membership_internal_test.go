package membership

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription/members"
)

// Who a sender shares with, from one piece of news to the next.
func TestMembership(t *testing.T) {
	t.Parallel()
	sees := func(ids ...string) func(*Membership) {
		return func(m *Membership) {
			var all []members.Member
			for _, id := range ids {
				if id[0] == '-' {
					all = append(all, members.Member{ID: id[1:], Draining: true})
				} else {
					all = append(all, members.Member{ID: id})
				}
			}
			m.visible = members.NewSet(all)
		}
	}
	type step struct {
		what string
		news func(*Membership)
		want []string // nil: not known yet
	}
	opened := func(m *Membership) { m.opened = true }
	alone := func(m *Membership) { m.alone = true }
	written := func(m *Membership) { m.alone = false }
	reconnected := func(m *Membership) { m.held = true }
	settled := func(m *Membership) { m.held = false }
	for name, steps := range map[string][]step{
		"at the beginning it waits for the others": {
			{"its record is written", written, nil},
			{"it is read", sees("me", "b"), []string{"b", "me"}},
		},
		"it is not seen yet, but lives": {
			{"the others are read", sees("b"), []string{"b", "me"}},
		},
		"nothing can be read": {
			{"time is over", opened, []string{"me"}},
			{"it is read after all", sees("b", "me"), []string{"b", "me"}},
		},
		"its record cannot be written": {
			{"it is read", sees("b", "me"), []string{"b", "me"}},
			{"the write fails", alone, []string{"me"}},
			{"another comes", sees("b", "c", "me"), []string{"me"}},
			{"it can be written again", written, []string{"b", "c", "me"}},
		},
		"its first record cannot be written": {
			{"the write fails", alone, []string{"me"}},
		},
		"all records go while NATS is away": {
			{"it is read", sees("b", "c", "me"), []string{"b", "c", "me"}},
			{"it is connected again", reconnected, []string{"b", "c", "me"}},
			{"no other member", sees(), []string{"b", "c", "me"}},
			{"one has come back, and stops", sees("-b", "me"), []string{"c", "me"}},
			{"a new one comes", sees("-b", "d", "me"), []string{"c", "d", "me"}},
			{"one is still missing", settled, []string{"d", "me"}},
		},
		"one leaves": {
			{"it is read", sees("b", "me"), []string{"b", "me"}},
			{"it stops", sees("-b", "me"), []string{"me"}},
			{"it has gone", sees("me"), []string{"me"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "members"})
			m := New(Config{Self: members.Member{ID: "me"}, Members: gauge}, nil, nil, stream.Layout{}, zap.NewNop())
			for _, step := range steps {
				before, changed := m.get()
				m.update(step.news)
				set, _ := m.get()
				var got []string
				if set != nil {
					got = set.Live()
				}
				if diff := cmp.Diff(step.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", step.what, diff)
				}
				notified := false
				select {
				case <-changed:
					notified = true
				default:
				}
				if notified != (set != before) {
					t.Errorf("%s: notified: %t, and the set has changed: %t", step.what, notified, set != before)
				}
			}
		})
	}
}
