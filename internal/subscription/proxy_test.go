package subscription_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/subscription"
)

func TestProxies(t *testing.T) {
	t.Parallel()
	p, err := subscription.NewProxies([]string{"eu=http://user:hush@proxy.example.com:3128", "us.2=https://10.0.0.1/"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Keys(), []string{"eu", "us.2"}) || !p.Has("eu") || p.Has("EU") || p.Has("") || p.URL("eu").String() != "http://user:hush@proxy.example.com:3128" {
		t.Errorf("got %v", p)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(verb, p); strings.Contains(shown, "hush") || strings.Contains(shown, "example.com") {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
	var none *subscription.Proxies
	if none.Has("eu") || len(none.Keys()) > 0 {
		t.Error("no proxies are some")
	}
	for _, pair := range []string{
		"", "eu", "=http://hush.example.com", "eu=", "eu=hush.example.com:80", "eu=socks5://hush.example.com", "eu=http://hush.example.com/path", "eu=http://hush.example.com?q",
		"eu=http://hush.example.com#f", "eu=http://", "eu=http://hush.example.com:99999", "eu=http://%zz:hush@h", "e u=http://hush.example.com", "ü=http://hush.example.com", "-=http://hush.example.com",
		strings.Repeat("k", 64) + "=http://hush.example.com", "eu=http:hush.example.com",
	} {
		if _, err := subscription.NewProxies([]string{pair}); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: got %v", pair, err)
		}
	}
	if _, err := subscription.NewProxies([]string{"eu=http://a", "eu=http://b"}); err == nil {
		t.Error("a key is taken twice")
	}
}

// Through a proxy every address that a name has must be allowed; what does not resolve
// here is left to it, on the ports of public addresses.
func TestCheckProxied(t *testing.T) {
	t.Parallel()
	egress, err := egress.New(egress.Config{
		AllowTargets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			switch host {
			case "public.example.com":
				return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
			case "both.example.com":
				return []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("10.0.0.1")}, nil
			case "allowed.example.com":
				return []netip.Addr{netip.MustParseAddr("10.1.0.1")}, nil
			}
			return nil, errors.New("no such host")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string][2]bool{ // allowed directly, and through a proxy
		"https://public.example.com/":      {true, true},
		"https://both.example.com/":        {true, false},
		"http://allowed.example.com:8080/": {true, true},
		"https://there.example.com/":       {true, true},
		"https://there.example.com:8443/":  {true, false},
		"http://there.example.com:443/":    {false, false},
		"http://there.example.com/":        {true, false},
		"https://10.0.0.1/":                {false, false},
		"http://10.1.0.1:8080/":            {true, true},
		"https://user@public.example.com/": {false, false},
		"https://localhost/":               {false, false},
		"https://2130706433/":              {false, false},
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		direct, proxied := egress.CheckURL(t.Context(), u), egress.CheckProxied(t.Context(), u)
		if (direct == nil) != want[0] || (proxied == nil) != want[1] {
			t.Errorf("%s: directly %v, through a proxy %v", target, direct, proxied)
		}
	}
}
