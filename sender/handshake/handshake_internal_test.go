package handshake

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/transport"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestJudgeAnswer(t *testing.T) {
	t.Parallel()
	const origin, rate = "WebHook-Allowed-Origin", "WebHook-Allowed-Rate"
	for _, tt := range []struct {
		name     string
		callback bool
		status   int
		header   http.Header
		err      error
		want     findingKind
		reason   string
	}{
		{"our origin", false, 200, header(origin, "jetpost.example.com"), nil, findAllowed, "allows the origin jetpost.example.com"},
		{"in other letters", false, 200, header(origin, " JetPost.Example.COM "), nil, findAllowed, ""},
		{"any origin", false, 200, header(origin, "*", rate, "10"), nil, findAllowed, "origin *"},
		{"the status is no sign", false, 405, header(origin, "*"), nil, findAllowed, ""},
		{"not even a bad one", false, 500, header(origin, "*"), nil, findAllowed, ""},
		{"one of two", false, 200, header(origin, "other.example.com", origin, "jetpost.example.com"), nil, findAllowed, ""},
		{"another origin", false, 200, header(origin, "other.example.com"), nil, findDenied, `the origin "other.example.com", and this is jetpost.example.com`},
		{"another origin and a callback", true, 200, header(origin, "other.example.com"), nil, findDenied, ""},
		{"a beginning of ours", false, 200, header(origin, "jetpost.example"), nil, findDenied, ""},
		{"more than ours", false, 200, header(origin, "jetpost.example.com.evil.test"), nil, findDenied, ""},
		{"a domain above ours", false, 200, header(origin, "example.com"), nil, findDenied, ""},
		{"a pattern", false, 200, header(origin, "*.example.com"), nil, findDenied, ""},
		{"empty", false, 200, header(origin, ""), nil, findDenied, "without WebHook-Allowed-Origin"},
		{"only a rate", false, 200, header(rate, "10"), nil, findDenied, "without WebHook-Allowed-Origin"},
		{"nothing", false, 200, nil, nil, findDenied, "answered 200 without"},
		{"no OPTIONS", false, 405, nil, nil, findDenied, "answered 405"},
		{"no OPTIONS, but a callback", true, 405, nil, nil, findWaits, "may still call back"},
		{"nothing, but a callback", true, 204, nil, nil, findWaits, ""},
		{"a redirect", false, 302, nil, nil, findDenied, "redirects are not followed"},
		{"overloaded", true, 429, header("Retry-After", "7"), nil, findFailed, "429"},
		{"broken", true, 503, nil, nil, findFailed, "503"},
		{"slow", false, 408, nil, nil, findFailed, ""},
		{"unreachable", true, 0, nil, errors.New("connection refused"), findFailed, "could not be asked: connection refused"},
	} {
		h := &subscription.Handshake{Mode: subscription.HandshakeRequired, Consent: subscription.Pending, Origin: "jetpost.example.com"}
		if tt.callback {
			h.NewCallback(time.Now())
		}
		got := judgeAnswer(h, transport.Answer{Status: tt.status, Header: tt.header}, tt.err)
		if got.kind != tt.want || !strings.Contains(got.reason, tt.reason) {
			t.Errorf("%s: got %+v, want %s", tt.name, got, tt.want)
		}
	}
	long := judgeAnswer(&subscription.Handshake{}, transport.Answer{Status: 200, Header: header(origin, strings.Repeat("x\x1b", 4000))}, nil)
	if len(long.reason) > 1500 || strings.Contains(long.reason, "\x1b") {
		t.Errorf("a receiver's text is taken as it is: %.100q of %d bytes", long.reason, len(long.reason))
	}
}

// When the receiver is asked again.
func TestAskAgain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sub := &subscription.Subscription{
		Endpoint:  subscription.Endpoint{Timeout: subscription.Duration(15 * time.Second)},
		Handshake: subscription.Handshake{Mode: subscription.HandshakeRequired, Consent: subscription.Pending},
	}
	h := &sub.Handshake
	var a progress
	around := func(what string, want time.Duration) {
		t.Helper()
		for range 100 {
			got := a.due(sub).Sub(h.CheckedAt)
			if got < want*4/5 || got > want*6/5 {
				t.Fatalf("%s: asked after %s, want %s", what, got, want)
			}
		}
	}
	if got := a.due(sub); !got.IsZero() {
		t.Errorf("a new question is asked at %s, want at once", got)
	}
	for n, seconds := range []int{5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600} {
		h.CheckedAt = now.Add(time.Duration(n) * time.Hour)
		a.asked = h.CheckedAt
		around("no answer", time.Duration(seconds)*time.Second)
	}
	for n, hours := range []int{1, 2, 4, 8, 16, 24, 24} {
		h.CheckedAt = now.Add(time.Duration(100+n) * time.Hour)
		h.Consent = subscription.Pending
		a.due(sub)
		h.Consent = subscription.Denied
		around("denied", time.Duration(hours)*time.Hour)
	}
	h.Ask()
	if got := a.due(sub); !got.IsZero() || a.denials != 0 {
		t.Errorf("asked again at %s, want at once", got)
	}
	h.CheckedAt = now
	around("another sender asks", 25*time.Second)
	a.asked, a.notUntil = now, now.Add(time.Minute)
	if got := a.due(sub); !got.Equal(a.notUntil) {
		t.Errorf("asked at %s, want when the receiver said", got)
	}
	h.NewCallback(now.Add(openFor))
	if waitsForCallback(h) {
		t.Error("a question that is open waits for a callback")
	}
	a.notUntil = time.Time{}
	finding{kind: findWaits}.write(h)
	if got := a.due(sub); !waitsForCallback(h) || !got.Equal(now.Add(callbackFor)) {
		t.Errorf("the callback is late at %s, want after a day", got)
	}
}

func TestAsks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode    string
		consent subscription.Consent
		want    bool
	}{
		{"", "", false},
		{subscription.HandshakePreferred, subscription.Pending, true},
		{subscription.HandshakePreferred, subscription.Denied, false},
		{subscription.HandshakePreferred, subscription.Allowed, false},
		{subscription.HandshakeRequired, subscription.Pending, true},
		{subscription.HandshakeRequired, subscription.Denied, true},
		{subscription.HandshakeRequired, subscription.Allowed, false},
	} {
		if got := Asks(&subscription.Handshake{Mode: tt.mode, Consent: tt.consent}); got != tt.want {
			t.Errorf("%s, %s: got %t", tt.mode, tt.consent, got)
		}
	}
}
