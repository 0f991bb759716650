package httpapi

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"slices"
	"strconv"

	v1 "github.com/jetpost/jetpost/client/api"
)

// apart returns an answer with a stand-in for each event that it has, and these in the
// order in which they are written. encoding/json would take the white space out of them,
// and data is answered byte for byte as it was published.
func apart(answer any, standIn json.RawMessage) (any, []json.RawMessage) {
	switch a := answer.(type) {
	case v1.StoredEvent:
		event := takeEvent(&a, standIn)
		return a, event
	case v1.Story:
		event := takeEvent(&a.StoredEvent, standIn)
		return a, event
	case v1.Page[v1.StoredEvent]:
		var events []json.RawMessage
		a.Items = slices.Clone(a.Items)
		for i := range a.Items {
			events = append(events, takeEvent(&a.Items[i], standIn)...)
		}
		return a, events
	}
	return answer, nil
}

// takeEvent puts standIn into the place of the event, if there is one.
func takeEvent(e *v1.StoredEvent, standIn json.RawMessage) []json.RawMessage {
	if len(e.Event) == 0 {
		return nil
	}
	event := e.Event
	e.Event = standIn
	return []json.RawMessage{event}
}

// Encode writes an answer as JSON, with the events in it as they are.
func Encode(w io.Writer, answer any) error {
	return encodeEvents(w, answer, func(b []byte) []byte { return b })
}

// encodeLine is Encode in one line, the line break at its end included. Line
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
	standIn := strconv.Quote(rand.Text()) // which no text in the answer can have foreseen
	answer, events := apart(answer, json.RawMessage(standIn))
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
