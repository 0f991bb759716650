package securesourcemanager

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/admin/admintest"
	"github.com/jetpost/jetpost/internal/egress"
)

const (
	parent = "projects/harbor/locations/north/repositories/tug"
	hooks  = "/v1/" + parent + "/hooks"
	target = "http://127.0.0.1:9000/in"
)

// A fixture is the API on a NATS server of its own.
type fixture struct {
	*admintest.Installation

	admin  *admin.Admin
	url    string // of the API
	native string // of the native one
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	f := &fixture{Installation: admintest.New(tb, "git")}
	f.serve()
	return f
}

// another is one more admin on the same store.
func (f *fixture) another() *fixture {
	f.T.Helper()
	other := &fixture{Installation: f.Installation}
	other.serve()
	return other
}

func (f *fixture) serve() {
	f.T.Helper()
	f.admin = f.Admin(admin.Config{}, egress.Config{
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
		},
	})
	api, err := New(Config{}, f.admin.API(), f.admin.Subscriptions())
	if err != nil {
		f.T.Fatal(err)
	}
	server, native := httptest.NewServer(admintest.Let(api.Handler())), httptest.NewServer(admintest.Let(f.admin.Handler()))
	f.T.Cleanup(server.Close)
	f.T.Cleanup(native.Close)
	f.url, f.native = server.URL, native.URL
}

// A reply is the answer to a request.
type reply struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   string
}

func (f *fixture) do(method, path, body string, header ...string) reply {
	f.T.Helper()
	return f.send(method, f.url+path, body, header...)
}

func (f *fixture) send(method, url, body string, header ...string) reply {
	f.T.Helper()
	req, err := http.NewRequestWithContext(f.T.Context(), method, url, strings.NewReader(body))
	if err != nil {
		f.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Goog-User-Project", "billing")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: admintest.Patience}
	resp, err := client.Do(req)
	if err != nil {
		f.T.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.T.Fatalf("%s %s: %v", method, url, err)
	}
	return reply{f.T, method + " " + url + " " + body, resp.StatusCode, resp.Header, string(b)}
}

// ok fails the test unless the answer is 200, and reads it into out, if that is not nil.
func (r reply) ok(out any) reply {
	r.t.Helper()
	if r.status != http.StatusOK {
		r.t.Fatalf("%s: %d %s", r.what, r.status, r.body)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(r.body), out); err != nil {
			r.t.Fatalf("%s: %v in %s", r.what, err, r.body)
		}
	}
	return r
}

// A refused is an error as clients read it.
type refused struct {
	Error struct {
		Code    int
		Message string
		Status  string
		Details []struct {
			Type            string `json:"@type"`
			Reason, Domain  string
			Metadata        map[string]string
			FieldViolations []violation
		}
	}
}

// refuses fails the test unless the answer is an error in the form of the API, of that
// reason. It returns the fields that are named.
func (r reply) refuses(code int, name, reason string) []string {
	r.t.Helper()
	var e refused
	if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != code || e.Error.Code != code || e.Error.Status != name || e.Error.Message == "" {
		r.t.Errorf("%s: got %d %s, want %d %s", r.what, r.status, r.body, code, name)
		return nil
	}
	var fields []string
	infos, seen := 0, map[string]bool{}
	for _, d := range e.Error.Details {
		if seen[d.Type] {
			r.t.Errorf("%s: %s is there twice: %s", r.what, d.Type, r.body)
		}
		seen[d.Type] = true
		if strings.HasSuffix(d.Type, "google.rpc.ErrorInfo") {
			infos++
			if d.Reason != reason || d.Domain != "jetpost" || len(d.Reason) > 63 || strings.Trim(d.Reason, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
				r.t.Errorf("%s: got %+v, want reason %s", r.what, d, reason)
			}
			for key, value := range d.Metadata {
				if key != "" && !strings.Contains(e.Error.Message, value) {
					r.t.Errorf("%s: the message does not name %s=%s: %s", r.what, key, value, e.Error.Message)
				}
			}
		}
		for _, v := range d.FieldViolations {
			fields = append(fields, v.Field)
			if v.Description == "" {
				r.t.Errorf("%s: a violation says nothing: %s", r.what, r.body)
			}
		}
	}
	if infos != 1 {
		r.t.Errorf("%s: there are %d ErrorInfo in %s", r.what, infos, r.body)
	}
	return fields
}
