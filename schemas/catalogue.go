// Package schemas is the event catalogue: which domains and event types exist,
// what their data must look like, and an example of each.
//
// It reads one folder per domain, those embedded in the program and those a user
// adds; README.md in this folder describes the files. Domains that users register
// while it runs are in the catalog bucket: a Store writes them, a Live has a
// Catalogue with them. It compiles every JSON
// Schema once, checks every example against its schema, and never opens a network
// connection: a schema can refer to the files of its own domain and to nothing
// else.
//
// It promises that a type belongs to exactly one domain, that a problem names the
// field it is about, and that no number of an event is rounded on the way. A
// Catalogue does not change once loaded and is safe for concurrent use.
package schemas

import (
	"context"
	"embed"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/jetpost/jetpost/internal/schema/cost"
	"github.com/jetpost/jetpost/internal/stream"
)

// shipped holds the domains that ship with jetpost. A new folder is picked up
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
	// Shipped is true for the domains that ship with jetpost.
	Shipped bool
	// Revision of a domain that was registered at run time; 0 for all others, which
	// are from folders.
	Revision uint64
	// UpdatedAt is when a registered domain was last changed.
	UpdatedAt time.Time
	// Types are sorted by name.
	Types []Type
	// Definitions are the shared *.defs.json files by file name, as the schemas
	// of the domain refer to them.
	Definitions map[string]json.RawMessage

	files Files
}

// Registered reports whether the domain was registered at run time.
func (d *Domain) Registered() bool { return d.Revision > 0 }

// Files are the files of the domain.
func (d *Domain) Files() Files { return maps.Clone(d.files) }

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
	weight     cost.Weights // of compiled
}

// An Example is data that its type's schema accepts.
type Example struct {
	Name string          // empty for the main example
	Data json.RawMessage // without insignificant white space, otherwise as in its file
}

// A Catalogue is what Load has read, or what a Live knows.
type Catalogue struct {
	domains []*Domain // sorted by name
	types   map[string]*Type

	broken   []Broken // sorted by domain
	revision uint64   // of the catalog bucket
}

// A Broken is a registered domain that cannot be used. Events of its types are
// refused; those that were accepted before are routed.
type Broken struct {
	Domain   string
	Revision uint64
	Err      error
}

// Broken returns the registered domains that cannot be used, sorted by name: their
// records are of a later version of jetpost, or jetpost has come with a domain of
// the same name since.
func (c *Catalogue) Broken() []Broken { return slices.Clone(c.broken) }

// Names are the domains that may have events, sorted: those that can be used and
// those that cannot.
func (c *Catalogue) Names() []string {
	names := make([]string, 0, len(c.domains)+len(c.broken))
	for _, d := range c.domains {
		names = append(names, d.Name)
	}
	for _, b := range c.broken {
		if stream.ValidDomain(b.Domain) { // a key that another program has written
			names = append(names, b.Domain)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A Source has the catalogue as it is now: a Live, or a Catalogue itself, which
// never changes.
type Source interface {
	// Current returns the catalogue as far as it is known here.
	Current() *Catalogue
	// Sync returns one that has every change which was acknowledged before the call.
	Sync(ctx context.Context) (*Catalogue, error)
	// Changed returns a channel that is closed when there is a newer one; nil if
	// there never will be. Call it before Current.
	Changed() <-chan struct{}
}

// Current makes a Catalogue a Source.
func (c *Catalogue) Current() *Catalogue { return c }

// Sync makes a Catalogue a Source. It never fails.
func (c *Catalogue) Sync(context.Context) (*Catalogue, error) { return c, nil }

// Changed makes a Catalogue a Source.
func (c *Catalogue) Changed() <-chan struct{} { return nil }

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
