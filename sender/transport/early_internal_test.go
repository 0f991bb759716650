package transport

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A receiver that has seen enough of a request answers before it has come to its end, and
// closes the connection: its answer counts, every time.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	refuse := func(answer string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c)) // its head only
			_, _ = io.WriteString(c, answer)
		}
	}
	const text = "HTTP/1.1 413 Content Too Large\r\nContent-Type: text/plain\r\n"
	for name, tt := range map[string]struct {
		serve func(net.Conn)
		tls   bool
		body  string
	}{
		"and closes":                    {refuse(text + "Connection: close\r\nContent-Length: 9\r\n\r\ntoo large"), false, "too large"},
		"without a body":                {refuse(text + "Connection: close\r\nContent-Length: 0\r\n\r\n"), false, ""},
		"without saying that it closes": {refuse(text + "Content-Length: 9\r\n\r\ntoo large"), false, "too large"},
		"over TLS":                      {refuse(text + "Connection: close\r\nContent-Length: 9\r\n\r\ntoo large"), true, "too large"},
		"after some of the body": {func(c net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			_, _ = io.CopyN(io.Discard, r.Body, 100<<10)
			_, _ = io.WriteString(c, text+"Connection: close\r\nContent-Length: 9\r\n\r\ntoo large")
		}, false, "too large"},
		"and resets": {func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, text+"Connection: close\r\nContent-Length: 9\r\n\r\ntoo large")
			if c, ok := c.(*net.TCPConn); ok {
				_ = c.SetLinger(0)
			}
		}, false, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, roots := listen(t, tt.tls, tt.serve)
			body := bytes.Repeat([]byte("x"), 4<<20)
			for n := range 60 {
				// A connection of its own: one that has taken the whole body, and that the
				// receiver closes without saying so, would be used again.
				client := newClient(nil)
				transportOf(client).TLSClientConfig.RootCAs = roots
				got, err := send(t.Context(), client, time.Minute, requestTo(address), body)
				closeIdle(client)
				if err != nil || got.Status != http.StatusRequestEntityTooLarge || string(got.Body) != tt.body {
					t.Fatalf("request %d: got %d %q, %v", n, got.Status, got.Body, err)
				}
			}
		})
	}
}

func requestTo(address string) *http.Request {
	u, _ := url.Parse(address)
	return &http.Request{Method: http.MethodPost, URL: u, Header: http.Header{}, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
}

// listen has connections served below HTTP, each of them closed afterwards.
func listen(t *testing.T, secure bool, serve func(net.Conn)) (address string, roots *x509.CertPool) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	address = "http://" + l.Addr().String()
	if secure {
		server := httptest.NewTLSServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		roots = x509.NewCertPool()
		roots.AddCert(server.Certificate())
		l = tls.NewListener(l, &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12})
		address = strings.Replace(address, "http:", "https:", 1)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	return address, roots
}

// Where there is no answer the failure is that of the connection.
func TestNoEarlyAnswer(t *testing.T) {
	t.Parallel()
	address, _ := listen(t, false, func(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) })
	client := newClient(nil)
	defer closeIdle(client)
	for n := range 20 {
		got, err := send(t.Context(), client, time.Minute, requestTo(address), bytes.Repeat([]byte("x"), 4<<20))
		if err == nil || got.Status != 0 || strings.Contains(err.Error(), "no complete answer within") {
			t.Fatalf("request %d: got %d, %v", n, got.Status, err)
		}
	}
}
