package transport

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A testProxy is an HTTP proxy: it takes CONNECT and absolute-form, and leads every
// name to one receiver.
type testProxy struct {
	*httptest.Server
	to string // host and port of the receiver

	mu   sync.Mutex
	seen []string // method and target
}

const proxyLogin = "operator:pr0xy-passw0rd"

func startProxy(t *testing.T, to string) *testProxy {
	t.Helper()
	p := &testProxy{to: to}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// ServeHTTP does what a proxy does.
func (p *testProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.RequestURI)
	p.mu.Unlock()
	if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(proxyLogin)) {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	upstream, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = upstream.Close() }()
	if r.Method == http.MethodConnect {
		w.WriteHeader(http.StatusOK)
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = client.Close() }()
		go func() { _, _ = io.Copy(upstream, buffered) }()
		_, _ = io.Copy(client, upstream)
		return
	}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return upstream, nil }, DisableKeepAlives: true}
	r.RequestURI = ""
	r.Header.Del("Proxy-Authorization")
	response, err := transport.RoundTrip(r)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = response.Body.Close() }()
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}

func (p *testProxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// behind makes clients with one proxy, "eu", that allow public addresses only, where
// names resolve as configured.
func behind(t *testing.T, proxyURL string, names map[string]string) *Client {
	t.Helper()
	egress, err := egress.New(egress.Config{AllowHTTP: true, Lookup: func(_ context.Context, host string) (addrs []netip.Addr, err error) {
		for text := range strings.FieldsSeq(names[host]) {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		if addrs == nil {
			err = errors.New("no such host")
		}
		return addrs, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := subscription.NewProxies([]string{"eu=" + proxyURL})
	if err != nil {
		t.Fatal(err)
	}
	c := newClients(egress, proxies)
	t.Cleanup(c.CloseIdle)
	return c
}

func withLogin(address string) string {
	return strings.Replace(address, "://", "://"+proxyLogin+"@", 1)
}

func post(t *testing.T, c *Client, key, target string) (Answer, error) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return c.Send(t.Context(), key, 30*time.Second, &http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, []byte(`{"a":1}`))
}

// Requests over http go to the proxy as a whole, those over https through a tunnel, with
// TLS from end to end.
func TestThroughProxy(t *testing.T) {
	t.Parallel()
	receive := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(r.Header["Proxy-Authorization"]) > 0 {
			t.Error("the receiver gets the proxy's password")
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, r.Host+" "+r.URL.RequestURI()+" "+string(body))
	})
	plain, secured := httptest.NewServer(receive), httptest.NewTLSServer(receive)
	t.Cleanup(plain.Close)
	t.Cleanup(secured.Close)

	proxy := startProxy(t, plain.Listener.Addr().String())
	c := behind(t, withLogin(proxy.URL), map[string]string{"public.example.com": "93.184.216.34"})
	for _, host := range []string{"public.example.com", "only-there.example.com", "93.184.216.34"} {
		got, err := post(t, c, "eu", "http://"+host+"/in?key=k")
		if err != nil || got.Status != http.StatusAccepted || string(got.Body) != host+` /in?key=k {"a":1}` {
			t.Errorf("%s: got %d %s, %v", host, got.Status, got.Body, err)
		}
	}
	if seen := proxy.requests(); len(seen) != 3 || seen[0] != "POST http://public.example.com/in?key=k" {
		t.Errorf("the proxy got %q", seen)
	}

	proxy = startProxy(t, secured.Listener.Addr().String())
	c = behind(t, withLogin(proxy.URL), nil)
	if _, err := post(t, c, "eu", "https://example.com/in"); err == nil || !strings.Contains(err.Error(), "through the proxy eu: tls: failed to verify certificate") {
		t.Errorf("a certificate of an unknown authority is accepted: %v", err)
	}
	through, _ := c.proxied["eu"].HTTPClient.Transport.(throughProxy)
	roots := secured.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	through.TLSClientConfig.RootCAs = roots
	for range 2 { // the second on the same connection
		got, err := post(t, c, "eu", "https://example.com/in?key=k")
		if err != nil || got.Status != http.StatusAccepted || string(got.Body) != `example.com /in?key=k {"a":1}` {
			t.Errorf("got %d %s, %v", got.Status, got.Body, err)
		}
	}
	if seen := proxy.requests(); len(seen) < 2 || len(seen) > 3 || seen[1] != "CONNECT example.com:443" {
		t.Errorf("the proxy got %q", seen)
	}
}

// The proxy dials where this process does not see it, so the target is checked here, before the
// proxy hears of it.
func TestProxyIsNoWayAround(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(receiver.Close)
	proxy := startProxy(t, receiver.Listener.Addr().String())
	c := behind(t, withLogin(proxy.URL), map[string]string{
		"internal.example.com": "10.0.0.1", "both.example.com": "93.184.216.34 10.0.0.1", "six.example.com": "fd00::1",
	})
	for _, target := range []string{
		"http://127.0.0.1/", "https://10.0.0.1/", "http://169.254.169.254/latest", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "http://localhost/",
		"https://internal.example.com/", "https://both.example.com/", "https://six.example.com/", "https://93.184.216.34:8443/", "https://only-there.example.com:22/",
		"http://" + strings.TrimPrefix(proxy.URL, "http://"), // the proxy is exempt, but not as a target
	} {
		_, err := post(t, c, "eu", target)
		if !errors.Is(err, egress.ErrTargetRefused) {
			t.Errorf("%s: got %v", target, err)
		}
	}
	// An unnamed one is not bypassed either.
	for _, key := range []string{"us", "EU"} {
		if _, err := post(t, c, key, "https://example.com/"); err == nil || !strings.Contains(err.Error(), "proxy with key '"+key+"' not found") {
			t.Errorf("an unknown proxy: got %v", err)
		}
	}
	if seen := proxy.requests(); len(seen) > 0 {
		t.Errorf("the proxy got %q", seen)
	}
}

// Whatever goes wrong, the error has the key of the proxy and nothing else of it.
func TestProxyErrors(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	breaking := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(breaking.Close)
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}))
	t.Cleanup(half.Close)
	answering := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(answering.Close)
	secured := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secured.Close)
	wrong := startProxy(t, "127.0.0.1:1")
	for _, tt := range []struct{ name, proxy, target, want string }{
		{"closed", withLogin(closed.URL), "http://example.com/", "the proxy eu cannot be reached: connection refused"},
		{"closed, tunnel", withLogin(closed.URL), "https://example.com/", "the proxy eu cannot be reached: connection refused"},
		{"no such name", "http://" + proxyLogin + "@proxy.invalid:3128", "http://example.com/", "the proxy eu cannot be reached"},
		{"wrong password", strings.Replace(withLogin(wrong.URL), "operator", "intruder", 1), "http://example.com/", "the proxy eu wants another user name and password"},
		{"wrong password, tunnel", strings.Replace(withLogin(wrong.URL), "operator", "intruder", 1), "https://example.com/", "the proxy eu wants another user name and password"},
		{"cannot connect, tunnel", withLogin(wrong.URL), "https://example.com/", "the proxy eu refuses to connect to the endpoint: it answers 502 Bad Gateway"},
		{"refuses the tunnel", withLogin(answering.URL), "https://example.com/", "it answers 403 Forbidden"},
		{"breaks off", withLogin(breaking.URL), "http://example.com/", "the connection through the proxy eu broke: it was closed"},
		{"breaks off in the answer", withLogin(half.URL), "http://example.com/", "the connection through the proxy eu broke: it was closed"},
		{"its certificate", withLogin(secured.URL), "http://example.com/", "the proxy eu cannot be reached: its TLS certificate is not accepted"},
		{"not TLS", strings.Replace(withLogin(answering.URL), "http:", "https:", 1), "http://example.com/", "the proxy eu"},
	} {
		_, err := post(t, behind(t, tt.proxy, nil), "eu", tt.target)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
			continue
		}
		u, parseErr := url.Parse(tt.proxy)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		for _, secret := range []string{u.Host, u.Port(), "operator", "intruder", "pr0xy", "127.0.0.1", "proxy.invalid"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error shows %s: %v", tt.name, secret, err)
			}
		}
	}
}
