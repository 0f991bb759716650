package jfrog_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A maker makes documents at random.
type maker struct{ *rand.Rand }

func (m maker) one(of ...any) any { return of[m.IntN(len(of))] }

func (m maker) text() string {
	var b strings.Builder
	for range m.IntN(12) {
		b.WriteString(m.one("a", "Z", "7", "ü", "\u2028", "<", "&", `"`, `\`, "/", "é", "\U0001F600", "\n", "\t", " ", "{", "}").(string))
	}
	return b.String()
}

func (m maker) names() []any {
	names := []any{}
	for n := range m.IntN(3) {
		names = append(names, fmt.Sprintf("name-%d-<%d>", n, m.IntN(9)))
	}
	return names
}

// any is a value of an unknown member.
func (m maker) any(depth int) any {
	switch m.IntN(7) {
	case 0:
		if depth < 3 {
			return map[string]any{"k1": m.any(depth + 1), m.text(): m.any(depth + 1)}
		}
	case 1:
		if depth < 3 {
			return []any{m.any(depth + 1), m.any(depth + 1)}
		}
	case 2:
		return json.Number(m.one("9007199254740993", "-0.0", "1.50", "1e400", "12345678901234567890123").(string))
	case 3:
		return nil
	case 4:
		return m.IntN(2) == 0
	}
	return m.text()
}

func (m maker) headers() []any {
	headers := []any{}
	for n := range m.IntN(3) {
		headers = append(headers, map[string]any{"name": fmt.Sprintf("X-Header-%d", n), "value": m.one("Bearer abc", "", "v; q=1", "Gr\u00fc\u00dfe\u00ff").(string)})
	}
	return headers
}

// handler returns one as it is sent, and as it must be read.
func (m maker) handler(n int) (sent, read map[string]any) {
	sent = map[string]any{"url": fmt.Sprintf("https://example.com/%d?token=%d&x=<%%20>", n, m.IntN(1000))}
	read = map[string]any{}
	maybe := func(name string, value any) {
		if m.IntN(2) == 0 {
			sent[name] = value
		}
	}
	maybe("proxy", m.one("corporate", nil, ""))
	maybe("unknown", m.any(0))
	if m.IntN(2) == 0 {
		sent["handler_type"] = "webhook"
		maybe("secret", m.one("tell no one", "", nil))
		maybe("use_secret_for_signing", m.one(true, false, nil))
		maybe("custom_http_headers", m.one(m.headers(), nil))
	} else {
		sent["handler_type"] = "custom-webhook"
		maybe("method", m.one("POST", "PUT", "GET", nil))
		maybe("payload", strings.ReplaceAll(m.text(), "{", "(")+"{{ .data.name }}")
		maybe("http_headers", m.headers())
		maybe("secrets", []any{map[string]any{"name": "a", "value": "swordfish"}, map[string]any{"name": "b", "value": ""}})
	}
	maps.Copy(read, sent)
	if sent["secret"] == "tell no one" {
		read["secret"] = "[secret]"
	}
	// The platform leaves these out, although they were sent.
	if sent["proxy"] == "" {
		delete(read, "proxy")
	}
	if sent["use_secret_for_signing"] == false && sent["secret"] != "tell no one" {
		delete(read, "use_secret_for_signing")
	}
	if sent["secrets"] != nil {
		read["secrets"] = []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}
	}
	return sent, read
}

// criteria returns a domain's with some members left out or null, and all of them.
func (m maker) criteria() (domain, event string, sent, read map[string]any) {
	sent, read = map[string]any{}, map[string]any{}
	add := func(name string, value, missing any) {
		switch m.IntN(4) {
		case 0:
			read[name] = missing
		case 1:
			sent[name], read[name] = nil, missing
		default:
			sent[name], read[name] = value, value
		}
	}
	always := func(name string, value any) { sent[name], read[name] = value, value }
	switch m.IntN(6) {
	case 0:
		domain, event = m.one("user", "artifact_lifecycle").(string), "locked"
		if domain == "artifact_lifecycle" {
			event = "archive"
		}
		return domain, event, m.one(map[string]any{}, map[string]any(nil)).(map[string]any), nil
	case 1:
		domain, event = "release_bundle_v2_promotion", "release_bundle_v2_promotion_started"
		add("selectedEnvironments", m.names(), []any{})
		return domain, event, sent, read
	case 2:
		domain, event = m.one("artifact", "artifact_property", "docker").(string), "deleted"
		always("anyRemote", true)
		add("anyLocal", true, false)
		add("anyFederated", true, false)
		add("repoKeys", m.names(), []any{})
	case 3:
		domain, event = "build", "uploaded"
		always("anyBuild", true)
		add("selectedBuilds", m.names(), []any{})
	case 4:
		domain, event = m.one("distribution", "destination", "artifactory_release_bundle").(string), "delete_started"
		always("anyReleaseBundle", true)
		add("registeredReleaseBundlesNames", m.names(), []any{})
	default:
		domain, event = "release_bundle_v2", "release_bundle_v2_started"
		always("anyReleaseBundle", true)
		add("selectedReleaseBundles", map[string]any{"release-bundles-v2": m.names()}, map[string]any{"release-bundles-v2": []any{}})
	}
	add("includePatterns", m.names(), []any{})
	add("excludePatterns", m.names(), []any{})
	return domain, event, sent, read
}

// document returns one as it is sent, and as it must be read.
func (m maker) document(key string) (sent, read map[string]any) {
	sent, read = map[string]any{"key": key}, map[string]any{}
	members := map[string]any{"description": m.one(m.text(), "", nil), "debug": true, "project_key": m.one("proj", "", nil), "owner": m.any(0), "ünknown": m.any(0), "enabled": m.IntN(2) == 0}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if m.IntN(2) == 0 {
			sent[name] = members[name]
		}
	}
	maps.Copy(read, sent)
	if read["enabled"] == nil {
		read["enabled"] = false
	}
	domain, event, criteria, complete := m.criteria()
	sent["event_filter"] = map[string]any{"domain": domain, "event_types": []any{event}, "criteria": criteria}
	if len(criteria) == 0 && m.IntN(2) == 0 {
		sent["event_filter"] = map[string]any{"domain": domain, "event_types": []any{event}}
	}
	read["event_filter"] = map[string]any{"domain": domain, "event_types": []any{event}, "criteria": complete}
	var handlersSent, handlersRead []any
	for n := range 1 + m.IntN(2) {
		s, r := m.handler(n)
		handlersSent, handlersRead = append(handlersSent, s), append(handlersRead, r)
	}
	sent["handlers"], read["handlers"] = handlersSent, handlersRead
	return sent, read
}

func decode(t *testing.T, text string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return v
}

// Whatever valid document is sent comes back equal, but for what clients need to find
// there, and for secrets: after POST and after PUT. And no client plans a change of it, the
// first time or the second.
func TestEcho(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for seed := range uint64(60) {
		m := maker{rand.New(rand.NewPCG(seed, 0))}
		key := fmt.Sprintf("key-%d", seed/2)
		sent, want := m.document(key)
		body, wanted := encoded(t, sent), encoded(t, want)
		if seed%2 == 0 {
			s.do("POST", subscriptions, body).want(http.StatusCreated)
		} else {
			s.do("PUT", subscriptions+"/"+key, body).want(http.StatusNoContent)
		}
		got := s.do("GET", subscriptions+"/"+key, "").want(http.StatusOK)
		if diff := cmp.Diff(decode(t, wanted), decode(t, got.body)); diff != "" {
			t.Fatalf("seed %d: sent %s (-want +got):\n%s", seed, body, diff)
		}
		for _, p := range providers() {
			if plan := p.plan(body, got.body); plan != "" {
				t.Fatalf("seed %d: sent %s, read %s: provider %s plans (-state +description):\n%s", seed, body, got.body, p.version, plan)
			}
		}
		s.do("PUT", subscriptions+"/"+key, body).want(http.StatusNoContent) // an apply of no change
		s.do("GET", subscriptions+"/"+key, "").want(http.StatusOK).is(got.body)
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// zeros is a body that has no end but its length.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// What is looked up or compared for each element of a list is not done for more of them
// than there can be.
func TestManyEntries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	many := func(form string) string {
		var elements []string
		for n := range 10_000 {
			elements = append(elements, fmt.Sprintf(form, n))
		}
		return "[" + strings.Join(elements, ",") + "]"
	}
	valid := document("key-1", "https://example.com/", "")
	custom := strings.Replace(valid, `"handler_type":"webhook"`, `"handler_type":"custom-webhook"`, 1)
	for field, body := range map[string]string{
		"event_filter.event_types":        strings.Replace(valid, `["deployed"]`, many(`"e%d"`), 1),
		"handlers[0].custom_http_headers": strings.Replace(valid, `"url"`, `"custom_http_headers":`+many(`{"name":"h%d"}`)+`,"url"`, 1),
		"handlers[0].http_headers":        strings.Replace(custom, `"url"`, `"http_headers":`+many(`{"name":"h%d"}`)+`,"url"`, 1),
		"handlers[0].secrets":             strings.Replace(custom, `"url"`, `"secrets":`+many(`{"name":"s%d"}`)+`,"url"`, 1),
	} {
		got := s.do("POST", subscriptions, body).want(http.StatusBadRequest)
		if !strings.Contains(got.body, field+": has more than 100 entries") || strings.Count(got.body, `"message"`) > 101 {
			t.Errorf("%s: got %.300s", field, got.body)
		}
	}
}

// Whatever is sent is answered, as what it is, and nothing of it is stored.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	valid := document("key-1", "https://example.com/", "")
	put := func(old, replacement string) string {
		t.Helper()
		if !strings.Contains(valid, old) {
			t.Fatalf("%s is not there", old)
		}
		return strings.Replace(valid, old, replacement, 1)
	}
	deep := strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000)
	for name, body := range map[string]string{
		"nothing":                       "",
		"white space":                   "  \n",
		"an array":                      "[" + valid + "]",
		"two documents":                 valid + valid,
		"a document and more":           valid + "x",
		"half a document":               valid[:len(valid)/2],
		"depth":                         put(`"enabled"`, `"deep":`+deep+`,"enabled"`),
		"depth in criteria":             put(`true}}`, deep+`}}`),
		"no UTF-8":                      put(`"description":""`, "\"description\":\"\xff\""),
		"a key twice":                   put(`"enabled":true`, `"enabled":true,"enabled":true`),
		"a key twice in the filter":     put(`"domain":"artifact"`, `"domain":"artifact","domain":"build"`),
		"a key twice in criteria":       put(`"anyLocal":true`, `"anyLocal":true,"anyLocal":false`),
		"a key twice in a handler":      put(`"handler_type":"webhook"`, `"handler_type":"webhook","handler_type":"webhook"`),
		"a number for enabled":          put(`"enabled":true`, `"enabled":1`),
		"a text for enabled":            put(`"enabled":true`, `"enabled":"true"`),
		"an object for the key":         put(`"key":"key-1"`, `"key":{}`),
		"an object for handlers":        put(`"handlers":[`, `"handlers":{},"x":[`),
		"an array for a handler":        put(`[{"handler_type":"webhook"`, `[[],{"handler_type":"webhook"`),
		"null for a handler":            put(`[{"handler_type":"webhook"`, `[null,{"handler_type":"webhook"`),
		"no handlers":                   put(`"handlers":[{`, `"handlers":[],"x":[{`),
		"too many handlers":             put(`"handlers":[`, `"handlers":[`+strings.Repeat(`{"handler_type":"webhook","url":"https://example.com/"},`, 32)),
		"an object for the event types": put(`["deployed"]`, `{"deployed":true}`),
		"a number for an event type":    put(`["deployed"]`, `[1]`),
		"no event types":                put(`["deployed"]`, `[]`),
		"many event types":              put(`["deployed"]`, `["deployed"`+strings.Repeat(`,"x"`, 10_000)+`]`),
		"a list of criteria":            put(`{"anyLocal":true}`, `[]`),
		"a number for a pattern":        put(`"anyLocal":true`, `"anyLocal":true,"includePatterns":[1]`),
		"a URL that is a number":        put(`"https://example.com/"`, `1`),
		"a URL with a password":         put(`https://example.com/`, `https://user:swordfish@example.com/`),
		"a secret that is an object":    put(`"url"`, `"secret":{},"url"`),
		"headers that are texts":        put(`"url"`, `"custom_http_headers":["a"],"url"`),
		"a header of two lines":         put(`"url"`, `"custom_http_headers":[{"name":"a","value":"b\r\nc: d"}],"url"`),
		"a header that is ours":         put(`"url"`, `"custom_http_headers":[{"name":"Content-Length","value":"1"}],"url"`),
		"too long a description":        put(`"description":""`, `"description":"`+strings.Repeat("x", 1001)+`"`),
		"too long a URL":                put(`https://example.com/`, `https://example.com/`+strings.Repeat("x", 5000)),
	} {
		t.Run(name, func(t *testing.T) {
			r := s.do("POST", subscriptions, body)
			r.t = t
			r.want(http.StatusBadRequest)
			if strings.Contains(r.body, "swordfish") || len(r.body) > 64<<10 || !strings.HasPrefix(r.body, `{"errors":[{"code":"","message":"`) {
				t.Errorf("got %.300s", r.body)
			}
		})
	}
	const huge = 100 << 20
	for _, length := range []int64{huge, -1} { // announced, or not
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+subscriptions, io.LimitReader(zeros{}, huge))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		resp, err := (&http.Client{Timeout: patience}).Do(req)
		if err != nil { // the connection is closed while the rest is being sent
			t.Logf("100 MB: %v", err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("100 MB are answered with %d", resp.StatusCode)
		}
	}
	if n := len(s.stored()); n != 0 {
		t.Errorf("%d subscriptions are stored", n)
	}
	// As large as it may be.
	s.do("POST", subscriptions, put(`"enabled"`, `"large":"`+strings.Repeat("<\u00fc>", 60_000)+`","enabled"`)).want(http.StatusCreated)
	s.do("PUT", subscriptions+"/key-1", put(`"enabled"`, `"large":"`+strings.Repeat("<\u00fc>", 60_000)+`","enabled"`)).want(http.StatusNoContent)
}
