package profile_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/profile/standard"
	"github.com/jetpost/jetpost/internal/subscription"
)

// receive sends the request of a delivery over a real socket, and returns what the
// receiver made of it.
func receive[T any](t *testing.T, sub *subscription.Subscription, e *event.Event, read func(*http.Request) (T, error)) (T, error) {
	t.Helper()
	r, _, err := render(t, sub, deliveryOf(e), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(newTap(t).send(t, r))))
	if err != nil {
		t.Fatal(err)
	}
	return read(got)
}

// The receivers' library of Standard Webhooks takes the request of every profile that
// signs by it, with the new secret and with the one before it, and skips what it does
// not know.
func TestStandardWebhooksLibrary(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		if lookup(t, name).Traits().Secrets != subscription.SigningKeys {
			continue
		}
		for _, tt := range []struct {
			sign, verify string
			want         bool
		}{
			{newSecret, newSecret, true},
			{newSecret + " " + oldSecret, newSecret, true},
			{newSecret + " " + oldSecret, oldSecret, true},
			{privateSecret + " " + oldSecret, oldSecret, true},
			{privateSecret, oldSecret, false},
			{newSecret, oldSecret, false},
		} {
			receiver, err := webhooks.NewWebhook(tt.verify)
			if err != nil {
				t.Fatal(err)
			}
			sub := subscriptionOf(name)
			sub.Secrets = nil
			for secret := range strings.FieldsSeq(tt.sign) {
				sub.Secrets = append(sub.Secrets, subscription.NewSigningKey(keyring.NewSecret(secret), time.Now()))
			}
			_, err = receive(t, sub, examples()[1].event, func(r *http.Request) (any, error) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
				}
				if strings.Contains(tt.sign, privateSecret) {
					if err := standard.Verify(r.Header, body, time.Now(), []string{publicKey}); err != nil {
						t.Errorf("%s by the public key: %v", name, err)
					}
				}
				return nil, receiver.Verify(body, r.Header)
			})
			if (err == nil) != tt.want {
				t.Errorf("%s signed by %s, verified by %s: got %v, want accepted: %t", name, tt.sign, tt.verify, err, tt.want)
			}
		}
	}
}

// The CloudEvents SDK reads back the event that was published, with the same
// bytes of data.
func TestCloudEventsSDK(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"cloudevents", "cloudevents-binary"} {
		for _, x := range examples() {
			t.Run(name+"/"+x.name, func(t *testing.T) {
				t.Parallel()
				got, err := receive(t, subscriptionOf(name), x.event, func(r *http.Request) (*cloudevents.Event, error) {
					decodeHeader(t, r.Header)
					return cehttp.NewEventFromHTTPRequest(r)
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := got.Validate(); err != nil {
					t.Error(err)
				}
				want := x.event
				if !bytes.Equal(bytes.TrimSpace(got.Data()), bytes.TrimSpace(want.Data)) || name == "cloudevents-binary" && !bytes.Equal(got.Data(), want.Data) {
					t.Errorf("got data %q, want %q", got.Data(), want.Data)
				}
				for _, attribute := range [][3]string{
					{"id", got.ID(), want.ID},
					{"source", got.Source(), want.Source},
					{"type", got.Type(), want.Type},
					{"subject", got.Subject(), want.Subject},
					{"dataschema", got.DataSchema(), want.DataSchema},
				} {
					if attribute[1] != attribute[2] {
						t.Errorf("got %s %q, want %q", attribute[0], attribute[1], attribute[2])
					}
				}
				if want.DataContentType != "" && got.DataContentType() != want.DataContentType {
					t.Errorf("got datacontenttype %q, want %q", got.DataContentType(), want.DataContentType)
				}
				if want.Time != "" && got.Time().Format(time.RFC3339Nano) != want.Time {
					t.Errorf("got time %s, want %s", got.Time().Format(time.RFC3339Nano), want.Time)
				}
				if len(got.Extensions()) != len(want.Extensions) {
					t.Errorf("got extensions %v, want %v", got.Extensions(), want.Extensions)
				}
				for _, a := range want.Extensions {
					if got.Extensions()[a.Name] != a.Value {
						t.Errorf("got %s %q, want %q", a.Name, got.Extensions()[a.Name], a.Value)
					}
				}
			})
		}
	}
}

// decodeHeader undoes the percent-encoding of the HTTP binding, which the SDK
// does not know.
func decodeHeader(t *testing.T, h http.Header) {
	t.Helper()
	for name, values := range h {
		if !strings.HasPrefix(name, "Ce-") {
			continue
		}
		value, err := event.DecodeHeaderValue(values[0])
		if err != nil || len(values) != 1 {
			t.Errorf("header %s: %q: %v", name, values, err)
		}
		h[name] = []string{value}
	}
}
