package event

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A CloudEvent as a NATS message in binary mode (NATS protocol binding 1.0.3-wip,
// section 3.1): every attribute is a header, datacontenttype too, and the payload
// is the data.
//
//	ce-specversion: 1.0
//	ce-id: 85c7e78e
//	ce-type: git.push
//	ce-source: /git/widgets
//	ce-datacontenttype: application/json
//
//	{"ref":"refs/heads/main", …}
//
// Header names of NATS are case-sensitive in the client library and
// case-insensitive in the binding: jetpost writes lower case and reads any.
const (
	attributePrefix   = "ce-"
	contentTypeHeader = "content-type"
	structuredPrefix  = "application/cloudevents"
)

// SetHeader writes the attributes of e into h, percent-encoded.
func (e *Event) SetHeader(h nats.Header) {
	// One array holds all values: a header costs one allocation, not eight.
	values := make([]string, 0, 8+len(e.Extensions))
	set := func(name, value string) {
		if value == "" {
			return
		}
		values = append(values, EncodeHeaderValue(value))
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set("ce-specversion", SpecVersion)
	set("ce-id", e.ID)
	set("ce-source", e.Source)
	set("ce-type", e.Type)
	set("ce-subject", e.Subject)
	set("ce-time", e.Time)
	set("ce-datacontenttype", e.DataContentType)
	set("ce-dataschema", e.DataSchema)
	for i := range e.Extensions {
		set(attributePrefix+e.Extensions[i].Name, e.Extensions[i].Value)
	}
}

// FromMessage reads the CloudEvent in a NATS message, in binary or structured
// mode. Messages without a content type are taken for structured when they have
// no ce-specversion and their payload is a JSON object: other senders write them
// so. The data of a binary message is the given slice itself.
func FromMessage(h nats.Header, data []byte) (*Event, error) {
	e, err := FromCheckedMessage(h, data)
	if err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}

// FromEventLog reads the event in a message of an event log, as routers have to. What a
// producer has published was validated by the rules of its version, which may have been
// others: it stays an event. Anybody else's message is held against the rules of today.
func FromEventLog(h nats.Header, data []byte) (*Event, error) {
	e, err := FromCheckedMessage(h, data)
	if err != nil {
		return nil, err
	}
	if ids := h[jetstream.MsgIDHeader]; len(ids) == 1 && ids[0] == e.MessageID() {
		return e, nil
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}

// FromCheckedMessage is FromMessage for what was validated before: what jetpost has
// written, and what history is read for, whatever rules it was accepted by. It needs no
// more than the attributes that are required, in a form that can be read.
func FromCheckedMessage(h nats.Header, data []byte) (*Event, error) {
	e := &Event{Data: data}
	if len(data) == 0 {
		e.Data = nil // an empty payload and no data are the same in binary mode
	}
	seen, typed, contentType := false, false, ""
	for name, values := range h {
		lower := name
		if hasUpper(name) {
			lower = strings.ToLower(name)
		}
		attribute, isAttribute := strings.CutPrefix(lower, attributePrefix)
		isType := lower == contentTypeHeader
		if !isAttribute && !isType {
			continue
		}
		// Headers come in no order: the answer must not depend on which spelling is first.
		_, both := h[lower]
		if lower != name && both || isType && typed || attribute == "specversion" && seen {
			return nil, fmt.Errorf("%w: header %s is given in two spellings", ErrInvalidEvent, lower)
		}
		if len(values) != 1 {
			return nil, fmt.Errorf("%w: header %s has %d values", ErrInvalidEvent, lower, len(values))
		}
		if isType {
			contentType, typed = values[0], true
			continue
		}
		value, err := DecodeHeaderValue(values[0])
		if err != nil {
			return nil, headerError(lower, err)
		}
		if err := e.setAttribute(attribute, value); err != nil {
			return nil, err
		}
		seen = seen || attribute == "specversion"
	}
	if isStructured(contentType) || contentType == "" && !seen && startsObject(data) {
		return parseStructured(data)
	}
	if !seen {
		return nil, fmt.Errorf("%w: header ce-specversion is missing", ErrInvalidEvent)
	}
	if e.DataContentType == "" {
		e.DataContentType = contentType
	}
	if e.ID == "" || e.Source == "" || e.Type == "" {
		return nil, e.Validate()
	}
	return e, nil
}

func isStructured(contentType string) bool {
	return len(contentType) >= len(structuredPrefix) && strings.EqualFold(contentType[:len(structuredPrefix)], structuredPrefix)
}

func startsObject(data []byte) bool {
	for _, c := range data {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == '{'
		}
	}
	return false
}

func hasUpper(s string) bool {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return true
		}
	}
	return false
}
