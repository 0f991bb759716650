package schemas

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/schema/compare"
)

// An Incompatibility is one reason why a new version of a domain would refuse
// events that the old one accepted.
type Incompatibility struct {
	// File is where: a file of the new version, or one that it no longer has.
	File string
	// Field is a JSON pointer into the file: what is stricter now. Empty for the
	// whole file.
	Field string
	// Message continues the two: "accepts at most 5, before 10".
	Message string
}

// Place is the file and the field as one, in the form of a reference.
func (i Incompatibility) Place() string {
	if i.Field == "" {
		return i.File
	}
	return i.File + "#" + i.Field
}

func (i Incompatibility) String() string { return printable(i.Place()) + " " + i.Message }

// A Comparison is what Compare found.
type Comparison struct {
	// Incompatible are the reasons to refuse the new version.
	Incompatible []Incompatibility
	// Warnings are no reasons, but deserve a review: a field that is described for
	// the first time, which nothing has held data to so far.
	Warnings []Incompatibility
	// Added, Changed and Removed are event types, sorted. A type is changed when its
	// schema is another one, or a definition that the domain shares is.
	Added, Changed, Removed []string
	// Stored is about the stored events. Compare does not read them.
	Stored StoredCheck
}

// Compare looks for what next, the new version of the domain old, would refuse that old
// accepted, or no longer has. The rules are plain, and applied to each field of the data:
//
//   - an event type is removed, or the type prefix changed;
//   - a field is removed, or required now;
//   - a field no longer accepts a type or a value of an enum, or a limit of it is narrower;
//   - a pattern, a format or another condition on one value is new or has changed;
//   - an object has no members any more but those that are described.
//
// References, allOf, anyOf and oneOf are followed. Where other keywords are new or have
// changed, such as not and if, that is a warning. The examples of the old version are held
// against the new one, and by Put the last stored events as well: what rules do not see,
// they do.
//
// Where a domain does not enforce its schemas nothing is refused because of them,
// so only the types are compared.
func Compare(old, next *Domain) Comparison {
	var c Comparison
	refuse := func(file, field, format string, args ...any) {
		c.Incompatible = append(c.Incompatible, Incompatibility{file, field, fmt.Sprintf(format, args...)})
	}
	if old.TypePrefix != next.TypePrefix {
		refuse(domainFile, "/type_prefix", "is %s, before %s: the types of all events would be others", next.TypePrefix, old.TypePrefix)
	}
	if old.Open && !next.Open {
		refuse(domainFile, "/open", "is false, before true: events without a schema would be refused")
	}
	enforced := next.Validation == Enforce
	if enforced && old.Validation != Enforce {
		refuse(domainFile, "/validation", "is %s, before %s: data was not held to the schemas so far", next.Validation, old.Validation)
	}
	before, after := newVersion(old), newVersion(next)
	definitions := sameDefinitions(before, after)
	for _, event := range events(old, next) {
		was, had := old.event(event)
		is, has := next.event(event)
		file := event + schemaSuffix
		switch {
		case !had:
			c.Added = append(c.Added, is.Name)
			if old.Open && enforced && is.Schema != nil {
				refuse(file, "", "holds the event to a schema: the domain was open, so its data was not checked so far")
			}
			continue
		case !has:
			c.Removed = append(c.Removed, was.Name)
			if !next.Open {
				refuse(file, "", "is removed: the event type %s would be refused", was.Name)
			}
			continue
		}
		if definitions && compare.SameJSON(before.Docs[file], after.Docs[file]) {
			continue
		}
		c.Changed = append(c.Changed, is.Name)
		if !enforced || old.Validation != Enforce || is.Schema == nil {
			continue
		}
		if was.Schema == nil {
			refuse(file, "", "holds the event to a schema, which it did not have so far")
			continue
		}
		c.compareSchemas(before, after, file)
		c.checkExamples(was, is)
	}
	return c
}

// compareSchemas compares one file of both versions, with all that it refers to.
func (c *Comparison) compareSchemas(before, after *compare.Version, file string) {
	refused, warned := compare.Schemas(before, after, file)
	c.Incompatible = appendNew(c.Incompatible, refused)
	c.Warnings = appendNew(c.Warnings, warned)
}

// appendNew appends what is not in all: files share definitions.
func appendNew(all []Incompatibility, found []compare.Finding) []Incompatibility {
	for _, f := range found {
		if one := Incompatibility(f); !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// checkExamples holds the examples of the old version against the new schema.
func (c *Comparison) checkExamples(was, is Type) {
	for _, example := range was.Examples {
		value, f := decode(example.Data)
		if f != nil || is.compiled == nil {
			continue // both versions were loaded
		}
		for _, p := range fewest(is.validate(value, len(example.Data), "")) {
			c.Incompatible = append(c.Incompatible, Incompatibility{
				exampleFile(was.Event, example.Name), p.Field, "of the old version would be refused: it " + p.Message,
			})
		}
	}
}

func exampleFile(event, name string) string {
	if name == "" {
		return event + exampleSuffix
	}
	return event + "." + name + exampleSuffix
}

func (d *Domain) event(event string) (Type, bool) {
	for _, t := range d.Types {
		if t.Event == event {
			return t, true
		}
	}
	return Type{}, false
}

// events are those of both versions, sorted.
func events(old, next *Domain) []string {
	all := map[string]bool{}
	for _, d := range []*Domain{old, next} {
		for i := range d.Types {
			all[d.Types[i].Event] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// newVersion decodes the schemas of a domain.
func newVersion(d *Domain) *compare.Version {
	docs := map[string]any{}
	for name, data := range d.files {
		if k := kindOf(name); k != schemaKind && k != defsKind {
			continue
		}
		doc, f := decode(data)
		if f != nil {
			continue // it was loaded before
		}
		docs[name] = doc
	}
	return compare.NewVersion(docs)
}

// sameDefinitions reports whether all that schemas can refer to, beside each other,
// is the same. A schema that another one refers to counts as changed with it.
func sameDefinitions(old, next *compare.Version) bool {
	shared := func(docs map[string]any) map[string]any {
		found := map[string]any{}
		for name, doc := range docs {
			if kindOf(name) == defsKind || refersToSchemas(docs) {
				found[name] = doc
			}
		}
		return found
	}
	a, b := shared(old.Docs), shared(next.Docs)
	return len(a) == len(b) && compare.SameJSON(any(a), any(b))
}

// refersToSchemas reports whether any file refers to a schema of another event. It
// is a guess on the safe side.
func refersToSchemas(docs map[string]any) bool {
	return compare.AnyMember(docs, func(key string, value any, _ int) bool {
		text, ok := value.(string)
		name, _, _ := strings.Cut(text, "#")
		return ok && (key == "$ref" || key == "$dynamicRef") && name != "" && !strings.HasSuffix(name, defsSuffix)
	})
}
