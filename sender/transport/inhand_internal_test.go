package transport

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

// A request whose delivery is lost by the time when its connection is there is not made, over
// a new connection or one that was used before. Others are, also over the same connection.
func TestNotMadeWhenLost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ tls, http2 bool }{
		"plain": {}, "over TLS": {tls: true}, "HTTP/2": {tls: true, http2: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var made atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if (r.ProtoMajor == 2) != tt.http2 {
					t.Errorf("the request is made over %s", r.Proto)
				}
				made.Add(1)
				w.WriteHeader(http.StatusNoContent)
			}))
			server.EnableHTTP2 = tt.http2
			if tt.tls {
				server.StartTLS()
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			client := newClient(nil)
			t.Cleanup(func() { closeIdle(client) })
			if tt.tls {
				transportOf(client).TLSClientConfig.RootCAs = x509.NewCertPool()
				transportOf(client).TLSClientConfig.RootCAs.AddCert(server.Certificate())
			}
			u, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			post := func(lost bool) (is bool, err error) {
				ctx, done := WhileInHand(t.Context(), func() bool { return lost })
				defer done()
				_, err = send(ctx, client, 10*time.Second, &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{}}, []byte("body"))
				return InHand(ctx), err
			}
			want := int64(0)
			for n, lost := range []bool{true, false, true, true, false, false, true} {
				if !lost {
					want++
				}
				is, err := post(lost)
				if is == lost || (err == nil) == lost {
					t.Errorf("request %d, lost %t: in hand %t, %v", n, lost, is, err)
				}
			}
			server.Close() // when all that was sent has been answered
			if got := made.Load(); got != want {
				t.Errorf("%d requests were made, want %d", got, want)
			}
		})
	}
}

// A request that ends for another reason was made.
func TestInHand(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checked, done := WhileInHand(ctx, func() bool { return true })
	if !InHand(checked) {
		t.Error("a request that was broken off is taken for lost")
	}
	done()
	if !InHand(checked) {
		t.Error("a request that is over is taken for lost")
	}
}
