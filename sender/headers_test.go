package sender_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
)

// heads starts a receiver that keeps the lines of each request's header as they came:
// net/http has them in canonical letters only.
func heads(t *testing.T) (url string, received <-chan []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	out := make(chan []string, 16)
	serve := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		var head strings.Builder
		request, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &head)))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		lines, _, _ := strings.Cut(head.String(), "\r\n\r\n")
		out <- strings.Split(lines, "\r\n")[1:]
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return "http://" + l.Addr().String(), out
}

// Custom headers are sent in the letters in which the user writes them, also where the
// profile fills them in or signs them, and never beside another spelling.
func TestHeaderLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.send()
	for _, profile := range []string{"standard", "cloudevents-binary", "http-signature", "jfrog-custom", "github"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			url, received := heads(t)
			sub := to("letters-"+profile, url)
			sub.Profile = profile
			sub.Endpoint.Headers = map[string]string{"X-CuStOm-cAsE": "plain", "user-AGENT": "mine", "x-Github-event": "ours"}
			sub.Endpoint.SecretHeaders = map[string]keyring.Secret{"aUTHORIZATION": keyring.NewSecret("s3cr3t-header")}
			if profile == "jfrog-custom" {
				sub.Endpoint.Headers["x-FILLED-in"] = "{{ .type }}"
			}
			r := *r
			r.t = t
			created := r.subscribe(sub)
			e := newEvent(1)
			if profile == "jfrog-custom" {
				e.Type = "notes.added"
			}
			r.put(queued(created, e, created.CreatedAt))
			lines := <-received
			want := []string{"X-CuStOm-cAsE: plain", "user-AGENT: mine", "aUTHORIZATION: s3cr3t-header"}
			if profile != "github" { // whose own header it is
				want = append(want, "x-Github-event: ours")
			}
			for _, line := range want {
				if !slices.Contains(lines, line) {
					t.Errorf("there is no header line %q in %q", line, lines)
				}
			}
			if profile == "jfrog-custom" && !slices.ContainsFunc(lines, func(line string) bool {
				return strings.HasPrefix(line, "x-FILLED-in: ") && !strings.Contains(line, "{{")
			}) {
				t.Errorf("the header that is filled in is missing or not filled in: %q", lines)
			}
			seen := map[string]string{}
			for _, line := range lines {
				name, _, _ := strings.Cut(line, ":")
				if other, twice := seen[strings.ToLower(name)]; twice {
					t.Errorf("the header %q is sent as %q too", name, other)
				}
				seen[strings.ToLower(name)] = name
			}
			for _, a := range r.awaitAttempts(created, 1) {
				if a.Outcome != delivery.Delivered {
					t.Errorf("got %+v", a)
				}
			}
		})
	}
}
