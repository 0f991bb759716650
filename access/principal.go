// Package access is who may do what: the roles, and the principal of a request,
// which travels in its context.
package access

import "context"

// A Role is what a token allows.
type Role string

// The roles.
const (
	Admin     Role = "admin"     // everything
	Operator  Role = "operator"  // everything but tokens
	Publisher Role = "publisher" // publish events, of chosen domains
	Auditor   Role = "auditor"   // read, export and try out, but neither change anything nor see secrets
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
