package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

// ExportCmd is `jetpost export`.
type ExportCmd struct {
	connect.Flags
	output.Flag

	ID    []string `arg:"" optional:"" complete:"subscription" help:"Which subscriptions. Default: all."`
	Label []string `env:"-" sep:"none" placeholder:"NAME[=VALUE]" help:"Only those with this label. Can be repeated; all must match."`
	Full  bool     `env:"-" help:"Write defaults too, so that the file does not depend on the defaults of another version."`
}

// Help is the long text of --help.
func (c *ExportCmd) Help() string {
	return `Writes subscriptions as "jetpost apply" reads them: a YAML document for each, or with
--output json one array. Fields that only the server writes, and defaults, are left out.
Secrets are never exported: a comment marks their place. Applied to the same server the file
changes nothing. Subscriptions of a compatible API are left out.

Examples:

  jetpost export > subscriptions.yaml
  jetpost export --label team=red > red.yaml
  jetpost export ci --full`
}

// Run exports.
func (c *ExportCmd) Run(e *terminal.Env) error {
	if len(c.ID) > 0 && len(c.Label) > 0 {
		return errors.New("give subscriptions or --label, not both")
	}
	api, err := c.Client(e.Ctx, e.Version)
	if err != nil {
		return err
	}
	var items []json.RawMessage
	var broken []v1.BrokenRecord
	for _, id := range c.ID {
		var answer client.Response
		if _, err := api.Subscriptions.Get(e.Ctx, id, client.WithResponse(&answer)); err != nil {
			return err
		}
		items = append(items, answer.Body)
	}
	if len(c.ID) == 0 {
		if items, broken, err = connect.Subscriptions(e.Ctx, api, client.SubscriptionFilter{Labels: c.Label}); err != nil {
			return err
		}
	}
	if err := c.write(e, items); err != nil {
		return err
	}
	for _, one := range broken {
		_, _ = fmt.Fprintf(e.Stderr, "jetpost: subscription %s cannot be read: %s\n", plain.Shown(one.ID, plain.FieldLimit), plain.Shown(one.Error, plain.LineLimit))
	}
	if len(broken) > 0 {
		return fmt.Errorf("%d subscriptions are missing", len(broken))
	}
	return nil
}

func (c *ExportCmd) write(e *terminal.Env, items []json.RawMessage) error {
	var documents []*yaml.Node
	for _, raw := range items {
		x, err := exportOf(raw, c.Full)
		switch {
		case err != nil:
			return err
		case x.managed != "" && len(c.ID) > 0:
			return fmt.Errorf("subscription %s is kept by the %s API: keep it there", plain.Shown(x.id, plain.FieldLimit), plain.Shown(x.managed, plain.FieldLimit))
		case x.managed != "":
			_, _ = fmt.Fprintf(e.Stderr, "jetpost: subscription %s is left out: the %s API keeps it\n", plain.Shown(x.id, plain.FieldLimit), plain.Shown(x.managed, plain.FieldLimit))
			continue
		}
		documents = append(documents, x.node)
	}
	if c.Output == output.FormatJSON {
		out := c.Records(e, false)
		for _, node := range documents {
			text, err := exportedJSON(node)
			if err != nil {
				return err
			}
			if err := out.Print(text, nil); err != nil {
				return err
			}
		}
		return out.End()
	}
	return writeDocuments(e.Stdout, documents)
}

const exportHead = "# Subscriptions of jetpost, for: jetpost apply -f FILE\n"

func writeDocuments(w io.Writer, documents []*yaml.Node) error {
	var b bytes.Buffer
	b.WriteString(exportHead)
	for _, node := range documents {
		b.WriteString("---\n")
		if err := output.EncodeYAML(&b, node); err != nil {
			return err
		}
	}
	_, err := b.WriteTo(w)
	return err
}

// exportedJSON is a document without its comments.
func exportedJSON(node *yaml.Node) (json.RawMessage, error) {
	problem := error(nil)
	c := &converter{lines: map[string]int{}, fail: func(field, format string, args ...any) {
		problem = fmt.Errorf("export %s: "+format, append([]any{field}, args...)...)
	}}
	return c.convert(node), problem
}

// An exported is a subscription in the form of a file.
type exported struct {
	id, managed string
	node        *yaml.Node
}

// ownMembers are those that only the server writes.
func ownMembers() []string {
	return []string{
		"queue", "created_at", "updated_at", "revision", "state_reason", "managed", "secrets", "dry_run",
		"handshake.consent", "handshake.reason", "handshake.origin", "handshake.allowed_rate", "handshake.checked_at",
		"handshake.callback", "handshake.callback_until",
	}
}

// defaulted are the members that may be what they would be anyway, those that hold
// others before these.
func defaulted() []string {
	return []string{
		"delivery", "delivery.retry", "delivery.retry.schedule", "delivery.retry.jitter", "delivery.breaker", "delivery.breaker.mode",
		"delivery.breaker.failures", "delivery.breaker.disable_after", "delivery.max_age", "delivery.senders", "delivery.max_in_flight",
		"endpoint.method", "endpoint.timeout", "profile", "state",
	}
}

const (
	keptComment   = "a secret: where the server does not have it, write {env: NAME} or {file: PATH}"
	signedComment = "stays as it is; where the subscription is created, a new one is made. Or write {env: NAME} or {file: PATH}"
	sharedComment = keptComment
)

func exportOf(raw json.RawMessage, full bool) (*exported, error) {
	var sub subscription.Subscription
	if err := json.Unmarshal(raw, &sub); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	node, err := output.YAMLOf(raw)
	if err != nil {
		return nil, err
	}
	for _, member := range ownMembers() {
		removeMember(node, member)
	}
	if !full {
		if err := leaveOutDefaults(node); err != nil {
			return nil, err
		}
	}
	markSecrets(node, "endpoint.query", "endpoint.secret_headers", "template.secrets")
	if len(sub.Secrets) > 0 {
		comment := sharedComment
		if traits, _ := profile.Traits(sub.Profile); traits.Secrets == subscription.SigningKeys {
			comment = signedComment
		}
		value := output.YAMLString(keyring.Placeholder)
		value.LineComment = comment
		node.Content = append(node.Content, output.YAMLString("secret"), value)
	}
	return &exported{sub.ID, sub.Managed.By, node}, nil
}

// leaveOutDefaults removes what jetpost would fill in. What that is depends on the
// profile and on other fields, so it is tried.
func leaveOutDefaults(node *yaml.Node) error {
	whole, err := filledIn(node)
	if err != nil {
		return err
	}
	for _, member := range defaulted() {
		undo := removeMember(node, member)
		if undo == nil {
			continue
		}
		if got, err := filledIn(node); err != nil || !bytes.Equal(got, whole) {
			undo()
		}
	}
	return nil
}

// filledIn is the subscription that jetpost makes of a document.
func filledIn(node *yaml.Node) (json.RawMessage, error) {
	text, err := exportedJSON(node)
	if err != nil {
		return nil, err
	}
	sub, err := subscription.Decode(text, profile.Traits)
	if err != nil {
		return nil, err
	}
	sub.Secrets = []subscription.SigningKey{{ID: "any", Secret: keyring.NewSecret(keyring.Placeholder)}} // none is made
	traits, _ := profile.Traits(sub.Profile)
	sub.SetDefaultsOf(traits, time.Time{})
	return output.Raw(sub)
}

// removeMember takes a member out of an object, by its path, and returns what puts it
// back; nil if there is none. An object that is empty then goes as well.
func removeMember(node *yaml.Node, path string) (undo func()) {
	name, rest, deeper := strings.Cut(path, ".")
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value != name {
			continue
		}
		before := slices.Clone(node.Content)
		inner := func() {}
		if deeper {
			if inner = removeMember(node.Content[i+1], rest); inner == nil {
				return nil
			}
		}
		if !deeper || len(node.Content[i+1].Content) == 0 {
			node.Content = slices.Delete(slices.Clone(node.Content), i, i+2)
		}
		return func() {
			node.Content = before
			inner()
		}
	}
	return nil
}

// markSecrets gives placeholders their comment.
func markSecrets(node *yaml.Node, paths ...string) {
	for _, path := range paths {
		at := node
		for name := range strings.SplitSeq(path, ".") {
			if at != nil {
				at = nodeOf(at, name)
			}
		}
		if at == nil {
			continue
		}
		if at.Kind == yaml.ScalarNode {
			at.LineComment = keptComment
		}
		for i := 1; i < len(at.Content); i += 2 {
			at.Content[i].LineComment = keptComment
		}
	}
}
