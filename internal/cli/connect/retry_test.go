package connect

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
)

// What a server asks for is seconds, of whatever number, or a date.
func TestRetryAfterOfServer(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "60": time.Minute, "61": time.Minute, "4294967296": time.Minute, "9223372037": time.Minute,
		"99999999999999999999": time.Minute, "-1": 0, "soon": 0, "Sun, 06 Nov 1994 08:49:37 GMT": 0, "Fri, 31 Dec 9999 23:59:59 GMT": time.Minute,
	} {
		got := refusedWith(t, http.Header{"Retry-After": {text}})
		if got != want {
			t.Errorf("Retry-After: %s: got %s, want %s", text, got, want)
		}
	}
	// A date is by the server's clock.
	theirs := time.Date(2020, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, form := range []string{http.TimeFormat, time.RFC850, time.ANSIC} {
		date := strings.Replace(theirs.Add(20*time.Second).Format(form), "UTC", "GMT", 1)
		if got := refusedWith(t, http.Header{"Retry-After": {date}, "Date": {theirs.Format(http.TimeFormat)}}); got != 20*time.Second {
			t.Errorf("Retry-After: %s: got %s, want 20s", date, got)
		}
	}
}

func refusedWith(t *testing.T, h http.Header) time.Duration {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), h)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	flags := Flags{Server: server.URL, Token: "jp_test", places: &places{}}
	c, err := flags.Client(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Storage.Get(t.Context())
	if refused, ok := errors.AsType[*v1.Problem](err); !ok || refused.Status != http.StatusServiceUnavailable {
		t.Fatalf("got %v", err)
	}
	return askedWait(err)
}
