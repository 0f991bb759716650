package jfrog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/keyring"
)

// mask is shown where a secret is set. When it comes back it stands for that secret.
// What the platform shows is not known; clients do not look at it.
const mask = keyring.Placeholder

// A document is a subscription as a client writes and reads it. What jetpost does not
// know is kept and comes back, since clients report what is missing as a difference.
type document struct {
	key, description  string
	enabled, debug    bool
	domain            string
	events            []string
	criteria          json.RawMessage // as sent
	handlers          []handler
	members, selected []member // as sent: of the document, and of its event_filter
}

// The orders in which members are shown.
func documentOrder() []string {
	return []string{"key", "project_key", "description", "enabled", "event_filter", "handlers", "debug"}
}

func filterOrder() []string { return []string{"domain", "event_types", "criteria"} }

// parse reads a document. What is wrong with it goes to found; what parse returns is
// not nil, but of no use then. key is that of the path, which the document need not
// repeat; empty: it must have one.
func parse(body []byte, key string, found *problems) *document {
	d := &document{key: key}
	if !utf8.Valid(body) {
		found.add("", "the body is not valid UTF-8")
		return d
	}
	var err error
	if d.members, err = members(body, documentOrder()); err != nil {
		found.add("", "the body "+err.Error())
		return d
	}
	given := ""
	for _, m := range d.members {
		switch m.Name {
		case "key":
			given = text(m.Value, m.Name, found)
		case "description":
			d.description = text(m.Value, m.Name, found)
		case "project_key":
			_ = text(m.Value, m.Name, found)
		case "enabled":
			d.enabled = flag(m.Value, m.Name, found)
		case "debug":
			d.debug = flag(m.Value, m.Name, found)
		case "event_filter":
			d.readFilter(m.Value, found)
		case "handlers":
			for n, raw := range entries(m.Value, m.Name, maxHandlers, found) {
				d.handlers = append(d.handlers, readHandler(raw, n, found))
			}
		}
	}
	d.checkKey(given, found)
	if n := utf8.RuneCountInString(d.description); n > maxDescription {
		found.add("description", fmt.Sprintf("has %d characters, at most %d are allowed", n, maxDescription))
	}
	if d.domain == "" {
		found.add("event_filter.domain", "is missing")
	}
	if len(d.events) == 0 {
		found.add("event_filter.event_types", "is empty: give at least one event type")
	}
	if len(d.handlers) == 0 {
		found.add("handlers", "is empty: give at least one handler")
	}
	return d
}

const maxDescription = 1000 // characters

func (d *document) checkKey(given string, found *problems) {
	switch {
	case d.key != "" && given != "" && given != d.key:
		found.add("key", "is '"+clip(given)+"', but the path names '"+clip(d.key)+"': a key cannot be changed")
	case d.key != "":
	case !keyPattern.MatchString(given) || len(given) > maxKey:
		found.add("key", fmt.Sprintf("'%s' is not a key: use 2 to %d letters, digits, underscores and dashes, a letter first", clip(given), maxKey))
	default:
		d.key = given
	}
}

func (d *document) readFilter(raw json.RawMessage, found *problems) {
	const field = "event_filter"
	if isNull(raw) {
		return
	}
	var err error
	if d.selected, err = members(raw, filterOrder()); err != nil {
		found.add(field, err.Error())
		return
	}
	for _, m := range d.selected {
		at := field + "." + m.Name
		switch m.Name {
		case "domain":
			d.domain = text(m.Value, at, found)
		case "event_types":
			for i, e := range entries(m.Value, at, maxEntries, found) {
				event := text(e, at+"["+strconv.Itoa(i)+"]", found)
				if !slices.Contains(d.events, event) {
					d.events = append(d.events, event)
				}
			}
		case "criteria":
			d.criteria = m.Value
		}
	}
}

// show writes the document as clients read it. enabled is what the subscription is.
func (d *document) show(enabled bool) []byte { return d.write(enabled, false) }

// showTo is show for who makes the request: an auditor does not see what people put into
// headers and queries. What clients keep in step has to come from another token.
func (d *document) showTo(ctx context.Context, enabled bool) []byte {
	return d.write(enabled, isDiscreet(ctx))
}

// isDiscreet reports whether who makes the request does not see headers and queries.
func isDiscreet(ctx context.Context) bool { return access.PrincipalOf(ctx).Role == access.Auditor }

// shownURL is the URL of a handler as who makes the request sees it. What is compared
// with a text of theirs must be no more than that.
func shownURL(ctx context.Context, url string) string {
	if plain, _, secret := strings.Cut(url, "?"); secret && isDiscreet(ctx) {
		return plain + "?…"
	}
	return url
}

func (d *document) write(enabled, discreet bool) []byte {
	shown := []member{{Name: "key", Value: encode(d.key)}}
	hasEnabled := false
	for _, m := range d.members {
		switch m.Name {
		case "key":
			continue
		case "enabled":
			hasEnabled = true
			m.Value = encode(enabled)
		case "event_filter":
			m.Value = d.showFilter()
		case "handlers":
			handlers := make([]json.RawMessage, len(d.handlers))
			for i := range d.handlers {
				handlers[i] = d.handlers[i].show(discreet)
			}
			m.Value = array(handlers)
		}
		shown = append(shown, m)
	}
	if !hasEnabled {
		at := slices.IndexFunc(shown, func(m member) bool {
			return slices.Index(documentOrder(), m.Name) > slices.Index(documentOrder(), "enabled")
		})
		shown = slices.Insert(shown, at, member{Name: "enabled", Value: encode(enabled)}) // handlers come after it
	}
	return object(shown)
}

func (d *document) showFilter() json.RawMessage {
	var shown []member
	for _, m := range d.selected {
		if m.Name != "criteria" {
			shown = append(shown, m)
		}
	}
	at := slices.IndexFunc(shown, func(m member) bool { return !slices.Contains(filterOrder(), m.Name) })
	if at < 0 {
		at = len(shown)
	}
	return object(slices.Insert(shown, at, member{Name: "criteria", Value: completeCriteria(d.domain, d.criteria)}))
}

// plainDescription is the description without what would garble a terminal.
func (d *document) plainDescription() string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && (c < 0x20 || c >= 0x7f && c <= 0x9f) {
			return ' '
		}
		return c
	}, d.description)
}
