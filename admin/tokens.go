package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/precondition"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
)

// The actions of the audit trail: docs/audit.md lists them.
const (
	actionMakeToken   = "token.create"
	actionChangeToken = "token.change"
	actionRevokeToken = "token.revoke"
)

// tokensPath is where tokens are. An answer with a token is kept under no
// Idempotency-Key: it would be the only place with one.
const tokensPath = "/v1/tokens"

var errNoTokens = errors.New("this server keeps no tokens")

func showToken(t *access.Token, used map[string]time.Time) v1.Token {
	out := v1.Token{
		ID: t.ID, Name: t.Name, Role: v1.Role(t.Role), Domains: t.Domains, Rate: t.Rate, CreatedAt: &t.CreatedAt, CreatedBy: t.CreatedBy,
		Expired: t.Expired(time.Now()),
	}
	if !t.ExpiresAt.IsZero() {
		out.ExpiresAt = &t.ExpiresAt
	}
	if at, ok := used[t.ID]; ok {
		out.LastUsedAt = &at
	}
	return out
}

// tokenPatch is that body as it is read.
type tokenPatch struct {
	Name      *string      `json:"name"`
	ExpiresAt optionalTime `json:"expires_at"`
}

// An optionalTime tells null, which is the zero time, from what is not there.
type optionalTime struct {
	given bool
	at    httpapi.Instant
}

// UnmarshalJSON reads a time or null.
func (o *optionalTime) UnmarshalJSON(b []byte) error {
	o.given, o.at = true, httpapi.Instant{}
	return o.at.UnmarshalJSON(b)
}

// NamedToken is a request for one token.
type NamedToken struct {
	ID string `path:"id" maxLength:"64" doc:"Of the token: the part of it between jp_ and the next _."`
}

// Forced is a request that may cut off its own principal.
type Forced struct {
	Force bool `query:"force" doc:"Do it even to the token that the request is made with."`
}

type changeTokenRequest struct {
	NamedToken
	Forced
	httpapi.RawJSON
}

type revokeTokenRequest struct {
	NamedToken
	Forced
}

type oneToken struct {
	ETag string `header:"ETag" doc:"The revision of what can be changed, for If-Match."`
	Body v1.Token
}

func answerToken(t *access.Token, used map[string]time.Time) *oneToken {
	return &oneToken{httpapi.RevisionTag(t.Revision()), showToken(t, used)}
}

// mayChangeToken says why a token must not be changed.
func mayChangeToken(ctx context.Context, t *access.Token) error {
	return httpapi.MayChange(ctx, "the token "+t.ID, precondition.Current{Exists: true, ETag: httpapi.RevisionTag(t.Revision())})
}

type madeToken struct{ Body v1.MadeToken }

type tokenPage struct{ Body v1.Page[v1.Token] }

// tokens are the operations of the tokens of the API.
type tokens struct {
	kept      *access.Store // nil: none can be made or seen
	catalogue catalogue.Catalogue
	trail     *audit.Trail
}

func (t *tokens) register(api *httpapi.API) {
	tags := []string{"Tokens"}
	httpapi.RegisterBody[v1.TokenOptions](api, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: tokensPath, Tags: tags, Metadata: httpapi.Unkeyed(httpapi.Needs(access.NeedTokens)),
		Summary: "Make a token", DefaultStatus: http.StatusCreated, Description: "The answer is the only place where it is shown. It works at once, on every process of the server.",
	}, true, t.create)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: tokensPath, Tags: tags, Metadata: httpapi.Needs(access.NeedTokens),
		Summary: "List the tokens", Description: "The oldest first, also those that have expired. The server's own token is not one of them.",
	}, t.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-own-token", Method: http.MethodGet, Path: tokensPath + "/self", Tags: tags, Metadata: httpapi.Needs(access.NeedToken),
		Summary: "Show the token that the request is made with",
	}, t.own)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-token", Method: http.MethodGet, Path: tokensPath + "/{id}", Tags: tags, Metadata: httpapi.Needs(access.NeedTokens),
		Summary: "Show a token", Description: "Not the token itself, which only its holder has.",
	}, t.get)
	httpapi.RegisterBody[v1.TokenChange](api, huma.Operation{
		OperationID: "change-token", Method: http.MethodPatch, Path: tokensPath + "/{id}", Tags: tags, Metadata: httpapi.Needs(access.NeedTokens),
		Summary: "Rename a token, or change when it expires", Description: "What it allows never changes: make another one for that.",
	}, true, t.change)
	httpapi.Register(api, huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: tokensPath + "/{id}", Tags: tags, Metadata: httpapi.Needs(access.NeedTokens),
		Summary: "Revoke a token", DefaultStatus: http.StatusNoContent,
		Description: "It stops working within moments, also for requests that follow a log. To stop one later, give it an expires_at.",
	}, t.revoke)
}

func (t *tokens) store() (*access.Store, error) {
	if t.kept == nil {
		return nil, errNoTokens
	}
	return t.kept, nil
}

func (t *tokens) create(ctx context.Context, in *httpapi.RawJSON) (*madeToken, error) {
	var options v1.TokenOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	store, err := t.store()
	if err != nil {
		return nil, err
	}
	wanted := access.Token{
		Name: options.Name, Role: access.Role(options.Role), Domains: options.Domains, Rate: options.Rate,
		CreatedBy: access.PrincipalOf(ctx).ID,
	}
	if wanted.ExpiresAt, err = expiryOf(&options, time.Now()); err != nil {
		return nil, err
	}
	token, text, err := store.Make(wanted)
	if err != nil {
		return nil, err
	}
	if err := t.checkDomains(token.Domains); err != nil {
		return nil, err
	}
	record := audit.Record{Action: actionMakeToken, Target: tokenTarget(token.ID), After: tokenState(&token)}
	if err := t.trail.Around(ctx, record, func() error { return store.Create(ctx, token) }); err != nil {
		return nil, err
	}
	out := &madeToken{}
	out.Body.Token, out.Body.Text = showToken(&token, nil), text
	return out, nil
}

// expiryOf is when a token is to stop working.
func expiryOf(o *v1.TokenOptions, now time.Time) (time.Time, error) {
	switch {
	case o.ExpiresAt != nil && o.TTL != nil:
		return time.Time{}, httpapi.Invalid("ttl", "and expires_at are given: give one of them")
	case o.TTL != nil && *o.TTL <= 0:
		return time.Time{}, httpapi.Invalid("ttl", "must be positive: an expired token is refused")
	case o.TTL != nil:
		return now.Add(time.Duration(*o.TTL)).UTC().Truncate(time.Second), nil
	case o.ExpiresAt != nil && !o.ExpiresAt.After(now):
		return time.Time{}, httpapi.Invalid("expires_at", "is in the past: an expired token is refused")
	case o.ExpiresAt != nil:
		return *o.ExpiresAt, checkExpiry(*o.ExpiresAt)
	}
	return time.Time{}, nil
}

// checkExpiry finds a time that cannot be written in UTC, as it is stored.
func checkExpiry(at time.Time) error {
	if at.UTC().Year() > 9999 {
		return httpapi.Invalid("expires_at", "is after the year 9999, in UTC: leave it out for a token that does not expire")
	}
	return nil
}

// checkDomains finds a domain that is not there: most likely a slip of the pen.
func (t *tokens) checkDomains(domains []string) error {
	for i, domain := range domains {
		if domain == access.AllDomains {
			continue
		}
		if problem := t.catalogue.Problem(domain + ".*"); problem != "" {
			return httpapi.Invalid("domains["+strconv.Itoa(i)+"]", problem)
		}
	}
	return nil
}

// listTokens goes on behind a place in the order, so that pages stay stable while
// tokens come and go.
func (t *tokens) list(ctx context.Context, in *httpapi.Paged) (*tokenPage, error) {
	store, err := t.store()
	if err != nil {
		return nil, err
	}
	all, err := store.List(ctx)
	if err != nil {
		return nil, err
	}
	if in.Cursor != "" {
		text, id, _ := strings.Cut(in.Cursor, "-")
		at, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, httpapi.Invalid("cursor", "is not the next_cursor of a page")
		}
		after := func(t access.Token) bool {
			return t.CreatedAt.UnixMilli() > at || t.CreatedAt.UnixMilli() == at && t.ID > id
		}
		all = slices.DeleteFunc(all, func(t access.Token) bool { return !after(t) })
	}
	used, err := store.LastUsed(ctx, access.EveryToken)
	if err != nil {
		return nil, err
	}
	out := &tokenPage{}
	out.Body.Items = []v1.Token{}
	for i := range all[:min(len(all), in.Limit)] {
		out.Body.Items = append(out.Body.Items, showToken(&all[i], used))
	}
	if len(all) > in.Limit {
		last := &all[in.Limit-1]
		out.Body.NextCursor = strconv.FormatInt(last.CreatedAt.UnixMilli(), 10) + "-" + last.ID
	}
	return out, nil
}

func (t *tokens) get(ctx context.Context, in *NamedToken) (*oneToken, error) {
	store, err := t.store()
	if err != nil {
		return nil, err
	}
	token, err := store.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	used, err := store.LastUsed(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answerToken(&token, used), nil
}

// own shows the token that the request is made with.
func (t *tokens) own(ctx context.Context, _ *struct{}) (*oneToken, error) {
	p := access.PrincipalOf(ctx)
	if p.ID == access.BootstrapID {
		return &oneToken{Body: v1.Token{ID: p.ID, Name: p.Name, Role: v1.Role(p.Role)}}, nil
	}
	return t.get(ctx, &NamedToken{p.ID})
}

func (t *tokens) change(ctx context.Context, in *changeTokenRequest) (*oneToken, error) {
	var change tokenPatch
	if err := httpapi.Decode(in.RawBody, &change); err != nil {
		return nil, err
	}
	store, err := t.store()
	if err != nil {
		return nil, err
	}
	token, err := store.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := mayChangeToken(ctx, &token); err != nil {
		return nil, err
	}
	record := audit.Record{Action: actionChangeToken, Target: tokenTarget(token.ID), Before: tokenState(&token)}
	if change.Name != nil {
		token.Name = *change.Name
	}
	if change.ExpiresAt.given {
		token.ExpiresAt = change.ExpiresAt.at.Time
		if err := checkExpiry(token.ExpiresAt); err != nil {
			return nil, err
		}
		if token.Expired(time.Now()) && !in.Force {
			if err := notOwn(ctx, in.ID, "expire"); err != nil {
				return nil, err
			}
		}
	}
	record.After = tokenState(&token)
	if !bytes.Equal(record.Before, record.After) { // what changes nothing is no change
		err := t.trail.Around(ctx, record, func() error {
			token, err = store.Replace(ctx, token)
			return err
		})
		if err != nil {
			return nil, httpapi.Overtaken(ctx, err, access.ErrConflict)
		}
	}
	used, err := store.LastUsed(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answerToken(&token, used), nil
}

func (t *tokens) revoke(ctx context.Context, in *revokeTokenRequest) (*struct{}, error) {
	store, err := t.store()
	if err != nil {
		return nil, err
	}
	token, err := store.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !in.Force {
		if err := notOwn(ctx, in.ID, "revoke"); err != nil {
			return nil, err
		}
	}
	if err := mayChangeToken(ctx, &token); err != nil {
		return nil, err
	}
	record := audit.Record{Action: actionRevokeToken, Target: tokenTarget(token.ID), Before: tokenState(&token)}
	err = t.trail.Around(ctx, record, func() error { return store.Revoke(ctx, token) })
	return nil, httpapi.Overtaken(ctx, err, access.ErrConflict)
}

func tokenTarget(id string) string { return "tokens/" + id }

// tokenState is a token as the audit trail has it: without its text, of which not even
// a hash is shown, and without when it was used.
func tokenState(t *access.Token) json.RawMessage { return audit.State(showToken(t, nil)) }

// notOwn keeps people from locking themselves out by accident.
func notOwn(ctx context.Context, id, verb string) error {
	if access.PrincipalOf(ctx).ID != id {
		return nil
	}
	return httpapi.NewProblem(http.StatusConflict, "this would "+verb+" the token that the request is made with, which then stops working at once: give force=true if that is meant")
}
