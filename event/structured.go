package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// ParseStructured reads one event in the JSON event format (CloudEvents 1.0.2,
// "JSON Event Format"). JSON data keeps its bytes: key order, white space inside,
// escapes, integers of any size. It refuses what other readers accept and
// understand differently: a member given twice, text that is not Unicode, both
// data and data_base64.
func ParseStructured(b []byte) (*Event, error) {
	e, err := parseStructured(b)
	if err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}

// parseStructured reads an event without validating it, but for what is required.
func parseStructured(b []byte) (*Event, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	e, err := parseObject(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the event", ErrInvalidEvent)
	}
	return e, nil
}

// ParseBatch reads a JSON array of events (CloudEvents 1.0.2, "JSON Batch
// Format"). The error names the index of the event that is wrong.
func ParseBatch(b []byte) ([]*Event, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if token, err := dec.Token(); err != nil || token != json.Delim('[') {
		return nil, fmt.Errorf("%w: a batch is a JSON array of events", ErrInvalidEvent)
	}
	var events []*Event
	for dec.More() {
		e, err := parseObject(dec)
		if err == nil {
			err = e.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", len(events), err)
		}
		events = append(events, e)
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("%w: the batch does not end", ErrInvalidEvent)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the batch", ErrInvalidEvent)
	}
	return events, nil
}

// members collects what an event in JSON form is made of. A nil slice is an
// absent member: JSON null means the same.
type members struct {
	event         *Event
	names         map[string]bool
	data, encoded json.RawMessage
	specVersion   bool
}

func parseObject(dec *json.Decoder) (*Event, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalidEvent, jsonProblem(err))
	}
	if token != json.Delim('{') {
		return nil, fmt.Errorf("%w: an event is a JSON object", ErrInvalidEvent)
	}
	m := members{event: &Event{}, names: make(map[string]bool, 12)}
	for dec.More() {
		if err := m.next(dec); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalidEvent, jsonProblem(err))
	}
	if !m.specVersion {
		return nil, fmt.Errorf("%w: attribute specversion is missing", ErrInvalidEvent)
	}
	if err := m.setData(); err != nil {
		return nil, err
	}
	if e := m.event; e.ID == "" || e.Source == "" || e.Type == "" {
		return nil, e.Validate()
	}
	return m.event, nil
}

func (m *members) next(dec *json.Decoder) error {
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("%w: %s", ErrInvalidEvent, jsonProblem(err))
	}
	name, _ := token.(string) // the key of an object is always a string
	if m.names[name] {
		return fmt.Errorf("%w: member %q is given twice", ErrInvalidEvent, name)
	}
	m.names[name] = true
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return fmt.Errorf("%w: %s", ErrInvalidEvent, jsonProblem(err))
	}
	if !utf8.Valid(raw) {
		return fmt.Errorf("%w: member %q is not valid UTF-8", ErrInvalidEvent, name)
	}
	switch {
	case name == "data":
		m.data = raw
		return nil
	case string(raw) == "null":
		return nil
	case name == "data_base64":
		m.encoded = raw
		return nil
	}
	value, err := canonical(raw)
	if err != nil {
		return fmt.Errorf("%w: attribute %q %w", ErrInvalidEvent, name, err)
	}
	m.specVersion = m.specVersion || name == "specversion"
	return m.event.setAttribute(name, value)
}

// canonical is the string form of an attribute's JSON value.
func canonical(raw json.RawMessage) (string, error) {
	switch raw[0] {
	case '"':
		return unquote(raw)
	case 't', 'f':
		return string(raw), nil
	case '{', '[':
		return "", errors.New("is neither a string, an integer nor a boolean")
	}
	n, err := strconv.ParseInt(string(raw), 10, 32)
	if err != nil {
		return "", errors.New("is not a 32-bit integer")
	}
	return strconv.FormatInt(n, 10), nil
}

// unquote reads a JSON string. The decoder turns each half of a surrogate pair
// into U+FFFD: two different ids would become one.
func unquote(raw json.RawMessage) (string, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errors.New("is not a string")
	}
	if strings.ContainsRune(s, utf8.RuneError) && hasLoneSurrogate(raw) {
		return "", errors.New("contains half of a surrogate pair")
	}
	return s, nil
}

// hasLoneSurrogate looks at the escapes of a JSON string, which must be valid.
func hasLoneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		r := escapedRune(raw[i:])
		i++ // the character behind the backslash cannot begin an escape
		if !utf16.IsSurrogate(r) {
			continue
		}
		if utf16.DecodeRune(r, escapedRune(raw[i+5:])) == utf8.RuneError {
			return true
		}
		i += 10
	}
	return false
}

// escapedRune is the rune of the \uXXXX that s begins with, -1 of anything else.
func escapedRune(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	r, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(r)
}

func (m *members) setData() error {
	e := m.event
	switch {
	case m.data != nil && m.encoded != nil:
		return fmt.Errorf("%w: both data and data_base64 are given", ErrInvalidEvent)
	case m.encoded != nil:
		text, err := unquote(m.encoded)
		if err != nil {
			return fmt.Errorf("%w: data_base64 %w", ErrInvalidEvent, err)
		}
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("%w: data_base64 is not base64", ErrInvalidEvent)
		}
		e.Data = data
	case m.data == nil:
	case IsJSON(e.DataContentType):
		if e.DataContentType == "" { // the JSON format implies it, binary mode must name it
			e.DataContentType = "application/json"
		}
		e.Data = m.data
	case string(m.data) == "null":
	case m.data[0] == '"':
		text, err := unquote(m.data)
		if err != nil {
			return fmt.Errorf("%w: data %w", ErrInvalidEvent, err)
		}
		e.Data = []byte(text)
	default:
		return fmt.Errorf("%w: data of type %s has to be a JSON string, or base64 in data_base64", ErrInvalidEvent, e.DataContentType)
	}
	return nil
}

// AppendStructured appends e in the JSON event format to dst. JSON data is
// embedded byte for byte, other text becomes a string, anything else
// data_base64. Data that claims to be JSON and is not travels as base64 too, so
// that one broken event cannot break its envelope. White space around JSON data
// is written as well, but to a reader it is the envelope's.
func (e *Event) AppendStructured(dst []byte) []byte {
	dst = append(dst, `{"specversion":"1.0"`...)
	member := func(name, value string) {
		if value == "" {
			return
		}
		dst = append(append(append(dst, ',', '"'), name...), '"', ':')
		dst = AppendJSONString(dst, value)
	}
	member("id", e.ID)
	member("source", e.Source)
	member("type", e.Type)
	member("subject", e.Subject)
	member("time", e.Time)
	member("datacontenttype", e.DataContentType)
	member("dataschema", e.DataSchema)
	for i := range e.Extensions {
		member(e.Extensions[i].Name, e.Extensions[i].Value)
	}
	switch {
	case len(e.Data) == 0:
	case IsJSON(e.DataContentType) && embeddable(e.Data):
		dst = append(append(dst, `,"data":`...), e.Data...)
	case !IsJSON(e.DataContentType) && utf8.Valid(e.Data):
		dst = AppendJSONString(append(dst, `,"data":`...), string(e.Data))
	default:
		dst = append(dst, `,"data_base64":"`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, e.Data), '"')
	}
	return append(dst, '}')
}

// manyLevels is near the depth of nesting beyond which decoders give up: 10,000 in
// encoding/json and in the SDK.
const manyLevels = 9_000

// embeddable reports whether data is JSON that a reader of the envelope can read.
func embeddable(data []byte) bool {
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > manyLevels {
		inside := append(append([]byte("["), data...), ']')
		if !json.Valid(inside) { // too deep, or not JSON anyway
			return false
		}
	}
	return utf8.Valid(data) && gjson.ValidBytes(data)
}

// AppendJSONString appends s as a JSON string. s must be valid UTF-8.
func AppendJSONString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			quoted, _ := json.Marshal(s) // a string cannot fail
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// jsonProblem puts a decoder's error into words without echoing the input.
func jsonProblem(err error) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("the body is not JSON: %v at byte %d", syntax, syntax.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the body is not JSON: it ends too early"
	}
	return "the body is not JSON: " + err.Error()
}
