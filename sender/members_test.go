package sender_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
	"github.com/jetpost/jetpost/sender"
)

// quickly is a sender that the others hear of often, and that lets go soon.
func quickly(c *sender.Config) { c.Heartbeat, c.Debounce = 100*time.Millisecond, 300*time.Millisecond }

// clinging is a sender that never lets go of what it had.
func clinging(c *sender.Config) { c.Heartbeat, c.Debounce = 100*time.Millisecond, time.Hour }

// alone is a subscription that one sender owns, delivered to rc.
func alone(id string, rc *receiver) *subscription.Subscription {
	sub := to(id, rc.URL)
	sub.Delivery.Senders = 1
	return sub
}

// subscribeMany makes n subscriptions that one sender owns each.
func (r *rig) subscribeMany(rc *receiver, n int) []*subscription.Subscription {
	r.t.Helper()
	subs := make([]*subscription.Subscription, n)
	for i := range subs {
		subs[i] = r.subscribe(alone("sub-"+strconv.Itoa(i), rc))
	}
	return subs
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return int(family.GetMetric()[0].GetGauge().GetValue())
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func (s *running) workers(t *testing.T) int {
	t.Helper()
	return gauge(t, s.reg, "jetpost_sender_subscriptions")
}

// awaitWorkers waits until the senders have so many workers each; -1 is any number but none.
func awaitWorkers(t *testing.T, sum int, senders ...*running) (workers []int) {
	t.Helper()
	eventually(t, func() (bool, string) {
		workers = workers[:0]
		total := 0
		for _, s := range senders {
			n := s.workers(t)
			workers, total = append(workers, n), total+n
		}
		return total == sum && !slices.Contains(workers, 0), fmt.Sprintf("the senders have %v workers, want %d together", workers, sum)
	})
	return workers
}

// members are those in the bucket.
func (r *rig) members() *members.Set {
	r.t.Helper()
	set, err := members.Read(r.t.Context(), r.js, r.layout)
	if err != nil {
		r.t.Fatal(err)
	}
	return set
}

// newcomer finds out who has come since.
func (r *rig) newcomer(before *members.Set) members.Member {
	r.t.Helper()
	var found []members.Member
	eventually(r.t, func() (bool, string) {
		known := before.Live()
		found = slices.DeleteFunc(r.members().All(), func(m members.Member) bool { return slices.Contains(known, m.ID) })
		return len(found) == 1, fmt.Sprintf("%d senders have come, want 1", len(found))
	})
	return found[0]
}

// Idle subscriptions are shared: three senders have as many pulls as one, and each of
// them its share. The server counts.
func TestIdleSubscriptionsCostOnePullEach(t *testing.T) {
	t.Parallel()
	const subscriptions = 1000
	r := newRig(t)
	rc := receive(t, nil)
	var making sync.WaitGroup
	ids := make(chan int)
	for range 8 {
		making.Go(func() {
			for i := range ids {
				sub := alone("sub-"+strconv.Itoa(i), rc)
				sub.Queue = r.layout.QueueFor(sub.ID)
				queue := r.layout.QueueConfig(sub.ID, sub.Queue)
				queue.Storage = jetstream.MemoryStorage // a thousand files would take a while
				if _, err := r.js.CreateStream(t.Context(), queue); err != nil {
					t.Error(err)
					return
				}
				if _, err := r.js.CreateConsumer(t.Context(), queue.Name, r.layout.SenderConsumerConfig(4)); err != nil {
					t.Error(err)
					return
				}
				if _, err := r.store.Create(t.Context(), sub); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range subscriptions {
		ids <- i
	}
	close(ids)
	making.Wait()
	senders := []*running{r.send(), r.send(), r.send()}
	workers := awaitWorkers(t, subscriptions, senders...)
	for _, n := range workers {
		if n < subscriptions/3-100 || n > subscriptions/3+100 {
			t.Errorf("the senders have %v workers, want about a third each", workers)
		}
	}
	eventually(t, func() (bool, string) {
		pulls := 0
		for i := range subscriptions {
			c, err := r.js.Consumer(t.Context(), r.layout.QueueFor("sub-"+strconv.Itoa(i)).Stream, stream.SenderConsumer)
			if err != nil {
				return false, err.Error()
			}
			pulls += c.CachedInfo().NumWaiting
		}
		return pulls == subscriptions, fmt.Sprintf("%d pulls wait for %d subscriptions", pulls, subscriptions)
	})
	for _, s := range senders {
		if got := gauge(t, s.reg, "jetpost_sender_members"); got != len(senders) {
			t.Errorf("a sender sees %d members, want %d", got, len(senders))
		}
	}
}

// A sender that comes gets its share at once, while the other one still pulls as well,
// and is given up by that one only some time later.
func TestGainedAtOnceLostLater(t *testing.T) {
	t.Parallel()
	const n = 40
	r := newRig(t)
	rc := receive(t, nil)
	subs := r.subscribeMany(rc, n)
	first := r.send(clinging)
	awaitWorkers(t, n, first)
	before := r.members()
	second := r.send(quickly)
	awaitShare := func(s *running) {
		newcomer, set, owned := r.newcomer(before), r.members(), 0
		for _, sub := range subs {
			if set.Owns(newcomer.ID, sub) {
				owned++
			}
		}
		if owned == 0 || owned == n {
			t.Fatalf("%s owns %d of %d", newcomer.ID, owned, n)
		}
		eventually(t, func() (bool, string) {
			return s.workers(t) == owned, fmt.Sprintf("the newcomer has %d workers, want the %d that it owns", s.workers(t), owned)
		})
	}
	awaitShare(second)
	if got := first.workers(t); got != n {
		t.Errorf("the first sender has %d workers, want all %d for as long as it has to", got, n)
	}
	if got := counter(t, first.reg, "jetpost_sender_ownership_changes_total", "lost"); got != 0 {
		t.Errorf("it has given up %v already", got)
	}
	for _, sub := range subs {
		r.queue(sub, 0, 5)
	}
	rc.await(5 * n)
	for _, sub := range subs {
		r.awaitSettled(sub)
	}
	if got := len(rc.all()); got != 5*n {
		t.Errorf("%d requests were made while two senders pulled, want %d", got, 5*n)
	}
	// What it has lost, and gains again, it has never let go of.
	second.stop()
	eventually(t, func() (bool, string) {
		return gauge(t, first.reg, "jetpost_sender_members") == 1, "the first sender does not see that the second has gone"
	})
	if got := first.workers(t); got != n {
		t.Errorf("the first sender has %d workers, want %d", got, n)
	}
	third := r.send(quickly)
	awaitShare(third)
	first.stop()
	awaitWorkers(t, n, third)
	if got := counter(t, third.reg, "jetpost_sender_ownership_changes_total", "gained"); got == 0 {
		t.Error("the third sender has not counted what it has gained")
	}
}

// A sender that is stopped lets the others begin before it ends.
func TestDrainingHandsOver(t *testing.T) {
	t.Parallel()
	const n = 20
	r := newRig(t)
	hanging := make(chan struct{})
	release := sync.OnceFunc(func() { close(hanging) })
	t.Cleanup(release)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if got.note() == "0" { // the first of each subscription hangs
			<-hanging
		}
		w.WriteHeader(http.StatusNoContent)
	})
	subs := r.subscribeMany(rc, n)
	for i, sub := range subs {
		subs[i] = r.change(sub.ID, func(s *subscription.Subscription) { s.Endpoint.Timeout = subscription.Duration(30 * time.Second) })
	}
	first := r.send(quickly, func(c *sender.Config) { c.Grace = patience })
	awaitWorkers(t, n, first)
	leaving := r.members().All()[0]
	second := r.send(quickly)
	awaitWorkers(t, n, first, second)
	for _, sub := range subs {
		r.queue(sub, 0, 1)
	}
	rc.await(n)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		first.stop()
	}()
	awaitWorkers(t, n, second)
	for _, sub := range subs {
		r.queue(sub, 1, 5)
	}
	rc.await(6 * n)
	// Its own requests are still under way: nothing has waited for its end.
	select {
	case <-stopped:
		t.Error("the first sender has not waited for its requests")
	default:
	}
	if now := r.members(); slices.Contains(now.Live(), leaving.ID) || !slices.ContainsFunc(now.All(), func(m members.Member) bool { return m.ID == leaving.ID && m.Draining }) {
		t.Errorf("%s is not shown as draining: %+v", leaving.ID, now.All())
	}
	release()
	<-stopped
	for _, sub := range subs {
		r.awaitSettled(sub)
	}
	for note, got := range rc.notes() {
		if got != n && note != "0" { // which may have hung for too long
			t.Errorf("%d requests were made for note %s, want %d", got, note, n)
		}
	}
	if now := r.members().All(); len(now) != 1 {
		t.Errorf("the record is still there: %+v", now)
	}
}

// A sender that is gone without a word is missed after a while.
func TestSenderDies(t *testing.T) {
	t.Parallel()
	const n = 20
	r := newRig(t)
	rc := receive(t, nil)
	subs := r.subscribeMany(rc, n)
	// Its record goes sooner here than it would.
	r.expireMembers(time.Second)
	first, second := r.send(quickly), r.send(quickly)
	awaitWorkers(t, n, first, second)
	first.nc.Close() // as far as anybody else can tell, it was killed
	eventually(t, func() (bool, string) {
		return second.workers(t) == n, fmt.Sprintf("the second sender has %d workers, want %d", second.workers(t), n)
	})
	for _, sub := range subs {
		r.queue(sub, 0, 3)
	}
	rc.await(3 * n)
	for _, sub := range subs {
		r.awaitSettled(sub)
	}
}

// expireMembers has records go after a time of the test's own.
func (r *rig) expireMembers(after time.Duration) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), r.layout.MembersStream())
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxAge, cfg.Duplicates = after, after
	if _, err := r.js.UpdateStream(r.t.Context(), cfg); err != nil {
		r.t.Fatal(err)
	}
}

// A sender that is started where another one has crashed need not wait until that one is
// missed. One that lives is left alone.
func TestSenderIsStartedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	kv, err := r.js.KeyValue(t.Context(), r.layout.MembersBucket())
	if err != nil {
		t.Fatal(err)
	}
	r.expireMembers(time.Hour)
	crashed, lives, elsewhere := members.Member{ID: "snd-crashed", Host: host, PID: ended.Process.Pid},
		members.Member{ID: "snd-lives", Host: host, PID: os.Getppid()}, members.Member{ID: "snd-elsewhere", Host: host + "-2", PID: ended.Process.Pid}
	for _, m := range []*members.Member{&crashed, &lives, &elsewhere} {
		if err := members.Put(t.Context(), kv, m); err != nil {
			t.Fatal(err)
		}
	}
	r.send(quickly, func(c *sender.Config) { c.PID = os.Getpid() })
	eventually(t, func() (bool, string) {
		var ids []string
		for _, m := range r.members().All() {
			ids = append(ids, m.ID)
		}
		return len(ids) == 3 && !slices.Contains(ids, crashed.ID), fmt.Sprintf("the members are %v", ids)
	})
}

// Without the bucket deliveries go on: it is made anew, and the work is shared again.
func TestMembersBucketIsDeleted(t *testing.T) {
	t.Parallel()
	const n = 20
	r := newRig(t)
	rc := receive(t, nil)
	subs := r.subscribeMany(rc, n)
	senders := []*running{r.send(quickly), r.send(quickly)}
	awaitWorkers(t, n, senders...)
	if err := r.js.DeleteKeyValue(t.Context(), r.layout.MembersBucket()); err != nil {
		t.Fatal(err)
	}
	for _, sub := range subs {
		r.queue(sub, 0, 10)
	}
	rc.await(10 * n)
	eventually(t, func() (bool, string) {
		live := r.members().Live()
		return len(live) == 2, fmt.Sprintf("in the new bucket are %v", live)
	})
	awaitWorkers(t, n, senders...)
	for _, sub := range subs {
		r.awaitSettled(sub)
	}
}

// While a sender cannot write its record, and so may be taken for dead, it pulls
// everything.
func TestFailsOpen(t *testing.T) {
	t.Parallel()
	const n = 20
	r := newRig(t)
	rc := receive(t, nil)
	subs := r.subscribeMany(rc, n)
	senders := []*running{r.send(quickly), r.send(quickly)}
	awaitWorkers(t, n, senders...)
	// Another stream gets a subject of the bucket, so that it cannot be made anew.
	eventually(t, func() (bool, string) {
		if err := r.js.DeleteKeyValue(t.Context(), r.layout.MembersBucket()); err != nil {
			return false, err.Error()
		}
		_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BLOCKER", Subjects: []string{r.layout.MemberKey("unknown")}})
		return err == nil, fmt.Sprint("a sender was faster: ", err)
	})
	for i, s := range senders {
		eventually(t, func() (bool, string) {
			return s.workers(t) == n, fmt.Sprintf("sender %d has %d workers, want all %d", i, s.workers(t), n)
		})
		if got := gauge(t, s.reg, "jetpost_sender_members"); got != 0 {
			t.Errorf("sender %d sees %d members, want none", i, got)
		}
	}
	for _, sub := range subs {
		r.queue(sub, 0, 10)
	}
	rc.await(10 * n)
	for _, sub := range subs {
		r.awaitSettled(sub)
	}
	if got := len(rc.all()); got != 10*n {
		t.Errorf("%d requests were made by two senders that both pull, want %d", got, 10*n)
	}
	if err := r.js.DeleteStream(t.Context(), "BLOCKER"); err != nil {
		t.Fatal(err)
	}
	awaitWorkers(t, n, senders...)
}

// How many senders pull for a subscription can be changed while it runs.
func TestSendersOfOneSubscription(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(alone("hook", rc))
	senders := []*running{r.send(quickly), r.send(quickly), r.send(quickly)}
	for _, want := range []int{1, 2, 3, 1} {
		r.change("hook", func(s *subscription.Subscription) { s.Delivery.Senders = want })
		eventually(t, func() (bool, string) {
			info, err := r.consumer(sub)
			if err != nil {
				return false, err.Error()
			}
			return info.NumWaiting == want, fmt.Sprintf("%d pulls wait, want %d", info.NumWaiting, want)
		})
	}
	for _, s := range senders {
		s.stop()
	}
	if left := r.members().All(); len(left) > 0 {
		t.Errorf("members are left behind: %+v", left)
	}
}

// After NATS was away for a while no sender pulls what it does not own, although the records of
// the others come back one after the other.
func TestMembersOverRestart(t *testing.T) {
	t.Parallel()
	const n = 20
	r := newRig(t)
	rc := receive(t, nil)
	subs := r.subscribeMany(rc, n)
	senders := []*running{r.send(quickly), r.send(quickly)}
	awaitWorkers(t, n, senders...)
	r.server.Restart() // which forgets the bucket
	for _, sub := range subs {
		eventually(t, func() (bool, string) {
			_, err := r.consumer(sub)
			return err == nil, "the server does not come back"
		})
		r.queue(sub, 0, 5)
	}
	rc.await(5 * n)
	eventually(t, func() (bool, string) {
		live := r.members().Live()
		return len(live) == 2, fmt.Sprintf("in the bucket are %v", live)
	})
	awaitWorkers(t, n, senders...)
}
