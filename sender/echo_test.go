package sender_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
)

// What the receivers here echo: secrets that every encoding changes.
const (
	echoedToken    = `s3cr3t/"of"\mine&<more>`
	echoedPassword = `s3cr3t:p&ss/word`
	echoedQuery    = "key=s3cr3t%2Fqu%22ery"
)

func withEchoed(sub *subscription.Subscription) *subscription.Subscription {
	sub.Endpoint.Query = keyring.NewSecret(echoedQuery)
	sub.Endpoint.SecretHeaders = map[string]keyring.Secret{
		"X-Token":       keyring.NewSecret(echoedToken),
		"Authorization": keyring.NewSecret("Basic " + base64.StdEncoding.EncodeToString([]byte("deployer:"+echoedPassword))),
		"X-Pin":         keyring.NewSecret("zq9"),
	}
	return sub
}

// An echo writes what was received in one form.
type echo struct {
	name  string
	write func(string) string
}

func echoes() []echo {
	inJSON := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	return []echo{
		{"plain", func(s string) string { return s }},
		{"json", inJSON},
		{"json-slashes", func(s string) string { return strings.ReplaceAll(inJSON(s), "/", `\/`) }},
		{"go", strconv.Quote},
		{"path", url.PathEscape},
		{"form", url.QueryEscape},
		{"html", html.EscapeString},
		{"base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
		{"base64url", func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("x" + s)) }},
	}
}

// received is all that a receiver knows of secrets, decoded as it may do it.
func received(header http.Header, uri string) string {
	_, password, _ := (&http.Request{Header: header}).BasicAuth()
	_, query, _ := strings.Cut(uri, "?")
	values, _ := url.ParseQuery(query)
	return fmt.Sprintf("token %s, password %s, pin %s, authorization %s, query %s, key %s",
		header.Get("X-Token"), password, header.Get("X-Pin"), header.Get("Authorization"), query, values.Get("key"))
}

// wantStruck looks for what the echoes can have left, in whatever form.
func wantStruck(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range []string{echoedToken, echoedPassword, "zq9", "s3cr3t/qu\"ery", "s3cr3t%2Fqu%22ery"} {
		for _, outer := range echoes() {
			for _, inner := range echoes() {
				// What a secret looks like within a longer text: base64 has no other form there.
				form := strings.Trim(outer.write(strings.Trim(inner.write(secret), `"=`)), `"=`)
				if len(form) > 2 && strings.Contains(text, form) && (secret != "zq9" || !strings.HasPrefix(outer.name+inner.name, "base64")) {
					t.Errorf("%s has %q in %s in %s: %s", where, secret, inner.name, outer.name, text)
				}
			}
		}
	}
	for _, part := range []string{"s3cr3t", base64.RawStdEncoding.EncodeToString([]byte("s3cr3t")), "deployer"} {
		if strings.Contains(text, part) {
			t.Errorf("%s has %q: %s", where, part, text)
		}
	}
}

// However a receiver echoes the secrets, in its answer, in a header that is none or as
// its consent, nothing of them is kept or logged.
func TestEchoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var subs []*subscription.Subscription
	for _, outer := range echoes() {
		for _, inner := range echoes() {
			write := func(header http.Header, uri string) string {
				return outer.write("got " + inner.write(received(header, uri)))
			}
			rc := receive(t, func(w http.ResponseWriter, got *request) {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = w.Write([]byte(write(got.Header, got.RequestURI)))
			})
			subs = append(subs, r.subscribe(withEchoed(to(outer.name+"-"+inner.name, rc.URL, 0))))
		}
	}
	inHeader := raw(t, func(c net.Conn) { // which cannot be read, so that the error quotes it
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n" + url.PathEscape(echoedToken) + ` and "` + echoedPassword + "\" \r\n\r\n"))
	})
	subs = append(subs, r.subscribe(withEchoed(to("in-header", inHeader, 0))))
	asked := receive(t, func(w http.ResponseWriter, got *request) {
		w.Header().Set("WebHook-Allowed-Origin", received(got.Header, got.RequestURI)+", "+got.Header.Get("WebHook-Request-Callback"))
	})
	r.subscribe(withEchoed(asking("asked", asked.URL, subscription.HandshakeRequired, 0)))

	for _, sub := range subs {
		r.queue(sub, 1, 1)
	}
	service := r.send(withCallback)
	for _, sub := range subs {
		a, deadLetter := r.awaitAttempts(sub, 1)[0], r.awaitDeadLetters(sub.ID, 1)[0]
		if a.ResponseBody == "" && a.Error == "" {
			t.Errorf("%s: nothing is kept of the answer", sub.ID)
		}
		wantStruck(t, sub.ID+": the answer", a.ResponseBody)
		wantStruck(t, sub.ID+": the error", a.Error)
		wantStruck(t, sub.ID+": the dead letter", deadLetter.Error)
	}
	denied := r.awaitConsent("asked", subscription.Denied)
	wantStruck(t, "the reason of the handshake", denied.Reason)
	url := asked.questions()[0].Header.Get("WebHook-Request-Callback")
	token := url[strings.LastIndexByte(url, '/')+1:]
	service.stop()
	r.wantNoSecrets()
	for _, entry := range r.logged.All() {
		fields, err := json.Marshal(entry.ContextMap())
		if err != nil {
			t.Fatal(err)
		}
		wantStruck(t, "the log", string(fields))
		if strings.Contains(string(fields)+denied.Reason, token) {
			t.Errorf("the token of the callback is shown: %s", fields)
		}
	}
}
