package sender_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/internal/testkit"
)

// farConn hears of its server later than what it says is heard.
type farConn struct{ net.Conn }

func (c farConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	testkit.Pause(context.Background(), 20*time.Millisecond)
	return n, err
}

type farDialer struct{}

// Dial connects.
func (farDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return farConn{c}, err
}

// Many answers come at once, and a fifth of them fail. Their records are stored in
// another order, failures first: that must not make a row of them.
func TestAnswersCountInTheirOrder(t *testing.T) {
	t.Parallel()
	const n = 100
	r := newRig(t)
	r.connect = []nats.Option{nats.SetCustomDialer(farDialer{})}
	var mu sync.Mutex
	arrived, all := 0, make(chan struct{})
	rc := receive(t, func(w http.ResponseWriter, req *request) {
		mu.Lock()
		arrived++
		nth := arrived
		if arrived == n {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
		case <-t.Context().Done():
		}
		if nth <= n && nth%5 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := guarded("hook", rc.URL, n/5-2)
	sub.Delivery.MaxInFlight = n
	sub = r.subscribe(sub)
	r.send(byTest)
	r.queue(sub, 0, n)
	r.awaitDelivered(sub, n)
	if record, revision, err := breaker.Read(t.Context(), r.state(), "hook"); err != nil || revision != 0 {
		t.Errorf("the breaker is %+v, %v; want none", record, err)
	}
}
