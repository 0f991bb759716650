package audit_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/audit"
)

// The form of a record is kept by what people have exported, and by its hash: a diff
// here breaks every trail there is.
func TestForm(t *testing.T) {
	t.Parallel()
	full := audit.Record{
		Sequence: 7, At: time.Date(2026, 3, 1, 12, 30, 0, 120_000_000, time.UTC), Action: "subscription.patch", Target: "subscriptions/ci",
		Actor: "tok_1", ActorName: "Ann <ann@example.com>", Role: "operator", Address: "192.0.2.1", RequestID: "r-1", Reason: "ünïcödé & more",
		Changed: []string{"endpoint.query"}, Before: json.RawMessage(`{"id": "ci",  "n": 1.50}`), After: json.RawMessage(`{"id":"ci","u":"<&>"}`),
		Failed: "why", Of: 6, Previous: strings.Repeat("ab", 32),
	}
	small := audit.Record{Sequence: 1, At: full.At, Action: "domain.put", Target: "domains/orders", Actor: "jetpost", ActorName: "admin"}
	for _, test := range []struct {
		name string
		r    audit.Record
		want string
		hash string
	}{
		{
			"everything", full, `{"sequence":7,"at":"2026-03-01T12:30:00.12Z","action":"subscription.patch","target":"subscriptions/ci","actor":"tok_1",` +
				`"actor_name":"Ann <ann@example.com>","role":"operator","address":"192.0.2.1","request_id":"r-1","reason":"ünïcödé & more","changed":["endpoint.query"],` +
				`"before":{"id":"ci","n":1.50},"after":{"id":"ci","u":"<&>"},"failed":"why","of":6,"previous":"abababababababababababababababababababababababababababababababab"}`,
			"775255c1cdde0566bada4a96632ba0ce616869bae0bc87699d56fb4e3390792e",
		},
		{
			"the first", small, `{"sequence":1,"at":"2026-03-01T12:30:00.12Z","action":"domain.put","target":"domains/orders","actor":"jetpost","actor_name":"admin","previous":""}`,
			"",
		},
	} {
		got, err := test.r.Encode()
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got error %v and\n%s, want\n%s", test.name, err, got, test.want)
		}
		back, err := audit.Decode(got)
		if err != nil {
			t.Errorf("%s: decode: %v", test.name, err)
		}
		again, err := back.Encode()
		if err != nil || !bytes.Equal(got, again) {
			t.Errorf("%s: decoded and encoded again it is, with error %v,\n%s", test.name, err, again)
		}
		if hash := audit.Hash(got); test.hash != "" && hash != test.hash {
			t.Errorf("%s: got hash %s, want %s", test.name, hash, test.hash)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "{}", "null", "[]", `{"sequence":1}`, `{"sequence":-1,"action":"a.b","previous":""}`, `{"sequence":1,"action":"A","previous":""}`,
		`{"sequence":1,"action":"a.b","previous":"xyz"}`, "{\"sequence\":1,\n\"action\":\"a.b\",\"previous\":\"\"}", `{"sequence":1,"action":"a.b","previous":""} {}`,
	} {
		if r, err := audit.Decode([]byte(text)); err == nil {
			t.Errorf("%q: got %+v", text, r)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"sequence":1,"at":"2026-03-01T12:30:00.12Z","action":"domain.put","target":"domains/orders","actor":"jetpost","previous":""}`))
	f.Add([]byte(`{"sequence":2,"action":"a.b","before":{"a":[1,2.50,"\u2028"]},"after":null,"changed":[],"previous":"` + strings.Repeat("0f", 32) + `"}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		v := audit.NewVerifier()
		v.Add(stored)
		r, err := audit.Decode(stored)
		if err != nil {
			if v.Report().Break == nil {
				t.Errorf("a verifier takes what cannot be read: %q", stored)
			}
			return
		}
		once, err := r.Encode()
		if err != nil {
			t.Fatalf("encode what was decoded from %q: %v", stored, err)
		}
		back, err := audit.Decode(once)
		if err != nil {
			t.Fatalf("decode %q, of %q: %v", once, stored, err)
		}
		twice, err := back.Encode()
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("of %q: got, with error %v, %q and then %q", stored, err, once, twice)
		}
		if diff := cmp.Diff(r.At, back.At); diff != "" {
			t.Error(diff)
		}
	})
}
