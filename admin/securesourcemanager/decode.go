package securesourcemanager

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A body is the hook of a request: what it says, and which fields it has.
type body struct {
	wish

	has map[string]bool // by path
}

// Paths of fields, in the spelling of answers.
const (
	pathTarget   = "targetUri"
	pathDisabled = "disabled"
	pathEvents   = "events"
	pathPush     = "pushOption"
	pathBranch   = "pushOption.branchFilter"
	pathQuery    = "sensitiveQueryString"
)

// outputOnly are the fields that requests may have and that are ignored.
func outputOnly() []string { return []string{"name", "createTime", "updateTime", "uid"} }

// decodeBody reads a hook by the JSON mapping of protobuf: names in either spelling, null
// as absent, enums by name or number. Errors do not show values, which may be secrets.
func decodeBody(r *http.Request) (*body, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, newFault(http.StatusBadRequest, "INVALID_BODY", "The body cannot be read.")
	}
	b := &body{has: make(map[string]bool)}
	if len(bytes.TrimSpace(raw)) == 0 {
		return b, nil
	}
	if !utf8.Valid(raw) {
		return nil, newFault(http.StatusBadRequest, "INVALID_JSON", "The body is not UTF-8.")
	}
	members, err := object(raw, "hook")
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if err := b.set(m); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *body) set(m member) (err error) {
	field := "hook." + m.name
	switch {
	case slices.Contains(outputOnly(), m.name):
		_, err = text(m.value, field)
		return err
	case m.name == pathTarget:
		b.TargetURI, err = text(m.value, field)
	case m.name == pathQuery:
		b.SensitiveQuery, err = text(m.value, field)
	case m.name == pathDisabled:
		if string(m.value) != "true" && string(m.value) != "false" {
			return badField("INVALID_FIELD", field, "must be true or false.")
		}
		b.Disabled = string(m.value) == "true"
	case m.name == pathEvents:
		b.Events, err = events(m.value, field)
	case m.name == pathPush:
		return b.setPush(m.value, field)
	default:
		return unknown(field)
	}
	b.has[m.name] = true
	return err
}

func (b *body) setPush(value json.RawMessage, field string) error {
	members, err := object(value, field)
	if err != nil {
		return err
	}
	b.has[pathPush] = true
	for _, m := range members {
		if m.name != "branchFilter" {
			return unknown(field + "." + m.name)
		}
		if b.BranchFilter, err = text(m.value, field+"."+m.name); err != nil {
			return err
		}
		b.has[pathBranch] = true
	}
	return nil
}

func unknown(field string) error {
	return badField("UNKNOWN_FIELD", field, "is not a field of a hook.")
}

// events reads the list, in its order. Numbers stand for the names whose numbers are
// published.
func events(value json.RawMessage, field string) ([]string, error) {
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil {
		return nil, badField("INVALID_FIELD", field, "must be a list of events.")
	}
	const most = 100
	if len(list) > most {
		return nil, badField("INVALID_FIELD", field, "has more than {maximum} events.", "maximum", strconv.Itoa(most))
	}
	names := make([]string, 0, len(list))
	for i, one := range list {
		at := field + "[" + strconv.Itoa(i) + "]"
		name := string(one)
		if strings.HasPrefix(name, `"`) {
			var err error
			if name, err = text(one, at); err != nil {
				return nil, err
			}
		}
		known := slices.IndexFunc(triggers(), func(t trigger) bool {
			return t.name == name || t.number != 0 && strconv.Itoa(t.number) == string(one)
		})
		if known < 0 {
			return nil, badField("INVALID_EVENT", at, "\"{event}\" is not an event: use PUSH, PULL_REQUEST or PULL_REQUEST_COMMENT.", "event", name)
		}
		names = append(names, triggers()[known].name)
	}
	return names, nil
}

func text(value json.RawMessage, field string) (string, error) {
	var s string
	if json.Unmarshal(value, &s) != nil {
		return "", badField("INVALID_FIELD", field, "must be a string.")
	}
	return s, nil
}

// A member of an object, its name in the spelling of answers.
type member struct {
	name  string
	value json.RawMessage
}

// object reads the members of an object, without those that are null. One that is
// given twice, also in two spellings, is refused: it would be ambiguous which one counts.
func object(value json.RawMessage, field string) ([]member, error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	first, err := decoder.Token()
	if err == nil && first != json.Delim('{') {
		return nil, badField("INVALID_FIELD", field, "must be an object.")
	}
	var members []member
	seen := make(map[string]bool)
	for err == nil && decoder.More() {
		var key json.Token
		if key, err = decoder.Token(); err != nil {
			break
		}
		name, _ := key.(string) // of an object, so it is one
		name = spelling(name)
		if seen[name] {
			return nil, badField("DUPLICATE_FIELD", field+"."+clip(name), "is given twice.")
		}
		seen[name] = true
		var m json.RawMessage
		if err = decoder.Decode(&m); err == nil && string(m) != "null" {
			members = append(members, member{name, m})
		}
	}
	if err == nil {
		_, err = decoder.Token() // the closing brace
	}
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows")
		}
	}
	if err != nil {
		return nil, newFault(http.StatusBadRequest, "INVALID_JSON", "The body is not JSON: an error is at byte {offset}.", "offset", strconv.FormatInt(decoder.InputOffset(), 10))
	}
	return members, nil
}

// spelling is the JSON name of a field or parameter that may be written as in the
// definition of the API. Other names stay as they are.
func spelling(name string) string {
	for _, known := range []string{
		"targetUri", "sensitiveQueryString", "pushOption", "branchFilter", "createTime", "updateTime",
		"hookId", "updateMask", "pageSize", "pageToken",
	} {
		if name == snake(known) {
			return known
		}
	}
	return name
}

func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
