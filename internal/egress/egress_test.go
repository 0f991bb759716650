package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func egress(t *testing.T, cfg Config) *Guard {
	t.Helper()
	if cfg.Lookup == nil {
		cfg.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			t.Errorf("%s was looked up", host)
			return nil, errors.New("no")
		}
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func TestEgressControl(t *testing.T) {
	t.Parallel()
	e := egress(t, Config{})
	for _, address := range []string{
		"1.1.1.1:443", "93.184.216.34:443", "168.63.129.15:443", "172.15.255.255:443", "172.32.0.1:443", "100.63.255.255:443", "100.128.0.1:443",
		"192.0.1.1:443", "198.17.0.1:443", "198.20.0.1:443", "223.255.255.255:443", "11.0.0.1:443", "1.0.0.0:443",
		"[2606:4700::1111]:443", "[2a00:1450::1]:443", "[2001:200::1]:443", "[2003::1]:443", "[::ffff:1.1.1.1]:443",
		"[64:ff9b::1.1.1.1]:443", "[64:ff9b::101:101]:443", "[64:ff9b::5db8:d822]:443", "[64:ff9b::168.63.129.15]:443",
	} {
		if err := e.Control("tcp4", address, nil); err != nil {
			t.Errorf("%s is refused: %v", address, err)
		}
	}
	for _, address := range []string{
		"0.0.0.0:443", "0.1.2.3:443", "10.0.0.1:443", "10.255.255.255:443", "100.64.0.1:443", "100.127.255.255:443", "127.0.0.1:443", "127.255.255.254:443",
		"169.254.169.254:443", "172.16.0.1:443", "172.31.255.255:443", "192.0.0.192:443", "192.0.2.1:443", "192.31.196.1:443", "192.52.193.1:443",
		"192.88.99.1:443", "192.168.0.1:443", "192.175.48.1:443", "198.18.0.1:443", "198.19.255.255:443", "198.51.100.1:443", "203.0.113.1:443",
		"224.0.0.1:443", "239.255.255.255:443", "240.0.0.1:443", "255.255.255.255:443", "168.63.129.16:443",
		"[::]:443", "[::1]:443", "[::ffff:127.0.0.1]:443", "[::ffff:169.254.169.254]:443", "[::ffff:10.0.0.1]:443", "[::ffff:168.63.129.16]:443", "[::127.0.0.1]:443",
		"[64:ff9b::7f00:1]:443", "[64:ff9b::10.0.0.1]:443", "[64:ff9b::169.254.169.254]:443", "[64:ff9b::168.63.129.16]:443", "[64:ff9b::0.0.0.0]:443",
		"[64:ff9b::192.168.1.1]:443", "[64:ff9b::100.64.0.1]:443", "[64:ff9b::255.255.255.255]:443", "[64:ff9b::1.1.1.1]:80", "[64:ff9b::1.1.1.1]:22", "[64:ff9b:0:0:0:1:101:101]:443",
		"[64:ff9b:1::1]:443", "[64:ff9b:1::1.1.1.1]:443", "[64:ff9b:1:101:1:100::]:443", "[64:ff9b:2::1.1.1.1]:443", "[100::1]:443", "[fc00::1]:443", "[fd00:ec2::254]:443",
		"[fe80::1]:443", "[fe80::1%eth0]:443", "[fec0::1]:443", "[ff02::1]:443", "[2001::1]:443", "[2001:1ff::1]:443", "[2001:db8::1]:443", "[2002:7f00:1::]:443",
		"[2620:4f:8000::1]:443", "[3fff::1]:443", "[5f00::1]:443",
		// Ports.
		"1.1.1.1:80", "1.1.1.1:22", "1.1.1.1:8443", "1.1.1.1:0", "[2606:4700::1111]:80",
		// What is not an address: fail closed.
		"", "1.1.1.1", "localhost:443", "example.com:443", "127.1:443", "2130706433:443", "0x7f.0.0.1:443", "0177.0.0.1:443", ":443", "1.1.1.1:https",
	} {
		err := e.Control("tcp4", address, nil)
		if !errors.Is(err, ErrTargetRefused) {
			t.Errorf("%s: got %v, want ErrTargetRefused", address, err)
		}
	}
	for _, network := range []string{"tcp", "udp", "udp4", "udp6", "ip", "unix", ""} {
		if err := e.Control(network, "1.1.1.1:443", nil); !errors.Is(err, ErrTargetRefused) {
			t.Errorf("network %q: got %v, want ErrTargetRefused", network, err)
		}
	}
	if err := e.Control("tcp6", "[2606:4700::1111]:443", nil); err != nil {
		t.Errorf("tcp6: %v", err)
	}
}

func TestEgressAllows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		cfg              Config
		allowed, refused []string
	}{
		{
			"http",
			Config{AllowHTTP: true},
			[]string{"1.1.1.1:80", "1.1.1.1:443"},
			[]string{"1.1.1.1:8080", "127.0.0.1:80"},
		},
		{
			"other ports",
			Config{Ports: []uint16{8443, 9443}},
			[]string{"1.1.1.1:8443", "1.1.1.1:9443"},
			[]string{"1.1.1.1:443", "1.1.1.1:80", "127.0.0.1:8443"},
		},
		{
			"other ports and http",
			Config{Ports: []uint16{8443}, AllowHTTP: true},
			[]string{"1.1.1.1:8443", "1.1.1.1:80"},
			[]string{"1.1.1.1:443"},
		},
		{
			"a public address, and NAT64 of it",
			Config{AllowTargets: prefixes("1.1.1.0/24")},
			[]string{"1.1.1.1:8080", "[64:ff9b::1.1.1.1]:8080"},
			[]string{"1.1.2.1:8080", "[64:ff9b::1.1.2.1]:8080", "[64:ff9b:1::1.1.1.1]:443"},
		},
		{
			"private addresses, which are others behind NAT64",
			Config{AllowTargets: prefixes("127.0.0.0/8", "10.0.0.0/8")},
			[]string{"10.0.0.1:443", "127.0.0.1:80"},
			[]string{"[64:ff9b::10.0.0.1]:443", "[64:ff9b::127.0.0.1]:443"},
		},
		{
			"NAT64 for local use",
			Config{AllowTargets: prefixes("64:ff9b:1:abcd::/96", "64:ff9b::10.0.0.0/104")},
			[]string{"[64:ff9b:1:abcd::1.1.1.1]:443", "[64:ff9b:1:abcd::10.0.0.1]:8080", "[64:ff9b::10.0.0.1]:80"},
			[]string{"[64:ff9b:1::1.1.1.1]:443", "10.0.0.1:443", "[64:ff9b::127.0.0.1]:443"},
		},
		{
			"loopback",
			Config{AllowTargets: prefixes("127.0.0.0/8", "::1/128")},
			[]string{"127.0.0.1:9000", "[::1]:22", "[::ffff:127.0.0.1]:80", "1.1.1.1:443"},
			[]string{"10.0.0.1:443", "[::2]:443", "1.1.1.1:80"},
		},
		{
			"one address",
			Config{AllowTargets: prefixes("10.1.2.3/32")},
			[]string{"10.1.2.3:1"},
			[]string{"10.1.2.4:443", "10.1.2.2:443"},
		},
		{
			"IPv4 written as IPv6",
			Config{AllowTargets: prefixes("::ffff:10.0.0.0/104")},
			[]string{"10.1.2.3:1", "[::ffff:10.1.2.3]:1"},
			[]string{"11.0.0.1:1", "127.0.0.1:443"},
		},
		{
			"bits behind the mask",
			Config{AllowTargets: prefixes("10.1.2.3/8")},
			[]string{"10.9.9.9:1"},
			[]string{"11.0.0.1:1"},
		},
		{
			"link-local with a zone",
			Config{AllowTargets: prefixes("fe80::/10")},
			[]string{"[fe80::1%eth0]:80", "[fe80::1]:80"},
			[]string{"[fd00::1%eth0]:443"},
		},
		{
			"a public address, with any port",
			Config{AllowTargets: prefixes("1.1.1.1/32")},
			[]string{"1.1.1.1:8080"},
			[]string{"1.0.0.1:8080"},
		},
		{
			"metadata, on purpose",
			Config{AllowTargets: prefixes("168.63.129.16/32")},
			[]string{"168.63.129.16:80"},
			[]string{"169.254.169.254:80"},
		},
	} {
		e := egress(t, tt.cfg)
		for _, address := range tt.allowed {
			if err := e.Control("tcp4", address, nil); err != nil {
				t.Errorf("%s: %s is refused: %v", tt.name, address, err)
			}
		}
		for _, address := range tt.refused {
			if err := e.Control("tcp4", address, nil); !errors.Is(err, ErrTargetRefused) {
				t.Errorf("%s: %s: got %v, want ErrTargetRefused", tt.name, address, err)
			}
		}
	}
	if _, err := New(Config{AllowTargets: make([]netip.Prefix, 1)}); err == nil {
		t.Error("a prefix that is none is accepted")
	}
}

func TestEgressCheckURL(t *testing.T) {
	t.Parallel()
	names := map[string]string{
		"public.example": "1.1.1.1", "private.example": "10.0.0.5", "both.example": "10.0.0.5 1.1.1.1", "six.example": "fd00::1 fe80::1",
		"meta.example": "169.254.169.254", "mapped.example": "::ffff:127.0.0.1", "one.internal": "10.1.2.3", "mixed.internal": "10.1.2.3 1.1.1.1",
	}
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		var addrs []netip.Addr
		for text := range strings.FieldsSeq(names[host]) {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		if addrs == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return addrs, nil
	}
	strict := egress(t, Config{Lookup: lookup})
	lab := egress(t, Config{Lookup: lookup, AllowTargets: prefixes("10.1.2.3/32", "127.0.0.0/8")})
	open := egress(t, Config{Lookup: lookup, AllowHTTP: true})
	for _, tt := range []struct {
		guard *Guard
		url   string
		want  string // part of the error; empty: accepted
	}{
		{strict, "https://public.example/hook", ""},
		{strict, "https://PUBLIC.example./hook", ""},
		{strict, "https://public.example:443/hook", ""},
		{strict, "https://public.example:8443/hook", "port 8443 of 1.1.1.1 is not among those allowed (443)"},
		{strict, "https://1.1.1.1/", ""},
		{strict, "https://[2606:4700::1111]/", ""},
		{strict, "https://both.example/", ""}, // dialling tries the one that is allowed
		{strict, "https://unknown.example/", ""},
		{strict, "https://unknown.example:8443/", ""},
		{strict, "https://private.example/", "private.example leads nowhere else: 10.0.0.5 is not a public address; an operator can allow it with --allow-target 10.0.0.5/32"},
		{strict, "https://six.example/", "--allow-target fd00::1/128"},
		{strict, "https://meta.example/", "169.254.169.254 is not a public address"},
		{strict, "https://mapped.example/", "--allow-target 127.0.0.1/32"},
		{strict, "https://10.0.0.5/", "10.0.0.5 is not a public address; an operator can allow it with --allow-target 10.0.0.5/32"},
		{strict, "https://127.0.0.1/", "127.0.0.1 is not a public address"},
		{strict, "https://0.0.0.0/", "0.0.0.0 is not a public address"},
		{strict, "https://168.63.129.16/", "168.63.129.16 is not a public address"},
		{strict, "https://[::1]/", "--allow-target ::1/128"},
		{strict, "https://[::]/", ":: is not a public address"},
		{strict, "https://[::ffff:127.0.0.1]/", "127.0.0.1 is not a public address"},
		{strict, "https://[::ffff:7f00:1]/", "127.0.0.1 is not a public address"},
		{strict, "https://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1 is not a public address"},
		{strict, "https://[64:ff9b::7f00:1]/", "it is 127.0.0.1 behind NAT64; an operator can allow it with --allow-target 64:ff9b::7f00:1/128"},
		{strict, "https://[64:ff9b::101:101]/", ""},
		{strict, "http://[64:ff9b::101:101]:443/", "http is not allowed to public addresses"},
		{strict, "https://[64:ff9b:1::101:101]/", "64:ff9b:1::101:101 is not a public address"},
		{strict, "https://[fe80::1%25eth0]/", "a zone"},
		{strict, "https://[fe80::1]/", "fe80::1 is not a public address"},
		{strict, "https://localhost/", "localhost leads nowhere else: 127.0.0.1 is not a public address"},
		{strict, "https://localhost./", "127.0.0.1 is not a public address"},
		{strict, "https://LOCALHOST/", "127.0.0.1 is not a public address"},
		{strict, "https://a.localhost/", "127.0.0.1 is not a public address"},
		{strict, "https://2130706433/", "ends in a number"},
		{strict, "https://0x7f000001/", "ends in a number"},
		{strict, "https://0177.0.0.1/", "ends in a number"},
		{strict, "https://127.1/", "ends in a number"},
		{strict, "https://127.0.0.1./", "ends in a number"},
		{strict, "http://public.example/", "port 80 of 1.1.1.1 is not among those allowed"},
		{strict, "http://public.example:443/", "http is not allowed to public addresses"},
		{strict, "http://unknown.example:443/", "http is not allowed to public addresses"},
		{strict, "http://unknown.example/", ""}, // port 80 is refused when it is dialled
		{strict, "http://127.0.0.1:9000/hook", "--allow-target 127.0.0.1/32"},
		{strict, "ftp://public.example/", "write https://host/path"},
		{strict, "https://user:swordfish@public.example/", "without a user name"},
		{strict, "https:///hook?swordfish", "has no host"},
		{strict, "https://10.0.0.5/hook?token=swordfish", "10.0.0.5"},
		{lab, "http://127.0.0.1:9000/hook", ""},
		{lab, "http://localhost:9000/hook", ""},
		{lab, "http://one.internal:1234/", ""},
		{lab, "https://one.internal/", ""},
		{lab, "http://mixed.internal:1234/", ""},
		{lab, "http://public.example:443/", "http is not allowed"},
		{lab, "https://10.1.2.4/", "10.1.2.4 is not a public address"},
		{lab, "http://[::ffff:127.0.0.1]:9000/", ""},
		{lab, "http://[::1]:9000/", "--allow-target ::1/128"},
		{open, "http://public.example/", ""},
		{open, "http://public.example:80/", ""},
		{open, "http://public.example:8080/", "port 8080"},
		{open, "http://unknown.example/", ""},
		{open, "http://private.example/", "10.0.0.5 is not a public address"},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		switch err := tt.guard.CheckURL(t.Context(), u); {
		case tt.want == "" && err != nil:
			t.Errorf("%s is refused: %v", tt.url, err)
		case tt.want != "" && (!errors.Is(err, ErrTargetRefused) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %q", tt.url, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "swordfish"):
			t.Errorf("%s: the error shows a secret: %v", tt.url, err)
		}
	}
}

// TestEgressInADialer is what a sender does with it.
func TestEgressInADialer(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	get := func(e *Guard, url string) error {
		transport := &http.Transport{DialContext: (&net.Dialer{Control: e.Control}).DialContext}
		defer transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	}
	// By name as well: DNS may have changed since the subscription was saved.
	byName := strings.Replace(receiver.URL, "127.0.0.1", "localhost", 1)
	for _, target := range []string{receiver.URL, byName} {
		if err := get(egress(t, Config{AllowHTTP: true}), target); !errors.Is(err, ErrTargetRefused) {
			t.Errorf("%s: got %v, want ErrTargetRefused", target, err)
		}
		if err := get(egress(t, Config{AllowTargets: prefixes("127.0.0.0/8")}), target); err != nil {
			t.Errorf("%s, allowed: %v", target, err)
		}
	}
}
