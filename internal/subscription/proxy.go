package subscription

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/egress"
)

var proxyKeyPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// Proxies are the HTTP proxies that endpoints can be called through, by key. Their
// URLs are secrets. A nil *Proxies has none. They never change.
type Proxies struct {
	urls map[string]*url.URL
}

// NewProxies reads pairs of the form key=URL. The URL is that of an HTTP proxy, spoken
// to over http or https, and may have a user name and password. Errors show the key at
// most.
func NewProxies(pairs []string) (*Proxies, error) {
	p := &Proxies{urls: make(map[string]*url.URL, len(pairs))}
	for _, pair := range pairs {
		key, text, ok := strings.Cut(pair, "=")
		if !ok || !proxyKeyPattern.MatchString(key) {
			return nil, errors.New("a proxy is written key=URL, the key of up to 63 letters, digits, and . _ - between them")
		}
		if _, twice := p.urls[key]; twice {
			return nil, fmt.Errorf("proxy %s is given twice", key)
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" || egress.HostProblem(u) != "" ||
			u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") {
			return nil, fmt.Errorf("the URL of proxy %s cannot be used: write http://host:port or https://host:port, a user name and password before the host if it wants them, with percent-encoding where it is needed", key)
		}
		u.Path = ""
		p.urls[key] = u
	}
	return p, nil
}

// Has reports whether there is a proxy of that key.
func (p *Proxies) Has(key string) bool { return p.URL(key) != nil }

// URL is where a proxy is, with its user name and password; nil when there is none of
// that key. It is a secret, and must not be changed.
func (p *Proxies) URL(key string) *url.URL {
	if p == nil {
		return nil
	}
	return p.urls[key]
}

// Keys are all keys, sorted.
func (p *Proxies) Keys() []string {
	if p == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(p.urls))
}

// String is the keys only, for whatever prints it.
func (p *Proxies) String() string { return strings.Join(p.Keys(), ", ") }

// GoString is String.
func (p *Proxies) GoString() string { return p.String() }
