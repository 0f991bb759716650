package breaker_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

// start is when everything here begins.
func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// longest waits as long as jitter can make it.
func longest() breaker.Timing {
	return breaker.Timing{Jitter: func(d time.Duration) time.Duration { return d }}
}

// A step changes a record.
type step func(breaker.Record, time.Time) breaker.Record

func trip(r breaker.Record, now time.Time) breaker.Record {
	return r.Trip(now, "a", "10 requests in a row have failed", 10, breaker.Cause{Status: 503}, longest())
}

func fail(r breaker.Record, now time.Time) breaker.Record {
	return r.Take(now, "me", time.Minute).Fail(now, 1, breaker.Cause{Error: "no answer"}, longest())
}

func failAll(n int) step {
	return func(r breaker.Record, now time.Time) breaker.Record {
		return r.Take(now, "me", time.Minute).Fail(now, n, breaker.Cause{Status: 500}, longest())
	}
}

func busy(r breaker.Record, now time.Time) breaker.Record {
	return r.Take(now, "me", time.Minute).Fail(now, 1, breaker.Cause{Status: 429, RetryAfter: 30 * time.Second}, longest())
}

func succeed(n int) step {
	return func(r breaker.Record, now time.Time) breaker.Record {
		return r.Take(now, "me", time.Minute).Succeed(now, n)
	}
}

func byHand(r breaker.Record, now time.Time) breaker.Record { return r.Close(now, "by hand") }

func repeat(s step, n int) []step {
	steps := make([]step, n)
	for i := range steps {
		steps[i] = s
	}
	return steps
}

func TestStates(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		steps []step // a minute apart
		want  breaker.State
		room  int
		wait  time.Duration // to the next probe, after the last step
	}{
		{"opens", []step{trip}, breaker.Open, 1, 5 * time.Second},
		{"a probe fails", []step{trip, fail}, breaker.Open, 1, 10 * time.Second},
		{"delays double", append([]step{trip}, repeat(fail, 4)...), breaker.Open, 1, 80 * time.Second},
		{"up to an hour", append([]step{trip}, repeat(fail, 40)...), breaker.Open, 1, time.Hour},
		{"a probe succeeds", []step{trip, succeed(1)}, breaker.HalfOpen, 1, 0},
		{"two have succeeded", []step{trip, succeed(1), succeed(1)}, breaker.HalfOpen, 2, 0},
		{"four have succeeded", []step{trip, succeed(1), succeed(1), succeed(2)}, breaker.HalfOpen, 4, 0},
		{"never more than are missing", []step{trip, succeed(1), succeed(1), succeed(2), succeed(3)}, breaker.HalfOpen, 1, 0},
		{"eight have succeeded", []step{trip, succeed(1), succeed(1), succeed(2), succeed(4)}, breaker.Closed, 1, 0},
		{"one fails in half-open", []step{trip, fail, succeed(1), fail}, breaker.HalfOpen, 1, 0},
		{"more fail than succeed", []step{trip, fail, succeed(1), fail, fail}, breaker.Open, 1, 5 * time.Second},
		{"after a long outage too", append(append([]step{trip}, repeat(fail, 20)...), succeed(1), succeed(1), failAll(3)), breaker.Open, 1, 5 * time.Second},
		{"then successes are forgotten", []step{trip, succeed(4), failAll(5), succeed(4)}, breaker.HalfOpen, 4, 0},
		{"and failures", []step{trip, succeed(4), failAll(5), succeed(4), failAll(4)}, breaker.HalfOpen, 1, 0},
		{"fewer at a time when some fail", []step{trip, succeed(1), succeed(1), succeed(2), fail}, breaker.HalfOpen, 3, 0},
		{"it asks for a pause", []step{trip, succeed(1), succeed(1), busy}, breaker.HalfOpen, 1, 30 * time.Second},
		{"which is over then", []step{trip, succeed(1), succeed(1), busy, succeed(1)}, breaker.HalfOpen, 2, 0},
		{"one in five fails", []step{trip, succeed(1), succeed(1), fail, succeed(1), succeed(2), fail, succeed(1), succeed(2)}, breaker.Closed, 1, 0},
		{"closed by hand", []step{trip, fail, byHand}, breaker.Closed, 1, 0},
		{"fails much later again", []step{trip, succeed(8), trip}, breaker.Open, 1, 5 * time.Second},
		{"fails soon again", append(append([]step{trip}, repeat(fail, 5)...), succeed(8), trip), breaker.Open, 1, 320 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			now := start()
			var r breaker.Record
			for _, s := range test.steps {
				now = now.Add(time.Minute)
				r = s(r, now)
			}
			if r.State != test.want || r.Room() != test.room {
				t.Errorf("got %s with room for %d, want %s and %d", r.State, r.Room(), test.want, test.room)
			}
			var wait time.Duration
			if !r.NextProbe.IsZero() {
				wait = r.NextProbe.Sub(now)
			}
			if wait != test.wait {
				t.Errorf("the next probe is in %s, want %s", wait, test.wait)
			}
			if closed := r.IsClosed("a"); closed != (test.want == breaker.Closed) || !r.IsClosed("b") {
				t.Errorf("closed for its endpoint: %t, for another: %t", closed, r.IsClosed("b"))
			}
			if open := r.State != breaker.Closed; r.DownSince.IsZero() == open || open && r.Opened == 0 {
				t.Errorf("down since %s, opened %d times", r.DownSince, r.Opened)
			}
		})
	}
}

// How long an endpoint has been down is counted from its last success: an outage that is
// over does not count towards the next one.
func TestDownSince(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	type at struct {
		after time.Duration // since the breaker opened first
		step  step
	}
	for _, test := range []struct {
		name   string
		steps  []at
		want   breaker.State
		down   time.Duration // when it is said to be down since, after the first opening
		outage time.Duration // and when the breaker had opened
	}{
		{"down all the time", []at{{0, trip}, {day, fail}, {6 * day, fail}}, breaker.Open, 0, 0},
		{"up again", []at{{0, trip}, {time.Minute, succeed(1)}}, breaker.HalfOpen, time.Minute, 0},
		{
			"one success on each day, then three failures in two seconds",
			[]at{
				{0, trip},
				{time.Minute, succeed(1)},
				{day, succeed(1)},
				{2 * day, succeed(1)},
				{3 * day, succeed(1)},
				{4 * day, succeed(1)},
				{5 * day, succeed(1)},
				{6 * day, failAll(3)},
				{6*day + time.Second, failAll(3)},
				{6*day + 2*time.Second, failAll(3)},
			},
			breaker.Open, 6 * day, 0,
		},
		{"one success, and days without a request", []at{{0, trip}, {time.Minute, succeed(1)}, {6 * day, failAll(2)}}, breaker.Open, 6 * day, 0},
		{
			"the first failure counts, also where it has not opened the breaker",
			[]at{{0, trip}, {time.Minute, succeed(1)}, {day, fail}, {2 * day, fail}, {3 * day, fail}},
			breaker.Open, day, 0,
		},
		{"some succeed and some fail", []at{{0, trip}, {time.Minute, succeed(2)}, {day, fail}, {2 * day, succeed(1)}, {3 * day, failAll(3)}}, breaker.Open, 3 * day, 0},
		{"down again since", []at{{0, trip}, {time.Minute, succeed(1)}, {day, failAll(2)}, {7 * day, fail}}, breaker.Open, day, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var r breaker.Record
			for _, s := range test.steps {
				r = s.step(r, start().Add(s.after))
			}
			if r.State != test.want || !r.DownSince.Equal(start().Add(test.down)) {
				t.Errorf("got %s, down since %s, want %s, down since %s", r.State, r.DownSince, test.want, start().Add(test.down))
			}
			if got, want := r.Outage(), start().Add(test.outage); !got.Equal(want) {
				t.Errorf("the outage began at %s, want %s", got, want)
			}
			if r = r.Close(start().Add(8*day), "by hand"); !r.DownSince.IsZero() || !r.Outage().IsZero() {
				t.Errorf("closed, it is down since %s", r.DownSince)
			}
		})
	}
}

// A breaker that an older version has left half-open says that its endpoint is down since
// the first outage, whatever has succeeded since.
func TestDownSinceOfOldRecord(t *testing.T) {
	t.Parallel()
	now := start().Add(6 * 24 * time.Hour)
	r := breaker.Parse([]byte(`{"state":"half-open","since":"2026-03-01T12:05:00Z","down_since":"2026-03-01T12:00:00Z","reason":"a probe has succeeded",
		"last_status":503,"last_failure":"2026-03-01T12:04:00Z","failures":0,"opened":1,"backoff":"20s","successes":3,"target":"a"}`))
	if r = failAll(4)(r, now); r.State != breaker.Open || !r.DownSince.Equal(now) || !r.Outage().Equal(start()) {
		t.Errorf("got %s, down since %s, the outage began at %s", r.State, r.DownSince, r.Outage())
	}
}

// The whole of a record, as it is stored and shown.
func TestRecord(t *testing.T) {
	t.Parallel()
	now := start()
	r := trip(breaker.Record{}, now)
	want := breaker.Record{
		State: breaker.Open, Since: now, DownSince: now, Reason: "10 requests in a row have failed", LastStatus: 503, LastFailure: now,
		Failures: 10, Opened: 1, Backoff: subscription.Duration(5 * time.Second), NextProbe: now.Add(5 * time.Second), Target: "a",
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	later := now.Add(time.Minute)
	r = fail(r, later)
	want.Reason, want.LastStatus, want.LastError, want.LastFailure, want.Failures = "a probe has failed", 0, "no answer", later, 11
	want.Backoff, want.NextProbe = subscription.Duration(10*time.Second), later.Add(10*time.Second)
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("failed again (-want +got):\n%s", diff)
	}
}

// The backoff, and the receiver, say how long a delay may be.
func TestWait(t *testing.T) {
	t.Parallel()
	now := start()
	for _, test := range []struct {
		name        string
		retryAfter  time.Duration
		jitter      int // of the delay, in hundredths; -1: by chance
		least, most time.Duration
	}{
		{"no jitter", 0, 100, 5 * time.Second, 5 * time.Second},
		{"all jitter", 0, 0, time.Second, time.Second},
		{"a receiver that asks for more", time.Minute, 50, time.Minute, time.Minute},
		{"one that asks for less", time.Second, 100, 5 * time.Second, 5 * time.Second},
		{"one that asks for a day", 24 * time.Hour, 50, time.Hour, time.Hour},
		{"by chance", 0, -1, time.Second, 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var timing breaker.Timing
			if test.jitter >= 0 {
				timing.Jitter = func(d time.Duration) time.Duration { return d / 100 * time.Duration(test.jitter) }
			}
			r := breaker.Record{}.Trip(now, "a", "", 10, breaker.Cause{Status: 429, RetryAfter: test.retryAfter}, timing)
			if wait := r.NextProbe.Sub(now); wait < test.least || wait > test.most {
				t.Errorf("the first probe is in %s, want %s to %s", wait, test.least, test.most)
			}
		})
	}
}

// One sender at a time has the lease, and another one when it is over.
func TestLease(t *testing.T) {
	t.Parallel()
	now := start()
	r := trip(breaker.Record{}, now)
	if due := r.Due("me", now, breaker.Timing{}); !due.Equal(r.NextProbe) {
		t.Errorf("due at %s, want %s", due, r.NextProbe)
	}
	now = r.NextProbe
	r = r.Take(now, "me", 20*time.Second)
	if due := r.Due("you", now, breaker.Timing{}); !due.Equal(now.Add(20 * time.Second)) {
		t.Errorf("another may at %s", due)
	}
	if due := r.Release().Due("you", now, breaker.Timing{}); due.After(now) {
		t.Errorf("after the lease is given up, another may at %s", due)
	}
	r = r.Succeed(now, 1)
	if mine, yours := r.Due("me", now, breaker.Timing{}), r.Due("you", now, breaker.Timing{}); mine.After(now) || !yours.After(now) {
		t.Errorf("after a success it may at %s, another at %s", mine, yours)
	}
}

// The server's clock is set back by an hour, or its breaker was written by one that was
// ahead: no delivery waits for that hour. Set forward, a probe comes early, which is all.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	now := start()
	timing := breaker.Timing{Jitter: func(d time.Duration) time.Duration { return d }}
	r := breaker.Record{}.Trip(now, "a", "", 10, breaker.Cause{}, timing)
	for range 12 {
		r = r.Fail(now, 1, breaker.Cause{}, timing)
	}
	if due := r.Due("me", now, timing); !due.Equal(now.Add(time.Hour)) {
		t.Fatalf("due in %s, want in an hour", due.Sub(now))
	}
	for _, by := range []time.Duration{-time.Minute, -time.Hour, -1000 * time.Hour, time.Hour, 1000 * time.Hour} {
		set := now.Add(by)
		if due := r.Due("me", set, timing); due.After(set) {
			t.Errorf("set by %s: the next probe is in %s", by, due.Sub(set))
		}
		leased := r.Take(now, "you", 40*time.Second)
		if due := leased.Due("me", set, timing); due.Sub(set) > 2*time.Minute {
			t.Errorf("set by %s: a lease of 40s is waited for %s", by, due.Sub(set))
		}
	}
	// Senders that have read the server's clock a little differently agree.
	if set := now.Add(-time.Second); !r.Due("me", set, timing).Equal(r.NextProbe) {
		t.Error("a second's difference changes when a probe is due")
	}
}

// A subscription that is made anew, or calls another endpoint, has another target.
func TestTargetOf(t *testing.T) {
	t.Parallel()
	sub := &subscription.Subscription{ID: "ci", CreatedAt: start(), Endpoint: subscription.Endpoint{URL: "https://a.example/hook"}}
	target := breaker.TargetOf(sub)
	sub.Description, sub.Revision = "x", 7
	if breaker.TargetOf(sub) != target {
		t.Error("another change makes another target")
	}
	url, anew := sub.Clone(), sub.Clone()
	url.Endpoint.URL = "https://b.example/hook"
	anew.CreatedAt = start().Add(time.Second)
	if breaker.TargetOf(url) == target || breaker.TargetOf(anew) == target {
		t.Error("another endpoint has the same target")
	}
}

// What a receiver says must not make a record too large, or invalid.
func TestLongError(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		r := breaker.Record{}.Fail(start(), 1, breaker.Cause{Error: strings.Repeat("x", n) + strings.Repeat("€", 4000)}, breaker.Timing{})
		if len(r.LastError) > 520 || !utf8.ValidString(r.LastError) {
			t.Errorf("the error has %d bytes, valid: %t", len(r.LastError), utf8.ValidString(r.LastError))
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]breaker.State{
		`{"state":"open"}`: breaker.Open, `{"state":"half-open"}`: breaker.HalfOpen, `{"state":"closed"}`: breaker.Closed,
		`{"state":"ajar"}`: breaker.Closed, `junk`: breaker.Closed, ``: breaker.Closed, `{}`: breaker.Closed,
	} {
		if got := breaker.Parse([]byte(value)); got.State != want {
			t.Errorf("%q is %s, want %s", value, got.State, want)
		}
	}
}

func TestCounter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		requests string // + succeeds, - fails, | five seconds pass
		limit    int
		want     string
	}{
		{"nothing", "", 3, ""},
		{"not enough in a row", "--", 3, ""},
		{"enough in a row", "---", 3, "3 requests in a row have failed"},
		{"however long it takes", "-||||||||-||||||||||-", 3, "3 requests in a row have failed"},
		{"a success between", "--+--+--", 3, ""},
		{"one is enough", "-", 1, "1 requests in a row have failed"},
		{"four of five", "----+----+----+----+", 5, ""}, // a failure has to be the last
		{"four of five and one more", "----+----+----+----+-", 5, "17 of 21 requests within 30s have failed"},
		{"three of four", strings.Repeat("---+", 20), 5, ""},
		{"too few requests", "----+----+---", 5, ""},
		{"too long ago", "----+----+|||||||----+----+", 5, ""},
		{"within the window", "----+----+|||||----+----+-", 5, "17 of 21 requests within 30s have failed"},
		{"a high limit", strings.Repeat(strings.Repeat("-", 40)+"+", 4), 100, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c breaker.Counter
			now, got := start(), ""
			for _, request := range test.requests {
				switch request {
				case '|':
					now = now.Add(5 * time.Second)
				case '+':
					c.Success(now)
				default:
					if got == "" {
						got = c.Failure(now, test.limit)
					}
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A record is by the clock as it was set when it was written. Read after the clock was
// set again, it says the same.
func TestOnAnotherSetting(t *testing.T) {
	t.Parallel()
	before := stream.Mark{Origin: "a", By: time.Minute}
	r := fail(trip(breaker.Record{Clock: before}, start()), start().Add(time.Minute))
	for name, test := range map[string]struct {
		now stream.Mark
		by  time.Duration
	}{
		"the same":           {before, 0},
		"set back":           {stream.Mark{Origin: "a", By: -2 * time.Hour}, -2*time.Hour - time.Minute},
		"set forward":        {stream.Mark{Origin: "a", By: time.Hour}, 59 * time.Minute},
		"of another history": {stream.Mark{Origin: "b", By: time.Hour}, 0},
	} {
		got, now := r.On(test.now), start().Add(time.Minute+test.by)
		if !got.NextProbe.Equal(r.NextProbe.Add(test.by)) || !got.DownSince.Equal(r.DownSince.Add(test.by)) || got.Clock != test.now {
			t.Errorf("%s: got %+v", name, got)
		}
		if wait := got.Due("me", now, longest()).Sub(now); wait != 10*time.Second {
			t.Errorf("%s: the next probe is in %s, want 10s", name, wait)
		}
		if !got.OutageSince.IsZero() {
			t.Errorf("%s: a time that is missing is %s", name, got.OutageSince)
		}
	}
	if got := (breaker.Record{}).On(before); got.Clock != before || !got.Since.IsZero() {
		t.Errorf("got %+v of no record", got)
	}
}
