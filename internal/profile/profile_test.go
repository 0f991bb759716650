package profile_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

func TestNames(t *testing.T) {
	t.Parallel()
	want := []string{"cloudevents", "cloudevents-binary", "github", "http-signature", "jfrog", "jfrog-custom", "secure-source-manager", "standard"}
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

// What receivers get, byte for byte as it comes off the socket, but for the line ends
// of the header.
func TestRequests(t *testing.T) {
	t.Parallel()
	now := time.Unix(1772364605, 999_999_999)
	for _, name := range profile.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			receiver := newTap(t)
			for _, x := range append(examples(), catalogued(t)...) {
				fmt.Fprintf(&got, "=== %s\n", x.name)
				r, _, err := render(t, subscriptionOf(name), deliveryOf(x.event), now)
				if err != nil {
					fmt.Fprintf(&got, "error: %v\n\n", err)
					continue
				}
				head, body, _ := bytes.Cut(receiver.send(t, r), []byte("\r\n\r\n"))
				got.Write(bytes.ReplaceAll(head, []byte("\r\n"), []byte("\n")))
				if utf8.Valid(body) && !bytes.ContainsAny(body, "\x00\r") {
					fmt.Fprintf(&got, "\n\n%s\n\n", body)
				} else {
					fmt.Fprintf(&got, "\n\n%q\n\n", body)
				}
			}
			testkit.Golden(t, *update, name+".http", got.Bytes())
		})
	}
}

// A delivery is rendered from what is shared: nothing of it may change, and two
// attempts must not see each other.
func TestRenderChangesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		for n, x := range examples() {
			d, sub := deliveryOf(x.event), subscriptionOf(name)
			now := time.Unix(1772364605, 0)
			first, one, err := render(t, sub, d, now)
			if err != nil {
				continue
			}
			before := bytes.Clone(one)
			second, two, err := render(t, sub, d, now.Add(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(one, before) || !bytes.Equal(one, two) {
				t.Errorf("%s, %s: the body of one attempt changes with the next", name, x.name)
			}
			id, at := first.Header.Get("webhook-id"), first.Header.Get("webhook-timestamp")
			if id2, at2 := second.Header.Get("webhook-id"), second.Header.Get("webhook-timestamp"); id != id2 || id != "" && at == at2 {
				t.Errorf("%s, %s: a second later: got id and time %s %s, first %s %s", name, x.name, id2, at2, id, at)
			}
			if diff := cmp.Diff(examples()[n].event, d.Event); diff != "" {
				t.Errorf("%s, %s: rendering changed the event (-before +after):\n%s", name, x.name, diff)
			}
			if diff := cmp.Diff(subscriptionOf(name), sub); diff != "" {
				t.Errorf("%s, %s: rendering changed the subscription (-before +after):\n%s", name, x.name, diff)
			}
		}
	}
}

// A profile that signs by Standard Webhooks never sends what is not signed.
func TestRenderWithoutSecret(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		if lookup(t, name).Traits().Secrets != subscription.SigningKeys {
			continue
		}
		for _, secrets := range [][]string{nil, {"whsec_not base64"}, {"whsk_AQID"}, {newSecret, "plain"}} {
			sub := subscriptionOf(name)
			sub.Secrets = nil
			for _, secret := range secrets {
				sub.Secrets = append(sub.Secrets, subscription.SigningKey{Secret: keyring.NewSecret(secret)})
			}
			_, body, err := render(t, sub, deliveryOf(examples()[0].event), time.Now())
			if err == nil || body != nil {
				t.Errorf("%s signs with %q: got %d bytes, error %v, want an error and no body", name, secrets, len(body), err)
				continue
			}
			if strings.Contains(err.Error(), "not base64") || strings.Contains(err.Error(), "plain") || strings.Contains(err.Error(), "AQID") {
				t.Errorf("%s: error %q has the secret in it", name, err)
			}
		}
	}
}

// What a profile has by default, and the example of it here, can be saved.
func TestTraits(t *testing.T) {
	t.Parallel()
	rules := subscription.Rules{Profiles: profile.Names(), Traits: profile.Traits}
	for _, name := range profile.Names() {
		plain := &subscription.Subscription{Profile: name, Types: []string{"git.push"}, Endpoint: subscription.Endpoint{URL: "https://example.com"}}
		traits, ok := profile.Traits(name)
		if !ok {
			t.Errorf("profile %s has no traits", name)
		}
		plain.SetDefaultsOf(traits, time.Now())
		for _, sub := range []*subscription.Subscription{plain, subscriptionOf(name)} {
			if err := sub.Validate(rules); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := lookup(t, name).Prepare(sub); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Text and bytes reach the profiles that can carry them, and no others.
func TestNotJSON(t *testing.T) {
	t.Parallel()
	carries := map[string]bool{"cloudevents": true, "cloudevents-binary": true, "http-signature": true}
	for _, name := range profile.Names() {
		for _, e := range []*event.Event{
			{ID: "1", Source: "/git", Type: "git.push", DataContentType: "text/plain", Data: []byte("{}")},
			{ID: "1", Source: "/git", Type: "git.push", DataContentType: "application/octet-stream", Data: []byte{0, 0xff, '\r', '\n'}},
		} {
			_, body, err := render(t, subscriptionOf(name), deliveryOf(e), time.Now())
			switch {
			case carries[name] && (err != nil || len(body) == 0):
				t.Errorf("%s does not carry %s: %v", name, e.DataContentType, err)
			case !carries[name] && (!errors.Is(err, wire.ErrNotJSON) || body != nil):
				t.Errorf("%s makes of %s: %q, %v, want ErrNotJSON", name, e.DataContentType, body, err)
			}
		}
	}
}

// A malformed parameter of a content type does not make JSON anything else, in any profile.
func TestJSONWithMalformedParameter(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		e := &event.Event{ID: "1", Source: "/git", Type: "git.push", DataContentType: "application/json; utf-8", Data: []byte(`{"ref":"refs/heads/main"}`)}
		_, body, err := render(t, subscriptionOf(name), deliveryOf(e), time.Now())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "cloudevents" && !bytes.Contains(body, []byte(`"data":{"ref":"refs/heads/main"}`)) {
			t.Errorf("%s makes something else of JSON: %s", name, body)
		}
		if !bytes.Contains(body, []byte(`{"ref":"refs/heads/main"`)) {
			t.Errorf("%s does not have the data: %s", name, body)
		}
	}
}

// Every status that standards name, and all the others.
func TestJudge(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		p := lookup(t, name)
		if strings.HasPrefix(name, "jfrog") {
			continue // has verdicts of its own
		}
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
