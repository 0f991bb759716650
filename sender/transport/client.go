// Package transport makes HTTP requests to receivers.
//
//	Send ─► proxy or direct ─► dial (egress rules, bound on connections) ─► write, read ─► Answer
//
// It follows no redirects and never shows a URL, which may hold a secret. Failures of
// this machine (no file descriptors, ports, routes) are distinguished from failures of the
// receiver: see IsMachineError.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/timestamp"
)

const (
	// MaxReadBody is how much of a response body is read. The connection of a longer one
	// is closed.
	MaxReadBody = 64 << 10
	// MaxRetryAfter bounds what a receiver may ask for.
	MaxRetryAfter = 24 * time.Hour
	// maxResponseHeader bounds the header of a response.
	maxResponseHeader = 64 << 10
)

// Config of a Client.
type Config struct {
	// Egress decides which addresses may be called. Required.
	Egress *egress.Guard
	// Proxies are those that endpoints may name. Default: none.
	Proxies *subscription.Proxies
	// Connections is how many may be open at a time. Default: 0, no bound.
	Connections int
	// FreeFiles is how many more files this process may open. It is asked for each
	// connection while Connections is set. Default: not asked.
	FreeFiles func() int
	// Held counts the requests that this machine could not make, by cause. Required.
	Held *prometheus.CounterVec
}

// A Client makes requests directly, or through one of the proxies. Each proxy has
// connections of its own.
type Client struct {
	direct  *retryablehttp.Client
	proxied map[string]*retryablehttp.Client // by key
	machine *machine                         // nil: its faults count as the receivers'
	sockets sockets
}

// New returns a client.
func New(cfg Config, log *zap.Logger) *Client {
	c := newClients(cfg.Egress, cfg.Proxies)
	c.machine = newMachine(log, cfg.Held)
	c.sockets.most, c.sockets.free, c.sockets.idle = int64(cfg.Connections), cfg.FreeFiles, c.CloseIdle
	for _, client := range append(slices.Collect(maps.Values(c.proxied)), c.direct) {
		if t := transportOf(client); t != nil {
			t.DialContext = c.sockets.limit(t.DialContext)
		}
	}
	return c
}

func newClients(egress *egress.Guard, proxies *subscription.Proxies) *Client {
	c := &Client{direct: newClient(egress.Control), proxied: make(map[string]*retryablehttp.Client)}
	for _, key := range proxies.Keys() {
		c.proxied[key] = newProxiedClient(key, proxies.URL(key), egress)
	}
	return c
}

// Send makes one request through the proxy of a key; empty: directly. It fails closed:
// a request for an unknown proxy is not sent. timeout covers connecting, sending, and
// the response to its end or to MaxReadBody. The error holds no URL; IsMachineError
// tells the faults of this machine from the receiver's.
func (c *Client) Send(ctx context.Context, proxy string, timeout time.Duration, request *http.Request, body []byte) (Answer, error) {
	client := c.direct
	if proxy != "" {
		client = c.proxied[proxy]
	}
	if client == nil {
		return Answer{}, fmt.Errorf("%s: this sender was not started with it (jetpost serve --proxy)", subscription.ProxyProblem(proxy))
	}
	got, err := send(ctx, client, timeout, request, body)
	if err != nil && ctx.Err() == nil {
		err = c.machine.judge(ctx, err)
	}
	return got, err
}

// CheckMachine returns nil, or why this machine cannot make requests.
func (c *Client) CheckMachine() error { return c.machine.check() }

// CloseIdle closes the connections that are not in use.
func (c *Client) CloseIdle() {
	closeIdle(c.direct)
	for _, client := range c.proxied {
		closeIdle(client)
	}
}

// newClient returns the client for all endpoints. control checks every address after
// DNS, before it is dialled.
//
// The client uses no proxy from the environment, follows no redirect, and decompresses no
// response, so that none can be larger than it looks. It tries a second time only when no
// connection could be made: then nothing was sent.
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
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true,
		WriteBufferSize:        8 << 10,
		ReadBufferSize:         4 << 10,
		// Detects a dead connection before all requests on it have timed out.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{
		Transport:     withoutLocation{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client.Logger = nil // it logs whole URLs
	client.RetryMax = 1
	client.RetryWaitMin, client.RetryWaitMax = 50*time.Millisecond, 50*time.Millisecond
	client.CheckRetry = func(ctx context.Context, _ *http.Response, err error) (bool, error) {
		return ctx.Err() == nil && notConnected(err), nil
	}
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return client
}

// withoutLocation removes the Location header from responses. The client parses it even
// when redirects are not followed, and its error for an invalid one would quote it.
type withoutLocation struct{ *http.Transport }

// RoundTrip makes one request.
func (t withoutLocation) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	if err == nil {
		response.Header.Del("Location")
	}
	return response, err
}

// CloseIdleConnections does nothing. go-retryablehttp calls it after each failed request,
// but the connections are those to all receivers: one receiver that is down would make
// all others dial again, and a response that has just arrived could be lost.
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

// notConnected reports a failure before anything was written. Trying a refused address
// again does not help.
func notConnected(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && operation.Op == "dial" && errors.Is(err, syscall.ECONNREFUSED)
}

// An Answer is the response of a receiver.
type Answer struct {
	Status     int
	Header     http.Header
	Body       []byte // its beginning
	RetryAfter time.Duration
}

// send sends one request and reads the response. Over HTTP/1.1 the names of headers keep
// the spelling that they have in the map.
func send(ctx context.Context, client *retryablehttp.Client, timeout time.Duration, request *http.Request, body []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	retryable := &retryablehttp.Request{Request: request.WithContext(ctx)}
	if len(body) > 0 { // an empty one would be sent in chunks, as if its length were not known
		if err := retryable.SetBody(body); err != nil {
			return Answer{}, err
		}
	}
	response, err := client.Do(retryable)
	if err != nil {
		return Answer{}, withoutURL(err, timeout)
	}
	defer func() { _ = response.Body.Close() }()
	a := Answer{Status: response.StatusCode, Header: response.Header}
	if _, asks := response.Header["Retry-After"]; asks {
		a.RetryAfter = retryAfter(response.Header, time.Now())
	}
	if a.Status == http.StatusSwitchingProtocols {
		return a, nil // its body is the connection itself, and no timeout ends reading it
	}
	a.Body, err = io.ReadAll(io.LimitReader(response.Body, MaxReadBody))
	if err != nil {
		return a, fmt.Errorf("the answer broke off: %w", withoutURL(err, timeout))
	}
	return a, nil
}

// withoutURL removes the URL from a client error: it may hold a secret.
func withoutURL(err error, timeout time.Duration) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no complete answer within %s", timeout)
	}
	return err
}

// retryAfter is what a receiver asks for, within the bound.
func retryAfter(h http.Header, now time.Time) time.Duration {
	return min(timestamp.RetryAfter(h, now), MaxRetryAfter)
}
