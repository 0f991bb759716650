// Package schemas is the event catalogue: which domains and event types exist,
// what their data must look like, and an example of each.
//
// It reads one folder per domain, those embedded in the program and those a user
// adds; README.md in this folder describes the files. It compiles every JSON
// Schema once, checks every example against its schema, and never opens a network
// connection: a schema can refer to the files of its own domain and to nothing
// else.
//
// It promises that a type belongs to exactly one domain, that a problem names the
// field it is about, and that no number of an event is rounded on the way. A
// Catalogue does not change once loaded and is safe for concurrent use.
package schemas

import (
	"embed"
	"encoding/json"
	"maps"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// shipped holds the domains that come with jetpost. A new folder is picked up
// without a change here.
//
//go:embed */*.json
var shipped embed.FS

// Validation says what a domain does with data that breaks its schema.
type Validation string

// The modes of a domain. Whatever the mode, an event whose type is unknown is
// refused: there is no subject to store it under.
const (
	Enforce Validation = "enforce" // refuse the event; the default
	Warn    Validation = "warn"    // store it and report what is wrong
	Off     Validation = "off"     // store it without looking at the data
)

// A Domain is one business area and its event types.
type Domain struct {
	// Name is the folder's name; it becomes part of stream names and subjects.
	Name        string
	Description string
	// TypePrefix is what all event types of the domain begin with. What follows
	// it is the event. It ends with a dot. Default: the name and a dot.
	TypePrefix string
	Validation Validation
	// Open domains accept events that are not registered, without validation.
	Open bool
	// Shipped is true for the domains that come with jetpost.
	Shipped bool
	// Types are sorted by name.
	Types []Type
	// Definitions are the shared *.defs.json files by file name, as the schemas
	// of the domain refer to them.
	Definitions map[string]json.RawMessage
}

// A Type is one event type. Its slices are shared: do not modify them.
type Type struct {
	// Name is the CloudEvents type: the domain's prefix and Event.
	Name   string
	Domain string
	// Event is the subject of the type within its domain: one or more tokens of
	// lower-case letters, digits and underscores, separated by dots.
	Event       string
	Description string
	// Schema is the JSON Schema as written in its file. Nil for a type of an open
	// domain that has none.
	Schema json.RawMessage
	// Examples of the data, the main one first. Empty only without a schema.
	Examples []Example

	validation Validation
	compiled   *jsonschema.Schema
}

// An Example is data that its type's schema accepts.
type Example struct {
	Name string          // empty for the main example
	Data json.RawMessage // without insignificant white space, otherwise as in its file
}

// A Catalogue is what Load has read.
type Catalogue struct {
	domains []*Domain // sorted by name
	types   map[string]*Type
}

// Domains returns all domains, sorted by name.
func (c *Catalogue) Domains() []Domain {
	domains := make([]Domain, len(c.domains))
	for i, d := range c.domains {
		domains[i] = d.clone()
	}
	return domains
}

// Domain returns the domain of that name, and whether there is one.
func (c *Catalogue) Domain(name string) (Domain, bool) {
	for _, d := range c.domains {
		if d.Name == name {
			return d.clone(), true
		}
	}
	return Domain{}, false
}

// clone keeps callers from changing the lists of a shared catalogue.
func (d *Domain) clone() Domain {
	c := *d
	c.Types = slices.Clone(d.Types)
	c.Definitions = maps.Clone(d.Definitions)
	return c
}

// Types returns the registered types of all domains, sorted by name.
func (c *Catalogue) Types() []Type {
	types := make([]Type, 0, len(c.types))
	for _, name := range slices.Sorted(maps.Keys(c.types)) {
		types = append(types, *c.types[name])
	}
	return types
}
