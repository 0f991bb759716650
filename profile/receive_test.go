package profile_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/jetpost/jetpost/profile"
	"github.com/jetpost/jetpost/stream"
)

// send makes the request of a profile over a real socket, and returns what the
// receiver made of it.
func send[T any](t *testing.T, name string, e *stream.Event, secrets []string, receive func(*http.Request) (T, error)) (T, error) {
	t.Helper()
	h := make(http.Header)
	body, err := render(t, name, h, deliveryOf(e), secrets, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var got T
	var gotErr error
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, gotErr = receive(r) }))
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = h
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return got, gotErr
}

// The receivers' library of Standard Webhooks takes every profile's request, with
// the new secret and with the one before it.
func TestStandardWebhooksLibrary(t *testing.T) {
	t.Parallel()
	for _, name := range profile.Names() {
		for _, tt := range []struct {
			sign, verify string
			want         bool
		}{
			{newSecret, newSecret, true},
			{newSecret + " " + oldSecret, newSecret, true},
			{newSecret + " " + oldSecret, oldSecret, true},
			{newSecret, oldSecret, false},
		} {
			receiver, err := webhooks.NewWebhook(tt.verify)
			if err != nil {
				t.Fatal(err)
			}
			_, err = send(t, name, examples()[1].event, strings.Fields(tt.sign), func(r *http.Request) (any, error) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
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
				got, err := send(t, name, x.event, []string{newSecret}, func(r *http.Request) (*cloudevents.Event, error) {
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
		value, err := stream.DecodeHeaderValue(values[0])
		if err != nil || len(values) != 1 {
			t.Errorf("header %s: %q: %v", name, values, err)
		}
		h[name] = []string{value}
	}
}
