// Package egress says which addresses requests may go to, and keeps them from reaching
// what only this machine or its network may reach.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	"github.com/jetpost/jetpost/internal/plain"
)

// ErrTargetRefused is wrapped by every error that says that an endpoint's address
// must not be called.
var ErrTargetRefused = errors.New("the endpoint's address is refused")

// Config says which addresses endpoints may have. The zero value allows
// https on port 443 of public addresses.
type Config struct {
	// AllowTargets are addresses that are allowed, with any port and over http as
	// well, whatever else would refuse them. Default: none.
	AllowTargets []netip.Prefix
	// AllowHTTP allows http, and port 80, on public addresses.
	AllowHTTP bool
	// Ports are those allowed on public addresses. Default: 443.
	Ports []uint16
	// Lookup resolves a host name. Default: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// A Guard keeps deliveries from reaching what only this machine or its network
// may reach. Control decides, on the address that is dialled, after DNS; CheckURL
// reports an obvious mistake to the user when a subscription is saved.
//
// Refused are loopback, private, link-local, shared, documentation, benchmark,
// multicast and reserved addresses, IPv6 outside 2000::/3 and its tunnels, and the
// metadata services of clouds. NAT64 of a public IPv4 address is judged by that address
// (see behindNAT64).
type Guard struct {
	allowed []netip.Prefix
	http    bool
	ports   []uint16
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)
	guard   *ssrf.Guardian
}

// lookupTimeout bounds the name resolution of CheckURL.
const lookupTimeout = 3 * time.Second

// New makes a guard. An error means that cfg has a prefix that is none.
func New(cfg Config) (*Guard, error) {
	e := &Guard{http: cfg.AllowHTTP, ports: slices.Clone(cfg.Ports), lookup: cfg.Lookup}
	if len(e.ports) == 0 {
		e.ports = []uint16{443}
	}
	if e.http {
		e.ports = append(e.ports, 80)
	}
	if e.lookup == nil {
		e.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	for _, prefix := range cfg.AllowTargets {
		if prefix = unmapPrefix(prefix); !prefix.IsValid() {
			return nil, errors.New("allowed target is not a prefix: write it as in 127.0.0.0/8 or 2001:db8::/32")
		}
		e.allowed = append(e.allowed, prefix)
	}
	// The library denies the special ranges of IANA. Azure's metadata and DNS
	// service is at a public address.
	e.guard = ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(netip.PrefixFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 32)))
	return e, nil
}

// unmapPrefix turns a prefix of IPv4 addresses written as IPv6 (::ffff:10.0.0.0/104)
// into one of IPv4, in which addresses are compared.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// Control refuses, for a net.Dialer, an address that is about to be dialled.
func (e *Guard) Control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: %s is neither tcp4 nor tcp6", ErrTargetRefused, network)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil { // fail closed
		return fmt.Errorf("%w: %q is not an address and port", ErrTargetRefused, address)
	}
	if problem := e.refuse(target.Addr(), target.Port()); problem != "" {
		return fmt.Errorf("%w: %s", ErrTargetRefused, problem)
	}
	return nil
}

// allows reports whether an operator has allowed addr, or the IPv4 address behind it. That
// one only if it is public: a private one is another host behind the translator than it is
// here.
func (e *Guard) allows(addr netip.Addr) bool {
	within := func(addr netip.Addr) bool {
		return slices.ContainsFunc(e.allowed, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	behind, ok := behindNAT64(addr)
	return within(addr) || ok && within(behind) && e.guard.SafeAddr(behind) == nil
}

// behindNAT64 is the IPv4 address that a translator calls for an address of 64:ff9b::/96
// (RFC 6052, section 2.1): networks without IPv4 of their own reach all public ones there.
// Of the prefix for local use, 64:ff9b:1::/48 (RFC 8215), only its operator knows where it
// leads, and in which bits: addresses there stay refused until one is allowed.
func behindNAT64(addr netip.Addr) (netip.Addr, bool) {
	if !ssrf.IPv6NAT64Prefix.Contains(addr) {
		return netip.Addr{}, false
	}
	bytes := addr.As16()
	return netip.AddrFrom4([4]byte(bytes[12:])), true
}

// refuse says why an address and port must not be dialled.
func (e *Guard) refuse(addr netip.Addr, port uint16) string {
	addr = addr.Unmap().WithZone("")
	if e.allows(addr) {
		return ""
	}
	hint := fmt.Sprintf("--allow-target %s/%d", addr, addr.BitLen())
	behind, translated := behindNAT64(addr)
	if translated && e.guard.SafeAddr(behind) != nil {
		return fmt.Sprintf("%s is not a public address: it is %s behind NAT64; an operator can allow it with %s", addr, behind, hint)
	}
	if err := e.guard.SafeAddr(addr); err != nil && !translated {
		return fmt.Sprintf("%s is not a public address; an operator can allow it with %s", addr, hint)
	}
	if !slices.Contains(e.ports, port) {
		return fmt.Sprintf("port %d of %s is not among those allowed (%s); an operator can allow all ports of it with %s", port, addr, e.portList(), hint)
	}
	return ""
}

func (e *Guard) portList() string {
	texts := make([]string, len(e.ports))
	for i, port := range e.ports {
		texts[i] = strconv.Itoa(int(port))
	}
	return strings.Join(texts, ", ")
}

// CheckURL refuses a URL that can only lead to addresses that Control would
// refuse, or that speaks http where only https is allowed. A name that does not
// resolve now is accepted. Errors wrap ErrTargetRefused and say how an operator
// can allow the address; they show the host at most.
func (e *Guard) CheckURL(ctx context.Context, u *url.URL) error { return e.check(ctx, u, false) }

// CheckProxied is CheckURL for a request through a proxy, which dials the target itself:
// no Control sees that, so that this must be called before each request. All addresses
// that the name has here must be allowed, since the proxy may choose any. A name
// that does not resolve here is for the proxy to resolve, and for its operator to
// restrict; its port and scheme are those of public addresses.
func (e *Guard) CheckProxied(ctx context.Context, u *url.URL) error { return e.check(ctx, u, true) }

func (e *Guard) check(ctx context.Context, u *url.URL, proxied bool) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return fmt.Errorf("%w: write https://host/path, without a user name", ErrTargetRefused)
	}
	if problem := HostProblem(u); problem != "" {
		return fmt.Errorf("%w: the URL %s", ErrTargetRefused, problem)
	}
	port := portOf(u)
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	addrs, literal := e.resolve(ctx, host)
	if len(addrs) == 0 && proxied && !slices.Contains(e.ports, port) {
		return fmt.Errorf("%w: port %d is not among those allowed (%s), and %s does not resolve here", ErrTargetRefused, port, e.portList(), plain.Clip(host))
	}
	if len(addrs) == 0 {
		// Dialling decides, but it does not see the scheme.
		if u.Scheme == "http" && !e.http && slices.Contains(e.ports, port) {
			return fmt.Errorf("%w: %s", ErrTargetRefused, httpProblem)
		}
		return nil
	}
	var problems []string
	for _, addr := range addrs {
		problem := e.refuse(addr, port)
		if problem == "" && u.Scheme == "http" && !e.http && !e.allows(addr.Unmap()) {
			problem = httpProblem
		}
		if problem == "" && !proxied {
			return nil // this one may be dialled
		}
		if problem != "" && !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}
	if len(problems) == 0 {
		return nil
	}
	if literal {
		return fmt.Errorf("%w: %s", ErrTargetRefused, problems[0])
	}
	if proxied {
		return fmt.Errorf("%w: %s leads there, and a proxy may choose it: %s", ErrTargetRefused, plain.Clip(host), strings.Join(problems[:min(len(problems), 3)], "; "))
	}
	return fmt.Errorf("%w: %s leads nowhere else: %s", ErrTargetRefused, plain.Clip(host), strings.Join(problems[:min(len(problems), 3)], "; "))
}

const httpProblem = "http is not allowed to public addresses: use https"

// resolve returns the addresses of a host, and whether it is one itself.
func (e *Guard) resolve(ctx context.Context, host string) (addrs []netip.Addr, literal bool) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, true
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, without asking anybody
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, false
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := e.lookup(ctx, host)
	if err != nil {
		return nil, false
	}
	return addrs, false
}

func portOf(u *url.URL) uint16 {
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil { // hostProblem has seen it
		return uint16(port)
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}
