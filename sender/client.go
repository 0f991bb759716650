package sender

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	// maxReadBody is how much of an answer is read; the rest is left, and the
	// connection with it.
	maxReadBody = 64 << 10
	// maxAnswerHeader bounds the header of an answer.
	maxAnswerHeader = 64 << 10
)

// newClient returns the client for all endpoints. control sees every address
// after DNS, just before it is dialled.
//
// There is no proxy from the environment, no redirect is followed, and answers
// are not decompressed, so that no answer can be larger than it looks. The client
// tries once more only when no connection could be made: then nothing was sent.
func newClient(control func(network, address string, c syscall.RawConn) error) *retryablehttp.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: control}
	transport := &http.Transport{
		Proxy:                  nil,
		DialContext:            answered(dialer.DialContext),
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           10_000,
		MaxIdleConnsPerHost:    1_000, // the most a subscription can have in flight
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxAnswerHeader,
		DisableCompression:     true,
		WriteBufferSize:        8 << 10,
		ReadBufferSize:         4 << 10,
		// A connection that carries many requests and is dead must be noticed before
		// all of them have timed out.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{
		Transport:     withoutLocation{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client.Logger = nil // it would log whole URLs
	client.RetryMax = 1
	client.RetryWaitMin, client.RetryWaitMax = 50*time.Millisecond, 50*time.Millisecond
	client.CheckRetry = func(ctx context.Context, _ *http.Response, err error) (bool, error) {
		return ctx.Err() == nil && notConnected(err), nil
	}
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return client
}

// withoutLocation takes from answers where a redirect leads. The client parses it
// even if it is not to be followed, and an answer with one that does not parse
// would become an error that quotes it.
type withoutLocation struct{ *http.Transport }

// RoundTrip makes one request.
func (t withoutLocation) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	if err == nil {
		response.Header.Del("Location")
	}
	return response, err
}

// CloseIdleConnections does nothing. go-retryablehttp calls it after each request that
// has failed, and these are the connections to all receivers: because of one that is
// down, all others would have to be dialled again, and an answer that has just arrived
// on one could be lost.
func (withoutLocation) CloseIdleConnections() {}

// closeIdle closes the connections that are not in use.
func closeIdle(client *retryablehttp.Client) {
	if t := transportOf(client); t != nil {
		t.CloseIdleConnections()
	}
}

// transportOf is where a client has its connections.
func transportOf(client *retryablehttp.Client) *http.Transport {
	switch t := client.HTTPClient.Transport.(type) {
	case withoutLocation:
		return t.Transport
	case throughProxy:
		return t.Transport
	}
	return nil
}

// notConnected reports a failure from before anything was written. An address
// that is not allowed stays so.
func notConnected(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && operation.Op == "dial" && errors.Is(err, syscall.ECONNREFUSED)
}

// answer is what a receiver said.
type answer struct {
	status     int
	header     http.Header
	body       []byte // its beginning
	retryAfter time.Duration
}

// post sends one request and reads the answer. timeout covers all of it:
// connecting, sending, and the answer to its end or to maxReadBody. The error
// holds no URL. Names of headers are sent in the letters that they have in the map,
// over HTTP/1.1.
func send(ctx context.Context, client *retryablehttp.Client, timeout time.Duration, request *http.Request, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	retryable := &retryablehttp.Request{Request: request.WithContext(ctx)}
	if len(body) > 0 { // an empty one would be sent in chunks, as if its length were not known
		if err := retryable.SetBody(body); err != nil {
			return answer{}, err
		}
	}
	response, err := client.Do(retryable)
	if err != nil {
		return answer{}, withoutURL(err, timeout)
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{status: response.StatusCode, header: response.Header, retryAfter: retryAfter(response.Header, time.Now())}
	if a.status == http.StatusSwitchingProtocols {
		return a, nil // its body is the connection itself, and no timeout ends reading it
	}
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxReadBody))
	if err != nil {
		return a, fmt.Errorf("the answer broke off: %w", withoutURL(err, timeout))
	}
	return a, nil
}

// withoutURL takes the URL out of a client error: it may hold a secret.
func withoutURL(err error, timeout time.Duration) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no complete answer within %s", timeout)
	}
	return err
}
