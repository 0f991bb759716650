package stream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// awaitStatus returns when the connection has reached want.
func awaitStatus(t *testing.T, changes <-chan nats.Status, want nats.Status) {
	t.Helper()
	patience := testkit.Timeout()
	for {
		select {
		case got := <-changes:
			if got == want {
				return
			}
		case <-patience:
			t.Fatalf("connection is not %v", want)
		}
	}
}

func TestConnectOptions(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	s.Stop()
	core, logs := observer.New(zapcore.DebugLevel)
	closed := make(chan struct{})
	log := zap.New(core, zap.Hooks(func(entry zapcore.Entry) error {
		if entry.Message == "connection to NATS closed" {
			close(closed) // handlers run in order, so this is the last line
		}
		return nil
	}))
	opts := append(stream.ConnectOptions("producer", log),
		nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
	nc, err := nats.Connect(s.URL, opts...)
	if err != nil {
		t.Fatalf("connect while the server is away: %v", err)
	}
	changes := nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING)
	if err := nc.Publish("a", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publish while the server is away: got %v, want %v", err, nats.ErrReconnectBufExceeded)
	}
	s.Start()
	awaitStatus(t, changes, nats.CONNECTED)
	if inbox := nc.NewInbox(); !strings.HasPrefix(inbox, stream.InboxPrefix("producer")+".") {
		t.Errorf("inbox is %s", inbox)
	}
	s.Stop()
	awaitStatus(t, changes, nats.RECONNECTING)
	s.Start()
	awaitStatus(t, changes, nats.CONNECTED)
	nc.Close()
	<-closed

	want := []string{
		"cannot reach NATS, will keep trying",
		"connected to NATS",
		"lost connection to NATS",
		"connected to NATS again",
		"connection to NATS closed",
	}
	var got []string
	for _, entry := range logs.All() {
		got = append(got, entry.Message)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("log says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
