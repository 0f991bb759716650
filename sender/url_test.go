package sender_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
)

// A path and a query go out as RFC 3986 has them, what was encoded as it was, and the
// signature is of the path that goes out.
func TestTargetOnTheWire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.send()
	received := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) { received <- request }))
	defer server.Close()
	sub := to("target", server.URL+`/a%2fb|c/{d}[0]`)
	sub.Profile = "http-signature"
	sub.Endpoint.Query = keyring.NewSecret(`f={a|b}^c&g="h"&i=%7c%2F+100%`)
	created := r.subscribe(sub)
	r.put(queued(created, newEvent(1), created.CreatedAt))
	request := <-received
	const path, query = "/a%2fb%7Cc/%7Bd%7D%5B0%5D", "f=%7Ba%7Cb%7D%5Ec&g=%22h%22&i=%7c%2F+100%25"
	if request.RequestURI != path+"?"+query {
		t.Errorf("got %s, want %s?%s", request.RequestURI, path, query)
	}
	if !signedFor(request, path) {
		t.Errorf("the signature %q is not of %s", request.Header.Get("Signature"), path)
	}
	if a := r.awaitAttempts(created, 1)[0]; a.Outcome != delivery.Delivered {
		t.Errorf("got %+v", a)
	}
}

// signedFor verifies an HTTP message signature (RFC 9421) by the secret of the tests.
func signedFor(request *http.Request, path string) bool {
	_, params, _ := strings.Cut(request.Header.Get("Signature-Input"), "sig1=")
	names, _, _ := strings.Cut(strings.TrimPrefix(params, "("), ")")
	var base strings.Builder
	for name := range strings.FieldsSeq(names) {
		value := request.Header.Get(strings.Trim(name, `"`))
		switch name {
		case `"@method"`:
			value = request.Method
		case `"@authority"`:
			value = request.Host
		case `"@path"`:
			value = path
		}
		base.WriteString(name + ": " + value + "\n")
	}
	base.WriteString(`"@signature-params": ` + params)
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(base.String()))
	return request.Header.Get("Signature") == "sig1=:"+base64.StdEncoding.EncodeToString(mac.Sum(nil))+":"
}
