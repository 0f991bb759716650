package audit_test

import (
	"slices"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// Two processes write while the leader of the trail is another one, and then is gone.
// Of what was said to be stored nothing is missing or there twice, and the chain holds.
func TestLeaderChange(t *testing.T) {
	t.Parallel()
	cluster := streamtest.NewCluster(t)
	if err := cluster.Layout.Ensure(t.Context(), cluster.JS(), nil); err != nil {
		t.Fatal(err)
	}
	other, err := stream.JetStream(cluster.Connect(1))
	if err != nil {
		t.Fatal(err)
	}
	trails := []*audit.Trail{
		audit.New(cluster.JS(), cluster.Layout, "admin", zap.NewNop()), audit.New(other, cluster.Layout, "sender", zap.NewNop()),
	}
	const writers, each = 4, 40
	var writing errgroup.Group
	for n := range writers {
		writing.Go(func() error {
			for i := range each {
				// A refused writer repeats it. Then a record that is there after all
				// has one behind it that says that it failed.
				for {
					if _, err := trails[n%2].Append(t.Context(), record(n*each+i)); err == nil {
						break
					} else if t.Context().Err() != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	cluster.StepDown(cluster.Layout.Audit())
	cluster.StopNode(cluster.Leader(cluster.Layout.Audit()))
	if err := writing.Wait(); err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	testkit.Eventually(t, "the trail can be read whole", func() bool {
		lines = nil
		for line, err := range trails[0].Export(t.Context(), 0, 0) {
			if err != nil {
				return false
			}
			lines = append(lines, slices.Clone(line))
		}
		head, err := trails[0].Head(t.Context())
		return err == nil && len(lines) > 0 && audit.Hash(lines[len(lines)-1]) == head.Hash
	})
	if got := verify(lines); got.Break != nil {
		t.Error(got.Break)
	}
	done := map[string]int{}
	for _, line := range lines {
		r := decode(t, line)
		if r.Of > 0 {
			done[r.Target]--
		} else {
			done[r.Target]++
		}
	}
	for n := range writers * each {
		if target := record(n).Target; done[target] != 1 {
			t.Errorf("%s is recorded %d times, want once", target, done[target])
		}
	}
}
