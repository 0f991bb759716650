package wire_test

import (
	"errors"
	"net/http"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, contentType, data, want string
		err                           error
	}{
		{"an object", "application/json", ` {"a": 1} `, ` {"a": 1} `, nil},
		{"another JSON type", "application/vnd.acme+json; charset=utf-8", `[]`, `[]`, nil},
		{"no content type", "", `1`, `1`, nil},
		{"no data", "", "", "null", nil},
		{"no data of another type", "text/plain", "", "", wire.ErrNotJSON},
		{"text", "text/plain", `{"a":1}`, "", wire.ErrNotJSON},
		{"bytes", "application/octet-stream", "\x00\xff", "", wire.ErrNotJSON},
		{"not JSON", "application/json", `{"a":`, "", wire.ErrNotJSON},
		{"not UTF-8", "application/json", "\"\xff\"", "", wire.ErrNotJSON},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := wire.JSON(&event.Event{DataContentType: tt.contentType, Data: []byte(tt.data)})
			if string(got) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	sub := &subscription.Subscription{Profile: "jfrog", Filters: []filter.Filter{
		filter.Exact(map[string]string{"datacontenttype": "application/json"}),
		filter.Exact(map[string]string{"subject": "a", "datacontenttype": "text/plain"}),
		filter.Prefix(map[string]string{"datacontenttype": "text/"}),
	}}
	got := wire.CheckJSON(sub)
	if len(got) != 1 || got[0].Field != "filters[1].exact.datacontenttype" {
		t.Errorf("got %v, want one problem with the second filter", got)
	}
}

func TestSplitType(t *testing.T) {
	t.Parallel()
	for eventType, want := range map[string][2]string{
		"artifact.deployed": {"artifact", "deployed"}, "com.example.orders.created": {"com.example.orders", "created"},
		"ping": {}, ".ping": {}, "ping.": {}, "": {}, ".": {},
	} {
		domain, event, ok := wire.SplitType(eventType)
		if got := [2]string{domain, event}; got != want || ok != (want[0] != "") {
			t.Errorf("%q: got %q, %t, want %q", eventType, got, ok, want)
		}
	}
}

func TestUUID(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := make(map[string]bool)
	for _, id := range []string{"", "dlv_0", "dlv_1", "dlv_2"} {
		got := wire.UUID(id)
		if !form.MatchString(got) || got != wire.UUID(id) || seen[got] {
			t.Errorf("%q: got %s, want a UUID of version 4, its own and always the same", id, got)
		}
		seen[got] = true
	}
	const want = "6f64a6db-e2c0-46da-8809-b85196520263" // must not change: receivers have seen it
	if got := wire.UUID("dlv_0"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	h := http.Header{"X-Acme-Id": {"theirs"}, "Other": {"1"}}
	wire.Set(h, "X-ACME-ID", "ours")
	if diff := cmp.Diff(http.Header{"X-ACME-ID": {"ours"}, "Other": {"1"}}, h); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
}
