package jfrog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	profile "github.com/jetpost/jetpost/internal/profile/jfrog"
)

// A provider is a small model of one version of JFrog's Terraform provider: what it reads
// into its state of an answer, and what it plans then.
type provider struct {
	version string
	legacy  bool // made with the plugin SDK, which knows no null and panics on what it does not expect
	method  bool // custom webhooks have one
}

func providers() []provider {
	return []provider{{version: "12.1.0", legacy: true}, {version: "12.8.0"}, {version: "12.11.7", method: true}}
}

// A webhookState is a resource of the provider, as a description or as its state.
type webhookState struct {
	Key, Description string
	Enabled          bool
	Events           []string
	Criteria         map[string]any
	Handlers         []handlerState
}

type handlerState struct {
	URL, Payload  string
	Secret        string
	Sign          *bool
	Proxy, Method *string
	Headers       map[string]string
	Secrets       map[string]string
}

// A wireDocument is what clients decode of a document.
type wireDocument struct {
	Key         string                     `json:"key"`
	Description string                     `json:"description"`
	Enabled     bool                       `json:"enabled"`
	Filter      map[string]json.RawMessage `json:"event_filter"`
	Handlers    []wireHandler              `json:"handlers"`
}

type wireHandler struct {
	Type          string     `json:"handler_type"`
	URL           string     `json:"url"`
	Secret        *string    `json:"secret"`
	Sign          *bool      `json:"use_secret_for_signing"`
	Proxy         *string    `json:"proxy"`
	Method        *string    `json:"method"`
	Payload       string     `json:"payload"`
	HTTPHeaders   []wirePair `json:"http_headers"`
	CustomHeaders []wirePair `json:"custom_http_headers"`
	Secrets       []wirePair `json:"secrets"`
}

type wirePair struct{ Name, Value string }

// plan is what the provider has to change after it has sent a document and read it back:
// nothing, or the difference between its state and what its user has described.
func (p provider) plan(sent, read string) string {
	var description, answer wireDocument
	if err := errors.Join(json.Unmarshal([]byte(sent), &description), json.Unmarshal([]byte(read), &answer)); err != nil {
		return err.Error()
	}
	want, err := p.state(&description, &description, false)
	if err != nil {
		return err.Error()
	}
	state, err := p.state(&answer, &description, true)
	if err != nil {
		return "it panics: " + err.Error()
	}
	return cmp.Diff(state, want)
}

// state is what a document means to the provider. An answer has to be as the provider
// expects it. Secrets are those of the state before, that is of the description.
func (p provider) state(d, description *wireDocument, isAnswer bool) (*webhookState, error) {
	var domain string
	s := &webhookState{Key: d.Key, Description: d.Description, Enabled: d.Enabled}
	if err := errors.Join(json.Unmarshal(d.Filter["domain"], &domain), json.Unmarshal(d.Filter["event_types"], &s.Events)); err != nil {
		return nil, err
	}
	slices.Sort(s.Events)
	raw, there := d.Filter["criteria"]
	var err error
	if s.Criteria, err = p.criteria(domain, raw, there, isAnswer); err != nil {
		return nil, err
	}
	for i := range d.Handlers {
		h := &d.Handlers[i]
		if isAnswer && h.Secret != nil && *h.Secret != "" && *h.Secret != "[secret]" {
			return nil, errors.New("a secret is shown")
		}
		at := slices.IndexFunc(description.Handlers, func(o wireHandler) bool { return o.URL == h.URL })
		if at < 0 {
			return nil, fmt.Errorf("there is a handler for %s", h.URL)
		}
		s.Handlers = append(s.Handlers, p.handler(h, &description.Handlers[at], isAnswer))
	}
	slices.SortFunc(s.Handlers, func(a, b handlerState) int { return strings.Compare(a.URL, b.URL) })
	return s, nil
}

func (p provider) handler(h, before *wireHandler, isAnswer bool) handlerState {
	s := handlerState{URL: h.URL, Payload: h.Payload, Sign: h.Sign, Proxy: h.Proxy, Headers: pairs(append(h.HTTPHeaders, h.CustomHeaders...))}
	if before.Secret != nil {
		s.Secret = *before.Secret
	}
	s.Secrets = pairs(before.Secrets)
	if p.legacy { // which takes from its state the secrets of the names that it reads
		for name := range s.Secrets {
			if !slices.ContainsFunc(h.Secrets, func(o wirePair) bool { return o.Name == name }) {
				delete(s.Secrets, name)
			}
		}
	}
	if p.method {
		s.Method = h.Method
	}
	switch {
	case p.legacy: // null, absent and the default are the same
		if s.Sign == nil {
			s.Sign = new(bool)
		}
		if s.Proxy == nil {
			s.Proxy = new(string)
		}
	case !isAnswer: // what 12.1.0 sends for what its user does not describe
		if s.Proxy != nil && *s.Proxy == "" {
			s.Proxy = nil
		}
		if s.Sign != nil && !*s.Sign && s.Secret == "" {
			s.Sign = nil
		}
	}
	return s
}

func pairs(list []wirePair) map[string]string {
	named := make(map[string]string, len(list))
	for _, pair := range list {
		named[pair.Name] = pair.Value
	}
	return named
}

// criteria reads those of a domain. The types of an answer are asserted, and so they
// panic where they are not as expected; what is not there is nil.
func (p provider) criteria(domain string, raw json.RawMessage, there, isAnswer bool) (map[string]any, error) {
	isNull := !there || string(raw) == "null"
	if domain == "user" || domain == "artifact_lifecycle" {
		if isAnswer && p.legacy && (!there || !isNull) {
			return nil, fmt.Errorf("the criteria of domain %s are %q, not null", domain, raw)
		}
		return nil, nil
	}
	var read map[string]any
	if isAnswer && isNull {
		return nil, fmt.Errorf("the criteria of domain %s are %q, not an object", domain, raw)
	}
	if err := json.Unmarshal(raw, &read); there && err != nil {
		return nil, err
	}
	criteria := map[string]any{}
	for _, key := range profile.CriteriaKeys(domain) {
		value, missing := read[key], isAnswer
		switch {
		case strings.HasPrefix(key, "any"):
			b, ok := value.(bool)
			criteria[key], missing = b, missing && !ok
		case key == "selectedReleaseBundles":
			bundles, isObject := value.(map[string]any)
			list, ok := bundles["release-bundles-v2"].([]any)
			criteria[key], missing = slices.Concat([]any{}, list), missing && (!isObject || !ok)
		default:
			list, ok := value.([]any)
			criteria[key], missing = slices.Concat([]any{}, list), missing && !ok
		}
		if missing {
			return nil, fmt.Errorf("criteria of domain %s: %s is %v", domain, key, value)
		}
	}
	return criteria, nil
}
