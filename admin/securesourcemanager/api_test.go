package securesourcemanager

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/admin/admintest"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Every case of what is refused, with its status, its reason and the field it names.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const good = `{"targetUri":"` + target + `"}`
	f.do("POST", hooks+"?hookId=there", good).ok(nil)
	long := strings.Repeat("a", 64)
	for _, tt := range []struct {
		method, path, body string
		code               int
		status, reason     string
		field              string
	}{
		{"POST", hooks, good, 400, "INVALID_ARGUMENT", "MISSING_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=", good, 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=1a", good, 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=-a", good, 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=abc-", good, 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=Ab", good, 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=a_b", good, 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=a.b", good, 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=" + long, good, 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "hookId"},
		{"POST", hooks + "?hookId=a&hook_id=b", good, 400, "INVALID_ARGUMENT", "DUPLICATE_PARAMETER", "hookId"},
		{"POST", hooks + "?hookID=a", good, 400, "INVALID_ARGUMENT", "UNKNOWN_PARAMETER", "hookID"},
		{"POST", hooks + "?hookId=%zz", good, 400, "INVALID_ARGUMENT", "INVALID_QUERY", ""},
		{"POST", hooks + "?hookId=there", good, 409, "ALREADY_EXISTS", "HOOK_EXISTS", ""},
		{"GET", hooks + "/Ab", "", 400, "INVALID_ARGUMENT", "INVALID_HOOK_ID", "name"},
		{"GET", hooks + "/none", "", 404, "NOT_FOUND", "NOT_FOUND", ""},
		{"GET", "/v1/projects/a%2Fb/locations/l/repositories/r/hooks", "", 400, "INVALID_ARGUMENT", "INVALID_PARENT", "parent"},
		{"GET", "/v1/projects/-/locations/l/repositories/r/hooks", "", 400, "INVALID_ARGUMENT", "INVALID_PARENT", "parent"},
		{"GET", "/v1/projects/-/locations/-/repositories/-/hooks", "", 400, "INVALID_ARGUMENT", "INVALID_PARENT", "parent"},
		{"POST", strings.Replace(hooks, "tug", "-", 1) + "?hookId=a", good, 400, "INVALID_ARGUMENT", "INVALID_PARENT", "parent"},
		{"GET", strings.Replace(hooks, "tug", "-", 1) + "/there", "", 400, "INVALID_ARGUMENT", "INVALID_PARENT", "parent"},
		{"PATCH", strings.Replace(hooks, "tug", "-", 1) + "/there", good, 400, "INVALID_ARGUMENT", "INVALID_PARENT", "parent"},
		{"DELETE", strings.Replace(hooks, "tug", "-", 1) + "/there", "", 400, "INVALID_ARGUMENT", "INVALID_PARENT", "parent"},
		{"DELETE", hooks + "/none", "", 404, "NOT_FOUND", "NOT_FOUND", ""},
		{"PATCH", hooks + "/none", "", 404, "NOT_FOUND", "NOT_FOUND", ""},
		{"PUT", hooks + "/there", good, 404, "NOT_FOUND", "METHOD_NOT_FOUND", ""},
		{"POST", hooks + "/there:test", "", 404, "NOT_FOUND", "METHOD_NOT_FOUND", ""},
		{"GET", hooks + "?pageSize=-1", "", 400, "INVALID_ARGUMENT", "INVALID_PAGE_SIZE", "pageSize"},
		{"GET", hooks + "?page_size=many", "", 400, "INVALID_ARGUMENT", "INVALID_PAGE_SIZE", "pageSize"},
		{"GET", hooks + "?pageSize=9999999999", "", 400, "INVALID_ARGUMENT", "INVALID_PAGE_SIZE", "pageSize"},
		{"GET", hooks + "?pageToken=abc", "", 400, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN", "pageToken"},
		{"PATCH", hooks + "/there?updateMask=secret", good, 400, "INVALID_ARGUMENT", "INVALID_UPDATE_MASK", "updateMask"},
		{"PATCH", hooks + "/there?updateMask=*", `{}`, 400, "INVALID_ARGUMENT", "MISSING_TARGET_URI", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", ``, 400, "INVALID_ARGUMENT", "MISSING_TARGET_URI", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `[]`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook"},
		{"POST", hooks + "?hookId=x", `{"targetUri":1}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"a","target_uri":"b"}`, 400, "INVALID_ARGUMENT", "DUPLICATE_FIELD", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"a"} {}`, 400, "INVALID_ARGUMENT", "INVALID_JSON", ""},
		{"POST", hooks + "?hookId=x", `{"targetUri":"a"`, 400, "INVALID_ARGUMENT", "INVALID_JSON", ""},
		{"POST", hooks + "?hookId=x", "{\"targetUri\":\"\xff\"}", 400, "INVALID_ARGUMENT", "INVALID_JSON", ""},
		{"POST", hooks + "?hookId=x", `{"etag":"x"}`, 400, "INVALID_ARGUMENT", "UNKNOWN_FIELD", "hook.etag"},
		{"POST", hooks + "?hookId=x", `{"disabled":"true"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.disabled"},
		{"POST", hooks + "?hookId=x", `{"events":"PUSH"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.events"},
		{"POST", hooks + "?hookId=x", `{"events":["PUSH","UNSPECIFIED"]}`, 400, "INVALID_ARGUMENT", "INVALID_EVENT", "hook.events[1]"},
		{"POST", hooks + "?hookId=x", `{"events":[0]}`, 400, "INVALID_ARGUMENT", "INVALID_EVENT", "hook.events[0]"},
		{"POST", hooks + "?hookId=x", `{"events":[3]}`, 400, "INVALID_ARGUMENT", "INVALID_EVENT", "hook.events[0]"},
		{"POST", hooks + "?hookId=x", `{"events":["push"]}`, 400, "INVALID_ARGUMENT", "INVALID_EVENT", "hook.events[0]"},
		{"POST", hooks + "?hookId=x", `{"events":["1"]}`, 400, "INVALID_ARGUMENT", "INVALID_EVENT", "hook.events[0]"},
		{"POST", hooks + "?hookId=x", `{"events":[null]}`, 400, "INVALID_ARGUMENT", "INVALID_EVENT", "hook.events[0]"},
		{"POST", hooks + "?hookId=x", `{"pushOption":"main"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.pushOption"},
		{"POST", hooks + "?hookId=x", `{"pushOption":{"branch":"main"}}`, 400, "INVALID_ARGUMENT", "UNKNOWN_FIELD", "hook.pushOption.branch"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"` + target + `","pushOption":{"branchFilter":"["}}`, 400, "INVALID_ARGUMENT", "INVALID_BRANCH_FILTER", "hook.pushOption.branchFilter"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"` + target + `","events":["PULL_REQUEST"],"pushOption":{"branchFilter":"["}}`, 400, "INVALID_ARGUMENT", "INVALID_BRANCH_FILTER", "hook.pushOption.branchFilter"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"` + target + `","pushOption":{"branchFilter":"` + strings.Repeat("a", 501) + `"}}`, 400, "INVALID_ARGUMENT", "INVALID_BRANCH_FILTER", "hook.pushOption.branchFilter"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"https://me:hush@example.com"}`, 400, "INVALID_ARGUMENT", "INVALID_TARGET_URI", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"https://example.com/#hush"}`, 400, "INVALID_ARGUMENT", "INVALID_TARGET_URI", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"https://example.com/a hush"}`, 400, "INVALID_ARGUMENT", "INVALID_TARGET_URI", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"https://example.com/?[secret]"}`, 400, "INVALID_ARGUMENT", "INVALID_TARGET_URI", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"ftp://example.com/hush"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"example.com/hush"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"https://10.0.0.1/hush"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"http://169.254.169.254/"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"https://example.com/` + strings.Repeat("hush", 600) + `"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.targetUri"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"` + target + `","sensitiveQueryString":"hush#"}`, 400, "INVALID_ARGUMENT", "INVALID_SENSITIVE_QUERY_STRING", "hook.sensitiveQueryString"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"` + target + `","sensitiveQueryString":"a hush"}`, 400, "INVALID_ARGUMENT", "INVALID_SENSITIVE_QUERY_STRING", "hook.sensitiveQueryString"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"` + target + `","sensitiveQueryString":"[secret]"}`, 400, "INVALID_ARGUMENT", "INVALID_SENSITIVE_QUERY_STRING", "hook.sensitiveQueryString"},
		{"POST", hooks + "?hookId=x", `{"targetUri":"` + target + `","sensitiveQueryString":"` + strings.Repeat("hush", 1100) + `"}`, 400, "INVALID_ARGUMENT", "INVALID_FIELD", "hook.sensitiveQueryString"},
		{"POST", hooks + "?hookId=x", `{"a":` + strings.Repeat("[", 100_000) + `}`, 400, "INVALID_ARGUMENT", "INVALID_JSON", ""},
		{"POST", hooks + "?hookId=x", `"` + strings.Repeat("hush", 100_000) + `"`, 413, "INVALID_ARGUMENT", "BODY_TOO_LARGE", ""},
	} {
		got := f.do(tt.method, tt.path, tt.body)
		fields := got.refuses(tt.code, tt.status, tt.reason)
		if tt.field != "" && !slices.Equal(slices.Compact(fields), []string{tt.field}) || tt.field == "" && len(fields) > 0 {
			t.Errorf("%s %s: fields %v, want %s", tt.method, tt.path, fields, tt.field)
		}
		if strings.Contains(got.body, "hush") {
			t.Errorf("%s %s shows what may be a secret: %s", tt.method, tt.path, got.body)
		}
	}
	if all := f.do("GET", hooks, "").ok(nil).body; strings.Count(all, `"name"`) != 1 {
		t.Errorf("what was refused is there: %s", all)
	}
}

func TestHookIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	seen := map[string]bool{}
	for _, id := range []string{"a", "my-hook-1", "a--b", strings.Repeat("a", 63), strings.Repeat("a", 36) + "-b", strings.Repeat("a", 35) + "-b"} {
		f.do("POST", hooks+"?hookId="+id, `{"targetUri":"`+target+`"}`).ok(nil)
		var h hook
		f.do("GET", hooks+"/"+id, "").ok(&h)
		internal := subscriptionID(h.Name)
		if h.Name != parent+"/hooks/"+id || !subscription.ValidID(internal) || seen[internal] {
			t.Errorf("%s is called %s, and %s inside", id, h.Name, internal)
		}
		seen[internal] = true
	}
	if elsewhere := subscriptionID("projects/p/locations/l/repositories/r/hooks/a"); seen[elsewhere] {
		t.Errorf("%s is that of two repositories", elsewhere)
	}
}

// Subscriptions of other APIs are not there, whatever they are called, and those of
// this one are with the native API in its own form.
func TestOtherSubscriptions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	name := parent + "/hooks/native"
	for _, managed := range []subscription.Managed{{}, {By: subscription.ManagedByJFrog, Name: name}, {By: manager, Name: parent + "/hooks/other"}} {
		sub := &subscription.Subscription{ID: subscriptionID(name), Types: []string{"git.push"}, Endpoint: subscription.Endpoint{URL: target}, Managed: managed}
		if _, err := f.admin.Subscriptions().Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		f.do("GET", "/v1/"+name, "").refuses(404, "NOT_FOUND", "NOT_FOUND")
		f.do("PATCH", "/v1/"+name+"?updateMask=disabled", `{"disabled":true}`).refuses(404, "NOT_FOUND", "NOT_FOUND")
		f.do("DELETE", "/v1/"+name, "").refuses(404, "NOT_FOUND", "NOT_FOUND")
		f.do("POST", hooks+"?hookId=native", `{"targetUri":"`+target+`"}`).refuses(409, "ALREADY_EXISTS", "HOOK_EXISTS")
		if managed.By != manager {
			if list := f.do("GET", hooks, "").ok(nil).body; list != "{}\n" {
				t.Errorf("it is listed: %s", list)
			}
		}
		if _, err := f.admin.Subscriptions().Remove(t.Context(), managed.By, sub.ID, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// Pages have what was there all the time exactly once, while hooks come and go.
func TestPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const many = 33
	id := func(i int) string { return fmt.Sprintf("hook-%03d", i) }
	for i := range many {
		f.do("POST", hooks+"?hookId="+id(i*10), `{"targetUri":"`+target+`"}`).ok(nil)
	}
	read := func(query string) (ids []string, next string) {
		t.Helper()
		var list hookList
		f.do("GET", hooks+query, "").ok(&list)
		for _, h := range list.Hooks {
			ids = append(ids, strings.TrimPrefix(h.Name, parent+"/hooks/"))
		}
		return ids, list.NextPageToken
	}
	for query, want := range map[string]int{"": 30, "?pageSize=0": 30, "?pageSize=1": 1, "?page_size=7": 7, "?pageSize=1000": many, "?pageSize=100": many, "?pageSize=33": many} {
		ids, next := read(query)
		if len(ids) != want || (next == "") != (want == many) || url.QueryEscape(next) != next {
			t.Errorf("%s: got %d and token %q, want %d", query, len(ids), next, want)
		}
	}
	first, next := read("?pageSize=10")
	for _, other := range []string{"/v1/projects/harbor/locations/north/repositories/barge/hooks", "/v1/projects/harbor/locations/north/operations"} {
		f.do("GET", other+"?pageToken="+next, "").refuses(400, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
	}
	f.do("GET", hooks+"?pageToken="+next+"A", "").refuses(400, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
	f.do("DELETE", hooks+"/"+first[9], "").ok(nil) // the one that the token is about
	f.do("POST", hooks+"?hookId="+id(1), `{"targetUri":"`+target+`"}`).ok(nil)
	f.do("POST", hooks+"?hookId="+id(95), `{"targetUri":"`+target+`"}`).ok(nil)
	all := first
	for size := 1; next != ""; size++ {
		var ids []string
		ids, next = read(fmt.Sprintf("?pageSize=%d&page_token=%s", size, next))
		all = append(all, ids...)
	}
	want := []string{}
	for i := range many {
		want = append(want, id(i*10))
		if i == 9 {
			want = append(want, id(95))
		}
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A list may have - for its repository or its location: it has the hooks of all of them,
// under their own names, in pages that belong to that list.
func TestWildcardList(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, repository := range []string{
		"projects/harbor/locations/north/repositories/tug", "projects/harbor/locations/north/repositories/barge", "projects/harbor/locations/north/repositories/tug-2",
		"projects/harbor/locations/south/repositories/tug", "projects/other/locations/north/repositories/tug",
	} {
		f.do("POST", "/v1/"+repository+"/hooks?hookId=ci", `{"targetUri":"`+target+`"}`).ok(nil)
	}
	f.do("POST", hooks+"?hookId=ab", `{"targetUri":"`+target+`"}`).ok(nil)
	list := func(parent string) (names []string) {
		t.Helper()
		for next := "?pageSize=2"; next != ""; {
			var page hookList
			f.do("GET", "/v1/"+parent+"/hooks"+next, "").ok(&page)
			for _, h := range page.Hooks {
				names = append(names, strings.Replace(h.Name, "/hooks/", " ", 1))
			}
			if next = ""; page.NextPageToken != "" {
				next = "?pageSize=2&pageToken=" + page.NextPageToken
			}
		}
		return names
	}
	const north, south = "projects/harbor/locations/north/repositories/", "projects/harbor/locations/south/repositories/"
	for parent, want := range map[string][]string{
		"projects/harbor/locations/north/repositories/-":   {north + "barge ci", north + "tug-2 ci", north + "tug ab", north + "tug ci"},
		"projects/harbor/locations/-/repositories/tug":     {north + "tug ab", north + "tug ci", south + "tug ci"},
		"projects/harbor/locations/-/repositories/-":       {north + "barge ci", north + "tug-2 ci", north + "tug ab", north + "tug ci", south + "tug ci"},
		"projects/harbor/locations/east/repositories/-":    nil,
		"projects/harbor/locations/north/repositories/tug": {north + "tug ab", north + "tug ci"},
	} {
		if diff := cmp.Diff(want, list(parent)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", parent, diff)
		}
	}
	var first hookList
	f.do("GET", strings.Replace(hooks, "tug", "-", 1)+"?pageSize=1", "").ok(&first)
	f.do("GET", hooks+"?pageToken="+first.NextPageToken, "").refuses(400, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
}

// What a client has written is what it reads, also through another admin; what it must
// not read is nowhere.
func TestSecretIsNowhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.another()
	var seen strings.Builder
	note := func(r reply) reply {
		seen.WriteString(r.body)
		return r
	}
	note(f.do("POST", hooks+"?hookId=ci", `{"targetUri":"`+target+`?open=1","sensitiveQueryString":"?key=hush%2F1"}`)).ok(nil)
	query := func() string {
		t.Helper()
		sub, err := f.Store.Get(t.Context(), subscriptionID(parent+"/hooks/ci"))
		if err != nil {
			t.Fatal(err)
		}
		return sub.Endpoint.RequestURL()
	}
	if got := query(); got != target+"?open=1&key=hush%2F1" {
		t.Errorf("the request goes to %s", got)
	}
	note(other.do("GET", hooks+"/ci", "")).ok(nil)
	// A client that reads, changes and writes does not know the secret, and keeps it.
	read := note(other.do("GET", hooks+"/ci", "")).ok(nil).body
	note(other.do("PATCH", hooks+"/ci", strings.Replace(read, "open=1", "open=2", 1))).ok(nil)
	if got := query(); got != target+"?open=2&key=hush%2F1" {
		t.Errorf("after a change of the target the request goes to %s", got)
	}
	note(f.do("PATCH", hooks+"/ci?updateMask=targetUri", `{"targetUri":"`+target+`"}`)).ok(nil)
	if got := query(); got != target+"?key=hush%2F1" {
		t.Errorf("after another change the request goes to %s", got)
	}
	note(f.do("PATCH", hooks+"/ci?updateMask=sensitive_query_string", `{"sensitiveQueryString":"key=hush2"}`)).ok(nil)
	if got := query(); got != target+"?key=hush2" {
		t.Errorf("with another secret the request goes to %s", got)
	}
	id := subscriptionID(parent + "/hooks/ci")
	for _, path := range []string{hooks, "/v1/projects/harbor/locations/north/operations"} {
		note(f.do("GET", path, "")).ok(nil)
	}
	for _, path := range []string{"/v1/subscriptions", "/v1/subscriptions/" + id} {
		note(f.send("GET", f.native+path, "")).ok(nil)
	}
	kv, err := f.JS.KeyValue(t.Context(), f.Layout.SubscriptionsBucket())
	if err != nil {
		t.Fatal(err)
	}
	history, err := kv.History(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range history {
		seen.Write(entry.Value())
	}
	note(f.do("PATCH", hooks+"/ci?updateMask=*", `{"targetUri":"`+target+`"}`)).ok(nil)
	if got := query(); got != target {
		t.Errorf("after a replacement the request goes to %s", got)
	}
	note(f.do("DELETE", hooks+"/ci", "")).ok(nil)
	trail, err := f.JS.Stream(t.Context(), f.Layout.Audit())
	if err != nil {
		t.Fatal(err)
	}
	for seq := range trail.CachedInfo().State.LastSeq {
		record, err := trail.GetMsg(t.Context(), seq+1)
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(record.Data)
	}
	if !strings.Contains(seen.String(), "test-user") {
		t.Error("the audit trail does not say who has done it")
	}
	for _, line := range f.Logs.All() {
		fmt.Fprintln(&seen, line.Message, line.ContextMap())
	}
	if strings.Contains(seen.String(), "hush") {
		t.Errorf("the secret is in %s", seen.String())
	}
}

// Operations come in pages of any size in one order, each once.
func TestPagesOfOperations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n, id := range []string{"h", "h-a", "h0", "h-", "ha", "h-a-b"} {
		if strings.HasSuffix(id, "-") {
			continue
		}
		f.do("POST", hooks+"?hookId="+id, `{"targetUri":"`+target+`"}`).ok(nil)
		if n%2 == 0 {
			f.do("PATCH", hooks+"/"+id+"?updateMask=events", `{"events":["PULL_REQUEST"]}`).ok(nil)
		}
	}
	read := func(query string) (targets []string, next string) {
		t.Helper()
		var list struct {
			Operations []struct {
				Metadata struct{ Target, Verb string }
			}
			NextPageToken string
		}
		f.do("GET", "/v1/projects/harbor/locations/north/operations"+query, "").ok(&list)
		for _, o := range list.Operations {
			targets = append(targets, o.Metadata.Verb+" "+strings.TrimPrefix(o.Metadata.Target, parent+"/hooks/"))
		}
		return targets, list.NextPageToken
	}
	want := []string{"create h-a-b", "create h-a", "create h", "update h", "create h0", "update h0", "create ha", "update ha"}
	for size := 1; size <= len(want)+1; size++ {
		var got []string
		for token := ""; ; {
			part, next := read(fmt.Sprintf("?pageSize=%d&pageToken=%s", size, token))
			got = append(got, part...)
			if token = next; token == "" || len(got) > len(want) {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d at a time differ (-want +got):\n%s", size, diff)
		}
	}
}

// An auditor sees that a target has a query, and nothing of it.
func TestAuditor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", hooks+"?hookId=ci", `{"targetUri":"`+target+`?key=hush"}`).ok(nil)
	for _, path := range []string{hooks, hooks + "/ci", "/v1/projects/harbor/locations/north/operations"} {
		if got := f.do("GET", path, "", admintest.HeaderRole, "auditor").ok(nil).body; strings.Contains(got, "hush") || !strings.Contains(got, `"targetUri":"`+target+`?…"`) {
			t.Errorf("%s: an auditor gets %s", path, got)
		}
		if got := f.do("GET", path, "", admintest.HeaderRole, "operator").ok(nil).body; !strings.Contains(got, "?key=hush") {
			t.Errorf("%s: an operator gets %s", path, got)
		}
	}
}

// A hook shows what is really so: jetpost disables one whose receiver is gone.
func TestDisabled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", hooks+"?hookId=ci", `{"targetUri":"`+target+`"}`).ok(nil)
	state := func(change subscription.State) subscription.State {
		t.Helper()
		sub, err := f.Store.Change(t.Context(), subscriptionID(parent+"/hooks/ci"), func(s *subscription.Subscription) error {
			if change != "" {
				s.State = change
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return sub.State
	}
	for _, tt := range []struct {
		before       subscription.State
		mask, body   string
		shown, after bool
		want         subscription.State
	}{
		{subscription.Disabled, "events", `{"events":["PUSH"]}`, true, true, subscription.Disabled},
		{subscription.Disabled, "", `{"disabled":false}`, true, true, subscription.Disabled},
		{subscription.Disabled, "disabled", `{}`, true, false, subscription.Active},
		{subscription.Active, "disabled", `{"disabled":true}`, false, true, subscription.Disabled},
		{subscription.Active, "", `{"disabled":true}`, false, true, subscription.Disabled},
		{subscription.Paused, "disabled", `{"disabled":false}`, false, false, subscription.Paused},
		{subscription.Paused, "disabled", `{"disabled":true}`, false, true, subscription.Disabled},
	} {
		state(tt.before)
		var h hook
		if f.do("GET", hooks+"/ci", "").ok(&h); h.Disabled != tt.shown {
			t.Errorf("%+v: shown as %+v", tt, h)
		}
		f.do("PATCH", hooks+"/ci?updateMask="+tt.mask, tt.body).ok(nil)
		h = hook{}
		if f.do("GET", hooks+"/ci", "").ok(&h); h.Disabled != tt.after || state("") != tt.want {
			t.Errorf("%+v: is then %+v, %s", tt, h, state(""))
		}
	}
}

// Operations can be read afterwards, from every admin, and only in their location.
func TestOperations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const operations = "/v1/projects/harbor/locations/north/operations"
	type op struct {
		Name     string
		Done     bool
		Metadata struct{ Verb, Target, CreateTime string }
		Response struct {
			Type string `json:"@type"`
			hook
		}
	}
	change := func(method, path, body string) (o op, raw string) {
		t.Helper()
		raw = f.do(method, path, body).ok(&o).body
		if !o.Done || o.Metadata.Target != parent+"/hooks/ci" || !strings.HasPrefix("/v1/"+o.Name, operations+"/") || url.PathEscape(o.Name[len(operations)-3:]) != o.Name[len(operations)-3:] {
			t.Errorf("%s %s: got %s", method, path, raw)
		}
		return o, raw
	}
	created, raw := change("POST", hooks+"?hookId=ci", `{"targetUri":"`+target+`"}`)
	other := f.another()
	if got := other.do("GET", "/v1/"+created.Name, "").ok(nil).body; got != raw {
		t.Errorf("it was\n%s\nand is\n%s", raw, got)
	}
	first, _ := change("PATCH", hooks+"/ci?updateMask=disabled", `{"disabled":true}`)
	second, raw := change("PATCH", hooks+"/ci?updateMask=disabled", `{"disabled":false}`)
	if first.Name == second.Name {
		t.Errorf("two changes are one operation: %s", first.Name)
	}
	if got := other.do("GET", "/v1/"+second.Name, "").ok(nil).body; got != raw {
		t.Errorf("it was\n%s\nand is\n%s", raw, got)
	}
	var again op
	other.do("GET", "/v1/"+first.Name, "").ok(&again)
	if again.Metadata != first.Metadata || again.Response.Disabled {
		t.Errorf("the operation before the last is %+v", again)
	}
	var list struct {
		Operations    []op
		NextPageToken string
	}
	f.do("GET", operations+"?pageSize=1", "").ok(&list)
	if len(list.Operations) != 1 || list.Operations[0].Name != created.Name || list.NextPageToken == "" {
		t.Errorf("the first page is %+v", list)
	}
	f.do("GET", operations+"?pageToken="+list.NextPageToken, "").ok(&list)
	if len(list.Operations) != 1 || list.Operations[0].Name != second.Name {
		t.Errorf("the second page is %+v", list)
	}
	for _, request := range [][2]string{{"POST", ":cancel"}, {"DELETE", ""}} {
		if got := f.do(request[0], "/v1/"+created.Name+request[1], "").ok(nil).body; got != "{}\n" {
			t.Errorf("%s is answered with %s", request, got)
		}
	}
	id := created.Name[strings.LastIndex(created.Name, "/"):]
	for _, missing := range [][2]string{
		{"GET", "/v1/projects/harbor/locations/south/operations" + id},
		{"GET", "/v1/projects/other/locations/north/operations" + id},
		{"GET", operations + "/operation-1"},
		{"GET", operations + id + "x"},
		{"DELETE", operations + "/x"},
		{"POST", operations + "/x:cancel"},
		{"GET", operations + "/operation-" + strings.Repeat("A", 60)},
	} {
		f.do(missing[0], missing[1], "").refuses(404, "NOT_FOUND", "NOT_FOUND")
	}
	f.do("POST", operations+id, "").refuses(404, "NOT_FOUND", "METHOD_NOT_FOUND")
	f.do("GET", operations+"?filter=done", "").refuses(400, "INVALID_ARGUMENT", "INVALID_FILTER")

	deleted, raw := change("DELETE", hooks+"/ci", "")
	for _, recreate := range []bool{true, false} {
		if got := other.do("GET", "/v1/"+deleted.Name, "").ok(nil).body; got != raw {
			t.Errorf("it was\n%s\nand is\n%s", raw, got)
		}
		f.do("GET", "/v1/"+created.Name, "").refuses(404, "NOT_FOUND", "NOT_FOUND")
		if recreate { // another one of that name
			f.do("POST", hooks+"?hookId=ci", `{"targetUri":"`+target+`"}`).ok(nil)
		}
	}
}

// Any hook that can be written is read as it was written.
func TestHookInHookOut(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for range 3000 {
		d := &document{UID: newUID(), wish: wish{
			TargetURI:      pick("https", "http") + "://" + pick("example.com", "EXAMPLE.com:8443", "127.0.0.1", "[::1]:80") + pick("", "/", "/a%2Fb", "/x/") + pick("", "?", "?a=b", "?a&", "?a=b?c"),
			SensitiveQuery: pick("", "key=a&secret=b", "?k=%2F", "&x", "[x]"), BranchFilter: pick("", "*", "main", "{a,b*}", "refs/tags/*"), Disabled: r.IntN(2) == 0,
		}}
		for range r.IntN(4) {
			d.Events = append(d.Events, pick("PUSH", "PULL_REQUEST", "PULL_REQUEST_COMMENT"))
		}
		want := d.wish
		if len(want.Events) == 0 {
			want.Events = []string{"PUSH"}
		}
		name := parent + "/hooks/h"
		sub := &subscription.Subscription{ID: subscriptionID(name), CreatedAt: time.Now(), State: subscription.Active}
		if err := d.apply(sub, name); err != nil {
			t.Fatalf("seed %d: %+v: %v", seed, want, err)
		}
		sub.SetDefaults(time.Now())
		read, err := documentOf(sub)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, read.wish); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
		h, err := shown(t.Context(), sub)
		if err != nil || h.TargetURI != want.TargetURI || h.Disabled != want.Disabled || !slices.Equal(h.Events, want.Events) || h.PushOption.BranchFilter != want.BranchFilter {
			t.Fatalf("seed %d: %+v is shown as %+v, %v", seed, want, h, err)
		}
		// And back: what was read, without the secret, changes nothing.
		text, err := json.Marshal(h)
		if err != nil || !bytes.Contains(text, []byte(`"pushOption":{`)) {
			t.Fatalf("seed %d: got %s, %v", seed, text, err)
		}
		b, err := decodeBody(httptest.NewRequestWithContext(t.Context(), "PATCH", "/", bytes.NewReader(text)))
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, text, err)
		}
		b.fill(&read.wish)
		if diff := cmp.Diff(want, read.wish); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

func FuzzDecodeBody(f *testing.F) {
	for _, text := range []string{`{"targetUri":"a","events":["PUSH",2],"pushOption":{"branch_filter":"x"}}`, `{"a":[{}]}`, `null`, `{"disabled":null}`, `{"events":[1.0]}`, ``} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := decodeBody(&http.Request{Body: io.NopCloser(bytes.NewReader(text))})
		if err != nil {
			return
		}
		for _, e := range b.Events {
			if !slices.ContainsFunc(triggers(), func(tr trigger) bool { return tr.name == e }) {
				t.Errorf("%s has event %s", text, e)
			}
		}
	})
}

func FuzzOperationID(f *testing.F) {
	f.Add(change{created, time.UnixMilli(1_790_000_000_000), newUID(), parent + "/hooks/a"}.id())
	f.Add("operation-")
	f.Fuzz(func(t *testing.T, id string) {
		location, _, _ := strings.Cut(parent, "/repositories/")
		if c, ok := parseChange(location, id); ok && c.id() != id {
			t.Errorf("%s reads as %+v, which is %s", id, c, c.id())
		}
	})
}
