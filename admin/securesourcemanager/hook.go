package securesourcemanager

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/glob"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// A hook is the resource as answers show it, its keys in the order of the original's
// fields. What is false or empty is left out, and the sensitive query string always. The
// push option is there even when it is empty: Terraform's resource plans to add
// push_option {} as long as an answer lacks it.
type hook struct {
	Type       string     `json:"@type,omitempty"` // inside of an operation
	Name       string     `json:"name"`
	TargetURI  string     `json:"targetUri"`
	Disabled   bool       `json:"disabled,omitempty"`
	Events     []string   `json:"events"`
	CreateTime timestamp  `json:"createTime"`
	UpdateTime timestamp  `json:"updateTime"`
	UID        string     `json:"uid"`
	PushOption pushOption `json:"pushOption"`
}

type pushOption struct {
	BranchFilter string `json:"branchFilter,omitempty"`
}

// timestamp prints as protobuf does: UTC, with 0, 3, 6 or 9 digits of a second.
type timestamp struct{ time.Time }

// MarshalText returns that form.
func (t timestamp) MarshalText() ([]byte, error) {
	layout := "2006-01-02T15:04:05.000000000Z"
	for _, digits := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if t.Truncate(digits).Equal(t.Time) {
			layout = map[time.Duration]string{
				time.Second: "2006-01-02T15:04:05Z", time.Millisecond: "2006-01-02T15:04:05.000Z", time.Microsecond: "2006-01-02T15:04:05.000000Z",
			}[digits]
			break
		}
	}
	return t.UTC().AppendFormat(nil, layout), nil
}

// MarshalJSON is that of the text and not that of time.Time.
func (t timestamp) MarshalJSON() ([]byte, error) {
	text, err := t.MarshalText()
	return []byte(strconv.Quote(string(text))), err
}

// A wish is what a client can say about a hook.
type wish struct {
	TargetURI      string   `json:"target"`
	Events         []string `json:"events"`
	BranchFilter   string   `json:"branch_filter,omitempty"`
	SensitiveQuery string   `json:"query,omitempty"`
	Disabled       bool     `json:"-"` // is the state of the subscription
}

// A document is what only this API knows of a hook. It is stored sealed, in
// subscription.Managed.
type document struct {
	wish

	UID string `json:"uid"`
	// Changed is when the last PATCH was made; zero: there was none. Others may have
	// changed the subscription since.
	Changed time.Time `json:"changed,omitzero"`
}

func documentOf(sub *subscription.Subscription) (*document, error) {
	d := &document{}
	if err := json.Unmarshal([]byte(sub.Managed.Document.Reveal()), d); err != nil { // not wrapped: it quotes
		return nil, fmt.Errorf("read what is stored of hook %s: it is not a document of this API", sub.Managed.Name)
	}
	d.Disabled = sub.State == subscription.Disabled
	return d, nil
}

// shown is a hook as who makes the request may see it: the query of a target is often a
// token, so that an auditor sees that there is one, as everywhere else.
func shown(ctx context.Context, sub *subscription.Subscription) (*hook, error) {
	d, err := documentOf(sub)
	if err != nil {
		return nil, err
	}
	h := &hook{
		Name: sub.Managed.Name, TargetURI: d.TargetURI, Disabled: d.Disabled, Events: d.Events,
		CreateTime: timestamp{sub.CreatedAt}, UpdateTime: timestamp{sub.UpdatedAt}, UID: d.UID, PushOption: pushOption{d.BranchFilter},
	}
	if plain, _, query := strings.Cut(d.TargetURI, "?"); query && access.PrincipalOf(ctx).Role == access.Auditor {
		h.TargetURI = plain + "?…"
	}
	return h, nil
}

// trigger is a kind of event that a hook can ask for.
type trigger struct {
	name      string
	number    int // on the wire of protobuf; 0: not published
	eventType string
}

func triggers() []trigger {
	return []trigger{
		{"PUSH", 1, typePush},
		{"PULL_REQUEST", 2, "git.pull_request"},
		{"PULL_REQUEST_COMMENT", 0, "git.pull_request_comment"},
	}
}

const typePush = "git.push"

// apply makes sub the subscription that is the hook of a name. What it does not
// mention stays: other APIs may have set it.
func (d *document) apply(sub *subscription.Subscription, name string) error {
	if len(d.Events) == 0 {
		d.Events = []string{triggers()[0].name}
	}
	parent, _ := splitHook(name)
	base, query, err := d.requestURL()
	if err != nil {
		return err
	}
	filters, err := d.filters(parent)
	if err != nil {
		return err
	}
	var types []string
	for _, t := range triggers() {
		if slices.Contains(d.Events, t.name) {
			types = append(types, t.eventType)
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("write what is stored of hook %s: %w", name, err)
	}
	sub.Profile = "secure-source-manager"
	sub.Types, sub.Filters = types, filters
	sub.Endpoint.URL, sub.Endpoint.Query = base, keyring.NewSecret(query)
	sub.Managed = subscription.Managed{By: subscription.ManagedBySecureSourceManager, Name: name, Document: keyring.NewSecret(string(text))}
	switch {
	case d.Disabled:
		sub.State = subscription.Disabled
	case sub.State == subscription.Disabled: // one that is paused stays so: it is not disabled
		sub.State = subscription.Active
	}
	return nil
}

// requestURL checks what the rules of this API add to those of all endpoints, and
// returns the URL to call and the query of it, which is a secret. What is wrong is said
// without showing it.
func (d *document) requestURL() (base, query string, err error) {
	const field = "hook.targetUri"
	u, err := url.Parse(d.TargetURI)
	switch {
	case d.TargetURI == "":
		return "", "", badField("MISSING_TARGET_URI", field, "is required: give the http or https URL that receives the events.")
	case strings.ContainsFunc(d.TargetURI, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) || err != nil:
		return "", "", badField("INVALID_TARGET_URI", field, "is not a URL: write https://host/path, with percent-encoding where it is needed.")
	case u.User != nil:
		return "", "", badField("INVALID_TARGET_URI", field, "must not have a user name or password: receivers take a token from sensitiveQueryString.")
	case strings.Contains(d.TargetURI, "#"):
		return "", "", badField("INVALID_TARGET_URI", field, "must not have a fragment: it is never sent.")
	case d.SensitiveQuery == keyring.Placeholder:
		return "", "", badField("INVALID_SENSITIVE_QUERY_STRING", "hook.sensitiveQueryString", "is what stands for a secret elsewhere: give the secret, or leave it out of the mask to keep it.")
	}
	target, err := securesourcemanager.JoinQuery(d.TargetURI, d.SensitiveQuery)
	if err != nil {
		return "", "", badField("INVALID_SENSITIVE_QUERY_STRING", "hook.sensitiveQueryString", "{problem}", "problem", err.Error())
	}
	base, query, _ = strings.Cut(target, "?")
	if query == keyring.Placeholder {
		return "", "", badField("INVALID_TARGET_URI", field, "has as its query what stands for a secret elsewhere.")
	}
	return base, query, nil
}

// filters want the events of the repository, and of its pushes those that the branch
// filter passes.
func (d *document) filters(parent string) ([]filter.Filter, error) {
	all := []filter.Filter{securesourcemanager.RepositoryFilter(parent)}
	branches, err := securesourcemanager.BranchFilter(d.BranchFilter)
	if syntax, ok := errors.AsType[*glob.SyntaxError](err); ok {
		return nil, badField("INVALID_BRANCH_FILTER", "hook.pushOption.branchFilter", "\"{branchFilter}\" is not a glob: {problem} at offset {offset}.",
			"branchFilter", d.BranchFilter, "problem", syntax.Reason, "offset", strconv.Itoa(syntax.Offset))
	}
	if err != nil {
		return nil, badField("INVALID_BRANCH_FILTER", "hook.pushOption.branchFilter", "{problem}", "problem", err.Error())
	}
	if len(branches) == 0 || !slices.Contains(d.Events, triggers()[0].name) {
		return all, nil
	}
	if slices.ContainsFunc(d.Events, func(name string) bool { return name != triggers()[0].name }) {
		push := filter.Exact(map[string]string{"type": typePush})
		branches = []filter.Filter{filter.Any(filter.Not(push), filter.All(branches...))}
	}
	return append(all, branches...), nil
}

// newUID makes a UUID version 4.
func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
