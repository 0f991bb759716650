package installation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// TokenCmd is `jetpost token`.
type TokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Create a token."`
	List   tokenListCmd   `cmd:"" aliases:"ls" help:"List the tokens."`
	Show   tokenShowCmd   `cmd:"" aliases:"get" help:"Show a token, or the one that is in use here."`
	Update tokenUpdateCmd `cmd:"" help:"Rename a token, or change when it expires."`
	Revoke tokenRevokeCmd `cmd:"" aliases:"rm" help:"Revoke tokens."`
}

// tokenID is the id of a token. A person who gives the token itself means its id, and does not
// want the rest of it in a URL.
func tokenID(given string) string { return access.IDOf(given) }

// tokenCreateCmd is `jetpost token create`.
type tokenCreateCmd struct {
	connect.Flags
	output.Flag

	Name    string        `arg:"" help:"Who will use it, and for what."`
	Role    string        `env:"-" required:"" enum:"admin,operator,auditor,publisher" placeholder:"ROLE" help:"admin: everything. operator: everything but tokens and losses of the storage. auditor: read all but secrets, dry runs. publisher: publish and read events of its domains."`
	Domain  []string      `env:"-" placeholder:"DOMAIN" help:"Of a publisher: what it may publish to. Can be repeated. '*': all."`
	TTL     time.Duration `name:"ttl" env:"-" placeholder:"DURATION" help:"After how long it stops working: 720h. Default: never."`
	Expires string        `env:"-" placeholder:"TIME" help:"Or when: 2027-01-31T12:00:00Z."`
	Rate    float64       `env:"-" placeholder:"N" help:"Requests per second that each process of the server answers to it. Default: --api-rate of the server; events without bound."`
	Quiet   bool          `short:"q" env:"-" help:"Print nothing but the token, for a script to keep."`
}

// Help is the long text of --help.
func (c *tokenCreateCmd) Help() string {
	return `The token is shown once, and works at once on every process of the server. Give each user a
separate token: the audit trail records changes by token, and a token can be revoked alone.

Examples:

  jetpost token create "shop backend" --role publisher --domain orders
  jetpost token create "nightly export" --role auditor --ttl 720h
  jetpost token create terraform --role operator
  JETPOST_TOKEN=$(jetpost token create me --role admin --ttl 8h -q) jetpost token show`
}

// Run makes it.
func (c *tokenCreateCmd) Run(e *terminal.Env) error {
	body := map[string]any{"name": c.Name, "role": c.Role}
	if len(c.Domain) > 0 {
		body["domains"] = c.Domain
	}
	if c.TTL != 0 {
		body["ttl"] = c.TTL.String()
	}
	if c.Expires != "" {
		body["expires_at"] = c.Expires
	}
	if c.Rate != 0 {
		body["rate"] = c.Rate
	}
	document, err := output.Raw(body)
	if err != nil {
		return err
	}
	made, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.MadeToken, error) {
		return api.Tokens.CreateJSON(e.Ctx, document, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error {
		if c.Quiet {
			_, err := fmt.Fprintln(e.Stdout, plain.Shown(made.Text, plain.LineLimit))
			return err
		}
		_, _ = fmt.Fprintf(e.Stdout, "created token %s\n\n", plain.Shown(made.ID, plain.FieldLimit))
		if err := printToken(e.Stdout, &made.Token); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Stdout, `
  %s

It is not shown again. Use it as the header "Authorization: Bearer <token>", or with this
command as JETPOST_TOKEN. To end it: jetpost token revoke %s
`, plain.Shown(made.Text, plain.LineLimit), plain.Shown(made.ID, plain.FieldLimit))
		return err
	})
}

func printToken(w io.Writer, t *v1.Token) error {
	expires := "never"
	if t.ExpiresAt != nil {
		expires = t.ExpiresAt.Local().Format(time.RFC3339)
		if t.Expired {
			expires += " (it has)"
		}
	}
	var rate, created, used string
	if t.Rate > 0 {
		rate = strconv.FormatFloat(t.Rate, 'g', -1, 64) + " per second"
	}
	if t.CreatedAt != nil {
		created = t.CreatedAt.Local().Format(time.RFC3339)
		if t.CreatedBy != "" {
			created += " by " + t.CreatedBy
		}
	}
	if t.LastUsedAt != nil {
		used = t.LastUsedAt.Local().Format(time.RFC3339)
	}
	return output.Details(w, "id", t.ID, "name", t.Name, "role", string(t.Role), "domains", strings.Join(t.Domains, ", "), "rate", rate,
		"created", created, "expires", expires, "last used", used)
}

// tokenListCmd is `jetpost token list`.
type tokenListCmd struct {
	connect.Flags
	output.Flag
}

// Help is the long text of --help.
func (c *tokenListCmd) Help() string {
	return `Lists tokens, the oldest first, without the server's own token (the file admin.token, or
JETPOST_ADMIN_TOKEN).

  jetpost token list
  jetpost token list -o json | jq -r '.[] | select(.expired) | .id' | xargs jetpost token revoke`
}

// Run lists them all.
func (c *tokenListCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	all, err := connect.ReadPages(func(p client.Paging, o client.Option) iter.Seq2[*v1.Page[v1.Token], error] {
		return api.Tokens.Pages(e.Ctx, p, o)
	}, 0)
	if err != nil {
		return err
	}
	none := `no tokens but the server's own: make one with "jetpost token create"`
	return output.List(e, c.Flag, all, none, func(tokens []v1.Token) error {
		t := output.NewTable(e.Stdout, "ID", "NAME", "ROLE", "DOMAINS", "CREATED", "EXPIRES", "LAST USED")
		for _, one := range tokens {
			created, expires, used := "", "never", "never"
			if one.CreatedAt != nil {
				created = output.ShortClock(*one.CreatedAt)
			}
			switch {
			case one.Expired:
				expires = "expired"
			case one.ExpiresAt != nil:
				expires = output.ShortClock(*one.ExpiresAt)
			}
			if one.LastUsedAt != nil {
				used = output.ShortClock(*one.LastUsedAt)
			}
			t.Row(one.ID, one.Name, string(one.Role), strings.Join(one.Domains, ","), created, expires, used)
		}
		return t.Flush()
	})
}

// tokenShowCmd is `jetpost token show`.
type tokenShowCmd struct {
	connect.Flags
	output.Flag

	ID string `arg:"" optional:"" complete:"token" help:"Which token. Default: the one that this command uses."`
}

// Help is the long text of --help.
func (c *tokenShowCmd) Help() string {
	return `Shows the role of a token, when it expires, and when it was last used. Its text is never shown.

  jetpost token show                      the one in use here
  jetpost token show 3k9d2m7q1x8f`
}

// Run shows it.
func (c *tokenShowCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	var answer client.Response
	var one *v1.Token
	if c.ID == "" {
		one, err = api.Tokens.Self(e.Ctx, client.WithResponse(&answer))
	} else {
		one, err = api.Tokens.Get(e.Ctx, tokenID(c.ID), client.WithResponse(&answer))
	}
	if err != nil {
		return err
	}
	return showToken(e, c.Flag, answer.Body, one)
}

// showToken prints the token of an answer.
func showToken(e *terminal.Env, f output.Flag, raw json.RawMessage, one *v1.Token) error {
	return f.Show(e, raw, func() error { return printToken(e.Stdout, one) })
}

// tokenUpdateCmd is `jetpost token update`.
type tokenUpdateCmd struct {
	connect.Flags
	output.Flag

	ID      string        `arg:"" complete:"token" help:"Which token."`
	Name    string        `env:"-" placeholder:"TEXT" help:"Its new name."`
	TTL     time.Duration `name:"ttl" env:"-" placeholder:"DURATION" help:"After how long from now it stops working."`
	Expires string        `env:"-" placeholder:"TIME" help:"When it stops working: 2027-01-31T12:00:00Z, or never."`
	Force   bool          `env:"-" help:"Also if this is the token in use, and it stops working."`
}

// Help is the long text of --help.
func (c *tokenUpdateCmd) Help() string {
	return `The role of a token never changes: create another token for that.

  jetpost token update abcdefghijkl --name "shop backend, old"
  jetpost token update abcdefghijkl --ttl 24h              until all users have the new one
  jetpost token update abcdefghijkl --expires never`
}

// Run changes it.
func (c *tokenUpdateCmd) Run(e *terminal.Env) error {
	body := map[string]any{}
	if c.Name != "" {
		body["name"] = c.Name
	}
	switch {
	case c.TTL != 0 && c.Expires != "":
		return terminal.UsageError{Err: errors.New("--ttl and --expires are given: give one of them")}
	case c.TTL != 0:
		body["expires_at"] = time.Now().Add(c.TTL).UTC().Truncate(time.Second)
	case c.Expires == "never":
		body["expires_at"] = nil
	case c.Expires != "":
		body["expires_at"] = c.Expires
	}
	if len(body) == 0 {
		return terminal.UsageError{Err: errors.New("nothing to change: give --name, --ttl or --expires")}
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	var answer client.Response
	one, err := api.Tokens.Change(e.Ctx, tokenID(c.ID), body, append(forced(c.Force), client.WithResponse(&answer))...)
	if err != nil {
		return err
	}
	return showToken(e, c.Flag, answer.Body, one)
}

func forced(force bool) []client.Option {
	if force {
		return []client.Option{client.Force()}
	}
	return nil
}

// tokenRevokeCmd is `jetpost token revoke`.
type tokenRevokeCmd struct {
	connect.Flags
	output.Flag

	IDs   []string `arg:"" name:"id" complete:"token" help:"Which tokens."`
	Force bool     `env:"-" help:"Also the token in use."`
}

// Help is the long text of --help.
func (c *tokenRevokeCmd) Help() string {
	return `The token becomes invalid within moments, on every process of the server. This cannot be
undone.

  jetpost token revoke abcdefghijkl`
}

// Run revokes them, as many as it can.
func (c *tokenRevokeCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	out := c.Records(e, false)
	var failed []error
	for _, id := range c.IDs {
		id = tokenID(id)
		if err := api.Tokens.Revoke(e.Ctx, id, forced(c.Force)...); err != nil {
			failed = append(failed, fmt.Errorf("revoke token %s: %w", plain.Shown(id, plain.FieldLimit), err))
			continue
		}
		if err := out.Print(revokedToken{id}, func() error {
			_, err := fmt.Fprintf(e.Stdout, "revoked token %s\n", plain.Shown(id, plain.FieldLimit))
			return err
		}); err != nil {
			return err
		}
	}
	return errors.Join(append(failed, out.End())...)
}

// A revokedToken says of which token nothing is left.
type revokedToken struct {
	ID string `json:"id"`
}
