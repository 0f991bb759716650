package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/jetpost/jetpost/internal/plain"
)

// handshakeFlags are how receivers know this installation when they are asked for
// their consent. Its senders need the same.
type handshakeFlags struct {
	PublicURL     string `name:"public-url" group:"Handshake" placeholder:"URL" help:"Where the API is reached from outside, such as https://hooks.example.com: receivers that are asked for their consent may give it by calling back below /v1/handshakes/ there, which asks for no token. Default: they are not offered that."`
	WebhookOrigin string `name:"webhook-origin" group:"Handshake" placeholder:"HOST" help:"The name under which receivers are asked for their consent, and which they allow. It stands for all senders of an installation. Default: the host of --public-url, or the name of this machine."`
}

var originPattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$`)

// resolve checks the flags and fills in their defaults. The URL has no slash at its
// end.
func (f *handshakeFlags) resolve(allowHTTP bool) (publicURL, origin string, err error) {
	origin = f.WebhookOrigin
	if f.PublicURL != "" {
		u, err := url.Parse(f.PublicURL)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return "", "", fmt.Errorf("--public-url: write https://host, without a user, query and fragment")
		}
		if u.Scheme != "https" && (u.Scheme != "http" || !allowHTTP && !isLoopback(u.Hostname())) {
			return "", "", fmt.Errorf("--public-url %s: use https, since a reader of the callback can consent for the receiver; http needs --allow-http", plain.Shown(f.PublicURL, plain.FieldLimit))
		}
		publicURL = strings.TrimRight(u.String(), "/")
		if origin == "" {
			origin = u.Hostname()
		}
	}
	if origin == "" {
		if origin, err = os.Hostname(); err != nil {
			return "", "", fmt.Errorf("this machine has no name, give one with --webhook-origin: %w", err)
		}
	}
	if f.WebhookOrigin != "" && !originPattern.MatchString(origin) {
		return "", "", fmt.Errorf("--webhook-origin %s: write a host name", plain.Shown(origin, plain.FieldLimit))
	}
	return publicURL, origin, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
