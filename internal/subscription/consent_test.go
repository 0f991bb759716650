package subscription

import (
	"strings"
	"testing"
	"time"
)

func TestParseAllowedRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"120": 120, " 7 ": 7, "*": 0, "007": 7, "600001": maxHandshakeRate, "99999999999999999999999": maxHandshakeRate,
		"": -1, "0": -1, "00": -1, "-1": -1, "1.5": -1, "1e3": -1, "+5": -1, "many": -1, "**": -1, "5, 6": -1, "٣": -1,
	} {
		got, err := ParseAllowedRate(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

// What a receiver says about the rate, and what is made of it.
func TestAllow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		asked   int
		given   string
		consent Consent
		rate    int
		reason  string
	}{
		{0, "", Allowed, 0, "it said so"},
		{0, "*", Allowed, 0, "it said so"},
		{0, "30", Allowed, 30, "it said so"},
		{0, "lots", Denied, 0, "it said so, but"},
		{60, "*", Allowed, 0, "it said so"},
		{60, "30", Allowed, 30, "it said so"},
		{60, "90", Allowed, 90, "it said so"},
		{60, "", Allowed, 60, "the one it was asked for"},
		{60, "0", Allowed, 60, "the rate it was asked for"},
	} {
		h := Handshake{Mode: HandshakeRequired, Rate: tt.asked, Consent: Pending}
		h.Allow(tt.given, "it said so", now)
		if h.Consent != tt.consent || h.AllowedRate != tt.rate || !strings.Contains(h.Reason, tt.reason) || !h.CheckedAt.Equal(now) {
			t.Errorf("asked for %d, given %q: got %+v", tt.asked, tt.given, h)
		}
		if (tt.consent == Allowed) == h.Blocks() {
			t.Errorf("asked for %d, given %q: blocks: %t", tt.asked, tt.given, h.Blocks())
		}
	}
}

func TestCallbackToken(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := &Handshake{Mode: HandshakeRequired, Consent: Pending}
	if h.AnswersTo("", now) || (*Handshake)(nil).AnswersTo("", now) {
		t.Error("no token is good where there is none")
	}
	old := h.NewCallback(now.Add(time.Hour))
	token := h.NewCallback(now.Add(time.Hour))
	if len(token) != 43 || token == old || strings.Contains(h.Callback, token) {
		t.Errorf("got token %q, %q", token, old)
	}
	for given, want := range map[string]bool{token: true, old: false, "": false, h.Callback: false, token[:42]: false, token + "A": false} {
		if got := h.AnswersTo(given, now); got != want {
			t.Errorf("%q: got %t", given, got)
		}
	}
	if h.AnswersTo(token, now.Add(time.Hour)) {
		t.Error("an expired token is good")
	}
	h.Deny("no", now)
	if h.AnswersTo(token, now) || h.Callback != "" {
		t.Error("a callback is taken after the denial")
	}
}
