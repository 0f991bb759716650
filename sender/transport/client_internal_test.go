package transport

import (
	"bufio"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wireRequest sends a request to a listener below HTTP and returns the bytes that
// came, up to the end of the body.
func wireRequest(t *testing.T, method string, header http.Header, body []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	// The first dial fails, so that what is seen is the client's second try.
	failed := false
	client := newClient(func(string, string, syscall.RawConn) error {
		if !failed {
			failed = true
			return syscall.ECONNREFUSED
		}
		return nil
	})
	defer closeIdle(client)
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer func() { _ = c.Close() }()
		var raw strings.Builder
		request, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &raw)))
		if err == nil {
			_, err = io.ReadAll(request.Body)
		}
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		if err != nil {
			got <- err.Error()
			return
		}
		got <- raw.String()
	}()
	u := &url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/hook"}
	answer, err := send(t.Context(), client, 10*time.Second, &http.Request{
		Method: method, URL: u, Header: header, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, body)
	if err != nil || answer.Status != http.StatusNoContent || !failed {
		t.Fatalf("got %+v, %v, want an answer to the second try", answer, err)
	}
	return strings.ReplaceAll(<-got, u.Host, "receiver.example.com")
}

// What is on the wire, byte for byte: names of headers in their own letters, a
// body with its length, and none where there is none.
func TestOnTheWire(t *testing.T) {
	t.Parallel()
	body := []byte(`{"a":1}`)
	for _, tt := range []struct {
		method string
		body   []byte
		want   string
	}{
		{http.MethodPost, body, "Content-Length: 7\r\n"},
		{http.MethodGet, body, "Content-Length: 7\r\n"},
		{http.MethodDelete, body, "Content-Length: 7\r\n"},
		{http.MethodGet, nil, ""},
		{http.MethodDelete, nil, ""},
		{http.MethodGet, []byte{}, ""},
		{http.MethodDelete, []byte{}, ""},
		{http.MethodOptions, nil, ""},
		{http.MethodPost, nil, "Content-Length: 0\r\n"},
		{http.MethodPut, []byte{}, "Content-Length: 0\r\n"},
		{http.MethodPatch, nil, "Content-Length: 0\r\n"},
	} {
		header := http.Header{
			"User-Agent": {"jetpost"}, "Content-Type": {"application/json"},
			"X-JFrog-Event-Auth": {"token"}, "x-lower": {"1"}, "X-UPPER": {"2"},
		}
		want := tt.method + " /hook HTTP/1.1\r\nHost: receiver.example.com\r\nUser-Agent: jetpost\r\n" + tt.want +
			"Content-Type: application/json\r\nX-JFrog-Event-Auth: token\r\nX-UPPER: 2\r\nx-lower: 1\r\n\r\n" + string(tt.body)
		if got := wireRequest(t, tt.method, header, tt.body); got != want {
			t.Errorf("%s with %q: got\n%s\nwant\n%s", tt.method, tt.body, got, want)
		}
	}
}

// HTTP/2 has lower-case names only; the client sees to that.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	var got *http.Request
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusNoContent)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client := newClient(func(string, string, syscall.RawConn) error { return nil })
	transport, ok := client.HTTPClient.Transport.(withoutLocation)
	if !ok {
		t.Fatal("the client has another transport")
	}
	t.Cleanup(transport.CloseIdleConnections)
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AddCert(server.Certificate())
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		answer, err := send(t.Context(), client, 10*time.Second, &http.Request{
			Method: method, URL: u, Host: u.Host, Header: http.Header{"X-JFrog-Event-Auth": {"token"}, "User-Agent": {"jetpost"}},
		}, nil)
		if err != nil || answer.Status != http.StatusNoContent {
			t.Fatalf("%s: got %+v, %v", method, answer, err)
		}
		if got.ProtoMajor != 2 || got.Method != method || got.Header.Get("X-JFrog-Event-Auth") != "token" || got.ContentLength > 0 {
			t.Errorf("%s: got %s %s with %v and %d bytes", method, got.Proto, got.Method, got.Header, got.ContentLength)
		}
	}
}

// Only what was certainly not sent is sent again.
func TestNotConnected(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{dial(syscall.ECONNREFUSED), true},
		{dial(syscall.ECONNRESET), false},
		{&net.OpError{Op: "read", Err: syscall.ECONNREFUSED}, false},
		{errors.New("other"), false},
		{nil, false},
	} {
		if got := notConnected(tt.err); got != tt.want {
			t.Errorf("%v: got %t", tt.err, got)
		}
	}
}
