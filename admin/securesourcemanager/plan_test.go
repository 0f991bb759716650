package securesourcemanager

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A plan is what a client that keeps a hook as a description says compares with the
// answers: a small model of Google's Terraform resource.
type plan struct {
	name, target string
	disabled     bool
	events       []string // nil: not in the description, so whatever the server has
	hasPush      bool     // the description has a push option, be it an empty one
	branch       string
}

// differences are the fields that an update would have to change after reading a hook.
func (p *plan) differences(tb testing.TB, reply string) []string {
	tb.Helper()
	var read map[string]any
	if err := json.Unmarshal([]byte(reply), &read); err != nil {
		tb.Fatalf("%s: %v", reply, err)
	}
	var found []string
	differ := func(field string, want, got any) {
		if !cmp.Equal(want, got) {
			found = append(found, fmt.Sprintf("%s: %v is to be %v", field, got, want))
		}
	}
	differ("name", any(p.name), read["name"])
	differ(pathTarget, any(p.target), read[pathTarget])
	disabled, _ := read[pathDisabled].(bool) // what is false may be left out
	differ(pathDisabled, p.disabled, disabled)
	var events []string
	list, _ := read[pathEvents].([]any)
	for _, e := range list {
		events = append(events, fmt.Sprint(e))
	}
	if p.events != nil {
		differ(pathEvents, p.events, events)
	}
	// What a reply lacks is no block for Terraform, and {} is one.
	push, hasPush := read[pathPush].(map[string]any)
	if !hasPush {
		found = append(found, fmt.Sprintf("pushOption: %v is to be an object", read[pathPush]))
	}
	branch, _ := push["branchFilter"].(string)
	if p.hasPush || branch != "" {
		differ(pathBranch, p.branch, branch)
	}
	if secret, shown := read[pathQuery]; shown {
		found = append(found, fmt.Sprintf("sensitiveQueryString: %v is shown", secret))
	}
	return found
}

// A describer makes bodies at random: fields are there, absent, null and empty, in both
// spellings.
type describer struct{ *rand.Rand }

func (d describer) one(of ...any) any { return of[d.IntN(len(of))] }

// body returns one and what it has, by the names of answers; null is absent.
func (d describer) body(always string) (body, has map[string]any) {
	body, has = map[string]any{}, map[string]any{}
	values := map[string][]any{
		pathTarget:   {target, target + "?x=1", "https://example.com/a%2Fb", nil},
		pathDisabled: {true, false, nil},
		pathEvents:   {[]string{"PUSH"}, []string{"PULL_REQUEST", "PUSH"}, []string{"PULL_REQUEST_COMMENT"}, []string{}, nil},
		pathPush:     {map[string]any{}, map[string]any{"branchFilter": "main"}, map[string]any{"branch_filter": "{a,b*}"}, map[string]any{"branchFilter": ""}, map[string]any{"branchFilter": nil}, nil},
		pathQuery:    {"key=hush", "", nil},
		"uid":        {"ignored", nil},
	}
	for _, field := range slices.Sorted(maps.Keys(values)) {
		value := d.one(values[field]...)
		switch {
		case field == always:
			value = values[field][0]
		case d.IntN(3) == 0:
			continue
		}
		name := field
		if d.IntN(3) == 0 {
			name = snake(field)
		}
		body[name] = value
		if value != nil {
			has[field] = value
		}
	}
	return body, has
}

// mask is one at random; none may be needed.
func (d describer) mask() []string {
	switch d.IntN(4) {
	case 0:
		return nil
	case 1:
		return []string{"*"}
	}
	fields := []string{pathTarget, pathDisabled, pathEvents, pathPush, pathBranch, pathQuery, "uid"}
	d.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return fields[:1+d.IntN(len(fields))]
}

// update is what a body does to a plan (the vendor's update masks).
func (p *plan) update(mask []string, has map[string]any) {
	set := func(field string) {
		value := has[field]
		switch field {
		case pathTarget:
			p.target, _ = value.(string)
		case pathDisabled:
			p.disabled, _ = value.(bool)
		case pathEvents:
			if p.events, _ = value.([]string); len(p.events) == 0 {
				p.events = nil
			}
		case pathPush, pathBranch:
			push, _ := has[pathPush].(map[string]any)
			p.hasPush, p.branch = true, ""
			for _, branch := range push {
				p.branch, _ = branch.(string)
			}
		}
	}
	switch {
	case slices.Equal(mask, []string{"*"}):
		mask = []string{pathTarget, pathDisabled, pathEvents, pathPush}
	case len(mask) == 0: // the fields of the body that are not empty; an empty message is a value
		for field, value := range has {
			if events, isList := value.([]string); value != "" && value != false && (!isList || len(events) > 0) {
				mask = append(mask, field)
			}
		}
	}
	for _, field := range mask {
		set(field)
	}
}

// Whatever hook is sent, created and updated, and read back plans no change, now and the
// second time; and writing back what was read changes nothing.
func TestReadBackPlansNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for seed := range uint64(12) {
		d := describer{rand.New(rand.NewPCG(seed, 3))}
		id := fmt.Sprintf("hook-%d", seed)
		path := hooks + "/" + id
		body, has := d.body(pathTarget)
		p := &plan{name: parent + "/hooks/" + id}
		p.update([]string{"*"}, has)
		created := f.do("POST", hooks+"?hookId="+id, encoded(t, body)).ok(nil)
		check := func(did string) {
			t.Helper()
			read := f.do("GET", path, "").ok(nil)
			if found := p.differences(t, read.body); len(found) > 0 {
				t.Fatalf("seed %d: after %s of %s a client plans %v: %s", seed, did, encoded(t, body), found, read.body)
			}
			if again := f.do("GET", path, ""); again.body != read.body {
				t.Fatalf("seed %d: read as %s and as %s", seed, read.body, again.body)
			}
		}
		var operation struct{ Response json.RawMessage }
		if err := json.Unmarshal([]byte(created.body), &operation); err != nil {
			t.Fatal(err)
		}
		if found := p.differences(t, string(operation.Response)); len(found) > 0 {
			t.Fatalf("seed %d: the operation has %s: %v", seed, operation.Response, found)
		}
		check("creation")
		for range 8 {
			mask, always := d.mask(), ""
			if slices.Contains(mask, pathTarget) || slices.Contains(mask, "*") {
				always = pathTarget // which cannot be cleared
			}
			body, has = d.body(always)
			f.do("PATCH", path+"?updateMask="+url.QueryEscape(strings.Join(mask, ",")), encoded(t, body)).ok(nil)
			p.update(mask, has)
			check("an update with mask " + strings.Join(mask, ","))
			read := f.do("GET", path, "").body
			for _, mask := range []string{"", "targetUri,disabled,events,pushOption"} {
				f.do("PATCH", path+"?updateMask="+mask, read).ok(nil)
				check("writing back what was read, with mask " + mask)
			}
		}
	}
}

// encoded is a body as it is sent.
func encoded(tb testing.TB, body map[string]any) string {
	tb.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
