package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
)

// A health is a delivery that works, to be made after each thing that does not.
type health struct {
	*catcher
	s *server
	n int
}

func startHealth(tb testing.TB, s *server) *health {
	tb.Helper()
	h := &health{catcher: startCatcher(tb, nil), s: s}
	s.subscribe(tb, "healthy", h.URL, []string{"artifact.deployed"}, object{"filters": []object{{"exact": object{"data.repo_key": "health"}}}})
	return h
}

// check makes a delivery.
func (h *health) check(tb testing.TB, after string) {
	tb.Helper()
	h.n++
	if _, err := h.s.tryPublish(tb.Context(), deployed(fmt.Sprint("health-", h.n), "health")); err != nil {
		tb.Fatalf("after %s an event is refused: %v", after, err)
	}
	if !holdsWithin(tb.Context(), factDeadline, func() bool { return h.count() == h.n }) {
		tb.Fatalf("after %s %d events are delivered, want %d", after, h.count(), h.n)
	}
}

// raw sends bytes as they are and returns the answer, if there is one.
func (s *server) raw(tb testing.TB, head string, body []byte) (*http.Response, []byte) {
	tb.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		tb.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(tb.Context(), "tcp", u.Host)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(factDeadline))
	go func() {
		_, _ = io.WriteString(conn, "POST /v1/events HTTP/1.1\r\nHost: "+u.Host+"\r\nAuthorization: Bearer "+s.token+"\r\n"+head+"\r\n")
		_, _ = conn.Write(body) // the server may have had enough
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp, text
}

// Everything that is no event, in each mode, is refused with a status and a text
// that say what is wrong, and nothing of it is stored.
func TestHostileEvents(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	everything := startCatcher(t, nil)
	s.subscribe(t, "everything", everything.URL, []string{"artifact.*", "git.*"}, nil)
	h := startHealth(t, s)

	const binary = "Ce-Specversion: 1.0\r\nCe-Id: 1\r\nCe-Source: /s\r\nCe-Type: artifact.deleted\r\nContent-Type: application/json\r\n"
	const structured = "Content-Type: application/cloudevents+json\r\n"
	const batch = "Content-Type: application/cloudevents-batch+json\r\n"
	const data = `{"repo_key":"r","path":"a/b","name":"b","sha256":"0","size":1}`
	event := func(members string) string {
		return `{"specversion":"1.0","id":"1","source":"/s","type":"artifact.deleted"` + members + `}`
	}
	good := event(`,"data":` + data)
	for _, x := range []struct {
		name   string
		head   string
		body   string
		status int
		says   string // in the answer
	}{
		{"binary without an id", strings.Replace(binary, "Ce-Id: 1\r\n", "", 1), data, 400, "id is missing"},
		{"binary without a source", strings.Replace(binary, "Ce-Source: /s\r\n", "", 1), data, 400, "source is missing"},
		{"binary without a type", strings.Replace(binary, "Ce-Type: artifact.deleted\r\n", "", 1), data, 400, "type is missing"},
		{"binary without a version", strings.Replace(binary, "Ce-Specversion: 1.0\r\n", "", 1), data, 400, "specversion"},
		{"binary of another version", strings.Replace(binary, "1.0", "0.3", 1), data, 400, "0.3"},
		{"binary with an empty id", strings.Replace(binary, "Ce-Id: 1", "Ce-Id: ", 1), data, 400, "id"},
		{"binary with two ids", binary + "Ce-Id: 2\r\n", data, 400, "ce-id"},
		{"binary with two content types", binary + "Content-Type: text/plain\r\n", data, 400, "Content-Type"},
		{"binary with a bad time", binary + "Ce-Time: yesterday\r\n", data, 400, "time"},
		{"binary with a bad name", binary + "Ce-A_b: 1\r\n", data, 400, "attribute name"},
		{"binary with the content type twice", binary + "Ce-Datacontenttype: text/plain\r\n", data, 400, "ce-datacontenttype"},
		{"binary with percent-encoded bytes that are no UTF-8", binary + "Ce-Subject: %ff%fe\r\n", data, 400, "subject"},
		{"binary with a header that is no UTF-8", binary + "Ce-Subject: \xff\xfe\r\n", data, 400, "subject"},
		{"binary with a control character", binary + "Ce-Subject: a%00b\r\n", data, 400, "subject"},
		{"binary of an unknown type", strings.Replace(binary, "artifact.deleted", "artifact.exploded", 1), data, 400, "artifact.exploded"},
		{"binary of an unknown domain", strings.Replace(binary, "artifact.deleted", "weather.rain", 1), data, 400, "weather.rain"},
		{"binary of a type that is a subject", strings.Replace(binary, "artifact.deleted", "artifact.>", 1), data, 400, "type"},
		{"data that is no JSON", binary, "{", 400, "JSON"},
		{"data that is missing", binary, "", 400, "data"},
		{"data that is no UTF-8", binary, strings.Replace(data, `"r"`, "\"\xff\"", 1), 400, "UTF-8"},
		{"data of another content type", strings.Replace(binary, "application/json", "text/plain", 1), data, 400, "JSON"},
		{"data with a field twice", binary, strings.Replace(data, `"size":1`, `"size":1,"size":2`, 1), 400, "size"},
		{"data that lacks a field", binary, strings.Replace(data, `"size":1`, `"sizes":1`, 1), 400, "size"},
		{"data with a bad field", binary, strings.Replace(data, `"size":1`, `"size":-1`, 1), 400, "/data/size"},
		{"data with a huge number", binary, strings.Replace(data, `"size":1`, `"size":1e999999999`, 1), 400, "/data/size"},
		{"data nested too deep", binary, `{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, 400, "depth"},
		{"data of 300 KiB", binary, `{"a":"` + strings.Repeat("x", 300<<10) + `"}`, 413, "262144"},
		{"an event just too large", binary, data + strings.Repeat(" ", 256<<10-len(data)), 413, "large"},
		{"a header of 64 KiB", binary + "Ce-Subject: " + strings.Repeat("x", 64<<10) + "\r\n", data, 413, "attributes"},
		{"100 headers of 600 bytes", binary + func() (all string) {
			for i := range 100 {
				all += fmt.Sprintf("Ce-x%d: %s\r\n", i, strings.Repeat("x", 600))
			}
			return all
		}(), data, 413, "attributes"},
		{"headers without end", binary + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 200), data, 431, ""},
		{"a compressed body", binary + "Content-Encoding: gzip\r\n", data, 415, "Content-Encoding"},
		{"no event at all", "Content-Type: text/plain\r\n", "hello", 415, "ce-"},
		{"no event but JSON", "Content-Type: application/json\r\n", data, 400, "application/cloudevents+json"},
		{"nothing", "", "", 400, "ce-"},

		{"structured that is empty", structured, "", 400, ""},
		{"structured that is no JSON", structured, "{]", 400, ""},
		{"structured that ends early", structured, good[:len(good)-1], 400, "end"},
		{"structured that is an array", structured, "[]", 400, "object"},
		{"structured with something behind", structured, good + "{}", 400, "follows"},
		{"structured without a version", structured, `{"id":"1","source":"/s","type":"artifact.deleted"}`, 400, "specversion"},
		{"structured without a type", structured, `{"specversion":"1.0","id":"1","source":"/s"}`, 400, "type"},
		{"structured with an id that is a number", structured, strings.Replace(good, `"id":"1"`, `"id":{"a":1}`, 1), 400, "id"},
		{"structured with a member twice", structured, event(`,"id":"2"`), 400, "twice"},
		{"structured with data twice", structured, event(`,"data":{},"data_base64":"e30="`), 400, "data"},
		{"structured with bad base64", structured, event(`,"data_base64":"?"`), 400, "base64"},
		{"structured with a bad name", structured, event(`,"Tenant":"x"`), 400, "Tenant"},
		{"structured with an array for an attribute", structured, event(`,"tenant":[1]`), 400, "tenant"},
		{"structured that is no UTF-8", structured, event(",\"subject\":\"\xff\""), 400, "UTF-8"},
		{"structured with half a surrogate pair", structured, event(`,"subject":"\ud800"`), 400, "subject"},
		{"structured with NUL", structured, event(`,"subject":"a\u0000b"`), 400, "subject"},
		{"structured nested too deep", structured, event(`,"data":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)), 400, ""},
		{"structured in another character set", "Content-Type: application/cloudevents+json; charset=utf-16\r\n", good, 415, "UTF-8"},
		{"structured in another format", "Content-Type: application/cloudevents+avro\r\n", good, 415, "JSON"},
		{"structured with bad data", structured, event(`,"data":{"repo_key":"r"}`), 400, "/data"},

		{"a batch that is an event", batch, good, 400, "array"},
		{"a batch of nothing good", batch, "[1,null,[]]", 400, "event 0"},
		{"a batch that does not end", batch, "[" + good, 400, "end"},
		{"a batch with a bad event", batch, "[" + good + "," + event(`,"data":{"repo_key":1}`) + "]", 400, "/1/data"},
		{"a batch with an event of an unknown type", batch, "[" + good + "," + strings.Replace(good, "artifact.deleted", "no.such", 1) + "]", 400, "/1/type"},
		{"a batch with something that is no event", batch, "[" + good + `,{"specversion":"1.0"}]`, 400, "event 1"},
		{"a batch with too many", batch, "[" + strings.Repeat("{},", 1000) + "{}]", 413, "1000"},
		{"a batch with an event too large", batch, "[" + good + "," + event(`,"data":{"a":"`+strings.Repeat("x", 256<<10)+`"}`) + "]", 413, "event 1"},

		{"a body in chunks that are none", binary + "Transfer-Encoding: chunked\r\n", "zz\r\n", 400, ""},
	} {
		head := x.head
		if !strings.Contains(head, "Transfer-Encoding") {
			head += fmt.Sprintf("Content-Length: %d\r\n", len(x.body))
		}
		resp, text := s.raw(t, head, []byte(x.body))
		switch {
		case resp == nil:
			t.Errorf("%s: no answer", x.name)
		case resp.StatusCode != x.status:
			t.Errorf("%s: got %d %s, want %d", x.name, resp.StatusCode, text, x.status)
		case x.status != http.StatusRequestHeaderFieldsTooLarge && (resp.Header.Get("Content-Type") != "application/problem+json" || !bytes.Contains(text, []byte(`"detail":"`))):
			t.Errorf("%s: got %s %s, want a problem document", x.name, resp.Header.Get("Content-Type"), text)
		case !bytes.Contains(text, []byte(x.says)):
			t.Errorf("%s: got %s, want it to say %q", x.name, text, x.says)
		case len(text) > 4<<10:
			t.Errorf("%s: the answer has %d bytes", x.name, len(text))
		}
		h.check(t, x.name)
	}
	// A client that dies in the middle, and one that never ends, delay no others.
	for _, length := range []int{1000, 10_000} {
		u, _ := url.Parse(s.url)
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%sContent-Length: %d\r\n\r\n%s", s.token, binary, length, data)
		if length == 1000 {
			_ = conn.Close()
		} else {
			defer conn.Close()
		}
		h.check(t, "a body that does not end")
	}
	everything.exactly(t, h.n) // the healthy ones
}

// A subscription that cannot work is refused, with everything that is wrong with
// it, and shows none of what it may hold in secret.
func TestHostileSubscriptions(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := startHealth(t, s)
	deep := any(object{"exact": object{"subject": "x"}})
	for range 20 {
		deep = object{"not": deep}
	}
	filter := func(f any) object { return object{"filters": []any{f}} }
	endpoint := func(name string, value any) object {
		return object{"endpoint": object{"url": "https://198.51.100.7/hook", name: value}}
	}
	for _, x := range []struct {
		name   string
		change object
		fields []string // named in the answer
	}{
		{"no types", object{"types": []string{}}, []string{"types"}},
		{"unknown types", object{"types": []string{"no.such", "weather.*", "artifact.deployed"}}, []string{"types[0]", "types[1]"}},
		{"a type that is a subject", object{"types": []string{"artifact.>", ""}}, []string{"types[0]", "types[1]"}},
		{"types of another kind", object{"types": 7}, []string{"types"}},
		{"an unknown dialect", filter(object{"regexp": "1=1"}), []string{"filters[0].regexp"}},
		{"two dialects", filter(object{"exact": object{"id": "1"}, "prefix": object{"id": "1"}}), []string{"filters[0]"}},
		{"an empty filter", filter(object{}), []string{"filters[0]"}},
		{"an empty all", filter(object{"all": []any{}}), []string{"filters[0].all"}},
		{"a not of two", filter(object{"not": []any{1, 2}}), []string{"filters[0].not"}},
		{"a filter by a number", filter(object{"exact": object{"data.size": 1}}), []string{"filters[0].exact.data.size"}},
		{"a filter by all data", filter(object{"exact": object{"data": "x"}}), []string{"filters[0].exact.data"}},
		{"a filter by a wildcard", filter(object{"prefix": object{"data.*.x": "x"}}), []string{"filters[0].prefix.data.*.x"}},
		{"a filter by what is no attribute", filter(object{"suffix": object{"Sub ject": "x"}}), []string{"filters[0].suffix.Sub ject"}},
		{"a filter that is nested too deep", filter(deep), []string{"filters[0].not.not.not.not.not.not.not.not"}},
		{"a filter for nothing", filter(object{"exact": object{"subject": ""}}), []string{"filters[0].exact.subject"}},
		{"no URL", object{"endpoint": object{}}, []string{"endpoint.url"}},
		{"a URL of another scheme", endpoint("url", "ftp://198.51.100.7/"), []string{"endpoint.url"}},
		{"a file", endpoint("url", "file:///etc/passwd"), []string{"endpoint.url"}},
		{"a URL with a password", endpoint("url", "https://user:Pa55word@198.51.100.7/"), []string{"endpoint.url"}},
		{"a URL with a fragment", endpoint("url", "https://198.51.100.7/#Pa55word"), []string{"endpoint.url"}},
		{"a URL without a host", endpoint("url", "https:///hook"), []string{"endpoint.url"}},
		{"a URL that splits headers", endpoint("url", "https://198.51.100.7/\r\nX: y"), []string{"endpoint.url"}},
		{"a URL that is too long", endpoint("url", "https://198.51.100.7/"+strings.Repeat("x", 10_000)), []string{"endpoint.url"}},
		{"another method", endpoint("method", "DELETE"), []string{"endpoint.method"}},
		{"a timeout without end", endpoint("timeout", "24h"), []string{"endpoint.timeout"}},
		{"a header of jetpost's own", endpoint("headers", object{"Webhook-Signature": "v1,x"}), []string{"endpoint.headers.Webhook-Signature"}},
		{"a header of the connection", endpoint("headers", object{"transfer-encoding": "chunked"}), []string{"endpoint.headers.transfer-encoding"}},
		{"a header that splits", endpoint("secret_headers", object{"x-key": "Pa55word\r\nX: y"}), []string{"endpoint.secret_headers.x-key"}},
		{"a password in a plain header", endpoint("headers", object{"authorization": "Basic Pa55word"}), []string{"endpoint.headers.authorization"}},
		{"an unknown profile", object{"profile": "morse"}, []string{"profile"}},
		{"a short secret", object{"secrets": []object{{"secret": "whsec_UGE1NXdvcmQ="}}}, []string{"secrets[0].secret"}},
		{"a secret that is none", object{"secrets": []object{{"secret": "Pa55word"}}}, []string{"secrets[0].secret"}},
		{"no room in flight", object{"delivery": object{"max_in_flight": -1}}, []string{"delivery.max_in_flight"}},
		{"a schedule that is none", object{"delivery": object{"retry": object{"schedule": []string{"1s", "-5s"}}}}, []string{"delivery.retry.schedule[0]", "delivery.retry.schedule[1]"}},
		{"a schedule of numbers", object{"delivery": object{"retry": object{"schedule": []int{0, 1}}}}, []string{"delivery.retry.schedule[1]"}},
		{"too much jitter", object{"delivery": object{"retry": object{"schedule": []string{"0s"}, "jitter": 7}}}, []string{"delivery.retry.jitter"}},
		{"an unknown state", object{"state": "asleep"}, []string{"state"}},
		{"an id that is a subject", object{"id": "a.b"}, []string{"id"}},
		{"an id that is a wildcard", object{"id": "*"}, []string{"id"}},
		{"an unknown field", object{"endpiont": 1}, []string{"endpiont"}},
		{"several things at once", object{"types": []string{"no.such"}, "profile": "morse", "endpoint": object{"url": "x"}}, []string{"endpoint.url", "profile", "types[0]"}},
	} {
		body := object{"id": "bad", "types": []string{"artifact.*"}, "endpoint": object{"url": "https://198.51.100.7/hook"}}
		maps.Copy(body, x.change)
		r := s.do(t, http.MethodPost, "/v1/subscriptions", body)
		detail, fields := r.problem()
		slices.Sort(fields)
		if r.status != http.StatusUnprocessableEntity || detail == "" {
			t.Errorf("%s: got %d %s, want 422", x.name, r.status, r.body)
		}
		for _, want := range x.fields {
			if !slices.Contains(fields, want) {
				t.Errorf("%s: the answer names %q, want %q: %s", x.name, fields, want, r.body)
			}
		}
		if bytes.Contains(r.body, []byte("Pa55word")) || bytes.Contains(r.body, []byte("UGE1NXdvcmQ")) {
			t.Errorf("%s: the answer shows a secret: %s", x.name, r.body)
		}
		h.check(t, x.name)
	}
	for name, x := range map[string]struct {
		body   string
		status int
	}{
		"no JSON":             {"{", 400},
		"no object":           {"[]", 422},
		"no UTF-8":            {"{\"id\":\"\xff\"}", 422},
		"a member twice":      {`{"id":"a","id":"b"}`, 422},
		"nothing":             {"", 400},
		"nested without end":  {strings.Repeat(`{"a":`, 100_000), 400},
		"a body without end":  {`{"description":"` + strings.Repeat("x", 2<<20) + `"}`, 413},
		"something behind it": {`{"types":["artifact.*"]} {}`, 422},
	} {
		r := s.do(t, http.MethodPost, "/v1/subscriptions", x.body, "Content-Type", "application/json")
		if detail, _ := r.problem(); r.status/100 != 4 || x.status == 413 && r.status != 413 || detail == "" {
			t.Errorf("%s: got %d %.300s, want %d", name, r.status, r.body, x.status)
		}
		h.check(t, name)
	}
	var page struct{ Items []subscribed }
	s.call(t, http.MethodGet, "/v1/subscriptions", nil, &page)
	if len(page.Items) != 1 {
		t.Errorf("there are the subscriptions %+v, want only the healthy one", page.Items)
	}
}

// Unless configured, jetpost calls no address that is not public, in whatever
// way it is written.
func TestPrivateAddresses(t *testing.T) {
	t.Parallel()
	s := startServerIn(t, t.TempDir())
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3:8080", "localhost", "localhost.", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]",
		"[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
		"255.255.255.255", "224.0.0.1", "198.51.100.7:22",
	} {
		for _, scheme := range []string{"https", "http"} {
			r := s.do(t, http.MethodPost, "/v1/subscriptions", object{
				"id": "private", "types": []string{"artifact.*"}, "endpoint": object{"url": scheme + "://" + host + "/"},
			})
			if _, fields := r.problem(); r.status != http.StatusUnprocessableEntity || !slices.Contains(fields, "endpoint.url") {
				t.Errorf("%s://%s/: got %d %s", scheme, host, r.status, r.body)
			}
		}
	}
}

// An endpoint that was allowed once is checked again when it is called.
func TestAddressIsCheckedWhenCalled(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	more := object{"delivery": retrying(0, "0s", "10ms")}
	s.subscribe(t, "inside", c.URL, []string{"artifact.*"}, more)
	s.subscribe(t, "named", strings.Replace(c.URL, "127.0.0.1", "localhost", 1), []string{"artifact.*"}, more)
	if code := s.stop(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	strict := startServerIn(t, s.data)
	strict.publish(t, deployed("one", "libs"))
	for _, id := range []string{"inside", "named"} {
		eventually(t, "the delivery is given up", func() bool { return len(strict.letters(t, id)) == 1 })
		for _, a := range strict.attempts(t, id) {
			if a.Status != 0 || a.Error == "" || strings.Contains(a.Error, c.URL) {
				t.Errorf("%s: got %+v", id, a)
			}
		}
	}
	if got := c.count(); got > 0 {
		t.Errorf("%d requests were made", got)
	}
}

// startRaw starts a receiver that talks as it likes. It has read the head of the
// request when answer is called.
func startRaw(tb testing.TB, answer func(net.Conn, <-chan struct{})) (address string) {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	over := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn, over)
				}
			})
		}
	})
	tb.Cleanup(func() {
		close(over)
		_ = listener.Close()
		running.Wait()
	})
	return "http://" + listener.Addr().String()
}

// without end writes text again and again, with a pause, until the client is disconnected.
func withoutEnd(conn net.Conn, over <-chan struct{}, text string, pause time.Duration) {
	ticker := time.NewTicker(max(pause, time.Microsecond))
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-over:
			return
		}
	}
}

// Receivers can answer whatever they like: each request ends in time with a record
// that says what happened, no answer is read beyond its limit, and healthy
// deliveries go on beside them.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := startHealth(t, s)
	h.check(t, "the start")
	kinds := map[string]struct {
		answer  func(net.Conn, <-chan struct{})
		outcome delivery.Outcome // of the only attempt
		status  int
		body    int // bytes that are kept of the answer
		says    string
	}{
		"never-answers": {func(_ net.Conn, over <-chan struct{}) { <-over }, delivery.Exhausted, 0, 0, "1s"},
		"header-drips": {func(c net.Conn, over <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Drip: ")
			withoutEnd(c, over, "x", 20*time.Millisecond)
		}, delivery.Exhausted, 0, 0, "1s"},
		"header-without-end": {func(c net.Conn, over <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			withoutEnd(c, over, "X-Filler: "+strings.Repeat("x", 10_000)+"\r\n", 0)
		}, delivery.Exhausted, 0, 0, "header"},
		"information-without-end": {func(c net.Conn, over <-chan struct{}) {
			withoutEnd(c, over, "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 0)
		}, delivery.Exhausted, 0, 0, ""},
		"body-drips": {func(c net.Conn, over <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
			withoutEnd(c, over, "x", 20*time.Millisecond)
		}, delivery.Exhausted, 200, -1, "1s"},
		"body-without-end": {func(c net.Conn, over <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			withoutEnd(c, over, "1000\r\n"+strings.Repeat("x", 0x1000)+"\r\n", 0)
		}, delivery.Delivered, 200, 4 << 10, ""},
		"body-of-10-mb": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"+strings.Repeat("\xff", 10_000_000))
		}, delivery.Delivered, 200, -1, ""},
		"failing-with-10-mb": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 10000000\r\n\r\n"+strings.Repeat("no ", 3_333_333)+"!")
		}, delivery.Exhausted, 500, 4 << 10, ""},
		"compressed": {func(c net.Conn, _ <-chan struct{}) {
			bomb := "\x1f\x8b\x08" + strings.Repeat("\x00", 997)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n"+bomb)
		}, delivery.Delivered, 200, -1, ""},
		"hangs-up":     {func(net.Conn, <-chan struct{}) {}, delivery.Exhausted, 0, 0, "EOF"},
		"talks-gibber": {func(c net.Conn, _ <-chan struct{}) { _, _ = io.WriteString(c, "\x00\xff\xfeSSH-2.0\r\n\r\n") }, delivery.Exhausted, 0, 0, "HTTP"},
		"lies-about-its-length": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
		}, delivery.Exhausted, 200, 5, "broke off"},
		"bad-chunks": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n")
		}, delivery.Exhausted, 200, 0, "broke off"},
		"switches": {func(c net.Conn, over <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			<-over
		}, delivery.Exhausted, 101, 0, ""},
		"strange-status": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n")
		}, delivery.Exhausted, 999, 0, ""},
		"bad-header": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
		}, delivery.Exhausted, 0, 0, ""},
		"retry-after-ages": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 503 Later\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n")
		}, delivery.Exhausted, 503, 0, ""},
		"redirects-to-itself": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 307 Again\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
		}, delivery.Exhausted, 307, 0, "redirect"},
	}
	for id, kind := range kinds {
		timeout := "20s" // for those that come to an end without it
		if kind.says == "1s" {
			timeout = kind.says
		}
		s.subscribe(t, id, startRaw(t, kind.answer), []string{"artifact.deleted"}, object{
			"endpoint": object{"timeout": timeout}, "delivery": retrying(0, "0s"),
		})
	}
	// And one without a listener that accepts: what is sent waits in the system.
	deaf, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	s.subscribe(t, "deaf", "http://"+deaf.Addr().String(), []string{"artifact.deleted"}, object{
		"endpoint": object{"timeout": "1s"}, "delivery": retrying(0, "0s"),
	})

	bad := deployed("bad", "libs")
	bad.kind = "artifact.deleted"
	s.publish(t, bad)
	h.check(t, "the beginning")
	for id, kind := range kinds {
		var records []delivery.Attempt
		eventually(t, id+": the attempt is recorded", func() bool {
			records = s.attempts(t, id)
			return len(records) > 0
		})
		a := records[0]
		if len(records) != 1 || a.Outcome != kind.outcome || a.Status != kind.status || !strings.Contains(a.Error, kind.says) || kind.says != "" && a.Error == "" {
			t.Errorf("%s: got %d records, %v %d %q, want %v %d %q", id, len(records), a.Outcome, a.Status, a.Error, kind.outcome, kind.status, kind.says)
		}
		if took := time.Duration(a.Duration); took > 10*time.Second {
			t.Errorf("%s: it took %v", id, took)
		}
		if got := len(a.ResponseBody); got > delivery.MaxStoredBody || kind.body >= 0 && got != kind.body {
			t.Errorf("%s: %d bytes of the answer are kept, want %d", id, got, kind.body)
		}
		wantLetters := 1
		if kind.outcome == delivery.Delivered {
			wantLetters = 0
		}
		if !holdsWithin(t.Context(), factDeadline, func() bool { return len(s.letters(t, id)) == wantLetters }) {
			t.Errorf("%s: there are dead letters %+v, want %d", id, s.letters(t, id), wantLetters)
		}
		h.check(t, id)
	}
	eventually(t, "the attempt at the deaf is recorded", func() bool { return len(s.attempts(t, "deaf")) == 1 })
	h.check(t, "all of them")
	if r := s.do(t, http.MethodGet, "/readyz", nil); r.status != http.StatusOK {
		t.Errorf("readyz: %d %s", r.status, r.body)
	}
}
