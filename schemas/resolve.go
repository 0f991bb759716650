package schemas

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/internal/schema/wording"
)

// ErrUnknownType is wrapped by the errors of Resolve and Check when no domain has
// the event type.
var ErrUnknownType = errors.New("unknown event type")

// maxEvent bounds the part of a type that becomes a subject, in bytes.
const maxEvent = 128

// eventPattern is what can be a subject within a domain.
var eventPattern = regexp.MustCompile(`^[a-z0-9_]+(\.[a-z0-9_]+)*$`)

func validEvent(event string) bool { return len(event) <= maxEvent && eventPattern.MatchString(event) }

// Resolve finds the type of that name. In an open domain it makes up one that has
// no schema. Otherwise the error wraps ErrUnknownType and says which types there
// are, and how to add one.
func (c *Catalogue) Resolve(eventType string) (Type, error) {
	if t, ok := c.types[eventType]; ok {
		return *t, nil
	}
	d := c.owner(eventType)
	if d == nil {
		return Type{}, c.noDomain(eventType)
	}
	event := strings.TrimPrefix(eventType, d.TypePrefix)
	switch {
	case !d.Open:
		return Type{}, d.noEvent(eventType)
	case !validEvent(event):
		return Type{}, fmt.Errorf("%w %s: after %q use at most %d lower-case letters, digits, underscores and single dots",
			ErrUnknownType, quote(eventType), d.TypePrefix, maxEvent)
	}
	return Type{Name: eventType, Domain: d.Name, Event: event, validation: d.Validation}, nil
}

// owner is the domain with the longest type prefix that fits, or nil.
func (c *Catalogue) owner(eventType string) *Domain {
	var owner *Domain
	for _, d := range c.domains {
		if strings.HasPrefix(eventType, d.TypePrefix) && (owner == nil || len(d.TypePrefix) > len(owner.TypePrefix)) {
			owner = d
		}
	}
	return owner
}

func (c *Catalogue) noDomain(eventType string) error {
	names := make([]string, 0, len(c.types))
	for name := range c.types {
		names = append(names, name)
	}
	domains := make([]string, len(c.domains))
	for i, d := range c.domains {
		domains[i] = d.Name + " (" + d.TypePrefix + "*)"
	}
	return fmt.Errorf("%w %s: no domain has a type prefix that fits%s; domains are %s; to add one use jetpost schemas push, or give its folder with --schemas",
		ErrUnknownType, quote(eventType), suggestion(eventType, names), wording.List(domains))
}

func (d *Domain) noEvent(eventType string) error {
	names := make([]string, len(d.Types))
	for i := range d.Types {
		names[i] = d.Types[i].Name
	}
	how := "add <event>.schema.json and <event>.example.json to its folder"
	switch {
	case d.Shipped:
		how = "to add others register a domain of your own with jetpost schemas push"
	case d.Registered():
		how += ", and push it again with jetpost schemas push"
	}
	return fmt.Errorf("%w %s: domain %s does not have it%s; its types are %s; %s",
		ErrUnknownType, quote(eventType), d.Name, suggestion(eventType, names), wording.List(names), how)
}

// quote keeps a hostile type from filling a log.
func quote(eventType string) string {
	if len(eventType) > wording.MaxField {
		return strconv.Quote(wording.Cut(eventType)) + "…"
	}
	return strconv.Quote(eventType)
}

// suggestion names the type that was probably meant, if one is close.
func suggestion(eventType string, names []string) string {
	if len(eventType) > wording.MaxField {
		return ""
	}
	slices.Sort(names) // of equally near names always the same one
	nearest, least := "", 1+max(2, len(eventType)/4)
	for _, name := range names {
		if d := distance(eventType, name); d < least {
			nearest, least = name, d
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", nearest)
}

// distance is the number of characters to insert, delete or replace to get from
// a to b (Levenshtein), over bytes: types are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
