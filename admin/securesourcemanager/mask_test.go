package securesourcemanager

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func bodyOf(t *testing.T, text string) *body {
	t.Helper()
	b, err := decodeBody(httptest.NewRequestWithContext(t.Context(), "PATCH", "/", strings.NewReader(text)))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return b
}

func TestUpdateMask(t *testing.T) {
	t.Parallel()
	before := wish{TargetURI: "https://a.example", Disabled: true, Events: []string{"PUSH"}, BranchFilter: "main", SensitiveQuery: "key=k"}
	for _, tt := range []struct {
		name, mask, body string
		change           func(*wish)
	}{
		{"no mask: what is not empty", "", `{"targetUri":"https://b.example","disabled":false,"events":[],"sensitiveQueryString":""}`, func(w *wish) { w.TargetURI = "https://b.example" }},
		{"no mask and nothing", "", `{}`, func(*wish) {}},
		{"no mask and no body", "", ``, func(*wish) {}},
		{"no mask: events replaced, not joined", "", `{"events":["PULL_REQUEST"]}`, func(w *wish) { w.Events = []string{"PULL_REQUEST"} }},
		{"no mask: an empty option is one", "", `{"pushOption":{}}`, func(w *wish) { w.BranchFilter = "" }},
		{"no mask: null is absent", "", `{"pushOption":null,"targetUri":null}`, func(*wish) {}},
		{"what was read is written back", "", `{"name":"n","uid":"u","targetUri":"https://a.example","events":["PUSH"],"pushOption":{"branchFilter":"main"},"disabled":true}`, func(*wish) {}},
		{"all", "*", `{"targetUri":"https://b.example"}`, func(w *wish) { *w = wish{TargetURI: "https://b.example"} }},
		{"one field of two", "targetUri", `{"targetUri":"https://b.example","disabled":false}`, func(w *wish) { w.TargetURI = "https://b.example" }},
		{"as in the definition", "target_uri", `{"target_uri":"https://b.example"}`, func(w *wish) { w.TargetURI = "https://b.example" }},
		{"absent is cleared", "disabled,events,push_option,sensitive_query_string", `{}`, func(w *wish) { *w = wish{TargetURI: w.TargetURI} }},
		{"null is absent", "pushOption", `{"pushOption":null}`, func(w *wish) { w.BranchFilter = "" }},
		{"nested", "pushOption.branchFilter", `{"pushOption":{"branchFilter":"dev"}}`, func(w *wish) { w.BranchFilter = "dev" }},
		{"nested, mixed spelling", "pushOption.branch_filter", `{"push_option":{"branchFilter":"dev"}}`, func(w *wish) { w.BranchFilter = "dev" }},
		{"nested and absent", "push_option.branch_filter", `{"pushOption":{}}`, func(w *wish) { w.BranchFilter = "" }},
		{"the secret stays out of the mask", "disabled", `{"sensitiveQueryString":"other"}`, func(w *wish) { w.Disabled = false }},
		{"the secret replaced", "sensitiveQueryString", `{"sensitiveQueryString":"other"}`, func(w *wish) { w.SensitiveQuery = "other" }},
		{"output only", "name,createTime,update_time,uid", `{"targetUri":"https://b.example"}`, func(*wish) {}},
		{"output only among others", "uid, disabled", `{}`, func(w *wish) { w.Disabled = false }},
	} {
		patch, err := patchOf(tt.mask, bodyOf(t, tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, want := before, before
		patch(&got)
		tt.change(&want)
		if diff := cmp.Diff(want.normal(), got.normal()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for _, mask := range []string{"foo", "targetUri,foo", ",", "targetUri,", "*,disabled", "disabled,*", "pushOption.", "pushOption.other", "events.0", "pushoption", "target__uri", "hook.disabled", "create_time.seconds", "**"} {
		if _, err := patchOf(mask, bodyOf(t, `{"targetUri":"https://b.example"}`)); err == nil {
			t.Errorf("mask %q is accepted", mask)
		}
	}
	for _, mask := range []string{"*", "targetUri", "disabled,target_uri"} {
		if _, err := patchOf(mask, bodyOf(t, `{"disabled":true}`)); err == nil {
			t.Errorf("mask %q clears the target", mask)
		}
	}
}

// normal has no difference between lists that are empty.
func (w wish) normal() wish {
	if len(w.Events) == 0 {
		w.Events = nil
	}
	return w
}
