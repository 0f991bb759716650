package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/admin/deadletters"
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
)

// trail are the records so far, oldest first, and that their chain holds.
func (f *fixture) trail() []audit.Record {
	f.t.Helper()
	v := audit.NewVerifier()
	var all []audit.Record
	for line := range bytes.Lines(f.do("GET", "/v1/audit/export", "").want(http.StatusOK).body) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		v.Add(line)
		r, err := audit.Decode(line)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, r)
	}
	if broken := v.Report().Break; broken != nil {
		f.t.Error(broken)
	}
	return all
}

// A drive makes one request of an operation, with header, that does something.
type drive func(f *fixture, header ...string) reply

// drives are requests of all operations that change something or show a secret. Each
// gets an installation of its own, with the subscription ci.
func drives() map[string]drive {
	on := func(method, path, body string) drive {
		return func(f *fixture, header ...string) reply { return f.do(method, path, body, header...) }
	}
	with := func(prepare func(f *fixture), d drive) drive {
		return func(f *fixture, header ...string) reply {
			prepare(f)
			return d(f, header...)
		}
	}
	onToken := func(method, body string) drive {
		return func(f *fixture, header ...string) reply {
			var made madeToken
			f.do("POST", "/v1/tokens", `{"name":"cd","role":"auditor"}`).want(http.StatusCreated).into(&made.Body)
			return f.do(method, "/v1/tokens/"+made.Body.ID, body, header...)
		}
	}
	deadLetter := func(f *fixture) { f.giveUp("ci", "e1") }
	return map[string]drive{
		"reconcile-subscription": with(func(f *fixture) {
			f.do("PATCH", "/v1/subscriptions/ci", `{"filters":null}`).want(http.StatusOK)
			f.publish(newEvent("git.push", "lost"))
			f.routed("git")
		}, on("POST", "/v1/subscriptions/ci/reconcile", "")),
		"accept-loss":          with(func(f *fixture) { f.lose(f.layout.Attempts()) }, on("POST", "/v1/storage/accept-loss", `{"streams":["ATTEMPTS"],"reason":"no backup"}`)),
		"create-subscription":  on("POST", "/v1/subscriptions", subscriptionNamed("cd")),
		"replace-subscription": on("PUT", "/v1/subscriptions/ci", strings.Replace(ci, "main", "other", 1)),
		"change-subscription":  on("PATCH", "/v1/subscriptions/ci", `{"description":"x"}`),
		"delete-subscription":  on("DELETE", "/v1/subscriptions/ci", ""),
		"pause-subscription":   on("POST", "/v1/subscriptions/ci/pause", `{"reason":"tea"}`),
		"resume-subscription": with(func(f *fixture) { f.do("POST", "/v1/subscriptions/ci/pause", "").want(http.StatusOK) },
			on("POST", "/v1/subscriptions/ci/resume", "")),
		"rotate-secret":     on("POST", "/v1/subscriptions/ci/rotate-secret", ""),
		"get-secret":        on("GET", "/v1/subscriptions/ci/secret", ""),
		"create-token":      on("POST", "/v1/tokens", `{"name":"ci","role":"auditor"}`),
		"change-token":      onToken("PATCH", `{"name":"other"}`),
		"revoke-token":      onToken("DELETE", ""),
		"test-subscription": on("POST", "/v1/subscriptions/ci/test", ""),
		"ask-for-consent": with(func(f *fixture) {
			f.do("PATCH", "/v1/subscriptions/ci", `{"handshake":{"mode":"preferred"}}`).want(http.StatusOK)
			sub, err := f.store.Get(f.t.Context(), "ci")
			if err == nil {
				sub.Handshake.Allow("", "by hand", time.Now())
				_, err = f.store.Update(f.t.Context(), sub)
			}
			if err != nil {
				f.t.Fatal(err)
			}
		}, on("POST", "/v1/subscriptions/ci/handshake", "")),
		"reset-breaker": with(func(f *fixture) { f.openBreaker("ci", time.Now()) }, on("POST", "/v1/subscriptions/ci/breaker/reset", "")),
		"put-domain":    on("PUT", "/v1/domains/shop", shop(shopSchema)),
		"delete-domain": with(func(f *fixture) { f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusCreated) },
			on("DELETE", "/v1/domains/shop", "")),
		"put-repository": on("PUT", "/v1/repositories/libs", `{"class":"local"}`),
		"delete-repository": with(func(f *fixture) { f.do("PUT", "/v1/repositories/libs", `{"class":"local"}`).want(http.StatusCreated) },
			on("DELETE", "/v1/repositories/libs", "")),
		"discard-dead-letter":  with(deadLetter, on("POST", "/v1/dead-letters/1/discard", `{"reason":"too old"}`)),
		"discard-dead-letters": with(deadLetter, on("POST", "/v1/dead-letters/discard", `{"all":true,"reason":"too old"}`)),
		"erase-event":          with(func(f *fixture) { f.publish(newEvent("git.push", "e1")) }, on("POST", "/v1/events/git/1/erase", `{"reason":"asked for"}`)),
		"redrive-dead-letter":  with(deadLetter, on("POST", "/v1/dead-letters/1/redrive", "")),
		"create-redrive":       with(deadLetter, on("POST", "/v1/redrives", "")),
		"cancel-redrive": func(f *fixture, header ...string) reply {
			f.giveUp("ci", "e1")
			return f.do("POST", "/v1/redrives/"+f.redriveJob("").ID+"/cancel", "", header...)
		},
		"redeliver": func(f *fixture, header ...string) reply {
			f.giveUp("ci", "e1")
			var deadLetters struct {
				Items []struct {
					DeliveryID string `json:"delivery_id"`
				}
			}
			f.do("GET", "/v1/dead-letters", "").into(&deadLetters)
			return f.do("POST", "/v1/subscriptions/ci/deliveries/"+deadLetters.Items[0].DeliveryID+"/redeliver", "", header...)
		},
	}
}

// unrecorded are operations that look as if they changed something, and need no
// record, with the reason.
func unrecorded() map[string]string {
	return map[string]string{
		"explain":        "it only says what would match",
		"validate-data":  "it only says whether data would be accepted",
		"publish-events": "events are what jetpost is for: the event log is their record",
	}
}

// A route that changes something, or is to show a secret, cannot be added without a
// record: it is in one of the two tables.
func TestEveryChangeIsRecorded(t *testing.T) {
	t.Parallel()
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	newFixture(t).do("GET", "/openapi.json", "").into(&document)
	all, except := drives(), unrecorded()
	operations := map[string]bool{}
	for path, methods := range document.Paths {
		for method, operation := range methods {
			id := operation.OperationID
			operations[id] = true
			reads := method == "get" && !strings.Contains(path, "secret")
			if _, driven := all[id]; !driven && except[id] == "" && !reads {
				t.Errorf("%s %s (%s) is not known to leave a record", method, path, id)
			}
		}
	}
	for _, known := range slices.Concat(keysOf(all), keysOf(except)) {
		if !operations[known] {
			t.Errorf("there is no operation %s", known)
		}
	}
	for id, d := range all {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			f, _ := newKeeping(t)
			f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
			r := d(f, access.HeaderRequestID, "drive-"+id)
			if r.status >= 300 {
				t.Fatalf("got status %d: %s", r.status, r.body)
			}
			found := 0
			for _, one := range f.trail() {
				if one.RequestID != "drive-"+id {
					continue
				}
				found++
				if one.Failed != "" || one.Actor == "" || one.Target == "" || !strings.Contains(one.Action, ".") {
					t.Errorf("got %+v", one)
				}
			}
			if found != 1 {
				t.Errorf("got %d records, want 1", found)
			}
		})
	}
}

func keysOf[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// A change that changes nothing leaves no trace: neither a record, nor a revision, nor
// an event.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	f := newSpeakingFixture(t)
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	body := `{"id":"ci","types":["git.push"],"filters":[{"exact":{"subject":"main"}}],"labels":{"team":"anvil"},"secrets":[{"secret":"` + secret + `"}],
		"endpoint":{"url":"HTTP://127.0.0.1:9000/hook?token=swordfish","secret_headers":{"X-Key":"swordfish"}},
		"handshake":{"mode":"preferred","rate":60},"delivery":{"rate":1.5,"retry":{"schedule":["0s","5s"]}}}`
	tag := f.do("POST", "/v1/subscriptions", body).want(http.StatusCreated).header.Get("ETag")
	records := len(f.trail())
	const path = "/v1/subscriptions/ci"
	shown := string(f.do("GET", path, "").want(http.StatusOK).body)
	f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusCreated)
	f.do("PUT", "/v1/repositories/libs", `{"class":"remote","package_type":"npm"}`).want(http.StatusCreated)
	for _, again := range []struct{ method, path, body string }{
		{"PUT", path, body},
		{"PUT", path, shown},
		{"PATCH", path, `{}`},
		{"PATCH", path, `{"labels":{"team":"anvil"},"endpoint":{"secret_headers":{"X-Key":"swordfish"}}}`},
		{"POST", path + "/resume", ""},
		{"POST", path + "/handshake", ""},
		{"POST", path + "/breaker/reset", ""},
		{"PUT", path + "?dry_run=true", ci},
		{"PATCH", path + "?dry_run=true", `{"description":"x"}`},
		{"POST", "/v1/subscriptions?dry_run=true", subscriptionNamed("cd")},
		{"PUT", "/v1/domains/shop", shop(shopSchema)},
		{"PUT", "/v1/repositories/libs", `{"class":"remote"}`},
		{"PUT", "/v1/domains/shop?dry_run=true", shop(`{"type":"object"}`)},
		{"POST", "/v1/redrives", `{"dry_run":true}`},
		{"POST", "/v1/dead-letters/discard", `{"all":true}`},
	} {
		r := f.do(again.method, again.path, again.body)
		if r.status >= 300 {
			t.Errorf("%s %s %s: got status %d: %s", again.method, again.path, again.body, r.status, r.body)
		}
		if got := r.header.Get("ETag"); again.path == path && got != tag {
			t.Errorf("%s %s: got ETag %s, want %s: %s", again.method, again.body, got, tag, r.body)
		}
	}
	if got := f.trail(); len(got) != records+2 { // the domain and the repository
		t.Errorf("got %d records, want %d: %+v", len(got), records+2, got[records:])
	}
	// What follows is the second event that there is.
	f.do("POST", path+"/pause", "").want(http.StatusOK)
	if said := f.awaitSaid(2); said[1].kind != "subscription.paused" {
		t.Errorf("got %+v", said)
	}
}

// Records have everything but secrets, and a secret that changes shows as such.
func TestRecordsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", `{"id":"ci","types":["git.push"],"profile":"standard",
		"endpoint":{"url":"http://127.0.0.1:9000/hook?token=swordfish","secret_headers":{"X-Key":"swordfish"}},"handshake":{"mode":"preferred"}}`).want(http.StatusCreated)
	sub, err := f.store.Get(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	sub.Handshake.NewCallback(time.Now().Add(time.Hour))
	if _, err := f.store.Update(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	secrets := []string{"swordfish", "marlin", sub.Secrets[0].Secret.Reveal(), sub.Handshake.Callback}
	for _, change := range []string{
		`{"endpoint":{"secret_headers":{"X-Key":"marlin"}}}`, `{"endpoint":{"url":"http://127.0.0.1:9000/hook?token=marlin"}}`, `{"description":"x"}`,
	} {
		f.do("PATCH", "/v1/subscriptions/ci", change).want(http.StatusOK)
	}
	var rotated struct{ Secret string }
	f.do("POST", "/v1/subscriptions/ci/rotate-secret", "").want(http.StatusOK).into(&rotated)
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK)
	secrets = append(secrets, rotated.Secret)

	records := f.trail()
	var changed []string
	for _, r := range records {
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("record %d has %q: %s", r.Sequence, secret, text)
			}
		}
		changed = append(changed, fmt.Sprint(r.Action, r.Changed))
	}
	want := []string{
		"subscription.create[]", "subscription.change[endpoint.secret_headers]", "subscription.change[endpoint.query]", "subscription.change[description]",
		"subscription.rotate_secret[secrets]", "subscription.delete[]",
	}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("what changed differs (-want +got):\n%s", diff)
	}
	keys := func(state json.RawMessage) (ids []string) {
		var sub struct{ Secrets []struct{ ID, Secret string } }
		if err := json.Unmarshal(state, &sub); err != nil {
			t.Fatal(err)
		}
		for _, key := range sub.Secrets {
			ids = append(ids, key.ID)
		}
		return ids
	}
	if rotation := records[4]; len(keys(rotation.Before)) != 1 || len(keys(rotation.After)) != 2 || keys(rotation.After)[1] != keys(rotation.Before)[0] {
		t.Errorf("the rotation of a secret is recorded as %s to %s", rotation.Before, rotation.After)
	}
	if removal := records[5]; removal.After != nil || len(keys(removal.Before)) != 2 {
		t.Errorf("the deletion is recorded as %+v", removal)
	}
}

// Where nothing can be recorded, nothing is changed, and no secret is shown.
func TestNothingWithoutARecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.giveUp("ci", "e1")
	tag := f.do("GET", "/v1/subscriptions/ci", "").header.Get("ETag")
	if err := f.js.DeleteStream(t.Context(), f.layout.Audit()); err != nil {
		t.Fatal(err)
	}
	for _, act := range []struct{ method, path, body string }{
		{"POST", "/v1/subscriptions", subscriptionNamed("cd")},
		{"PATCH", "/v1/subscriptions/ci", `{"description":"x"}`},
		{"GET", "/v1/subscriptions/ci/secret", ""},
		{"POST", "/v1/subscriptions/ci/rotate-secret", ""},
		{"DELETE", "/v1/subscriptions/ci", ""},
		{"PUT", "/v1/domains/shop", shop(shopSchema)},
		{"POST", "/v1/dead-letters/1/discard", ""},
		{"POST", "/v1/dead-letters/1/redrive", ""},
		{"POST", "/v1/redrives", ""},
	} {
		f.do(act.method, act.path, act.body).want(http.StatusServiceUnavailable).mustContain("audit trail")
	}
	f.do("GET", "/v1/subscriptions/cd", "").want(http.StatusNotFound)
	f.do("GET", "/v1/domains/shop", "").want(http.StatusNotFound)
	if got := f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusOK).header.Get("ETag"); got != tag {
		t.Errorf("got ETag %s, want %s", got, tag)
	}
	if got := f.deadLettersLeft(); len(got) != 1 {
		t.Errorf("got %d dead letters", len(got))
	}
	if err := f.layout.Ensure(t.Context(), f.js, nil); err != nil {
		t.Fatal(err)
	}
	f.do("PATCH", "/v1/subscriptions/ci", `{"description":"x"}`).want(http.StatusOK)
}

// What is recorded and then fails is recorded as failed.
func TestFailureIsRecorded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	if err := f.js.DeleteStream(t.Context(), f.layout.QueueFor("ci").Stream); err != nil {
		t.Fatal(err)
	}
	if r := f.do("POST", "/v1/subscriptions/ci/test", "", access.HeaderRequestID, "r-1"); r.status < 400 {
		t.Fatalf("got status %d", r.status)
	}
	records := f.trail()
	begun, failed := records[len(records)-2], records[len(records)-1]
	if begun.Failed != "" || failed.Failed == "" || failed.Of != begun.Sequence || failed.RequestID != "r-1" || failed.Target != begun.Target {
		t.Errorf("got %+v and %+v", begun, failed)
	}
}

func TestAuditAPI(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.Heartbeat = 10 * time.Millisecond })
	var head audit.Head
	f.do("GET", "/v1/audit/head", "").want(http.StatusOK).into(&head)
	if head != (audit.Head{}) || len(f.trail()) != 0 {
		t.Errorf("at the beginning: got head %+v", head)
	}
	fl := f.follow("/v1/audit?follow=true&action=subscription.*")
	f.do("POST", "/v1/subscriptions", ci, access.HeaderRequestID, "r-1").want(http.StatusCreated)
	f.do("PUT", "/v1/domains/shop", shop(shopSchema)).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions/ci/pause", `{"reason":"tea"}`).want(http.StatusOK)
	for _, want := range []string{"subscription.create", "subscription.pause"} {
		var one audit.Entry
		if err := fl.next(&one); err != nil || one.Action != want || one.Hash == "" {
			t.Errorf("followed: got %+v and error %v, want %s", one, err, want)
		}
	}

	type list struct {
		Items      []audit.Entry
		NextCursor string `json:"next_cursor"`
	}
	var all, filtered, first, second list
	f.do("GET", "/v1/audit", "").want(http.StatusOK).into(&all)
	f.do("GET", "/v1/audit?limit=2", "").want(http.StatusOK).into(&first)
	f.do("GET", "/v1/audit?limit=2&cursor="+first.NextCursor, "").want(http.StatusOK).into(&second)
	if len(all.Items) != 3 || all.Items[0].Sequence != 3 {
		t.Fatalf("got %+v", all.Items)
	}
	if diff := cmp.Diff(all.Items, slices.Concat(first.Items, second.Items)); diff != "" || second.NextCursor != "" {
		t.Errorf("pages differ from the whole, next cursor %q (-whole +pages):\n%s", second.NextCursor, diff)
	}
	third := all.Items[0].At.Format(time.RFC3339Nano)
	for query, want := range map[string]int{
		"action=domain.put": 1, "action=subscription.*": 2, "target=subscriptions/ci": 2, "target=domains/*": 1, "actor=jetpost": 3, "actor=tok_1": 0,
		"from=" + third: 1, "to=" + third: 2,
	} {
		f.do("GET", "/v1/audit?"+query, "").want(http.StatusOK).into(&filtered)
		if len(filtered.Items) != want {
			t.Errorf("%s: got %d records, want %d", query, len(filtered.Items), want)
		}
		filtered = list{}
	}
	for _, query := range []string{"action=%3E", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "cursor=x"} {
		f.do("GET", "/v1/audit?"+query, "").want(http.StatusUnprocessableEntity)
	}

	var one audit.Entry
	f.do("GET", "/v1/audit/1", "").want(http.StatusOK).into(&one)
	if diff := cmp.Diff(all.Items[2], one); diff != "" || one.RequestID != "r-1" {
		t.Errorf("record 1 differs (-listed +got):\n%s", diff)
	}
	f.do("GET", "/v1/audit/4", "").want(http.StatusNotFound)
	f.do("GET", "/v1/audit/head", "").want(http.StatusOK).into(&head)
	if head.Sequence != 3 || head.Hash != all.Items[0].Hash {
		t.Errorf("got head %+v, want %+v", head, all.Items[0])
	}

	export := f.do("GET", "/v1/audit/export", "").want(http.StatusOK)
	lines := strings.Split(strings.TrimSuffix(string(export.body), "\n"), "\n")
	if len(lines) != 3 || export.header.Get("Content-Type") != httpapi.NDJSON || audit.Hash([]byte(lines[2])) != head.Hash {
		t.Errorf("got %d lines of %s", len(lines), export.header.Get("Content-Type"))
	}
	for query, want := range map[string]string{
		"from_sequence=2": lines[1] + "\n" + lines[2] + "\n", "to_sequence=1": lines[0] + "\n", "from_sequence=2&to_sequence=2": lines[1] + "\n", "from_sequence=9": "",
	} {
		if got := string(f.do("GET", "/v1/audit/export?"+query, "").want(http.StatusOK).body); got != want {
			t.Errorf("%s: got %s", query, got)
		}
	}
	f.do("GET", "/v1/audit/export?from_sequence=2&to_sequence=1", "").want(http.StatusUnprocessableEntity)
}

// An export takes the place of one who follows, and gives it back.
func TestExportsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.MaxFollowers = 1 })
	for range 3 {
		f.do("GET", "/v1/audit/export", "").want(http.StatusOK)
	}
	f.follow("/v1/audit?follow=true")
	f.do("GET", "/v1/audit/export", "").want(http.StatusServiceUnavailable).mustContain("too many")
}

// Who makes a request is in its record, and in operational events.
func TestActor(t *testing.T) {
	t.Parallel()
	f := newSpeakingFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	pause := httptest.NewRequest(http.MethodPost, "/v1/subscriptions/ci/pause", strings.NewReader(`{"reason":"tea"}`))
	pause.Header.Set(access.HeaderRequestID, "r-1")
	w := httptest.NewRecorder()
	f.admin.Handler().ServeHTTP(w, pause.WithContext(access.With(t.Context(), access.Principal{ID: "tok_1", Name: "Ann", Role: access.Operator, Address: "192.0.2.1"})))
	if w.Code != http.StatusOK {
		t.Fatalf("got status %d: %s", w.Code, w.Body)
	}
	r := f.trail()[1]
	if got := fmt.Sprint(r.Actor, r.ActorName, r.Role, r.Address, r.RequestID, r.Reason, r.Changed); got != "tok_1Annoperator192.0.2.1r-1tea[state]" {
		t.Errorf("got %s", got)
	}
	if said := f.awaitSaid(2); said[1].data["actor"] != "tok_1" || said[0].data["actor"] != "admin" {
		t.Errorf("got %+v", said)
	}
}

// Many dead letters are discarded in batches, each with a record of what was in it.
func TestDiscardManyIsRecorded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	const many = deadletters.BatchSize + 4
	for n := range many {
		f.giveUp("ci", "e"+strconv.Itoa(n))
	}
	f.do("POST", "/v1/dead-letters/discard", `{"subscription":"ci","reason":"too old"}`).want(http.StatusOK)
	seen := map[uint64]bool{}
	for _, r := range f.trail()[1:] {
		var state struct {
			Letters []struct{ Sequence uint64 } `json:"dead_letters"`
		}
		if err := json.Unmarshal(r.Before, &state); err != nil || r.Reason != "too old" || r.Action != "dead_letter.discard" {
			t.Errorf("got error %v of %+v", err, r)
		}
		for _, deadLetter := range state.Letters {
			seen[deadLetter.Sequence] = true
		}
	}
	if len(seen) != many || len(f.deadLettersLeft()) != 0 {
		t.Errorf("%d of %d are recorded, %d left", len(seen), many, len(f.deadLettersLeft()))
	}
}
