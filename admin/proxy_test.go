package admin

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/subscription"
)

// A subscription may name proxies that there are. One that was named and is gone stays,
// while no subscription names another.
func TestProxyIsKnown(t *testing.T) {
	t.Parallel()
	proxies, err := subscription.NewProxies([]string{"eu=http://operator:hush@proxy.example.com:3128"})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *Config) { c.Proxies = proxies })
	body := func(id, key string) string {
		return `{"id":"` + id + `","types":["git.push"],"endpoint":{"url":"https://example.com/in","proxy":"` + key + `"}}`
	}
	if got := string(f.do("POST", "/v1/subscriptions", body("ci", "eu")).want(http.StatusCreated).body); !strings.Contains(got, `"proxy":"eu"`) || strings.Contains(got, "hush") {
		t.Errorf("created is %s", got)
	}
	for _, key := range []string{"us", "EU", "http://proxy.example.com", " "} {
		r := f.do("POST", "/v1/subscriptions", body("bad", key)).want(http.StatusUnprocessableEntity)
		if text := string(r.body); strings.Count(text, `"field":"endpoint.proxy"`) != 1 || !strings.Contains(text, "proxy with key '"+key+"' not found") {
			t.Errorf("%q: got %s", key, text)
		}
	}
	// A target that only the proxy would reach is none.
	f.do("POST", "/v1/subscriptions", strings.Replace(body("bad", "eu"), "example.com", "10.0.0.1", 1)).want(http.StatusUnprocessableEntity)

	f.restart(func(c *Config) { c.Proxies = nil }) // without the flag
	f.do("PATCH", "/v1/subscriptions/ci", `{"labels":{"team":"anvil"}}`).want(http.StatusOK)
	f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"proxy":"us"}}`).want(http.StatusUnprocessableEntity)
	f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"proxy":null}}`).want(http.StatusOK)
}
