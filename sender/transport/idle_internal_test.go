package transport

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// A receiver that is down does not cost the others their connections.
func TestConnectionsOutliveFailures(t *testing.T) {
	t.Parallel()
	var dialled atomic.Int32
	good := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	good.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			dialled.Add(1)
		}
	}
	good.Start()
	t.Cleanup(good.Close)
	bad := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(bad.Close)
	client := newClient(nil)
	defer closeIdle(client)

	request := func(url string) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = send(t.Context(), client, 30*time.Second, r, []byte("{}"))
		return err
	}
	for range 5 {
		if err := request(good.URL); err != nil {
			t.Fatal(err)
		}
		if request(bad.URL) == nil {
			t.Fatal("the bad receiver has answered")
		}
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("the good receiver was dialled %d times", n)
	}
}
