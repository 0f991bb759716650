package api

import "time"

// A Role is what a token allows.
type Role string

// The roles.
const (
	Admin     Role = "admin"     // everything
	Operator  Role = "operator"  // everything but tokens, moving secrets and losses
	Publisher Role = "publisher" // publish events, of chosen domains
	Auditor   Role = "auditor"   // read, export and try out, but neither change anything nor see secrets
)

// A Token is a token of the API, without its text.
type Token struct {
	ID         string     `json:"id" doc:"Names it, and is part of its text. It is no secret."`
	Name       string     `json:"name" doc:"What people call it."`
	Role       Role       `json:"role" enum:"admin,operator,auditor,publisher" doc:"What it allows. admin: everything; operator: everything but tokens; auditor: to read all but secrets, and dry runs; publisher: to publish and read events of its domains."`
	Domains    []string   `json:"domains,omitempty" doc:"Of a publisher: the domains whose events it may publish and read; * for all."`
	Rate       float64    `json:"rate,omitempty" doc:"Requests per second that each process of the server answers to it. Missing: as many as the server allows to any token."`
	CreatedAt  *time.Time `json:"created_at,omitempty" doc:"When it was made. Missing for the server's own token."`
	CreatedBy  string     `json:"created_by,omitempty" doc:"The id of the token that it was made with."`
	ExpiresAt  *time.Time `json:"expires_at,omitempty" doc:"When it stops working; missing: never."`
	LastUsedAt *time.Time `json:"last_used_at,omitempty" doc:"When it was last used, give or take a minute; missing: not yet."`
	Expired    bool       `json:"expired,omitempty" doc:"It has stopped working."`
}

// TokenOptions are the body of a request for a token.
type TokenOptions struct {
	Name      string     `json:"name" required:"true" maxLength:"100" doc:"Its user and purpose." example:"shop backend"`
	Role      Role       `json:"role" required:"true" enum:"admin,operator,auditor,publisher" doc:"What it allows."`
	Domains   []string   `json:"domains,omitempty" doc:"For a publisher, and required for it: the domains whose events it may publish and read, or * alone for all." example:"[\"orders\"]"`
	Rate      float64    `json:"rate,omitempty" minimum:"0" maximum:"100000" doc:"Requests per second that each process of the server answers to it. Default: as many as to any token."`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"When it stops working. Default: never."`
	TTL       *Duration  `json:"ttl,omitempty" doc:"After how long it stops working: instead of expires_at." example:"720h"`
}

// A TokenChange is the body of a request to change one.
type TokenChange struct {
	Name      string    `json:"name,omitempty" maxLength:"100" doc:"What people call it."`
	ExpiresAt time.Time `json:"expires_at,omitzero" nullable:"true" doc:"When it stops working; null: never."`
}

// A MadeToken is a new token, with its text.
type MadeToken struct {
	Token

	Text string `json:"token" doc:"The token itself. It is shown this once."`
}
