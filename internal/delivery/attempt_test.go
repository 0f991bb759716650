package delivery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
)

// failed is an attempt with every field set.
func failed() *delivery.Attempt {
	next := time.Date(2026, 3, 1, 11, 30, 6, 500_000_000, time.UTC)
	d := pushDelivery()
	return &delivery.Attempt{
		DeliveryID: d.ID, SubscriptionID: "hook", Event: delivery.RefOf(d), Attempt: 2,
		At: time.Date(2026, 3, 1, 11, 30, 1, 250_000_000, time.UTC), Duration: delivery.Millis(12345678 * time.Nanosecond),
		Outcome: delivery.Retry, Method: "POST", URL: "https://example.com/in?…", Status: 500,
		Error: "the answer broke off: unexpected EOF", ResponseBody: "no <b>\n",
		RequestBytes: 321, NextAttempt: &next, Redelivered: true,
	}
}

func TestAttemptJSON(t *testing.T) {
	t.Parallel()
	delivered := &delivery.Attempt{
		DeliveryID: "dlv_1", SubscriptionID: "hook",
		Event:   delivery.EventRef{ID: "1", Source: "/s", Type: "git.push", Stream: "EVENTS_git", Sequence: 1},
		Attempt: 1, At: time.Date(2026, 3, 1, 11, 30, 1, 0, time.UTC), Duration: delivery.Millis(800 * time.Microsecond),
		Outcome: delivery.Delivered, Method: "PUT", URL: "http://127.0.0.1:1/", Status: 204,
	}
	var got bytes.Buffer
	for _, a := range []*delivery.Attempt{failed(), delivered} {
		text, err := json.MarshalIndent(a, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got.Write(append(text, '\n'))
		var back delivery.Attempt
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		want := *a
		want.Duration = delivery.Millis(time.Duration(a.Duration).Truncate(time.Microsecond)) // what three decimals keep
		if diff := cmp.Diff(want, back); diff != "" {
			t.Errorf("read back it is another (-want +got):\n%s", diff)
		}
	}
	testkit.Golden(t, *update, "attempt.json", got.Bytes())
}

func TestAttemptWithoutVerdict(t *testing.T) {
	t.Parallel()
	a := failed()
	a.Outcome = 0
	if text, err := json.Marshal(a); err == nil {
		t.Errorf("got %s, want an error", text)
	}
}

func TestMillis(t *testing.T) {
	t.Parallel()
	for duration, want := range map[time.Duration]string{
		0: "0", time.Nanosecond: "0", 999 * time.Nanosecond: "0", time.Microsecond: "0.001", 1500 * time.Microsecond: "1.5",
		time.Second: "1000", 30*time.Second + 123456*time.Nanosecond: "30000.123", 720 * time.Hour: "2592000000",
	} {
		text, err := json.Marshal(delivery.Millis(duration))
		if err != nil || string(text) != want {
			t.Errorf("%s as JSON: got %s, %v, want %s", duration, text, err, want)
		}
		var back delivery.Millis
		if err := json.Unmarshal(text, &back); err != nil || time.Duration(back) != duration.Truncate(time.Microsecond) {
			t.Errorf("%s read back: got %s, %v", duration, time.Duration(back), err)
		}
	}
	var m delivery.Millis
	if err := json.Unmarshal([]byte(`"5ms"`), &m); err == nil {
		t.Errorf("a text is read as %s, want an error", time.Duration(m))
	}
}

func TestStoredBody(t *testing.T) {
	t.Parallel()
	const limit = delivery.MaxStoredBody
	long := strings.Repeat("x", limit)
	for _, tt := range []struct {
		name string
		body string
		want string
	}{
		{"nothing", "", ""},
		{"text as it is", "größe\x00\r\n", "größe\x00\r\n"},
		{"just fits", long, long},
		{"one byte more", long + "y", long},
		{"cut inside a character of two bytes", long[:limit-1] + "ö", long[:limit-1]},
		{"cut inside a character of four bytes", long[:limit-3] + "😀", long[:limit-3]},
		{"cut behind a letter", long[:limit-4] + "😀y", long[:limit-4] + "😀"},
		{"not UTF-8", "a\xffb\xc3", "a\ufffdb\ufffd"},
		{"nothing of it is UTF-8", strings.Repeat("\xff", limit), "\ufffd"},
		{"not UTF-8, longer as text", strings.Repeat("x\xff", limit), strings.Repeat("x\ufffd", limit/4)},
		{"a character cut off by the receiver", "gr\xc3", "gr\ufffd"},
	} {
		if got := delivery.StoredBody([]byte(tt.body)); got != tt.want {
			t.Errorf("%s: got %d bytes %.40q…%q, want %d bytes", tt.name, len(got), got, got[max(0, len(got)-8):], len(tt.want))
		}
	}
	for _, huge := range [][]byte{bytes.Repeat([]byte("ö\xff"), 5<<20), bytes.Repeat([]byte{'x'}, 10<<20)} {
		if got := delivery.StoredBody(huge); len(got) > limit || !utf8.ValidString(got) || len(got) < limit-3 {
			t.Errorf("of %d bytes %d are kept, valid: %t, want up to %d", len(huge), len(got), utf8.ValidString(got), limit)
		}
	}
}

// The number of an attempt is exact, whatever the queue believes: the number that
// is taken belongs to a request that was made before.
func TestRecordNumbers(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	log := delivery.NewLog(js, server.Layout)
	var judged []int
	judge := func(a *delivery.Attempt) {
		judged = append(judged, a.Attempt)
		a.Outcome = delivery.Retry
		if a.Attempt == 3 {
			a.Outcome = delivery.Exhausted
		}
	}
	record := func(origin string, number int) *delivery.Attempt {
		a := failed()
		a.Attempt, a.At = number, time.Now().UTC()
		if err := log.Record(t.Context(), a, origin, judge); err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, tt := range []struct {
		name    string
		origin  string
		believe int
		want    int
		judged  []int
	}{
		{"the first", "EVENTS_git:1:hook", 1, 1, []int{1}},
		{"a crash was between request and settling", "EVENTS_git:1:hook", 1, 2, []int{1, 2}},
		{"and another, which uses the schedule up", "EVENTS_git:1:hook", 1, 3, []int{1, 2, 3}},
		{"the number is right", "EVENTS_git:1:hook", 4, 4, []int{4}},
		{"another delivery counts for itself", "EVENTS_git:2:hook", 1, 1, []int{1}},
		{"a number is skipped", "EVENTS_git:2:hook", 3, 3, []int{3}},
	} {
		judged = nil
		a := record(tt.origin, tt.believe)
		if a.Attempt != tt.want {
			t.Errorf("%s: got attempt %d, want %d", tt.name, a.Attempt, tt.want)
		}
		if diff := cmp.Diff(tt.judged, judged); diff != "" {
			t.Errorf("%s: judged again for (-want +got):\n%s", tt.name, diff)
		}
		if want := delivery.Exhausted; (a.Outcome == want) != (tt.want == 3) {
			t.Errorf("%s: got outcome %s", tt.name, a.Outcome)
		}
	}
	var numbers []string
	for _, r := range stored(t, js, server.Layout.Attempts()) {
		var a delivery.Attempt
		if err := json.Unmarshal(r.Data, &a); err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, fmt.Sprint(a.Attempt, " ", a.Outcome))
	}
	want := []string{"1 retry", "2 retry", "3 exhausted", "4 retry", "1 retry", "3 exhausted"}
	if diff := cmp.Diff(want, numbers); diff != "" {
		t.Errorf("stored records differ (-want +got):\n%s", diff)
	}
}

// Two senders that hold the same delivery at once, because one was slow, get
// different numbers.
func TestRecordConcurrently(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	log := delivery.NewLog(js, server.Layout)
	const senders = 20
	numbers := make(chan int, senders)
	for range senders {
		go func() {
			a := failed()
			a.Attempt, a.At = 1, time.Now().UTC()
			if err := log.Record(t.Context(), a, "EVENTS_git:1:hook", verdict(delivery.Retry)); err != nil {
				t.Error(err)
			}
			numbers <- a.Attempt
		}()
	}
	seen := make(map[int]bool)
	for range senders {
		seen[<-numbers] = true
	}
	for n := 1; n <= senders; n++ {
		if !seen[n] {
			t.Errorf("no attempt has number %d", n)
		}
	}
}

func verdict(o delivery.Outcome) func(*delivery.Attempt) {
	return func(a *delivery.Attempt) { a.Outcome = o }
}

// The record is stored, but the sender does not hear of it: it publishes the
// record again, and must not take its own for another writer's.
func TestRecordUnknownOutcome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		taken bool // number 1 belongs to an earlier request
		want  int
	}{
		{"the number is free", false, 1},
		{"the number is taken", true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, js := platform(t)
			const origin = "EVENTS_git:1:hook"
			if tt.taken {
				earlier := failed()
				earlier.Attempt = 1
				if err := delivery.NewLog(js, server.Layout).Record(t.Context(), earlier, origin, verdict(delivery.Retry)); err != nil {
					t.Fatal(err)
				}
			}
			wire := newWire(t, server.URL)
			mine, err := stream.JetStream(server.Connect(nats.ReconnectBufSize(-1), dialTo(wire)))
			if err != nil {
				t.Fatal(err)
			}
			wire.deafen() // what the server says from now on is lost
			before := len(stored(t, js, server.Layout.Attempts()))
			a := failed()
			a.Attempt, a.At = 1, time.Now().UTC()
			done := make(chan error, 1)
			go func() {
				done <- delivery.NewLog(mine, server.Layout).Record(t.Context(), a, origin, verdict(delivery.Delivered))
			}()
			wire.awaitSent(t, "attempts.hook")
			wire.cut()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if a.Attempt != tt.want {
				t.Errorf("got attempt %d, want %d", a.Attempt, tt.want)
			}
			records := stored(t, js, server.Layout.Attempts())
			if len(records) != before+1 {
				t.Fatalf("got %d records, want %d", len(records), before+1)
			}
			if last := records[len(records)-1]; last.Sequence<<10 != a.Sequence || !bytes.Contains(last.Data, fmt.Appendf(nil, `"attempt":%d,`, tt.want)) {
				t.Errorf("got record %d %s, want %d with attempt %d", last.Sequence, last.Data, a.Sequence, tt.want)
			}
		})
	}
}

func TestRecordSurvivesRestart(t *testing.T) {
	t.Parallel()
	server, _ := platform(t)
	mine, err := stream.JetStream(server.Connect(nats.ReconnectBufSize(-1)))
	if err != nil {
		t.Fatal(err)
	}
	server.Stop()
	done := make(chan error, 1)
	a := failed()
	a.Attempt = 1
	go func() {
		done <- delivery.NewLog(mine, server.Layout).Record(t.Context(), a, "EVENTS_git:1:hook", verdict(delivery.Retry))
	}()
	server.Start()
	if err := <-done; err != nil || a.Attempt != 1 {
		t.Errorf("got attempt %d, error %v, want it recorded as the first", a.Attempt, err)
	}
}

func TestRecordGivesUpWithContext(t *testing.T) {
	t.Parallel()
	server, _ := platform(t)
	js, err := stream.JetStream(server.Connect(nats.ReconnectBufSize(-1)))
	if err != nil {
		t.Fatal(err)
	}
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err = delivery.NewLog(js, server.Layout).Record(ctx, failed(), "EVENTS_git:1:hook", verdict(delivery.Retry))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "record attempt 2 of dlv_") {
		t.Errorf("got error %v, want one that says what could not be recorded, and the end of the context", err)
	}
}

// No event is too large to be recorded, or its delivery could never be settled.
func TestRecordOfLargeEvent(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	d := pushDelivery()
	d.Event.ID = strings.Repeat("<i>", 20_000)
	d.Event.Subject = strings.Repeat("<s>", 1_000)
	d.ID = delivery.ID("hook", d.Event.Source, d.Event.ID)
	a := failed()
	a.Event, a.Attempt, a.DeliveryID = delivery.RefOf(d), 1, d.ID
	a.ResponseBody = delivery.StoredBody(bytes.Repeat([]byte{1}, 1<<20))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := delivery.NewLog(js, server.Layout).Record(ctx, a, d.Origin, verdict(delivery.Delivered)); err != nil {
		t.Fatal(err)
	}
	got, err := delivery.NewLog(js, server.Layout).Latest(ctx, "hook", 0, 1)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d attempts, error %v, want 1", len(got), err)
	}
	if got[0].DeliveryID != d.ID || got[0].Event.Sequence != 7 || !strings.HasPrefix(d.Event.ID, strings.TrimSuffix(got[0].Event.ID, "…")) {
		t.Errorf("got %s of event %d %.60q, want the delivery and the beginning of the id", got[0].DeliveryID, got[0].Event.Sequence, got[0].Event.ID)
	}
}

func TestLatestAttempts(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	log := delivery.NewLog(js, server.Layout)
	for n := range 25 {
		a := failed()
		a.Attempt, a.SubscriptionID = 1, []string{"hook", "other"}[n%2]
		a.Event.ID = strconv.Itoa(n)
		if err := log.Record(t.Context(), a, fmt.Sprintf("EVENTS_git:%d:hook", n), verdict(delivery.Retry)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	before := uint64(0)
	for {
		page, err := log.Latest(t.Context(), "hook", before, 5)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			if a.SubscriptionID != "hook" {
				t.Errorf("got an attempt of subscription %s", a.SubscriptionID)
			}
			got = append(got, a.Event.ID)
		}
		before = page[len(page)-1].Sequence
	}
	if want := "24 22 20 18 16 14 12 10 8 6 4 2 0"; strings.Join(got, " ") != want {
		t.Errorf("got attempts %v, want %s", got, want)
	}
	if page, err := log.Latest(t.Context(), "unknown", 0, 5); len(page) != 0 || err != nil {
		t.Errorf("of a subscription without attempts: got %v, %v", page, err)
	}
}

func TestFollowAttempts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		subscription string
		from         uint64
		want         []string
	}{
		{"of one subscription", "hook", 0, []string{"1", "2", "3", "4"}},
		{"from a record on", "hook", 3 << 10, []string{"2", "3", "4"}},
		{"of all", "", 6 << 10, []string{"3'", "4", "4'"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, js := platform(t)
			log := delivery.NewLog(js, server.Layout)
			record := func(id string) {
				for _, subscription := range []string{"hook", "other"} {
					a := failed()
					a.Attempt, a.SubscriptionID, a.Event.ID = 1, subscription, id
					if err := log.Record(t.Context(), a, subscription+id, verdict(delivery.Retry)); err != nil {
						t.Error(err)
					}
					id += "'"
				}
			}
			for _, id := range []string{"1", "2", "3"} {
				record(id)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var got []string
			for a, err := range log.Follow(ctx, tt.subscription, tt.from) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, a.Event.ID)
				switch a.Event.ID {
				case "3", "3'": // the last before it was followed
					if tt.want[len(got)] == "4" {
						record("4")
					}
				}
				if len(got) == len(tt.want) {
					cancel()
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("attempts differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	log := delivery.NewLog(js, server.Layout)
	if _, err := js.Publish(t.Context(), server.Layout.AttemptSubject("hook"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if got, err := log.Latest(t.Context(), "hook", 0, 1); err == nil || !strings.Contains(err.Error(), "record 1") {
		t.Errorf("got %v and error %v, want one that names the record", got, err)
	}
	for a, err := range log.Follow(t.Context(), "hook", 0) {
		if err == nil {
			t.Errorf("followed: got %v, want an error", a)
			break
		}
	}
}
