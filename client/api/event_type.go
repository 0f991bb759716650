package api

import "encoding/json"

// An EventType is one in a list.
type EventType struct {
	Type        string          `json:"type" doc:"The type attribute of the events."`
	Domain      string          `json:"domain"`
	Description string          `json:"description,omitempty"`
	Validation  string          `json:"validation" doc:"How an event whose data breaks the schema is treated: enforce refuses it, warn stores it with a warning, off does not check."`
	Schema      json.RawMessage `json:"schema,omitempty" doc:"The JSON Schema of the data; with schema=true only."`
	Example     json.RawMessage `json:"example,omitempty" doc:"Data that the schema accepts."`
}

// An EventTypeList is all event types.
type EventTypeList struct {
	Items []EventType `json:"items"`
}

// An EventTypeDetail is an event type with its JSON Schema and all examples.
type EventTypeDetail struct {
	Type        string                     `json:"type" doc:"The type attribute of the events."`
	Domain      string                     `json:"domain"`
	Event       string                     `json:"event" doc:"The type without the domain's prefix."`
	Description string                     `json:"description,omitempty"`
	Validation  string                     `json:"validation" doc:"How an event whose data breaks the schema is treated: enforce, warn or off."`
	Schema      json.RawMessage            `json:"schema,omitempty" doc:"The JSON Schema of the data. Missing: the domain is open, and any data will do."`
	Definitions map[string]json.RawMessage `json:"definitions,omitempty" doc:"What the schema may refer to by file name."`
	Examples    []TypeExample              `json:"examples" doc:"Data that the schema accepts, the main one first."`
}

// A TypeExample is an example of the data of an event type.
type TypeExample struct {
	Name string          `json:"name,omitempty" doc:"Missing for the main one."`
	Data json.RawMessage `json:"data"`
}

// A DataVerdict says whether data fits the schema of an event type.
type DataVerdict struct {
	Valid    bool           `json:"valid"`
	Type     string         `json:"type"`
	Problems []FieldProblem `json:"problems" doc:"What is wrong; field is a JSON pointer into the data, empty for all of it."`
}
