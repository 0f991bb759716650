package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/jetpost/jetpost/internal/egress"
)

// newProxiedClient returns the client for endpoints behind a proxy:
//
//	http   POST http://endpoint/…  ──► proxy ──► endpoint
//	https  CONNECT endpoint:443    ──► proxy ··· TLS with the endpoint, verified here
//
// The proxy's own address is the operator's choice, and not checked. The endpoint's is
// dialled by the proxy, so it is checked before each request.
func newProxiedClient(key string, proxy *url.URL, egress *egress.Guard) *retryablehttp.Client {
	client := newClient(nil)
	direct, _ := client.HTTPClient.Transport.(withoutLocation)
	direct.Proxy = http.ProxyURL(proxy)
	direct.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, response *http.Response) error {
		if response.StatusCode != http.StatusOK {
			return refusedBy(key, response.StatusCode)
		}
		return nil
	}
	client.HTTPClient.Transport = throughProxy{withoutLocation: direct, key: key, egress: egress}
	return client
}

// throughProxy checks the target of each request, and keeps the proxy's address out of
// errors.
type throughProxy struct {
	withoutLocation

	key    string
	egress *egress.Guard
}

// RoundTrip makes one request.
func (t throughProxy) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.egress.CheckProxied(r.Context(), r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as a RoundTripper must
		}
		return nil, err
	}
	response, err := t.withoutLocation.RoundTrip(r)
	if err != nil {
		return nil, proxyFault(t.key, err)
	}
	if response.StatusCode == http.StatusProxyAuthRequired { // not the endpoint's to say
		_ = response.Body.Close()
		return nil, refusedBy(t.key, response.StatusCode)
	}
	response.Body = proxiedBody{response.Body, t.key}
	return response, nil
}

// proxiedBody is the body of an answer, whose errors would name the proxy's address.
type proxiedBody struct {
	io.ReadCloser

	key string
}

// Read reads on.
func (b proxiedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = proxyFault(b.key, err)
	}
	return n, err
}

// A proxyError names a proxy by its key only.
type proxyError struct {
	text  string
	cause error // for errors.Is; it is not shown
}

// Error is the text.
func (e *proxyError) Error() string { return e.text }

// Unwrap is the cause.
func (e *proxyError) Unwrap() error { return e.cause }

func refusedBy(key string, status int) error {
	text := "the proxy " + key + " refuses to connect to the endpoint: it answers " + strconv.Itoa(status) + " " + http.StatusText(status)
	if status == http.StatusProxyAuthRequired {
		text = "the proxy " + key + " wants another user name and password: it answers 407"
	}
	return &proxyError{text: text}
}

// proxyFault is err without the proxy's address and credentials. It takes over only texts
// that cannot contain them.
func proxyFault(key string, err error) error {
	if known, ok := errors.AsType[*proxyError](err); ok {
		return known
	}
	where := "the connection through the proxy " + key + " broke"
	if operation, ok := errors.AsType[*net.OpError](err); ok && (operation.Op == "proxyconnect" || operation.Op == "dial") {
		where = "the proxy " + key + " cannot be reached"
	} else if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok { // of the endpoint
		return &proxyError{"through the proxy " + key + ": " + certificate.Error(), err}
	}
	return &proxyError{where + why(err), err}
}

func why(err error) string {
	if code, ok := errors.AsType[syscall.Errno](err); ok {
		return ": " + code.Error()
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return ": its name does not resolve"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return ": its TLS certificate is not accepted"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return ": it took too long"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ": it was closed"
	}
	return ""
}
