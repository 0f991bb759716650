package schemas_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/schemas"
)

// orders is a user's folder with domains whose prefixes overlap.
var orders = []string{
	"orders/domain.json", `{"name":"orders","type_prefix":"com.example.orders."}`,
	"orders/created.schema.json", `{"type":"object"}`,
	"orders/created.example.json", `{}`,
	"orders/line_item.added.schema.json", `{"type":"object"}`,
	"orders/line_item.added.example.json", `{}`,
	"shop/domain.json", `{"name":"shop","type_prefix":"com.example.","open":true,"events":{"opened":{"description":"The shop opened."}}}`,
	"shop/priced.schema.json", `{"type":"object"}`,
	"shop/priced.example.json", `{}`,
	"quiet/domain.json", `{"name":"quiet","open":true}`,
}

func TestResolve(t *testing.T) {
	t.Parallel()
	c := load(t, orders...)
	for _, tt := range []struct {
		eventType, domain, event string
		schema                   bool
	}{
		{"git.push", "git", "push", true},
		{"com.example.orders.created", "orders", "created", true},
		{"com.example.orders.line_item.added", "orders", "line_item.added", true},
		{"com.example.priced", "shop", "priced", true},
		{"com.example.opened", "shop", "opened", false},
		{"com.example.order", "shop", "order", false}, // the longer prefix does not fit
		{"com.example.closed.early", "shop", "closed.early", false},
		{"quiet.anything", "quiet", "anything", false},
	} {
		got, err := c.Resolve(tt.eventType)
		if err != nil {
			t.Errorf("%s: %v", tt.eventType, err)
			continue
		}
		if got.Name != tt.eventType || got.Domain != tt.domain || got.Event != tt.event || (got.Schema != nil) != tt.schema {
			t.Errorf("%s: got the event %s of %s with name %s and schema %s", tt.eventType, got.Event, got.Domain, got.Name, got.Schema)
		}
		if err := c.Validate(newEvent(tt.eventType, []byte("{}"))); tt.domain != "git" && err != nil {
			t.Errorf("%s: %v", tt.eventType, err)
		}
		if err := c.Validate(newEvent(tt.eventType, []byte("no JSON"))); (err != nil) != tt.schema {
			t.Errorf("%s with a schema: %v, with data that is no JSON: %v", tt.eventType, tt.schema, err)
		}
	}
	opened, _ := c.Resolve("com.example.opened")
	if opened.Description != "The shop opened." {
		t.Errorf("description %q", opened.Description)
	}
}

func TestUnknownTypes(t *testing.T) {
	t.Parallel()
	c := load(t, orders...)
	for _, tt := range []struct{ name, eventType, want string }{
		{
			"an event that a shipped domain does not have", "git.pushed", `unknown event type "git.pushed": domain git does not have it, did you mean "git.push"?; ` +
				`its types are git.pull_request, git.pull_request_comment, git.push; to add others register a domain of your own with jetpost schemas push`,
		},
		{
			"an event that a user's domain does not have", "com.example.orders.deleted", `unknown event type "com.example.orders.deleted": domain orders does not have it, ` +
				`did you mean "com.example.orders.created"?; its types are com.example.orders.created, com.example.orders.line_item.added; ` +
				`add <event>.schema.json and <event>.example.json to its folder`,
		},
		{
			"no domain", "billing.paid", `unknown event type "billing.paid": no domain has a type prefix that fits; domains are app_trust (app_trust.*), artifact (artifact.*), `,
		},
		{"no domain, but users' own", "billing.paid", `(git.*), jetpost (jetpost.*), orders (com.example.orders.*), quiet (quiet.*), release_bundle (`},
		{"no domain, and what to do", "billing.paid", `xray_scan_status (xray_scan_status.*); to add one use jetpost schemas push, or give its folder with --schemas`},
		{"a slip in the domain", "gti.push", `did you mean "git.push"?`},
		{"a domain is no type", "git.", `domain git does not have it`},
		{"the empty type", "", `unknown event type "": no domain`},
		{"an event that can't be a subject", "quiet.Loud", `after "quiet." use at most 128 lower-case letters, digits, underscores and single dots`},
		{"a wildcard", "quiet.>", `after "quiet." use`},
		{"two dots", "quiet.a..b", `after "quiet." use`},
		{"a line break", "quiet.a\nb", `"quiet.a\nb": after "quiet." use`},
		{"too long for a subject", "quiet." + strings.Repeat("a", 129), `after "quiet." use`},
		{"very long", strings.Repeat("x", 100_000), `x"…: no domain has`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := c.Resolve(tt.eventType)
			if !errors.Is(err, schemas.ErrUnknownType) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("\n got %v\nwant %s", err, tt.want)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if _, checked := c.Check(newEvent(tt.eventType, nil)); checked == nil || checked.Error() != err.Error() {
				t.Errorf("Check says %v", checked)
			}
		})
	}
}
