package subscriptions

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/plain"
)

// fields are the flags that make a subscription. Their names say
// what they do, so none is taken from the environment.
type fields struct {
	File         string            `env:"-" xor:"how" group:"Subscription" placeholder:"FILE" help:"JSON of a subscription, - for standard input. Other flags win over it."`
	Types        []string          `env:"-" complete:"type" aliases:"type" group:"Subscription" placeholder:"TYPE,..." help:"Event types, or <domain>.* for all of a domain, by its name and not its type_prefix. Can be repeated."`
	URL          string            `name:"url" env:"-" group:"Subscription" placeholder:"URL" help:"Where deliveries go. A query is kept as a secret."`
	Profile      string            `env:"-" complete:"profile" group:"Subscription" placeholder:"NAME" help:"How a delivery looks to the receiver: ${profiles}. Default: cloudevents."`
	Filter       []string          `env:"-" sep:"none" group:"Filters" placeholder:"JSON" help:"A condition in a dialect of CloudEvents Subscriptions: exact, prefix, suffix, glob, ant, sql, all, any or not. Can be repeated; all must match."`
	Exact        []string          `env:"-" sep:"none" group:"Filters" placeholder:"NAME=VALUE" help:"An attribute, or data.<path> for a value in JSON data, that must be this. Can be repeated; all must match."`
	Prefix       []string          `env:"-" sep:"none" group:"Filters" placeholder:"NAME=VALUE" help:"The same for how it must begin."`
	Suffix       []string          `env:"-" sep:"none" group:"Filters" placeholder:"NAME=VALUE" help:"The same for how it must end."`
	Glob         []string          `env:"-" sep:"none" group:"Filters" placeholder:"NAME=PATTERN" help:"The same for a glob that it must match: * matches a / too. Can be repeated."`
	Ant          []string          `env:"-" sep:"none" group:"Filters" placeholder:"NAME=PATTERN" help:"The same for an Ant pattern, such as org/**/*.jar. Can be repeated."`
	SQL          []string          `name:"sql" env:"-" sep:"none" group:"Filters" placeholder:"EXPRESSION" help:"A CloudEvents SQL expression on the attributes that must be TRUE. Can be repeated."`
	Header       []string          `env:"-" sep:"none" group:"Requests" placeholder:"NAME=VALUE" help:"A header of every request. Can be repeated."`
	SecretHeader []string          `env:"-" sep:"none" group:"Requests" placeholder:"NAME=VALUE" help:"A header whose value is never shown. A value @FILE is read from a file. Can be repeated."`
	Proxy        string            `env:"-" group:"Requests" placeholder:"KEY" help:"Key of the HTTP proxy that requests go through, one of those of jetpost serve --proxy."`
	Timeout      time.Duration     `env:"-" group:"Requests" placeholder:"15s" help:"For one request, 1s to 30s."`
	MaxInFlight  int               `env:"-" group:"Requests" placeholder:"N" help:"Requests under way at one time, 1 to 1000. Default: 64, with --ordered 1."`
	Ordered      *bool             `negatable:"" env:"-" group:"Requests" help:"Make deliveries one after the other, in the order of the event log: none before the one before it was accepted or given up. Slower, and one that fails holds up those behind it."`
	Senders      int               `env:"-" group:"Requests" placeholder:"N" help:"Sender processes that work on it at one time, 1 to 16: more for an endpoint that takes more than one process can send. Default: 1."`
	Schedule     []time.Duration   `env:"-" xor:"retries" group:"Requests" placeholder:"0s,5s,..." help:"The delay before each attempt; the first is 0s."`
	NoRetries    bool              `env:"-" xor:"retries" group:"Requests" help:"Make one attempt of each delivery, and a dead letter of what it does not accept. The same as an empty schedule."`
	Label        map[string]string `env:"-" mapsep:"none" group:"Subscription" placeholder:"NAME=VALUE" help:"A label of your own. Can be repeated."`
	vendorFields
	profileFields
	Description string `env:"-" group:"Subscription" placeholder:"TEXT" help:"What it is for."`
	Secret      string `env:"JETPOST_NEW_SECRET" group:"Subscription" placeholder:"SECRET" help:"Signing secret: whsec_ or whsk_ and base64, or what the profile takes. @FILE is read from a file. Default: one is made, where the profile needs one. Other users of this machine can read arguments: a file, or the environment variable, is safer."`
}

// document is the JSON of what is given: of the file, with the flags over it.
func (f *fields) document(stdin io.Reader) (map[string]any, error) {
	body := map[string]any{}
	if f.File != "" {
		text, err := input.Text(f.File, stdin)
		if err != nil {
			return nil, err
		}
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.UseNumber()
		if err := dec.Decode(&body); err != nil {
			return nil, fmt.Errorf("read %s: it is not a JSON object: %w", f.File, err)
		}
	}
	set(body, "types", f.Types, len(f.Types) > 0)
	set(body, "profile", f.Profile, f.Profile != "")
	set(body, "description", f.Description, f.Description != "")
	set(body, "labels", f.Label, len(f.Label) > 0)
	secret, err := input.Secret("--secret", f.Secret)
	if err != nil {
		return nil, err
	}
	set(body, "secret", secret, secret != "")
	filters, err := f.filters(typesOf(body))
	if err != nil {
		return nil, err
	}
	set(body, "filters", filters, len(filters) > 0)
	if err := f.setEndpoint(body); err != nil {
		return nil, err
	}
	schedule := []string{}
	for _, delay := range f.Schedule {
		schedule = append(schedule, delay.String())
	}
	delivery := member(body, "delivery")
	set(delivery, "max_in_flight", f.MaxInFlight, f.MaxInFlight != 0)
	set(delivery, "senders", f.Senders, f.Senders != 0)
	if f.Ordered != nil {
		delivery["ordered"] = *f.Ordered
	}
	if len(schedule) > 0 || f.NoRetries {
		retry := member(delivery, "retry")
		retry["schedule"] = schedule
		delivery["retry"] = retry
	}
	set(body, "delivery", delivery, len(delivery) > 0)
	return body, f.setFields(body, stdin)
}

// typesOf are the event types of a subscription's JSON.
func typesOf(body map[string]any) []string {
	var types []string
	switch given := body["types"].(type) {
	case []string:
		types = given
	case []any:
		for _, each := range given {
			text, _ := each.(string)
			types = append(types, text)
		}
	}
	return types
}

// filters are those of all flags, each a condition of its own.
func (f *fields) filters(types []string) ([]any, error) {
	var filters []any
	for _, text := range f.Filter {
		if !json.Valid([]byte(text)) {
			return nil, fmt.Errorf("--filter %s is not JSON: write it as in --filter '{\"exact\":{\"subject\":\"main\"}}'", plain.Shown(text, plain.FieldLimit))
		}
		filters = append(filters, json.RawMessage(text))
	}
	for _, dialect := range []struct {
		name   string
		values []string
	}{{"exact", f.Exact}, {"prefix", f.Prefix}, {"suffix", f.Suffix}, {"glob", f.Glob}, {"ant", f.Ant}} {
		for _, pair := range dialect.values {
			name, value, ok := strings.Cut(pair, "=")
			if !ok || name == "" {
				return nil, fmt.Errorf("--%s %s: write NAME=VALUE", dialect.name, plain.Shown(pair, plain.FieldLimit))
			}
			filters = append(filters, map[string]any{dialect.name: map[string]string{name: value}})
		}
	}
	for _, expression := range f.SQL {
		filters = append(filters, map[string]any{"sql": expression})
	}
	vendors, err := f.compile(types)
	for _, filter := range vendors {
		filters = append(filters, filter)
	}
	return filters, err
}

func (f *fields) setEndpoint(body map[string]any) error {
	endpoint := member(body, "endpoint")
	set(endpoint, "url", f.URL, f.URL != "")
	set(endpoint, "proxy", f.Proxy, f.Proxy != "")
	set(endpoint, "timeout", f.Timeout.String(), f.Timeout != 0)
	for _, group := range []struct {
		flag, field string
		values      []string
	}{{"header", "headers", f.Header}, {"secret-header", "secret_headers", f.SecretHeader}} {
		headers := member(endpoint, group.field)
		for _, pair := range group.values {
			name, value, ok := strings.Cut(pair, "=")
			if !ok || name == "" { // not shown: it may be a secret
				return fmt.Errorf("--%s: write NAME=VALUE", group.flag)
			}
			if group.flag == "secret-header" {
				var err error
				if value, err = input.Secret("--secret-header "+name, value); err != nil {
					return err
				}
			}
			headers[name] = value
		}
		set(endpoint, group.field, headers, len(group.values) > 0)
	}
	set(body, "endpoint", endpoint, len(endpoint) > 0)
	return nil
}

func set(body map[string]any, name string, value any, given bool) {
	if given {
		body[name] = value
	}
}

// member is the object below a name, a new one if there is none.
func member(body map[string]any, name string) map[string]any {
	if object, ok := body[name].(map[string]any); ok {
		return object
	}
	return map[string]any{}
}
