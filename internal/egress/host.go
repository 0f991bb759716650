package egress

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// HostProblem says why the host of an absolute URL cannot be called, whatever it
// resolves to.
func HostProblem(u *url.URL) string {
	host := u.Hostname()
	if host == "" || u.Opaque != "" {
		return "has no host: write https://host/path"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "has a port that is not 1 to 65535"
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return "has a colon without a port: remove it"
	}
	if strings.HasPrefix(u.Host, "[") {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() {
			return "has a host in brackets that is not an IPv6 address"
		}
		if addr.Zone() != "" {
			return "has an address with a zone, which means something on one machine only"
		}
		return ""
	}
	return hostNameProblem(host)
}

// hostNameProblem says why host is neither an IPv4 address nor a DNS name. Forms
// of addresses that only some resolvers take (2130706433, 0x7f.1, 0177.0.0.1) are
// neither: what is checked and what is called must be the same.
func hostNameProblem(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return "has a host with a part that is empty or longer than 63 characters"
		}
		for i := range len(label) {
			if c := label[i]; !isLetterOrDigit(c) && c != '-' && c != '_' {
				return "has a host that is neither a name nor an address: use letters, digits, - and dots"
			}
		}
	}
	if last := labels[len(labels)-1]; isNumber(last) {
		return "has a host that ends in a number and is not an address: write an IPv4 address as four decimal numbers, as in 192.0.2.1"
	}
	if len(host) > 253 {
		return "has a host name longer than 253 characters"
	}
	return ""
}

// isNumber reports whether a resolver may take label for a number: decimal,
// octal, or hexadecimal after 0x (URL Standard, "ends in a number").
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func isLetterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
