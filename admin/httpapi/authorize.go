package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/jetpost/jetpost/internal/access"
)

const needKey = "need"

// Needs declares what an operation needs, where its method does not tell: GET is to
// read, everything else to change something.
func Needs(need access.Need) map[string]any { return map[string]any{needKey: need} }

// authorize lets those in who may do what the operation needs, and names their roles
// in its description.
func (a *API) authorize(op *huma.Operation) {
	need, declared := op.Metadata[needKey].(access.Need)
	if !declared {
		need = access.NeedOf(op.Method)
	}
	op.Security = security(need)
	a.needed[op.Method+" "+op.Path] = need
	// Before anything of the request is looked at: who may not do it learns nothing.
	op.Middlewares = append(huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		if p := access.PrincipalOf(ctx.Context()); !p.May(need) {
			_, w := humago.Unwrap(ctx)
			WriteProblem(w, denied(p, need))
			return
		}
		next(ctx)
	}}, op.Middlewares...)
}

// mayRoute is the problem of a request whose route the caller may not use. It is found
// before anything of the body is read or kept for it: the role that may do least must
// not fill the memory of the process.
func (a *API) mayRoute(r *http.Request, pattern string) *ProblemError {
	need, declared := a.needed[pattern]
	if p := access.PrincipalOf(r.Context()); declared && !p.May(need) {
		return denied(p, need)
	}
	return nil
}

// security names in the description the roles of the tokens that an operation takes.
func security(need access.Need) []map[string][]string {
	return []map[string][]string{{"token": access.RolesThatMay(need)}}
}

// Require is for handlers in which the request tells what it needs, beside what its
// operation does.
func Require(ctx context.Context, need access.Need) error {
	if p := access.PrincipalOf(ctx); !p.May(need) {
		return denied(p, need)
	}
	return nil
}

func denied(p access.Principal, need access.Need) *ProblemError {
	if p.Role == "" {
		return NewProblem(http.StatusUnauthorized, "the request has no token")
	}
	return NewProblem(http.StatusForbidden, access.Denial(p, need))
}
