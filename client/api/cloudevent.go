package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// An Event is a CloudEvent 1.0 to publish, or as it is stored. As JSON it is in the JSON
// format of CloudEvents.
type Event struct {
	ID              string
	Source          string
	Type            string
	Subject         string
	Time            time.Time
	DataContentType string
	DataSchema      string
	// Extensions are the other attributes: texts, numbers and booleans.
	Extensions map[string]any
	// Data is JSON. Or give DataBytes, of another type that DataContentType says.
	Data      json.RawMessage
	DataBytes []byte
}

// eventJSON has the attributes that are no extensions.
type eventJSON struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time,omitzero"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	DataSchema      string          `json:"dataschema,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
	DataBase64      []byte          `json:"data_base64,omitempty"`
}

// known are the members that are no extensions.
func known() []string {
	return []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64"}
}

// MarshalJSON refuses an extension with the name of another attribute.
func (e Event) MarshalJSON() ([]byte, error) {
	members := maps.Clone(e.Extensions)
	if members == nil {
		members = map[string]any{}
	}
	for _, name := range known() {
		if _, taken := members[name]; taken {
			return nil, fmt.Errorf("the extension %s has the name of an attribute of CloudEvents", name)
		}
	}
	text, err := json.Marshal(eventJSON{"1.0", e.ID, e.Source, e.Type, e.Subject, e.Time, e.DataContentType, e.DataSchema, e.Data, e.DataBytes})
	if err != nil || len(members) == 0 {
		return text, err
	}
	attributes := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &attributes); err != nil {
		return nil, err
	}
	for name, value := range attributes {
		members[name] = value
	}
	return json.Marshal(members)
}

// UnmarshalJSON takes what it does not know for extensions.
func (e *Event) UnmarshalJSON(b []byte) error {
	var in eventJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	for _, name := range known() {
		delete(members, name)
	}
	*e = Event{
		ID: in.ID, Source: in.Source, Type: in.Type, Subject: in.Subject, Time: in.Time, DataContentType: in.DataContentType,
		DataSchema: in.DataSchema, Data: in.Data, DataBytes: in.DataBase64,
	}
	if len(members) > 0 {
		e.Extensions = members
	}
	return nil
}
