package subscription

import "strings"

// percentEncode encodes what a path and a query cannot have (RFC 3986, sections 3.3 and
// 3.4), and leaves alone what is encoded. A percent sign that two hexadecimal digits do not
// follow stands for itself.
func percentEncode(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		encoded := c == '%' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2])
		if encoded || isAlphanumeric(c) || strings.IndexByte("-._~!$&'()*+,;=:@/?", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', digits[c>>4], digits[c&0xf]})
	}
	return b.String()
}

// encodePath is the URL address with its path percent-encoded. The rest is as it was.
func encodePath(address string) string {
	scheme := strings.Index(address, "://")
	if scheme < 0 {
		return address
	}
	authority := scheme + len("://")
	length := strings.IndexAny(address[authority:], "/?#")
	if length < 0 || address[authority+length] != '/' {
		return address
	}
	path := authority + length
	end := len(address)
	if rest := strings.IndexAny(address[path:], "?#"); rest >= 0 {
		end = path + rest
	}
	return address[:path] + percentEncode(address[path:end]) + address[end:]
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
