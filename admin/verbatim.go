package admin

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"strconv"
)

// withEvents is an answer in which events are shown. encoding/json would take the
// white space out of them, and data is answered byte for byte as it was published.
type withEvents interface {
	// apart returns the same answer with a stand-in for each event that it has, and
	// these in the order in which they are written.
	apart(standIn json.RawMessage) (any, []json.RawMessage)
}

func (e storedEvent) apart(standIn json.RawMessage) (any, []json.RawMessage) {
	if len(e.Event) == 0 {
		return e, nil
	}
	event := e.Event
	e.Event = standIn
	return e, []json.RawMessage{event}
}

func (b storyBody) apart(standIn json.RawMessage) (any, []json.RawMessage) {
	event := b.Event
	if len(event) == 0 {
		return b, nil
	}
	b.Event = standIn
	return b, []json.RawMessage{event}
}

func (p page[T]) apart(standIn json.RawMessage) (any, []json.RawMessage) {
	stripped := page[any]{Items: make([]any, len(p.Items)), NextCursor: p.NextCursor}
	var events []json.RawMessage
	for i, item := range p.Items {
		stripped.Items[i] = item
		if one, ok := any(item).(withEvents); ok {
			var of []json.RawMessage
			stripped.Items[i], of = one.apart(standIn)
			events = append(events, of...)
		}
	}
	return stripped, events
}

// encodeAnswer writes an answer as JSON, with the events in it as they are.
func encodeAnswer(w io.Writer, answer any) error {
	return encodeEvents(w, answer, func(b []byte) []byte { return b })
}

// encodeLine is encodeAnswer in one line, the line break at its end included. Line
// breaks inside of an event, which can only be white space, become spaces.
func encodeLine(w io.Writer, answer any) error { return encodeEvents(w, answer, inOneLine) }

func inOneLine(event []byte) []byte {
	if !bytes.ContainsAny(event, "\n\r") {
		return event
	}
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, event)
}

func encodeEvents(w io.Writer, answer any, shape func([]byte) []byte) error {
	var events []json.RawMessage
	var standIn string
	if one, ok := answer.(withEvents); ok {
		standIn = strconv.Quote(rand.Text()) // which no text in the answer can have foreseen
		answer, events = one.apart(json.RawMessage(standIn))
	}
	if len(events) == 0 {
		return encodePlain(w, answer)
	}
	var text bytes.Buffer
	if err := encodePlain(&text, answer); err != nil {
		return err
	}
	rest := text.Bytes()
	for _, event := range events {
		before, after, _ := bytes.Cut(rest, []byte(standIn))
		if _, err := w.Write(before); err != nil {
			return err
		}
		if _, err := w.Write(shape(event)); err != nil {
			return err
		}
		rest = after
	}
	_, err := w.Write(rest)
	return err
}

func encodePlain(w io.Writer, answer any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(answer)
}
