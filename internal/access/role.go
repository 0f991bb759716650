package access

import (
	"net/http"
	"slices"
	"strings"
)

// A Role is what a token allows.
type Role string

// The roles.
const (
	Admin     Role = "admin"     // everything
	Operator  Role = "operator"  // everything but tokens, moving secrets and losses
	Publisher Role = "publisher" // publish events, of chosen domains
	Auditor   Role = "auditor"   // read, export and try out, but neither change anything nor see secrets
)

// Roles are all roles, the mightiest first.
func Roles() []Role { return []Role{Admin, Operator, Auditor, Publisher} }

// A Need is what a route asks of who calls it.
type Need string

// The needs of routes.
const (
	NeedToken   Need = "token"   // any token at all
	NeedPublish Need = "publish" // publish events, of the domains that one sees
	NeedEvents  Need = "events"  // read events and event types, of the domains that one sees
	NeedRead    Need = "read"    // read everything that is no secret, try out without changing anything
	NeedSecrets Need = "secrets" // see the signing secrets of subscriptions
	NeedOperate Need = "operate" // change subscriptions and domains, redrive, discard
	NeedTokens  Need = "tokens"  // make, see and revoke tokens
	NeedMove    Need = "move"    // have stored secrets sent where they were not sent before
	NeedLosses  Need = "losses"  // accept the losses of streams
)

// Needs are all needs.
func Needs() []Need {
	return []Need{NeedToken, NeedPublish, NeedEvents, NeedRead, NeedSecrets, NeedOperate, NeedTokens, NeedMove, NeedLosses}
}

// may is the table of the design. What it does not list is denied to all.
func (r Role) may(need Need) bool {
	switch r {
	case Admin:
		return slices.Contains(Needs(), need)
	case Operator:
		return need != NeedTokens && need != NeedMove && need != NeedLosses && slices.Contains(Needs(), need)
	case Auditor:
		return need == NeedRead || need == NeedEvents || need == NeedToken
	case Publisher:
		return need == NeedPublish || need == NeedEvents || need == NeedToken
	}
	return false
}

// RolesThatMay are the names of the roles that may do what is needed.
func RolesThatMay(need Need) []string {
	var names []string
	for _, role := range Roles() {
		if role.may(need) {
			names = append(names, string(role))
		}
	}
	return names
}

// NeedOf is what a request needs by its method: to read, or to change
// something.
func NeedOf(method string) Need {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return NeedRead
	}
	return NeedOperate
}

// Denial says to p why it may not do what is needed.
func Denial(p Principal, need Need) string {
	roles := RolesThatMay(need)
	last := len(roles) - 1
	text := roles[last]
	if last > 0 {
		text = strings.Join(roles[:last], ", ") + " or " + text
	}
	return "a token with the role " + string(p.Role) + " may not do this: use one with the role " + text
}
