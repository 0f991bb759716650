package follow

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestWatchClosed is about an updates channel that the client library closes when
// the connection is lost.
func TestWatchClosed(t *testing.T) {
	t.Parallel()
	w := &following{}
	updates := make(chan jetstream.KeyValueEntry, 1)
	updates <- nil
	if !w.takeAll(nil, updates) || !w.marked {
		t.Error("an open channel is taken for closed")
	}
	close(updates)
	if w.takeAll(nil, updates) {
		t.Error("a closed channel is taken for open")
	}
}
