package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/testkit"
)

func TestAppend(t *testing.T) {
	t.Parallel()
	trail, _ := newTrail(t)
	if head, err := trail.Head(t.Context()); err != nil || head != (audit.Head{}) {
		t.Errorf("of an empty trail: got head %+v and error %v", head, err)
	}
	ctx := access.With(t.Context(), access.Principal{ID: "tok_1", Name: "Ann", Role: access.Operator, Address: "192.0.2.1", RequestID: "r-1"})
	r := record(1)
	r.Before, r.After = audit.State(map[string]any{"id": "ci", "url": "https://a.example/?<&>"}), audit.State(strings.Repeat("x", audit.MaxState))
	r.Reason = strings.Repeat("é", 2000) + "\xff"
	first, err := trail.Append(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	second := mustAppend(t, trail, record(2))
	lines := export(t, trail)
	if len(lines) != 2 || second.Previous != audit.Hash(lines[0]) || first.Previous != "" {
		t.Fatalf("got %d records, the second behind %s, want behind %s", len(lines), second.Previous, audit.Hash(lines[0]))
	}
	for i, stored := range []audit.Record{first, second} {
		if diff := cmp.Diff(stored, decode(t, lines[i])); diff != "" {
			t.Errorf("record %d differs from what is stored (-got +stored):\n%s", i+1, diff)
		}
	}
	want := audit.Record{Sequence: 1, Action: r.Action, Target: r.Target, Actor: "tok_1", ActorName: "Ann", Role: "operator", Address: "192.0.2.1", RequestID: "r-1"}
	if diff := cmp.Diff(want, first, cmpopts.IgnoreFields(audit.Record{}, "At", "Reason", "Before", "After")); diff != "" {
		t.Errorf("record differs (-want +got):\n%s", diff)
	}
	if len(first.Reason) > 1100 || !strings.HasSuffix(first.Reason, "…") || !strings.Contains(string(first.After), `"omitted"`) || !strings.Contains(string(first.Before), "<&>") {
		t.Errorf("got reason of %d bytes, before %s and after %s", len(first.Reason), first.Before, first.After)
	}
	if second.Actor != audit.Itself || second.ActorName != "admin" {
		t.Errorf("got actor %s of %s", second.ActorName, second.Actor)
	}
	if _, err := trail.Append(t.Context(), audit.Record{Action: "Not an action", Target: "x"}); !errors.Is(err, audit.ErrNotRecorded) {
		t.Errorf("of no action: got error %v", err)
	}
	head, err := trail.Head(t.Context())
	if diff := cmp.Diff(audit.Head{Sequence: 2, Hash: audit.Hash(lines[1]), At: second.At}, head); diff != "" || err != nil {
		t.Errorf("head differs, error %v (-want +got):\n%s", err, diff)
	}
}

// A change is made only behind its record, and one that fails says so.
func TestAround(t *testing.T) {
	t.Parallel()
	trail, s := newTrail(t)
	broken := errors.New("out of order")
	for _, want := range []error{nil, broken} {
		err := trail.Around(t.Context(), record(1), func() error {
			if head, err := trail.Head(t.Context()); err != nil || head.Sequence == 0 {
				t.Errorf("while it is changed: got head %+v and error %v", head, err)
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("got error %v, want %v", err, want)
		}
	}
	lines := export(t, trail)
	if len(lines) != 3 {
		t.Fatalf("got %d records, want 3", len(lines))
	}
	failed := decode(t, lines[2])
	if failed.Of != 2 || failed.Failed != broken.Error() || failed.Action != "subscription.create" || failed.Target != "subscriptions/s1" {
		t.Errorf("got %+v", failed)
	}

	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := trail.Around(ctx, record(2), func() error {
		t.Error("it is changed without a record")
		return nil
	})
	if !errors.Is(err, audit.ErrNotRecorded) {
		t.Errorf("without a server: got error %v", err)
	}
	s.Start()
	testkit.Eventually(t, "records are taken again", func() bool {
		_, err := trail.Append(t.Context(), record(3))
		return err == nil
	})
	if got := verify(export(t, trail)); got.Break != nil {
		t.Errorf("got %v", got.Break)
	}
}

// Two processes write at once, each by many requests: no record is lost, none is there
// twice, and the chain holds.
func TestTwoTrails(t *testing.T) {
	t.Parallel()
	one, s := newTrail(t)
	other := audit.New(s.JS(), s.Layout, "sender", zap.NewNop())
	const requests, each = 16, 12
	writing, ctx := errgroup.WithContext(t.Context())
	for n := range requests {
		trail := []*audit.Trail{one, other}[n%2]
		writing.Go(func() error {
			for i := range each {
				if _, err := trail.Append(ctx, record(n*each+i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := writing.Wait(); err != nil {
		t.Fatal(err)
	}
	lines := export(t, one)
	if got := verify(lines); got.Break != nil || got.Records != requests*each {
		t.Errorf("got %d records and %v", got.Records, got.Break)
	}
	seen := map[string]bool{}
	for _, line := range lines {
		seen[decode(t, line).Target] = true
	}
	if len(seen) != requests*each {
		t.Errorf("got %d different records, want %d", len(seen), requests*each)
	}
}

// One process does not stand in its own way: the records of many requests take one
// publish each.
func TestManyRequests(t *testing.T) {
	t.Parallel()
	trail, _ := newTrail(t)
	const requests, each = 16, 100
	began := time.Now()
	writing, ctx := errgroup.WithContext(t.Context())
	for n := range requests {
		writing.Go(func() error {
			for i := range each {
				if _, err := trail.Append(ctx, record(n*each+i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := writing.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records in %s", requests*each, time.Since(began))
	if got := verify(export(t, trail)); got.Break != nil || got.Records != requests*each {
		t.Errorf("got %d records and %v", got.Records, got.Break)
	}
}

// The process was killed after the record and before the change: the trail goes on.
func TestRecordedAndNotDone(t *testing.T) {
	t.Parallel()
	killed, s := newTrail(t)
	mustAppend(t, killed, record(1))
	next := audit.New(s.JS(), s.Layout, "admin", zap.NewNop())
	if second := mustAppend(t, next, record(1)); second.Sequence != 2 {
		t.Errorf("got sequence %d", second.Sequence)
	}
	if got := verify(export(t, next)); got.Break != nil || got.Records != 2 {
		t.Errorf("got %+v", got)
	}
}

// Changes by a client with all rights on the NATS server are detected.
func TestTampering(t *testing.T) {
	t.Parallel()
	trail, s := newTrail(t)
	for n := range 6 {
		mustAppend(t, trail, record(n))
	}
	whole := export(t, trail)
	head := headOf(t, whole[5])
	log, err := s.JS().Stream(t.Context(), s.Layout.Audit())
	if err != nil {
		t.Fatal(err)
	}
	if err := log.DeleteMsg(t.Context(), 3); err == nil {
		t.Error("a record was deleted over the API of NATS")
	}
	if err := log.Purge(t.Context(), jetstream.WithPurgeSequence(3)); err == nil {
		t.Error("records were purged over the API of NATS")
	}

	rewrite(t, s, whole)
	if got := verify(export(t, trail), head); got.Break != nil {
		t.Errorf("a copy that is the same: %v", got.Break)
	}
	if log, err = s.JS().Stream(t.Context(), s.Layout.Audit()); err != nil {
		t.Fatal(err)
	}
	if err := log.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if got := verify(export(t, trail)); got.Break == nil || got.Break.Sequence != 3 {
		t.Errorf("with a record deleted: got %+v", got)
	}
	if err := log.Purge(t.Context(), jetstream.WithPurgeSequence(5)); err != nil {
		t.Fatal(err)
	}
	if got := verify(export(t, trail), head); got.First != 5 || got.Break != nil {
		t.Errorf("with the beginning purged: got %+v", got)
	}
	if err := log.DeleteMsg(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	if got := verify(export(t, trail), head); got.Break == nil || got.Break.Sequence != 6 {
		t.Errorf("with the last record deleted: got %+v", got)
	}
	if got, err := trail.Head(t.Context()); err != nil || got.Sequence != 6 || got.Hash != "" {
		t.Errorf("with the last record deleted: got head %+v and error %v", got, err)
	}
	// A process that did not see it goes on, and the gap stays.
	late := audit.New(s.JS(), s.Layout, "admin", zap.NewNop())
	mustAppend(t, late, record(7))
	if got := verify(export(t, trail)); got.Break == nil || got.Break.Sequence != 6 {
		t.Errorf("with a record behind the deleted one: got %+v", got)
	}

	forged := slices.Clone(whole)
	forged[2] = bytes.ReplaceAll(forged[2], []byte("s2"), []byte("s9"))
	rewrite(t, s, forged)
	if got := verify(export(t, trail)); got.Break == nil || got.Break.Sequence != 4 {
		t.Errorf("with a record altered: got %+v", got)
	}
	// A trail that knew another end goes on behind what there is.
	if stored := mustAppend(t, trail, record(8)); stored.Sequence != 7 {
		t.Errorf("got sequence %d, want 7", stored.Sequence)
	}
}

func TestReading(t *testing.T) {
	t.Parallel()
	trail, _ := newTrail(t)
	ctx := access.With(t.Context(), access.Principal{ID: "tok_1"})
	for n, r := range []audit.Record{
		{Action: "subscription.create", Target: "subscriptions/ci"},
		{Action: "subscription.delete", Target: "subscriptions/ci"},
		{Action: "domain.put", Target: "domains/orders"},
		{Action: "subscription.create", Target: "subscriptions/cd"},
	} {
		if n < 2 {
			r.Actor = "tok_2"
		}
		if _, err := trail.Append(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	third, err := trail.Get(ctx, 3)
	if err != nil || third.Target != "domains/orders" || third.Hash == "" {
		t.Errorf("got %+v and error %v", third, err)
	}
	for _, sequence := range []uint64{0, 5} {
		if _, err := trail.Get(ctx, sequence); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("record %d: got error %v", sequence, err)
		}
	}
	for _, test := range []struct {
		filter audit.Filter
		before uint64
		want   string
	}{
		{audit.Filter{}, 0, "[4 3 2 1]"},
		{audit.Filter{}, 3, "[2 1]"},
		{audit.Filter{Action: "subscription.create"}, 0, "[4 1]"},
		{audit.Filter{Action: "subscription.*"}, 0, "[4 2 1]"},
		{audit.Filter{Action: "token.*"}, 0, "[]"},
		{audit.Filter{Target: "subscriptions/ci"}, 0, "[2 1]"},
		{audit.Filter{Target: "subscriptions/*"}, 0, "[4 2 1]"},
		{audit.Filter{Actor: "tok_1"}, 0, "[4 3]"},
		{audit.Filter{From: third.At}, 0, "[4 3]"},
		{audit.Filter{To: third.At}, 0, "[2 1]"},
		{audit.Filter{To: third.At.Add(-time.Hour)}, 0, "[]"},
		{audit.Filter{From: third.At.Add(time.Hour)}, 0, "[]"},
	} {
		found, err := trail.Latest(ctx, &test.filter, test.before, 10)
		if err != nil {
			t.Errorf("%+v: %v", test.filter, err)
		}
		got := []uint64{}
		for _, e := range found {
			got = append(got, e.Sequence)
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%+v before %d: got %v, want %s", test.filter, test.before, got, test.want)
		}
	}
	var part []string
	for line, err := range trail.Export(ctx, 2, 3) {
		if err != nil {
			t.Fatal(err)
		}
		part = append(part, decode(t, line).Target)
	}
	if diff := cmp.Diff([]string{"subscriptions/ci", "domains/orders"}, part); diff != "" {
		t.Errorf("records 2 to 3 differ (-want +got):\n%s", diff)
	}
	for e, err := range trail.Follow(ctx, &audit.Filter{Action: "domain.put"}, 1) {
		if err != nil || e.Sequence != 3 {
			t.Errorf("got %+v and error %v", e, err)
		}
		break
	}
	for _, action := range []string{"Subscription.create", ">", "*", "a b", "subscription.>"} {
		if err := (&audit.Filter{Action: action}).Validate(); err == nil {
			t.Errorf("the action %q is accepted", action)
		}
	}
}

// What is searched for among many is found, in order and once, however far back it is,
// and what is passed over is not kept.
func TestSearch(t *testing.T) {
	t.Parallel()
	trail, server := newTrail(t)
	const all, each = 3000, 100
	for n := uint64(1); n <= all; n++ {
		actor := "others"
		if n%each == 0 && n < all-1000 {
			actor = "tok_1"
		}
		data, err := (&audit.Record{Sequence: n, Action: "subscription.create", Target: "subscriptions/ci", Actor: actor}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.JS().PublishAsync(server.Layout.AuditSubject("subscription.create"), data); err != nil {
			t.Fatal(err)
		}
	}
	<-server.JS().PublishAsyncComplete()
	for _, limit := range []int{1, 7, 500} {
		var got, want []uint64
		for n := uint64(1900); n >= each; n -= each {
			want = append(want, n)
		}
		for before := uint64(0); ; before = got[len(got)-1] {
			found, err := trail.Latest(t.Context(), &audit.Filter{Actor: "tok_1"}, before, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range found {
				got = append(got, e.Sequence)
			}
			if len(found) < limit {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d at a time differ (-want +got):\n%s", limit, diff)
		}
	}
}

// Members of a trail of a later version are kept by readers.
func TestLaterVersion(t *testing.T) {
	t.Parallel()
	line := []byte(`{"sequence":1,"at":"2026-03-01T12:30:00Z","action":"token.create","target":"tokens/1","actor":"a","mood":"good","previous":""}`)
	if got := verify([][]byte{line}); got.Break != nil || got.Hash != audit.Hash(line) || !json.Valid(line) {
		t.Errorf("got %+v", got)
	}
}
