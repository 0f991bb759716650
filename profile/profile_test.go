package profile_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/profile"
)

func TestNames(t *testing.T) {
	t.Parallel()
	want := []string{"cloudevents", "cloudevents-binary", "standard"}
	if diff := cmp.Diff(want, profile.Names()); diff != "" {
		t.Errorf("names differ (-want +got):\n%s", diff)
	}
	for _, name := range append(want, profile.Default) {
		lookup(t, name)
	}
	for _, name := range []string{"", "Standard", "jfrog "} {
		if _, ok := profile.Lookup(name); ok {
			t.Errorf("profile %q is found", name)
		}
	}
}

// What receivers get, byte for byte: the headers in order, the body.
func TestRequests(t *testing.T) {
	t.Parallel()
	now := time.Unix(1772364605, 999_999_999)
	for _, name := range profile.Names() {
		var got bytes.Buffer
		for _, x := range examples() {
			fmt.Fprintf(&got, "=== %s\n", x.name)
			h := make(http.Header)
			body, err := render(t, name, h, deliveryOf(x.event), []string{newSecret, oldSecret}, now)
			if err != nil {
				fmt.Fprintf(&got, "error: %v\n\n", err)
				continue
			}
			for _, key := range slices.Sorted(maps.Keys(h)) {
				if http.CanonicalHeaderKey(key) != key {
					t.Errorf("header %s is not in canonical form, net/http would not find it", key)
				}
				fmt.Fprintf(&got, "%s: %s\n", key, strings.Join(h[key], "\n"+key+": "))
			}
			if utf8.Valid(body) && !bytes.Contains(body, []byte{0}) {
				fmt.Fprintf(&got, "\n%s\n\n", body)
			} else {
				fmt.Fprintf(&got, "\n%q\n\n", body)
			}
		}
		golden(t, name+".http", got.Bytes())
	}
}

// A delivery is rendered from what is shared: nothing of it may change, and two
// attempts must not see each other.
func TestRenderChangesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		for n, x := range examples() {
			d := deliveryOf(x.event)
			first, second := make(http.Header), make(http.Header)
			now := time.Unix(1772364605, 0)
			one, err := render(t, name, first, d, []string{newSecret}, now)
			if err != nil {
				continue
			}
			before := bytes.Clone(one)
			two, err := render(t, name, second, d, []string{newSecret}, now.Add(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(one, before) || !bytes.Equal(one, two) {
				t.Errorf("%s, %s: the body of one attempt changes with the next", name, x.name)
			}
			if first.Get("webhook-id") != second.Get("webhook-id") || first.Get("webhook-timestamp") == second.Get("webhook-timestamp") {
				t.Errorf("%s, %s: a second later: got id and time %s %s, first %s %s", name, x.name,
					second.Get("webhook-id"), second.Get("webhook-timestamp"), first.Get("webhook-id"), first.Get("webhook-timestamp"))
			}
			if diff := cmp.Diff(examples()[n].event, d.Event); diff != "" {
				t.Errorf("%s, %s: rendering changed the event (-before +after):\n%s", name, x.name, diff)
			}
		}
	}
}

func TestRenderWithoutSecret(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		for _, secrets := range [][]string{nil, {"whsec_not base64"}, {newSecret, "plain"}} {
			h := make(http.Header)
			body, err := render(t, name, h, deliveryOf(examples()[0].event), secrets, time.Now())
			if err == nil || body != nil {
				t.Errorf("%s signs with %q: got %d bytes, error %v, want an error and no body", name, secrets, len(body), err)
				continue
			}
			if strings.Contains(err.Error(), "not base64") || strings.Contains(err.Error(), "plain") {
				t.Errorf("%s: error %q has the secret in it", name, err)
			}
		}
	}
}

// Every status that standards name, and all the others.
func TestJudge(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		p := lookup(t, name)
		for status := 100; status <= 599; status++ {
			want := delivery.Retry // redirects too: they are never followed
			switch {
			case status >= 200 && status <= 299: // the body is never routed
				want = delivery.Delivered
			case status == http.StatusGone:
				want = delivery.Gone
			}
			if got := p.Judge(status); got != want {
				t.Errorf("%s: status %d is %s, want %s", name, status, got, want)
			}
		}
		for status, want := range map[int]delivery.Outcome{
			http.StatusOK: delivery.Delivered, http.StatusCreated: delivery.Delivered, http.StatusAccepted: delivery.Delivered,
			http.StatusNoContent: delivery.Delivered, http.StatusMovedPermanently: delivery.Retry,
			http.StatusTemporaryRedirect: delivery.Retry, http.StatusBadRequest: delivery.Retry, http.StatusUnauthorized: delivery.Retry,
			http.StatusForbidden: delivery.Retry, http.StatusNotFound: delivery.Retry, http.StatusRequestTimeout: delivery.Retry,
			http.StatusConflict: delivery.Retry, http.StatusGone: delivery.Gone, http.StatusUnsupportedMediaType: delivery.Retry,
			http.StatusTooEarly: delivery.Retry, http.StatusTooManyRequests: delivery.Retry, http.StatusInternalServerError: delivery.Retry,
			http.StatusBadGateway: delivery.Retry, http.StatusServiceUnavailable: delivery.Retry, http.StatusGatewayTimeout: delivery.Retry,
			0: delivery.Retry, 999: delivery.Retry,
		} {
			if got := p.Judge(status); got != want {
				t.Errorf("%s: status %d is %s, want %s", name, status, got, want)
			}
		}
	}
}
