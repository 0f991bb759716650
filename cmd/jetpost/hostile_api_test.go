package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An apiRoute is a place to send things to.
type apiRoute struct {
	method, path string
	body         bool // it reads one
}

// routes are all that the description of the API has, and those of the compatible
// APIs, with names in the places of parameters.
func (s *server) routes(tb testing.TB) []apiRoute {
	tb.Helper()
	var described struct {
		Paths map[string]map[string]struct {
			RequestBody json.RawMessage `json:"requestBody"`
		} `json:"paths"`
	}
	s.call(tb, http.MethodGet, "/openapi.json", nil, &described)
	var found []apiRoute
	for path, methods := range described.Paths {
		for _, parameter := range [...][2]string{
			{"{id}", "victim"}, {"{sequence}", "1"}, {"{type}", "git.push"}, {"{name}", "shop"}, {"{domain}", "git"}, {"{delivery_id}", "dlv_0"},
		} {
			path = strings.ReplaceAll(path, parameter[0], parameter[1])
		}
		for method, op := range methods {
			if method == "delete" || path == "/v1/event-types/git.push/validate" { // reads none, and answers with what is wrong
				continue
			}
			found = append(found, apiRoute{strings.ToUpper(method), path, op.RequestBody != nil})
		}
	}
	if len(found) < 30 {
		tb.Fatalf("the description has %d operations", len(found))
	}
	return append(found, vendorRoutes()...)
}

// vendorRoutes are those of the compatible APIs that read a body.
func vendorRoutes() []apiRoute {
	const hooks = "/v1/projects/p/locations/l/repositories/r/hooks"
	return []apiRoute{
		{http.MethodPost, "/event/api/v1/subscriptions", true},
		{http.MethodPost, "/event/api/v1/subscriptions/test", true},
		{http.MethodPut, "/event/api/v1/subscriptions/any", true},
		{http.MethodPut, "/artifactory/api/repositories/any", true},
		{http.MethodPost, hooks + "?hookId=any", true},
		{http.MethodPatch, hooks + "/any", true},
	}
}

// flood sends a body of n bytes, with its length said beforehand or not, and returns
// the status of the answer; 0 when the server had no patience even for that.
func (s *server) flood(tb testing.TB, r apiRoute, beginning string, n int, chunked bool) int {
	tb.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		tb.Error(err)
		return 0
	}
	conn, err := new(net.Dialer).DialContext(tb.Context(), "tcp", u.Host)
	if err != nil {
		tb.Error(err)
		return 0
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(factDeadline))
	length := "Content-Length: " + strconv.Itoa(n)
	if chunked {
		length = "Transfer-Encoding: chunked"
	}
	go func() {
		_, err := io.WriteString(conn, r.method+" "+r.path+" HTTP/1.1\r\nHost: "+u.Host+"\r\nAuthorization: Bearer "+s.token+
			"\r\nContent-Type: application/json\r\n"+length+"\r\n\r\n")
		piece := strings.Repeat(" ", 64<<10-len(beginning)) + beginning
		for sent := 0; err == nil && sent < n; sent += len(piece) { // until the server has had enough
			if chunked {
				_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(piece), piece)
			} else {
				_, err = io.WriteString(conn, piece)
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// gauge is the value of one of the program's own metrics.
func (s *server) gauge(tb testing.TB, name string) float64 {
	tb.Helper()
	for line := range strings.Lines(string(s.do(tb, http.MethodGet, "/metrics", nil).body)) {
		if text, found := strings.CutPrefix(line, name+" "); found {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				tb.Fatal(err)
			}
			return value
		}
	}
	tb.Fatalf("there is no metric %s", name)
	return 0
}

// Whatever is sent to whichever route of the native and of the compatible APIs, the
// answer says that it is the client's fault, and the program goes on as before: with as
// many goroutines, and without ever having held what it was sent.
func TestHostileAPI(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := startHealth(t, s)
	h.check(t, "nothing")
	s.subscribe(t, "victim", h.URL, []string{"artifact.deployed"}, object{"filters": []object{{"exact": object{"data.repo_key": "victim"}}}})
	routes := s.routes(t)
	goroutines, memory := s.gauge(t, "go_goroutines"), s.gauge(t, "process_resident_memory_bytes")

	deep := strings.Repeat(`[`, 50_000) + strings.Repeat(`]`, 50_000)
	for name, body := range map[string]string{
		"nothing that is JSON":       `{"id":`,
		"another type":               `[7]`,
		"a number":                   `18446744073709551616e400`,
		"a name twice":               `{"id":"a","id":"b","key":"a","key":"b","targetUri":"http://a","targetUri":"http://b","rclass":"local","rclass":"local","from":"a","from":"b"}`,
		"deep arrays":                deep,
		"deep arrays in a field":     `{"filters":` + deep + `,"event_filter":` + deep + `,"pushOption":` + deep + `,"files":` + deep + `,"labels":` + deep + `}`,
		"deep objects":               strings.Repeat(`{"a":`, 20_000) + `1` + strings.Repeat(`}`, 20_000),
		"bytes that are no UTF-8":    "{\"id\":\"\xff\xfe\",\"key\":\"\xff\xfe\",\"rclass\":\"\xff\"}",
		"a NUL":                      "{\"id\":\"a\x00b\"}",
		"fields of other types":      `{"id":{},"types":7,"endpoint":[],"key":7,"event_filter":"","handlers":{},"targetUri":[],"events":7,"files":[],"reason":{},"name":{},"role":[],"overlap":[],"type":{},"rclass":[],"rate":"x","event":7}`,
		"two values":                 `{} {}`,
		"a long string":              `{"id":"` + strings.Repeat("a", 200_000) + `","key":"` + strings.Repeat("b", 10_000) + `"}`,
		"very many members":          `{` + strings.Repeat(`"a":1,`, 30_000) + `"b":2}`,
		"a byte order mark":          "\xef\xbb\xbf{}",
		"a text that is a JSON text": `"{}"`,
	} {
		for _, r := range routes {
			reply, err := s.try(t.Context(), r.method, r.path, body, "Content-Type", "application/json")
			switch {
			case err != nil:
				t.Errorf("%s to %s %s: %v", name, r.method, r.path, err)
			case reply.status >= 500, r.body && reply.status < 400:
				t.Errorf("%s to %s %s is answered with %d: %.300s", name, r.method, r.path, reply.status, reply.body)
			case reply.status >= 400 && !strings.Contains(reply.header.Get("Content-Type"), "json"):
				t.Errorf("%s to %s %s is answered with %s", name, r.method, r.path, reply.header.Get("Content-Type"))
			}
		}
		h.check(t, name)
	}

	const large = 100 << 20
	var clients sync.WaitGroup
	next := make(chan apiRoute)
	for client := range 16 {
		clients.Go(func() {
			for r := range next {
				beginning := [...]string{"[", `{"a":`, `"`, "9"}[client%4]
				if status := s.flood(t, r, beginning, large, client%2 == 0); status != 0 && (status < 400 || status > 499) {
					t.Errorf("100 MB to %s %s are answered with %d", r.method, r.path, status)
				}
			}
		})
	}
	for _, r := range slices.Concat(routes, routes) {
		next <- r
	}
	close(next)
	clients.Wait()
	h.check(t, "100 MB bodies")
	if now := s.gauge(t, "process_resident_memory_bytes"); now > memory+256<<20 {
		t.Errorf("the program has %.0f MB, before it had %.0f", now/1e6, memory/1e6)
	}
	eventually(t, "as many goroutines as before", func() bool {
		s.client.CloseIdleConnections()
		return s.gauge(t, "go_goroutines") < goroutines+20
	})
}
