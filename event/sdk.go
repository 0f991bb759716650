package event

import (
	"fmt"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// FromCloudEvent takes an event of the CloudEvents SDK. Its attributes are
// turned into their canonical strings, its data stays as it is.
func FromCloudEvent(in event.Event) (*Event, error) {
	if err := in.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidEvent, err)
	}
	e := &Event{
		ID: in.ID(), Source: in.Source(), Type: in.Type(), Subject: in.Subject(),
		DataContentType: in.DataContentType(), DataSchema: in.DataSchema(), Data: in.Data(),
	}
	if in.SpecVersion() != SpecVersion {
		return nil, fmt.Errorf("%w: specversion is %q, jetpost carries %q", ErrInvalidEvent, in.SpecVersion(), SpecVersion)
	}
	if at := in.Time(); !at.IsZero() {
		e.Time = types.FormatTime(at)
	}
	for name, value := range in.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return nil, fmt.Errorf("%w: attribute %s: %w", ErrInvalidEvent, name, err)
		}
		if err := e.addExtension(name, text); err != nil {
			return nil, err
		}
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}

// CloudEvent turns e into an event of the CloudEvents SDK. Extension attributes
// become strings: their type is not known on the wire.
func (e *Event) CloudEvent() (event.Event, error) {
	out := event.New(SpecVersion)
	out.SetID(e.ID)
	out.SetSource(e.Source)
	out.SetType(e.Type)
	if e.Subject != "" {
		out.SetSubject(e.Subject)
	}
	if e.Time != "" {
		at, err := types.ParseTime(e.Time)
		if err != nil {
			return event.Event{}, fmt.Errorf("%w: attribute time: %w", ErrInvalidEvent, err)
		}
		out.SetTime(at)
	}
	if e.DataContentType != "" {
		out.SetDataContentType(e.DataContentType)
	}
	if e.DataSchema != "" {
		out.SetDataSchema(e.DataSchema)
	}
	for _, a := range e.Extensions {
		out.SetExtension(a.Name, a.Value)
	}
	if len(e.Data) > 0 {
		out.DataEncoded = e.Data
		out.DataBase64 = e.base64InSDK()
	}
	if err := out.Validate(); err != nil {
		return event.Event{}, fmt.Errorf("%w: %w", ErrInvalidEvent, err)
	}
	return out, nil
}

// base64InSDK reports whether the SDK has to write the data as base64. Otherwise
// it writes it as it is or, where it does not know the type for JSON, such as any
// that ends in +json, as a string, which other readers take for JSON.
func (e *Event) base64InSDK() bool {
	if !IsJSON(e.DataContentType) {
		return !utf8.Valid(e.Data)
	}
	mediaType, _ := MediaType(e.DataContentType)
	switch mediaType {
	case "", "application/json", "text/json":
		return !embeddable(e.Data)
	}
	return true
}
