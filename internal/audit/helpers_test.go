package audit_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// newTrail returns a trail on a server of its own.
func newTrail(t *testing.T) (*audit.Trail, *streamtest.Server) {
	t.Helper()
	s := streamtest.New(t)
	if err := s.Layout.Ensure(t.Context(), s.JS(), nil); err != nil {
		t.Fatal(err)
	}
	return audit.New(s.JS(), s.Layout, "admin", zap.NewNop()), s
}

func record(n int) audit.Record {
	return audit.Record{Action: "subscription.create", Target: "subscriptions/s" + strconv.Itoa(n)}
}

func mustAppend(t *testing.T, trail *audit.Trail, r audit.Record) audit.Record {
	t.Helper()
	stored, err := trail.Append(t.Context(), r)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return stored
}

// export returns all records as they are stored.
func export(t *testing.T, trail *audit.Trail) [][]byte {
	t.Helper()
	var lines [][]byte
	for line, err := range trail.Export(t.Context(), 0, 0) {
		if err != nil {
			t.Fatalf("export: %v", err)
		}
		lines = append(lines, slices.Clone(line))
	}
	return lines
}

func verify(lines [][]byte, heads ...audit.Head) audit.Report {
	v := audit.NewVerifier(heads...)
	for _, line := range lines {
		v.Add(line)
	}
	return v.Report()
}

func decode(t *testing.T, line []byte) audit.Record {
	t.Helper()
	r, err := audit.Decode(line)
	if err != nil {
		t.Fatalf("decode %s: %v", line, err)
	}
	return r
}

// rewrite puts lines in the place of all that is on the trail, as an attacker could who
// may do anything on the NATS server.
func rewrite(t *testing.T, s *streamtest.Server, lines [][]byte) {
	t.Helper()
	js, name := s.JS(), s.Layout.Audit()
	old, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := old.CachedInfo().Config
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	cfg.DenyDelete, cfg.DenyPurge = false, false
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if _, err := js.Publish(t.Context(), s.Layout.AuditSubject("subscription.create"), line, jetstream.WithExpectStream(name)); err != nil {
			t.Fatal(err)
		}
	}
}
