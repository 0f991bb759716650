package members_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
)

// of is a subscription for so many senders.
func of(id string, senders int) *subscription.Subscription {
	return &subscription.Subscription{ID: id, Delivery: subscription.Delivery{Senders: senders}}
}

// named are live members of these ids.
func named(ids ...string) *members.Set {
	all := make([]members.Member, len(ids))
	for i, id := range ids {
		all[i] = members.Member{ID: id}
	}
	return members.NewSet(all)
}

// numbered are ids like those that senders have.
func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("snd-%013d", i)
	}
	return ids
}

// Versions of jetpost that run side by side must agree: when this test has to be changed,
// an upgrade stops deliveries.
func TestOwnersAreForEver(t *testing.T) {
	t.Parallel()
	letters := map[string]string{"snd-aaaaaaaaaaaaa": "a", "snd-bbbbbbbbbbbbb": "b", "snd-ccccccccccccc": "c"}
	set := named(slices.Sorted(maps.Keys(letters))...)
	for subscription, want := range map[string]string{
		"ci": "cab", "a": "cab", "orders-to-warehouse": "cba", "b": "acb", "billing": "bca", "audit-log": "cba",
	} {
		got := ""
		for _, id := range set.Owners(of(subscription, 3)) {
			got += letters[id]
		}
		if got != want {
			t.Errorf("%s: got owners %s, want %s", subscription, got, want)
		}
	}
}

func TestOwners(t *testing.T) {
	t.Parallel()
	now := time.Now()
	alive := func(id string) members.Member { return members.Member{ID: id, LastSeen: now} }
	for _, tt := range []struct {
		name    string
		members []members.Member
		senders int
		want    int // how many owners
		never   string
	}{
		{"no member", nil, 1, 0, ""},
		{"one alone", []members.Member{alive("a")}, 1, 1, ""},
		{"one of three", []members.Member{alive("a"), alive("b"), alive("c")}, 1, 1, ""},
		{"two of three", []members.Member{alive("a"), alive("b"), alive("c")}, 2, 2, ""},
		{"more than there are", []members.Member{alive("a"), alive("b")}, 16, 2, ""},
		{"a record from before there was a choice", []members.Member{alive("a"), alive("b")}, 0, 1, ""},
		{"one is draining", []members.Member{alive("a"), {ID: "b", LastSeen: now, Draining: true}}, 2, 1, "b"},
		{"all are draining", []members.Member{{ID: "b", LastSeen: now, Draining: true}}, 2, 0, "b"},
		{"one has not been seen for long", []members.Member{alive("a"), {ID: "b", LastSeen: now.Add(-stream.MembersTTL - 1)}}, 2, 1, "b"},
		{"the clock was set back since one died", []members.Member{{ID: "a", LastSeen: now, Revision: 9}, {ID: "b", LastSeen: now.Add(2 * time.Hour), Revision: 8}}, 2, 1, "b"},
		{"the clock was set back, and all have written again", []members.Member{{ID: "a", LastSeen: now, Revision: 9}, {ID: "b", LastSeen: now.Add(time.Second), Revision: 8}}, 2, 2, ""},
		{"one was seen just in time", []members.Member{alive("a"), {ID: "b", LastSeen: now.Add(-stream.MembersTTL)}}, 2, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set := members.NewSet(tt.members)
			sub := of("ci", tt.senders)
			got := set.Owners(sub)
			if len(got) != tt.want || slices.Contains(got, tt.never) {
				t.Errorf("got owners %v, want %d of them", got, tt.want)
			}
			for _, m := range tt.members {
				if owns := set.Owns(m.ID, sub); owns != slices.Contains(got, m.ID) {
					t.Errorf("%s owns it: %t, but the owners are %v", m.ID, owns, got)
				}
			}
			if set.Owns("not-a-member", sub) {
				t.Error("one that is no member owns it")
			}
			if all := set.All(); len(all) != len(tt.members) {
				t.Errorf("got %d members, want %d", len(all), len(tt.members))
			}
		})
	}
}

// Each sender gets its share, whatever the names look like.
func TestDistribution(t *testing.T) {
	t.Parallel()
	const subscriptions = 10_000
	for _, n := range []int{2, 3, 5, 10, 50} {
		for _, k := range []int{1, 3} {
			set := named(numbered(n)...)
			share := make(map[string]int)
			for i := range subscriptions {
				for _, id := range set.Owners(of(fmt.Sprintf("sub-%d", i), k)) {
					share[id]++
				}
			}
			fair := subscriptions * min(n, k) / n
			least, most := subscriptions, 0
			for _, got := range share {
				least, most = min(least, got), max(most, got)
			}
			// Six standard deviations of a fair draw.
			if tolerance := 6 * int(sqrt(fair)); len(share) != n || least < fair-tolerance || most > fair+tolerance {
				t.Errorf("%d senders, %d for each: they own %d to %d subscriptions, want about %d", n, k, least, most, fair)
			}
		}
	}
}

func sqrt(n int) float64 {
	x := 1.0
	for range 40 {
		x = (x + float64(n)/x) / 2
	}
	return x
}

// When a sender comes or goes only what it gains or has lost moves.
func TestMinimalMovement(t *testing.T) {
	t.Parallel()
	const subscriptions = 5_000
	for _, n := range []int{2, 3, 7} {
		for _, k := range []int{1, 2} {
			ids := numbered(n)
			fewer, more := named(ids[:n-1]...), named(ids...)
			newcomer, moved := ids[n-1], 0
			for i := range subscriptions {
				sub := of(fmt.Sprintf("sub-%d", i), k)
				before, after := fewer.Owners(sub), more.Owners(sub)
				stayed := slices.DeleteFunc(slices.Clone(after), func(id string) bool { return id == newcomer })
				if !more.Owns(newcomer, sub) {
					if diff := cmp.Diff(before, after); diff != "" {
						t.Fatalf("%s has moved although the newcomer does not own it:\n%s", sub.ID, diff)
					}
					continue
				}
				moved++
				if !slices.Equal(stayed, before[:len(stayed)]) {
					t.Fatalf("%s: of %v there is left %v", sub.ID, before, stayed)
				}
			}
			if fair := subscriptions * min(n, k) / n; moved < fair*8/10 || moved > fair*12/10 {
				t.Errorf("%d senders, %d for each: %d subscriptions have moved, want about %d", n, k, moved, fair)
			}
		}
	}
}

// With makes a member live, whatever was known of it, and changes nothing else.
func TestWith(t *testing.T) {
	t.Parallel()
	set := members.NewSet([]members.Member{{ID: "a"}, {ID: "c", Draining: true}})
	for id, want := range map[string][]string{"a": {"a"}, "b": {"a", "b"}, "c": {"a", "c"}} {
		if diff := cmp.Diff(want, set.With(members.Member{ID: id}).Live()); diff != "" {
			t.Errorf("with %s (-want +got):\n%s", id, diff)
		}
	}
	if diff := cmp.Diff([]string{"a"}, set.Live()); diff != "" {
		t.Errorf("the set itself has changed (-want +got):\n%s", diff)
	}
	if got := set.With(members.Member{ID: "c"}).All(); len(got) != 2 {
		t.Errorf("got members %v, want a and c once each", got)
	}
}

// Who is not there any more is added, who says that it is draining is not.
func TestWithMissing(t *testing.T) {
	t.Parallel()
	old := members.NewSet([]members.Member{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d", Draining: true}})
	now := members.NewSet([]members.Member{{ID: "a"}, {ID: "b", Draining: true}, {ID: "e"}})
	if diff := cmp.Diff([]string{"a", "c", "e"}, now.WithMissing(old).Live()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever each sender knows of the others, as long as it knows no dead one: every
// subscription has an owner that takes itself for one.
func FuzzNobodyIsLeftOut(f *testing.F) {
	f.Add("ci", uint8(3), uint64(0b101_011_110), uint8(1))
	f.Add("", uint8(1), uint64(0), uint8(0))
	f.Add("orders", uint8(8), uint64(0x1234_5678_9abc_def0), uint8(16))
	f.Fuzz(func(t *testing.T, subscriptionID string, n uint8, views uint64, senders uint8) {
		ids := numbered(int(n%8) + 1)
		sub := of(subscriptionID, int(senders))
		owners := 0
		for i, id := range ids {
			var seen []members.Member
			for j, other := range ids {
				if views>>((i*len(ids)+j)%64)&1 == 1 {
					seen = append(seen, members.Member{ID: other})
				}
			}
			if members.NewSet(seen).With(members.Member{ID: id}).Owns(id, sub) {
				owners++
			}
		}
		if want := min(len(ids), sub.Delivery.SenderCount()); owners < want {
			t.Errorf("%d of %d senders pull for %q, want at least %d", owners, len(ids), subscriptionID, want)
		}
	})
}

// Who reads while all records are written again and again finds each of them, and those
// that go and come are there or not.
func TestReadWhileWritten(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	if err := s.Layout.Ensure(t.Context(), s.JS(), nil); err != nil {
		t.Fatal(err)
	}
	kv, err := s.JS().KeyValue(t.Context(), s.Layout.MembersBucket())
	if err != nil {
		t.Fatal(err)
	}
	const lasting = 5
	write := func(ctx context.Context, id string) bool {
		err := members.Put(ctx, kv, &members.Member{ID: id})
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		return err == nil
	}
	for n := range lasting {
		write(t.Context(), fmt.Sprintf("snd-%d", n))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 0; write(ctx, fmt.Sprintf("snd-%d", n%lasting)); n++ {
			if n%7 == 0 && write(ctx, "snd-passing") {
				_ = members.Delete(ctx, kv, "snd-passing")
			}
		}
	})
	for range 300 {
		set, err := members.Read(t.Context(), s.JS(), s.Layout)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range set.All() {
			if m.ID != "snd-passing" {
				got = append(got, m.ID)
			}
		}
		if want := []string{"snd-0", "snd-1", "snd-2", "snd-3", "snd-4"}; !slices.Equal(got, want) {
			t.Fatalf("got members %v, want %v", got, want)
		}
	}
	cancel()
	writing.Wait()
}

// What is written is read back, by a reader and a follower alike, and a record that
// cannot be read is that of a member.
func TestReadBack(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	js := s.JS()
	if got, err := members.Read(t.Context(), js, s.Layout); err != nil || len(got.All()) != 0 {
		t.Fatalf("without a bucket: got %v and error %v", got, err)
	}
	if err := s.Layout.EnsureMembers(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	if err := s.Layout.EnsureMembers(t.Context(), js); err != nil {
		t.Fatalf("once more: %v", err)
	}
	if got, err := members.Read(t.Context(), js, s.Layout); err != nil || len(got.All()) != 0 {
		t.Fatalf("empty: got %v and error %v", got, err)
	}
	kv, err := js.KeyValue(t.Context(), s.Layout.MembersBucket())
	if err != nil {
		t.Fatal(err)
	}
	want := []members.Member{
		{ID: "snd-a", Host: "blue", Version: "1.2", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		{ID: "snd-b", Draining: true},
		{ID: "snd-c"},
	}
	for i := range want[:2] {
		if err := members.Put(t.Context(), kv, &want[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.Put(t.Context(), "snd-c", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := members.Put(t.Context(), kv, &members.Member{ID: "snd-gone"}); err != nil {
		t.Fatal(err)
	}
	if err := members.Delete(t.Context(), kv, "snd-gone"); err != nil {
		t.Fatal(err)
	}
	got, err := members.Read(t.Context(), js, s.Layout)
	if err != nil {
		t.Fatal(err)
	}
	entries := make(map[string]follow.Entry)
	for _, m := range want {
		e, err := kv.Get(t.Context(), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		entries[m.ID] = follow.Entry{Value: e.Value(), Revision: e.Revision(), Stored: e.Created()}
	}
	for what, set := range map[string]*members.Set{"read": got, "followed": members.FromEntries(entries)} {
		all := set.All()
		for i := range all {
			if all[i].LastSeen.IsZero() {
				t.Errorf("%s: %s was never seen", what, all[i].ID)
			}
			all[i].LastSeen, all[i].Revision = time.Time{}, 0
		}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff([]string{"snd-a", "snd-c"}, set.Live()); diff != "" {
			t.Errorf("%s, live (-want +got):\n%s", what, diff)
		}
	}
	if ids := slices.Sorted(maps.Keys(entries)); len(ids) != 3 {
		t.Errorf("got %v", ids)
	}
}
