package api

import "encoding/json"

// A Filter is a condition on an event, in one dialect: exactly one field is set. The
// names of entries are attributes, or data.<path> for a value in JSON data.
type Filter struct {
	Exact  map[string]string `json:"exact,omitempty"`  // each attribute is exactly this
	Prefix map[string]string `json:"prefix,omitempty"` // each attribute begins with this
	Suffix map[string]string `json:"suffix,omitempty"` // each attribute ends with this
	Glob   map[string]string `json:"glob,omitempty"`   // each attribute fits this pattern: * ? [a-z] {a,b}
	Ant    map[string]string `json:"ant,omitempty"`    // each attribute, a path, fits this Ant pattern
	All    []Filter          `json:"all,omitempty"`    // every filter matches
	Any    []Filter          `json:"any,omitempty"`    // one filter matches
	Not    *Filter           `json:"not,omitempty"`    // the filter does not match
	SQL    string            `json:"sql,omitempty"`    // a CloudEvents SQL expression, which must be true
}

// MarshalJSON writes <, > and & as escapes, whatever the encoder's settings: the bytes of an
// answer are the same in every version.
func (f Filter) MarshalJSON() ([]byte, error) {
	type plain Filter
	return json.Marshal(plain(f))
}
