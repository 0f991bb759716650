package main

import (
	"errors"
	"io"
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
	flags := apiFlags{Server: server.URL, Token: apiToken, places: &places{}}
	c, err := flags.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Storage.Get(t.Context())
	if refused, ok := errors.AsType[*v1.Problem](err); !ok || refused.Status != http.StatusServiceUnavailable {
		t.Fatalf("got %v", err)
	}
	return askedWait(err)
}

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"": "0001-01-01T00:00:00Z", "2h": "2026-01-31T10:00:00Z", "0s": "2026-01-31T12:00:00Z", "2026-01-30t12:00:00z": "2026-01-30T12:00:00Z",
		"2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z", "2026-01-31T12:00:00+23:59": "2026-01-30T12:01:00Z",
		"999999h": "1970-01-01T00:00:00Z", "99999999h": "1970-01-01T00:00:00Z", "99999999999999999999s": "1970-01-01T00:00:00Z",
	} {
		if got, err := moment("--since", text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"-2h": "is in the future", "-99999999h": "is in the future", "yesterday": "give a duration such as 2h, or a time", "2026-01-31": "no T between",
		"2026-01-31T12:00:00+24:00": "-23:59 to +23:59", "5 days": "give a duration such as 2h",
	} {
		if got, err := moment("--since", text, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %s, %v, want %q", text, got, err, want)
		}
	}
}

// Flags are read as the API reads its fields.
func TestTimesOfFlags(t *testing.T) {
	t.Parallel()
	parse := func(args ...string) (*commandLine, error) {
		var cli commandLine
		parser, err := newParser(&env{ctx: t.Context(), stdout: io.Discard, stderr: io.Discard}, &cli)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parser.Parse(args)
		return &cli, err
	}
	for text, want := range map[string]string{"2026-01-31t12:00:00z": "2026-01-31T12:00:00Z", "2016-12-31T23:59:60+00:00": "2017-01-01T00:00:00Z"} {
		cli, err := parse("events", "list", "--from-time", text)
		if got := cli.Events.List.FromTime.UTC().Format(time.RFC3339); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"2026-01-31T12:00:00+24:00": `"2026-01-31T12:00:00+24:00" is not a time: its zone is neither Z nor an offset from -23:59 to +23:59`,
		"now":                       `"now" is not a time: its date is not a year, month and day`,
	} {
		if _, err := parse("events", "list", "--from-time", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"99999999h": `"99999999h" is not a duration that can be used: it is longer than 292 years`,
		"15":        `"15" is not a duration: it is not a number and its unit`,
	} {
		if _, err := parse("publish", "--patience", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestMemoryOutOfRange(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"99999999999999999999": "more than a machine can have", "9999999999TiB": "more than a machine can have", "lots": "is not an amount of memory",
		"-99999999999999999999": "is not an amount of memory", "1MiB": "too little",
	} {
		var m memoryFlag
		if err := m.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// A timestamp that no clock can show is said to be one.
func TestTimestampOutOfRange(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1769860800000000": "after the year 9999", "99999999999999999999": "after the year 9999", "2026-01-31T12:00:00Z": "not a number of seconds", "-1": "not a number of seconds",
	} {
		h := http.Header{}
		h.Set(idHeader, "id")
		h.Set(timestampHeader, text)
		h.Set(signatureHeader, "v1,AAAA")
		if err := verifyStandard(h, nil, nil, time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
