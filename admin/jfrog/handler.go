package jfrog

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The kinds of handlers.
const (
	kindPredefined = "webhook"
	kindCustom     = "custom-webhook"
)

// A handler is one receiver of a document.
type handler struct {
	custom               bool
	url, method, payload string // no method: the default; no payload: the standard body
	sign                 bool
	proxy                string
	headers              []header
	secret               *string       // predefined: as sent, nil when it was not
	secrets              []namedSecret // custom
	members              []member      // as sent
}

type header struct{ name, value string }

// A namedSecret is a value for the templates of a custom webhook.
type namedSecret struct {
	name  string
	value *string // nil: the one that is stored
}

func handlerOrder(custom bool) []string {
	if custom {
		return []string{"handler_type", "url", "method", "secrets", "proxy", "http_headers", "payload"}
	}
	return []string{"handler_type", "url", "secret", "use_secret_for_signing", "proxy", "custom_http_headers"}
}

// secretName is what the platform accepts as the name of a secret.
var secretName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func handlerField(n int) string { return "handlers[" + strconv.Itoa(n) + "]." }

func readHandler(raw json.RawMessage, n int, found *problems) handler {
	var h handler
	at := handlerField(n)
	ms, err := members(raw, nil)
	if err != nil {
		found.add(strings.TrimSuffix(at, "."), err.Error())
		return h
	}
	kind := ""
	if i := slices.IndexFunc(ms, func(m member) bool { return m.Name == "handler_type" }); i >= 0 {
		kind = text(ms[i].Value, at+"handler_type", found)
	}
	switch kind {
	case kindPredefined, kindCustom:
		h.custom = kind == kindCustom
	default:
		found.add(at+"handler_type", fmt.Sprintf("'%s' is not a type of handlers: use %s or %s", clip(kind), kindPredefined, kindCustom))
	}
	h.members, _ = members(raw, handlerOrder(h.custom))
	for _, m := range h.members {
		h.read(m, at, found)
	}
	if h.url == "" {
		found.add(at+"url", "is missing")
	}
	return h
}

func (h *handler) read(m member, at string, found *problems) {
	field := at + m.Name
	if slices.Contains(handlerOrder(!h.custom), m.Name) && !slices.Contains(handlerOrder(h.custom), m.Name) {
		if !asksNothing(m.Value) {
			found.add(field, "has no place in a handler of this type")
		}
		return
	}
	switch m.Name {
	case "url":
		h.url = text(m.Value, field, found)
	case "method":
		h.method = text(m.Value, field, found)
	case "payload":
		h.payload = text(m.Value, field, found)
	case "proxy":
		h.proxy = text(m.Value, field, found)
	case "use_secret_for_signing":
		h.sign = flag(m.Value, field, found)
	case "secret":
		if !isNull(m.Value) {
			secret := text(m.Value, field, found)
			h.secret = &secret
		}
	case "secrets":
		for i, e := range entries(m.Value, field, maxEntries, found) {
			h.readSecret(e, field+"["+strconv.Itoa(i)+"]", found)
		}
	case "http_headers", "custom_http_headers":
		for i, e := range entries(m.Value, field, maxEntries, found) {
			h.readHeader(e, field+"["+strconv.Itoa(i)+"]", found)
		}
	}
}

// asksNothing reports whether a value is what a client sends for something that it
// does not use.
func asksNothing(value json.RawMessage) bool {
	return isNull(value) || slices.Contains([]string{`""`, "[]", "false", `"POST"`}, string(compact(value)))
}

// readPair reads an object with a name and a value, which may be missing.
func readPair(raw json.RawMessage, field string, found *problems) (name string, value *string) {
	ms, err := members(raw, nil)
	if err != nil {
		found.add(field, err.Error())
		return "", nil
	}
	for _, m := range ms {
		switch {
		case m.Name == "name":
			name = text(m.Value, field+".name", found)
		case m.Name == "value" && !isNull(m.Value):
			v := text(m.Value, field+".value", found)
			value = &v
		}
	}
	return name, value
}

func (h *handler) readSecret(raw json.RawMessage, field string, found *problems) {
	name, value := readPair(raw, field, found)
	switch {
	case !secretName.MatchString(name):
		found.add(field+".name", "'"+clip(name)+"' is not a name: use letters, digits and underscores, no digit first")
	case slices.ContainsFunc(h.secrets, func(s namedSecret) bool { return s.name == name }):
		found.add(field+".name", "'"+clip(name)+"' is given twice")
	default:
		h.secrets = append(h.secrets, namedSecret{name, value})
	}
}

func (h *handler) readHeader(raw json.RawMessage, field string, found *problems) {
	name, value := readPair(raw, field, found)
	switch {
	case name == "":
		found.add(field+".name", "is missing")
	case slices.ContainsFunc(h.headers, func(o header) bool { return strings.EqualFold(o.name, name) }):
		found.add(field+".name", "'"+clip(name)+"' is given twice")
	case value == nil:
		h.headers = append(h.headers, header{name, ""})
	default:
		h.headers = append(h.headers, header{name, *value})
	}
}

// isLeftOut reports whether the platform does not return a member although it was sent.
// Terraform's provider 12.1.0 sends these for what its users do not set; later versions do
// not, and plan an update when they read them.
func (h *handler) isLeftOut(m member) bool {
	switch m.Name {
	case "proxy":
		return h.proxy == "" && !isNull(m.Value)
	case "use_secret_for_signing":
		return !h.sign && !isNull(m.Value) && (h.secret == nil || *h.secret == "")
	}
	return false
}

// show writes the handler as clients read it: secrets by a mask, and those of custom
// webhooks by their names. Discreet is for who may not see what people put into queries
// and headers either.
func (h *handler) show(discreet bool) json.RawMessage {
	shown := slices.DeleteFunc(slices.Clone(h.members), h.isLeftOut)
	for i, m := range shown {
		switch {
		case discreet && m.Name == "url":
			if plain, _, secret := strings.Cut(h.url, "?"); secret {
				shown[i].Value = encode(plain + "?…")
			}
		case discreet && (m.Name == "http_headers" || m.Name == "custom_http_headers") && !isNull(m.Value):
			masked := make([]json.RawMessage, len(h.headers))
			for n, header := range h.headers {
				masked[n] = object([]member{{Name: "name", Value: encode(header.name)}, {Name: "value", Value: encode(mask)}})
			}
			shown[i].Value = array(masked)
		case m.Name == "secret" && h.secret != nil && *h.secret != "":
			shown[i].Value = encode(mask)
		case m.Name == "secrets" && h.custom && !isNull(m.Value):
			var elements []json.RawMessage
			for _, e := range list(m.Value, "", &problems{}) {
				pair, _ := members(e, nil)
				elements = append(elements, object(slices.DeleteFunc(pair, func(m member) bool { return m.Name == "value" })))
			}
			shown[i].Value = array(elements)
		}
	}
	return object(shown)
}
