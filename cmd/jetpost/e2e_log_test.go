package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
)

// startEcho starts a receiver below HTTP. answer gets the request as it came in, and
// writes the answer to it at once, with all that is too much.
func startEcho(tb testing.TB, answer func(request string) string) (url string) {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					dump, err := httputil.DumpRequest(r, true)
					if err != nil {
						return
					}
					if _, err := io.WriteString(conn, answer(string(dump))); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// Receivers that answer more than they announce, and echo the request in it, get nothing
// of it into the output of the program, of which every line is JSON.
func TestUnsolicitedAnswers(t *testing.T) {
	t.Parallel()
	const headerSecret, querySecret = "t0ken-S3cr3t-0815", "query-S3cr3t-4711"
	s := startServer(t, "--log-format", "json", "--log-level", "debug")
	echoes := map[string]func(string) string{
		"no-content":       func(r string) string { return "HTTP/1.1 204 No Content\r\n\r\n" + r },
		"more-than-length": func(r string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + r },
		"second-answer": func(r string) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nX-Echo: " + base64.StdEncoding.EncodeToString([]byte(r)) + "\r\n\r\n"
		},
		"not-modified": func(r string) string { return "HTTP/1.1 304 Not Modified\r\n\r\n" + r },
	}
	for id, echo := range echoes {
		body := object{
			"id": id, "types": []string{"artifact.*"}, "delivery": retrying(0, "0s"),
			"endpoint": object{"url": startEcho(t, echo) + "/hook?token=" + querySecret, "secret_headers": object{"authorization": "Bearer " + headerSecret}},
		}
		if r := s.do(t, http.MethodPost, "/v1/subscriptions", body); r.status != http.StatusCreated {
			t.Fatalf("%s: %d %s", id, r.status, r.body)
		}
	}
	const n = 3
	for i := range n {
		s.publish(t, deployed(fmt.Sprint(i), "libs"))
		for id := range echoes {
			eventually(t, id+" was attempted", func() bool { return len(s.attempts(t, id)) == i+1 })
		}
	}
	eventually(t, "the log says that a receiver sends too much", func() bool { return len(s.stderr.lines("more than its answer")) > 0 })
	s.stop(t)
	whole := s.stdout.String() + s.stderr.String()
	for _, secret := range []string{headerSecret, querySecret, "S3cr3t", base64.StdEncoding.EncodeToString([]byte("S3cr3t")), "Unsolicited response"} {
		if at := strings.Index(whole, secret); at >= 0 {
			t.Errorf("the output shows %q: %s", secret, whole[max(0, at-300):at+len(secret)])
		}
	}
	for _, line := range s.stderr.lines("") {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line is not JSON: %s", line)
		}
	}
}
