package jfrog

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/profile/wire"
)

// Limits of what a template may make of an event.
const (
	maxBody   = 1 << 20 // bytes
	maxHeader = 8 << 10 // bytes of one header's value
	// maxActions is for payload and headers together: each looks through the data.
	maxActions = 500
)

// errTooLong is returned for an event of which a template makes more than it may.
var errTooLong = errors.New("the template makes too much of this event")

// values are what a template is filled with.
type values struct {
	domain, event, origin string
	data                  []byte
	user                  []byte // as JSON; empty: unknown
	secrets               map[string]string
}

func (e *envelope) values(event *event.Event, secrets map[string]string) (*values, error) {
	domain, name, ok := wire.SplitType(event.Type)
	if !ok {
		return nil, errType
	}
	data, err := dataOf(event)
	if err != nil {
		return nil, err
	}
	return &values{domain: domain, event: name, origin: e.origin, data: data, user: e.userOf(event), secrets: secrets}, nil
}

// get returns a value. One that is not there does not exist.
func (v *values) get(root, path string) gjson.Result {
	switch root {
	case "data":
		return below(v.data, path)
	case "userContext":
		return below(v.user, path)
	case "secrets":
		return text(v.secrets[path])
	case "domain":
		return text(v.domain)
	case "event_type", "type":
		return text(v.event)
	case "jpd_origin":
		if v.origin == "" {
			return gjson.Result{}
		}
		return text(v.origin)
	}
	return gjson.Result{}
}

func below(data []byte, path string) gjson.Result {
	if path == "" {
		return gjson.ParseBytes(data)
	}
	return gjson.GetBytes(data, path)
}

func text(s string) gjson.Result {
	return gjson.Result{Type: gjson.String, Str: s, Raw: string(event.AppendJSONString(nil, s))}
}

// render fills t in; the result has limit bytes at most. What is not there is an
// empty text, or null as JSON and YAML; a number has its digits as published, and an
// object or a list is JSON where a text is wanted.
func (t *template) render(v *values, limit int) ([]byte, error) {
	var b []byte
	for i := range t.parts {
		p := &t.parts[i]
		if p.root == "" {
			b = append(b, p.text...)
		} else if err := p.append(&b, v.get(p.root, p.path), limit); err != nil {
			return nil, err
		}
		if len(b) > limit {
			return nil, fmt.Errorf("%w: at most %d bytes are allowed", errTooLong, limit)
		}
	}
	return b, nil
}

func (p *part) append(b *[]byte, value gjson.Result, limit int) error {
	if !p.inString {
		made, err := p.appendValue(*b, value, limit)
		*b = made
		return err
	}
	made, err := p.appendValue(nil, value, limit)
	if err != nil {
		return err
	}
	quoted := event.AppendJSONString(nil, string(made))
	*b = append(*b, quoted[1:len(quoted)-1]...)
	return nil
}

func (p *part) appendValue(b []byte, value gjson.Result, limit int) ([]byte, error) {
	switch {
	case p.format == asYAML:
		w := yamlWriter{b: b, limit: limit, indent: p.indent}
		if p.inString {
			w.indent = ""
		}
		if !w.value(value, 0) {
			return nil, fmt.Errorf("%w: at most %d bytes are allowed, and as YAML %d levels", errTooLong, limit, maxYAMLLevels)
		}
		return w.b, nil
	case p.format == asJSON && !value.Exists():
		return append(b, "null"...), nil
	case p.format == asJSON:
		return appendCompact(b, []byte(value.Raw)), nil
	case value.Type == gjson.Null: // or not there
		return b, nil
	case value.Type == gjson.String:
		return append(b, value.Str...), nil
	default:
		return appendCompact(b, []byte(value.Raw)), nil
	}
}

// headerProblem says why a rendered value cannot be sent: it must not end its header
// and begin another one. It does not quote it.
func headerProblem(value []byte) string {
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "has a control character, 0x" + strconv.FormatUint(uint64(c), 16) + ", after the values are filled in"
		}
	}
	return ""
}
