package standard_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/jetpost/jetpost/internal/profile/standard"
)

// The vector of the Standard Webhooks reference libraries.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

	otherSecret = "whsec_b2xkIGFuZCBub3QgeWV0IGZvcmdvdHRlbi4uLg=="

	vectorPrivate    = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	vectorPublic     = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	vectorSignatureA = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
	otherPublic      = "whpk_/sFChnP2r+iSZLOAc0SuiyadElpQOFUgJofbWnEoV58="
)

func TestSignVector(t *testing.T) {
	t.Parallel()
	h := make(http.Header)
	if err := standard.Sign(h, vectorID, time.Unix(vectorTime, 999_999_999), []byte(vectorBody), []string{vectorSecret}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"webhook-id": vectorID, "webhook-timestamp": "1614265330", "webhook-signature": vectorSignature,
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if len(h) != 3 {
		t.Errorf("got headers %v, want three", h)
	}
}

// While a subscription moves from one scheme to the other, both are in the header,
// the newest first.
func TestSignBothSchemes(t *testing.T) {
	t.Parallel()
	now := time.Unix(vectorTime, 0)
	for _, tt := range []struct {
		secrets []string
		want    string
	}{
		{[]string{vectorPrivate}, vectorSignatureA},
		{[]string{vectorPrivate, vectorSecret}, vectorSignatureA + " " + vectorSignature},
		{[]string{vectorSecret, vectorPrivate}, vectorSignature + " " + vectorSignatureA},
	} {
		h := make(http.Header)
		if err := standard.Sign(h, vectorID, now, []byte(vectorBody), tt.secrets); err != nil {
			t.Fatal(err)
		}
		if got := h.Get(standard.HeaderSignature); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		if err := standard.Verify(h, []byte(vectorBody), now, []string{vectorPublic}); err != nil {
			t.Error(err)
		}
		if len(tt.secrets) == 1 {
			continue
		}
		receiver, err := webhooks.NewWebhook(vectorSecret)
		if err != nil {
			t.Fatal(err)
		}
		if err := receiver.VerifyIgnoringTimestamp([]byte(vectorBody), h); err != nil {
			t.Errorf("the reference library, which knows v1 only: %v", err)
		}
	}
}

func TestEd25519Keys(t *testing.T) {
	t.Parallel()
	public, err := standard.PublicKey(vectorPrivate)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := standard.PublicKey(vectorPublic); err != nil || !public.Equal(other) {
		t.Errorf("the private key has the public key %x, want %x, %v", public, other, err)
	}
	mixed := vectorPrivate[:len(vectorPrivate)-6] + "AAAA=="
	for _, key := range []string{"", "whpk_", "whpk_AQID", "whsk_AQID", "whsk_?", "whsec_AQID", mixed, vectorPrivate[:20]} {
		if got, err := standard.PublicKey(key); !errors.Is(err, standard.ErrSecret) {
			t.Errorf("%q: got %x, %v, want ErrSecret", key, got, err)
		}
	}
	for _, secret := range []string{"whsk_AQID", "whsk_?", vectorPublic} {
		h := make(http.Header)
		if err := standard.Sign(h, vectorID, time.Now(), nil, []string{secret}); !errors.Is(err, standard.ErrSecret) || len(h) != 0 {
			t.Errorf("signed with %q: %v, %v", secret, h, err)
		}
	}
}

func TestSignWithSeveral(t *testing.T) {
	t.Parallel()
	h := make(http.Header)
	now := time.Unix(vectorTime, 0)
	if err := standard.Sign(h, vectorID, now, []byte(vectorBody), []string{otherSecret, vectorSecret}); err != nil {
		t.Fatal(err)
	}
	signatures := strings.Split(h.Get(standard.HeaderSignature), " ")
	if len(signatures) != 2 || signatures[1] != vectorSignature {
		t.Errorf("got signatures %q, want two, the vector's second", signatures)
	}
	for _, secret := range []string{otherSecret, vectorSecret} {
		receiver, err := webhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := receiver.VerifyIgnoringTimestamp([]byte(vectorBody), h); err != nil {
			t.Errorf("the reference library with %s: %v", secret, err)
		}
		if err := standard.Verify(h, []byte(vectorBody), now, []string{secret}); err != nil {
			t.Errorf("with %s: %v", secret, err)
		}
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	if key, err := standard.Key("whsec_AQID"); err != nil || string(key) != "\x01\x02\x03" {
		t.Errorf("got key %q, %v, want the decoded bytes", key, err)
	}
	for _, secret := range []string{"", "AQID", "WHSEC_AQID", "whsec_AQI", "whsec_AQ ID", "whsec_-_-_", "whsk_AQID"} {
		key, err := standard.Key(secret)
		if !errors.Is(err, standard.ErrSecret) {
			t.Errorf("%q: got key %q, error %v, want ErrSecret", secret, key, err)
		}
	}
	if err := standard.Sign(make(http.Header), vectorID, time.Now(), nil, nil); err == nil {
		t.Error("nothing is signed, and there is no error")
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	sent := time.Unix(vectorTime, 0)
	set := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Set(name, value) }
	}
	for _, tt := range []struct {
		name    string
		change  func(http.Header)
		now     time.Time
		body    string
		secrets []string
		want    error
	}{
		{name: "as it was sent"},
		{name: "by one of several secrets", secrets: []string{otherSecret, vectorSecret}},
		{name: "by a public key", change: set("webhook-signature", "v1,? "+vectorSignatureA), secrets: []string{otherPublic, vectorPublic}},
		{name: "by the private key", change: set("webhook-signature", vectorSignatureA), secrets: []string{vectorPrivate}},
		{name: "just in time", now: sent.Add(5 * time.Minute)},
		{name: "from a clock that is just not too fast", now: sent.Add(-5 * time.Minute)},
		{name: "behind an unknown version", change: set("webhook-signature", "v1a,xxxx v2 "+vectorSignature)},
		{name: "behind another signature", change: set("webhook-signature", "v1,"+strings.Repeat("A", 43)+"= "+vectorSignature)},
		{name: "behind what is no base64", change: set("webhook-signature", "v1,? "+vectorSignature)},

		{name: "without an id", change: set("webhook-id", ""), want: standard.ErrMissingHeader},
		{name: "without a timestamp", change: set("webhook-timestamp", ""), want: standard.ErrMissingHeader},
		{name: "without a signature", change: set("webhook-signature", ""), want: standard.ErrMissingHeader},
		{name: "a timestamp that is no number", change: set("webhook-timestamp", "1614265330.0"), want: standard.ErrTimestamp},
		{name: "a timestamp beyond all time", change: set("webhook-timestamp", "9223372036854775807"), want: standard.ErrTimestamp},
		{name: "five minutes old", now: sent.Add(5*time.Minute + 1), want: standard.ErrTimestamp},
		{name: "five minutes and a second ahead", now: sent.Add(-5*time.Minute - time.Second), want: standard.ErrTimestamp},
		{name: "an empty signature", change: set("webhook-signature", "v1,"), want: standard.ErrSignature},
		{name: "a wrong signature", change: set("webhook-signature", "v1,"+strings.Repeat("A", 43)+"="), want: standard.ErrSignature},
		{name: "the beginning of the signature", change: set("webhook-signature", vectorSignature[:20]), want: standard.ErrSignature},
		{name: "the signature as another version", change: set("webhook-signature", "v2"+vectorSignature[2:]), want: standard.ErrSignature},
		{name: "v1 as v1a", change: set("webhook-signature", "v1a"+vectorSignature[2:]), secrets: []string{vectorPublic}, want: standard.ErrSignature},
		{name: "v1a for a receiver of v1", change: set("webhook-signature", vectorSignatureA), want: standard.ErrSignature},
		{name: "v1a as v1", change: set("webhook-signature", "v1"+vectorSignatureA[3:]), want: standard.ErrSignature},
		{name: "an empty v1a", change: set("webhook-signature", "v1a,"), secrets: []string{vectorPublic}, want: standard.ErrSignature},
		{name: "another public key", change: set("webhook-signature", vectorSignatureA), secrets: []string{otherPublic}, want: standard.ErrSignature},
		{name: "another id", change: set("webhook-id", "msg_2"), want: standard.ErrSignature},
		{name: "another timestamp", change: set("webhook-timestamp", "1614265331"), want: standard.ErrSignature},
		{name: "another body", body: vectorBody + " ", want: standard.ErrSignature},
		{name: "another secret", secrets: []string{otherSecret}, want: standard.ErrSignature},
		{name: "no secret", secrets: []string{}, want: standard.ErrSignature},
		{name: "a secret that is none", secrets: []string{"secret"}, want: standard.ErrSecret},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{
				standard.HeaderID: {vectorID}, standard.HeaderTimestamp: {"1614265330"}, standard.HeaderSignature: {vectorSignature},
			}
			body, now, secrets := vectorBody, sent, []string{vectorSecret}
			if tt.change != nil {
				tt.change(h)
			}
			if tt.body != "" {
				body = tt.body
			}
			if !tt.now.IsZero() {
				now = tt.now
			}
			if tt.secrets != nil {
				secrets = tt.secrets
			}
			if err := standard.Verify(h, []byte(body), now, secrets); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// Whatever a receiver is sent, it is not accepted without the secret.
func FuzzVerify(f *testing.F) {
	f.Add(vectorID, "1614265330", vectorSignature, []byte(vectorBody))
	f.Add("", "-1", "v1, v1a,x v1,AAAA", []byte(nil))
	f.Add(vectorID, "1614265330", vectorSignatureA, []byte(vectorBody))
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		h := http.Header{standard.HeaderID: {id}, standard.HeaderTimestamp: {timestamp}, standard.HeaderSignature: {signature}}
		now := time.Unix(vectorTime, 0)
		if err := standard.Verify(h, body, now, []string{otherSecret, otherPublic}); err == nil {
			t.Fatal("accepted without the secret")
		}
		receiver, err := webhooks.NewWebhook(vectorSecret)
		if err != nil {
			t.Fatal(err)
		}
		if err := standard.Verify(h, body, now, []string{vectorSecret}); err == nil {
			if err := receiver.VerifyIgnoringTimestamp(body, h); err != nil {
				t.Fatalf("accepted, and the reference library says %v", err)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	body := []byte(strings.Repeat("x", 1000))
	for name, secret := range map[string]string{"v1": vectorSecret, "v1a": vectorPrivate} {
		b.Run(name, func(b *testing.B) {
			h, secrets := make(http.Header, 3), []string{secret}
			b.ReportAllocs()
			for b.Loop() {
				if err := standard.Sign(h, vectorID, time.Unix(vectorTime, 0), body, secrets); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
