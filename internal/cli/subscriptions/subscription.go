// Package subscriptions has the command subscription: it creates, lists, changes and tests
// subscriptions.
package subscriptions

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Cmd is `jetpost subscription`.
type Cmd struct {
	Create    createCmd    `cmd:"" help:"Create a subscription."`
	List      listCmd      `cmd:"" aliases:"ls" help:"List subscriptions."`
	Get       getCmd       `cmd:"" aliases:"show" help:"Show a subscription."`
	Update    updateCmd    `cmd:"" help:"Change a subscription, or replace it by a file."`
	Delete    deleteCmd    `cmd:"" aliases:"rm" help:"Delete subscriptions, and the deliveries that wait."`
	Pause     pauseCmd     `cmd:"" help:"Pause deliveries. Events are still matched."`
	Resume    resumeCmd    `cmd:"" help:"Resume deliveries, also after the receiver answered 410."`
	Rotate    rotateCmd    `cmd:"" help:"Give a subscription a new signing secret."`
	Secret    secretCmd    `cmd:"" help:"Show the signing secrets of a subscription, for its receiver."`
	Handshake handshakeCmd `cmd:"" help:"Repeat the handshake with the receiver."`
	Breaker   breakerCmd   `cmd:"" help:"Show or reset the circuit breaker of the endpoint."`
	Backlog   backlogCmd   `cmd:"" help:"Show how many deliveries wait, and since when."`
	Reconcile reconcileCmd `cmd:"" help:"Find and repeat deliveries that were lost with a file of NATS."`
	Test      testCmd      `cmd:"" help:"Send an example event to one subscription, and show the answer of its receiver."`
}

// createCmd is `jetpost subscription create`.
type createCmd struct {
	connect.Flags
	output.Flag
	fields

	ID string `name:"id" env:"-" placeholder:"ID" help:"1 to 63 lower-case letters, digits and dashes, a letter first. Default: one is made."`
}

// Help is the long text of --help.
func (c *createCmd) Help() string {
	return `Every event published after this command is matched with the new subscription. Its signing
secret is shown once, now. With --handshake required, deliveries wait for the receiver's
consent: see "jetpost subscription get".

Examples:

  jetpost subscription create --id ci --types git.push --url https://ci.example.com/hook
  jetpost subscription create --id ci --types git.push --exact subject=main --url ...     pushes to main only
  jetpost subscription create --id jars --types 'artifact.*' --suffix data.name=.jar --exact data.repo_key=libs --url ...
  jetpost subscription create --id x --types git.push --filter '{"not":{"prefix":{"subject":"dependabot/"}}}' --url ...
  jetpost subscription create --id slow --types git.push --rate 2 --url ...               two requests per second at most
  jetpost subscription create --id ledger --types 'orders.*' --ordered --url ...          one after the other, as they were published
  jetpost subscription create --id ask --types git.push --handshake required --handshake-rate 120 --url ...
  jetpost subscription create --id jf --types 'artifact.*' --profile jfrog --secret @token.txt --url ...
  jetpost subscription create --id own --types 'artifact.*' --profile jfrog-custom --template body.tmpl --template-secret token=@token.txt --url ...
  jetpost subscription create --file subscription.json`
}

// Run creates it.
func (c *createCmd) Run(e *terminal.Env) error {
	body, err := c.document(e.Stdin)
	if err != nil {
		return err
	}
	if c.ID != "" {
		body["id"] = c.ID
	}
	document, err := output.Raw(body)
	if err != nil {
		return err
	}
	created, answer, err := connect.Request(e, &c.Flags, func(api *connect.Client, o client.Option) (*v1.Subscription, error) {
		return api.Subscriptions.CreateJSON(e.Ctx, document, o)
	})
	if err != nil {
		return err
	}
	return c.Show(e, answer, func() error { return printCreated(e.Stdout, created) })
}

func printCreated(w io.Writer, created *v1.Subscription) error {
	_, _ = fmt.Fprintf(w, "created subscription %s\n\n", plain.Shown(created.ID, plain.FieldLimit))
	if err := printSubscription(w, created, nil); err != nil {
		return err
	}
	if created.Secret != "" {
		_, _ = fmt.Fprintln(w, "\nThe secret is not shown again: give it to the receiver now.")
	}
	_, err := fmt.Fprintf(w, `
Next:

  jetpost subscription test %[1]s      send an example event
  jetpost attempts %[1]s --follow      see every request
`, plain.Shown(created.ID, plain.FieldLimit))
	return err
}

// printSubscription prints one, and its breaker where that is known.
func printSubscription(w io.Writer, s *v1.Subscription, b *v1.BreakerState) error {
	var filters, labels []string
	for _, f := range s.Filters {
		if text, err := json.Marshal(f); err == nil {
			filters = append(filters, string(text))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		labels = append(labels, name+"="+s.Labels[name])
	}
	var headers []string
	for _, name := range slices.Sorted(maps.Keys(s.Endpoint.Headers)) {
		headers = append(headers, name+": "+s.Endpoint.Headers[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Endpoint.SecretHeaders)) {
		headers = append(headers, name+": "+v1.Placeholder)
	}
	state := string(s.State)
	if s.StateReason != "" {
		state += " (" + s.StateReason + ")"
	}
	var schedule []string
	for _, delay := range s.Delivery.Retry.Schedule {
		schedule = append(schedule, delay.String())
	}
	if len(schedule) == 0 {
		schedule = []string{"one, no retries"}
	}
	var public []string // the newest first, while they are rotated several
	for _, key := range s.Secrets {
		if key.PublicKey != "" {
			public = append(public, key.PublicKey)
		}
	}
	pairs := []string{
		"state", state,
		"description", s.Description,
		"types", strings.Join(s.Types, ", "),
		"filters", strings.Join(filters, " "),
		"endpoint", s.Endpoint.Method + " " + redactedURL(&s.Endpoint),
		"headers", strings.Join(headers, ", "),
		"timeout", s.Endpoint.Timeout.String(),
		"profile", s.Profile,
	}
	return output.Details(w, append(append(pairs, profileLines(s)...),
		"in flight", inFlightLine(&s.Delivery),
		"senders", strconv.Itoa(max(s.Delivery.Senders, subscription.DefaultSenders)),
		"attempts", strings.Join(schedule, " "),
		"breaker", breakerLine(s.Delivery.Breaker, b),
		"labels", strings.Join(labels, ", "),
		"created", s.CreatedAt.Local().Format(time.RFC3339),
		"changed", s.UpdatedAt.Local().Format(time.RFC3339),
		"public key", strings.Join(public, ", "),
		"secret", s.Secret,
	)...)
}

// redactedURL is the URL of an endpoint; the query, if there is one, is an ellipsis.
func redactedURL(e *v1.Endpoint) string {
	if e.Query == "" {
		return e.URL
	}
	return e.URL + "?…"
}

func inFlightLine(d *v1.Delivery) string {
	if d.Ordered {
		return "one at a time, in order"
	}
	return "at most " + strconv.Itoa(d.MaxInFlight)
}

// listCmd is `jetpost subscription list`.
type listCmd struct {
	connect.Flags
	output.Flag

	State string   `env:"-" enum:",active,paused,disabled" default:"" placeholder:"STATE" help:"Only those that are active, paused or disabled."`
	Label []string `env:"-" sep:"none" placeholder:"NAME[=VALUE]" help:"Only those with this label. Can be repeated; all must match."`
}

// Help is the long text of --help.
func (c *listCmd) Help() string {
	return `Lists subscriptions by id.

  jetpost subscription list
  jetpost subscription list --label team=red --label env
  jetpost subscription list --state disabled -o json | jq -r '.[].id'`
}

// Run lists all pages.
func (c *listCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	items, broken, err := connect.Subscriptions(e.Ctx, api, client.SubscriptionFilter{Labels: c.Label, State: v1.State(c.State)})
	if err != nil {
		return err
	}
	for _, one := range broken {
		_, _ = fmt.Fprintf(e.Stderr, "jetpost: subscription %s cannot be read: %s\n", plain.Shown(one.ID, plain.FieldLimit), plain.Shown(one.Error, plain.LineLimit))
	}
	return output.List(e, c.Flag, items, "no subscriptions", func(found []v1.Subscription) error {
		t := output.NewTable(e.Stdout, "ID", "STATE", "TYPES", "ENDPOINT", "PROFILE", "CHANGED")
		for i := range found {
			s := &found[i]
			t.Row(s.ID, string(s.State), strings.Join(s.Types, ","), redactedURL(&s.Endpoint), s.Profile, output.Clock(s.UpdatedAt))
		}
		return t.Flush()
	})
}

// getCmd is `jetpost subscription get`.
type getCmd struct {
	connect.Flags
	output.Flag

	ID string `arg:"" complete:"subscription" help:"Which subscription."`
}

// Help is the long text of --help.
func (c *getCmd) Help() string {
	return `Shows the configuration, the breaker of the endpoint and the state of the handshake. Secrets
are not shown: see "jetpost subscription secret".

  jetpost subscription get ci
  jetpost subscription get ci -o yaml > ci.yaml`
}

// Run shows it.
func (c *getCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	var answer client.Response
	sub, err := api.Subscriptions.Get(e.Ctx, c.ID, client.WithResponse(&answer))
	if err != nil {
		return err
	}
	var b *v1.BreakerState
	if c.People() {
		if b, err = breakerOf(e, api, c.ID); err != nil {
			return err
		}
	}
	return showSubscription(e, c.Flag, "subscription "+c.ID, answer.Body, sub, b)
}

// showSubscription shows an answer with a subscription, and its breaker where that is known.
func showSubscription(e *terminal.Env, f output.Flag, headline string, raw json.RawMessage, s *v1.Subscription, b *v1.BreakerState) error {
	return f.Show(e, raw, func() error {
		_, _ = fmt.Fprintln(e.Stdout, plain.Shown(headline, plain.LineLimit))
		return printSubscription(e.Stdout, s, b)
	})
}

// updateCmd is `jetpost subscription update`.
type updateCmd struct {
	connect.Flags
	output.Flag
	fields

	ID          string `arg:"" complete:"subscription" help:"Which subscription."`
	Patch       string `env:"-" xor:"how" placeholder:"JSON" help:"JSON merge patch (RFC 7396) for what has no flag: null removes."`
	KeepSecrets bool   `env:"-" help:"Keep stored secrets although they would be sent to another host, port or scheme, or through a proxy that can read them. Otherwise they have to be given again. Needs a token with the role admin."`
}

// Help is the long text of --help.
func (c *updateCmd) Help() string {
	return `Changes only the given fields; lists such as types and filters are replaced as a whole.
With --file the subscription is replaced by the file, and fields that are not in it get
their default; secrets stay. A change takes effect on the next attempt. If a new URL or
proxy would send stored secrets to another place, give them again, or remove them.

Examples:

  jetpost subscription update ci --url https://ci.example.com/new
  jetpost subscription update ci --types git.push,git.pull_request --max-in-flight 10
  jetpost subscription update ci --rate 5 --handshake preferred
  jetpost subscription update ci --patch '{"filters":null}'
  jetpost subscription get ci --output json > ci.json; edit ci.json; jetpost subscription update ci --file ci.json`
}

// Run changes it.
func (c *updateCmd) Run(e *terminal.Env) error {
	document, err := c.document(e.Stdin)
	if err != nil {
		return err
	}
	replace, body := c.File != "", any(document)
	switch {
	case replace:
	case c.Patch != "" && len(document) > 0:
		return errors.New("--patch goes alone: put everything into it")
	case c.Patch != "":
		body = json.RawMessage(c.Patch)
	case len(document) == 0:
		return errors.New("there is nothing to change: give a flag, --patch or --file")
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	raw, err := output.Raw(body)
	if err != nil {
		return err
	}
	var answer client.Response
	options := []client.Option{client.WithResponse(&answer)}
	if c.KeepSecrets {
		options = append(options, client.KeepSecrets())
	}
	var changed *v1.Subscription
	if replace {
		changed, err = api.Subscriptions.ReplaceJSON(e.Ctx, c.ID, raw, options...)
	} else {
		changed, err = api.Subscriptions.Patch(e.Ctx, c.ID, raw, options...)
	}
	if err != nil {
		return err
	}
	return showSubscription(e, c.Flag, "changed subscription "+c.ID, answer.Body, changed, nil)
}

// deleteCmd is `jetpost subscription delete`.
type deleteCmd struct {
	connect.Flags
	output.Flag

	ID []string `arg:"" complete:"subscription" help:"Which subscriptions."`
}

// Help is the long text of --help.
func (c *deleteCmd) Help() string {
	return `Waiting deliveries are dropped and counted. Attempts and dead letters stay until they
expire.

  jetpost subscription delete ci
  jetpost subscription delete ci jars docs`
}

// Run deletes them, as far as it gets.
func (c *deleteCmd) Run(e *terminal.Env) error {
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	out := c.Records(e, false)
	for _, id := range c.ID {
		deleted, err := api.Subscriptions.Delete(e.Ctx, id)
		if err != nil {
			return errors.Join(out.End(), fmt.Errorf("delete %s: %w", plain.Shown(id, plain.FieldLimit), err))
		}
		result := deletedSubscription{id, *deleted}
		if err := out.Print(result, func() error { return result.print(e.Stdout) }); err != nil {
			return err
		}
	}
	return out.End()
}

// A deletedSubscription is what the API answers to a deletion, and of which.
type deletedSubscription struct {
	ID string `json:"id"`
	v1.Deleted
}

func (d *deletedSubscription) print(w io.Writer) error {
	parts := ""
	if d.Retries > 0 {
		parts = fmt.Sprintf(": %d in its queue, %d waiting for their next attempt", d.Queued, d.Retries)
	}
	_, err := fmt.Fprintf(w, "deleted subscription %s; %d waiting deliveries will not be made%s\n", plain.Shown(d.ID, plain.FieldLimit), d.Dropped, parts)
	return err
}
