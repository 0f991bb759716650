// Package access is who may do what with the API: roles, tokens, and the principal
// of a request, which travels in its context.
//
// It keeps the tokens in the tokens bucket, by their hashes, and in each process
// with an API a copy of them, by which it lets requests in (Guard). It promises that
// a token which was revoked or has expired is refused; that the text of a token
// is in no bucket, log, error or metric; and that no request waits for NATS, unless
// it brings a token that is not known here yet.
package access

import (
	"context"
	"slices"

	"github.com/jetpost/jetpost/internal/stream"
)

// A Principal is who makes a request, and from where.
type Principal struct {
	// ID is that of the token. Empty: jetpost itself.
	ID string
	// Name is what people call the token.
	Name string
	Role Role
	// Domains are those that a publisher may publish to. Empty: all.
	Domains []string
	// Address is that of the client, without port.
	Address string
	// RequestID is the name of the request, as in its X-Request-Id.
	RequestID string
}

// Sees reports whether the events and the event types of a domain are there for p.
// For a publisher they are those that it may publish.
func (p Principal) Sees(domain string) bool {
	switch {
	case p.Role != Publisher:
		return true
	case len(p.Domains) == 0:
		return domain != stream.OperationalDomain
	}
	return slices.Contains(p.Domains, domain)
}

// Limited reports whether there are domains that p does not see.
func (p Principal) Limited() bool { return p.Role == Publisher }

// May reports whether p may do what is needed. Without a role it may do nothing:
// a handler without a guard refuses every request.
func (p Principal) May(need Need) bool { return p.Role.may(need) }

type principalKey struct{}

// With returns a context in which p makes the request.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf returns who makes the request that ctx belongs to. The zero value
// stands for jetpost itself.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
