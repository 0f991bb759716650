package schemas

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/schema/cost"
	"github.com/jetpost/jetpost/internal/stream"
)

// The files of a domain's folder.
const (
	domainFile    = "domain.json"
	schemaSuffix  = ".schema.json"
	exampleSuffix = ".example.json"
	defsSuffix    = ".defs.json"
)

type fileKind int

const (
	unknownFile fileKind = iota
	domainKind
	schemaKind
	exampleKind
	defsKind
)

// kindOf is the kind of a file, by its name alone.
func kindOf(name string) fileKind {
	if name == domainFile {
		return domainKind
	}
	for _, k := range [...]struct {
		suffix string
		kind   fileKind
	}{{schemaSuffix, schemaKind}, {exampleSuffix, exampleKind}, {defsSuffix, defsKind}} {
		if stem, ok := strings.CutSuffix(name, k.suffix); ok && validEvent(stem) {
			return k.kind
		}
	}
	return unknownFile
}

// A manifest is domain.json.
type manifest struct {
	Name        string               `json:"name"`
	Description string               `json:"description"`
	TypePrefix  string               `json:"type_prefix"`
	Validation  Validation           `json:"validation"`
	Open        bool                 `json:"open"`
	Events      map[string]eventNote `json:"events"`
}

// An eventNote is what domain.json may say about an event.
type eventNote struct {
	Description string `json:"description"`
}

// prefixPattern is a reverse DNS name and the like. Types are opaque to
// CloudEvents; these are the characters that survive every protocol unescaped.
var prefixPattern = regexp.MustCompile(`^([A-Za-z0-9_-]+\.)+$`)

const maxPrefix = 200

// build makes the domain of the files. The domain is usable only if nothing was
// reported.
func (s *source) build(ctx context.Context, found *problems) *loaded {
	m := s.manifest(found)
	d := &loaded{file: s.file(domainFile), Domain: Domain{
		Name: m.Name, Description: m.Description, TypePrefix: m.TypePrefix, Validation: m.Validation, Open: m.Open,
		Definitions: map[string]json.RawMessage{}, files: Files{},
	}}
	for name, data := range s.files {
		d.files[name] = data
	}
	schemas := s.compile(ctx, found)
	examples := s.examples(found)
	work := cost.Weighing{}
	for _, event := range s.events(m, found) {
		name := event + schemaSuffix
		t := Type{
			Name: m.TypePrefix + event, Domain: m.Name, Event: event, Description: m.Events[event].Description,
			Schema: s.files[name], Examples: examples[event], validation: m.Validation, compiled: schemas[name],
		}
		if t.compiled != nil {
			t.weight = cost.Weigh(work, t.compiled)
		}
		if t.Description == "" {
			t.Description = annotation(s.docs[name])
		}
		s.checkExamples(ctx, &t, found)
		d.Types = append(d.Types, t)
	}
	for name, data := range s.files {
		if kindOf(name) == defsKind {
			d.Definitions[name] = data
		}
	}
	return d
}

// closed makes sure, once nothing else was reported, that no type has lost its
// schema on the way: it would accept anything.
func (d *loaded) closed(found *problems) {
	for i := range d.Types {
		if t := &d.Types[i]; t.Schema != nil && t.compiled == nil {
			found.add(d.file, "the schema of the event %s is not usable", t.Event)
		}
	}
}

// manifest reads domain.json and fills in its defaults.
func (s *source) manifest(found *problems) manifest {
	var m manifest
	if !s.intact(domainFile) {
		return m
	}
	file := s.file(domainFile)
	decoder := json.NewDecoder(bytes.NewReader(s.files[domainFile]))
	decoder.DisallowUnknownFields() // a misspelt "validation" must not mean the default
	if err := decoder.Decode(&m); err != nil {
		found.add(file, "is not a domain file: %s", strings.TrimPrefix(err.Error(), "json: "))
		return m
	}
	switch {
	case m.Name == "":
		found.add(file, "has no name: add \"name\", the same as its folder's")
	case !stream.ValidDomain(m.Name):
		found.add(file, "has the name %s: use 1 to 63 lower-case letters, digits, dashes and underscores, a letter first", quote(m.Name))
	case s.dir != "." && m.Name != s.dir:
		found.add(file, "has the name %s in the folder %s: make them the same", m.Name, s.dir)
	}
	if m.TypePrefix == "" {
		m.TypePrefix = m.Name + "."
	} else if len(m.TypePrefix) > maxPrefix || !prefixPattern.MatchString(m.TypePrefix) {
		found.add(file, "has the type_prefix %s: use letters, digits, dashes, underscores and single dots, at most %d, the last one a dot", quote(m.TypePrefix), maxPrefix)
	}
	switch m.Validation {
	case "":
		m.Validation = Enforce
	case Enforce, Warn, Off:
	default:
		found.add(file, "has the validation %s: use %s, %s or %s", quote(string(m.Validation)), Enforce, Warn, Off)
	}
	return m
}

// events are those that have a schema and, in an open domain, those that
// domain.json describes.
func (s *source) events(m manifest, found *problems) []string {
	events := map[string]bool{}
	for name := range s.files {
		if event, ok := strings.CutSuffix(name, schemaSuffix); ok {
			events[event] = true
		}
	}
	for _, event := range slices.Sorted(maps.Keys(m.Events)) {
		switch {
		case !validEvent(event):
			found.add(s.file(domainFile), "describes the event %s: use lower-case letters, digits, underscores and single dots", quote(event))
		case m.Open:
			events[event] = true
		case !events[event]:
			found.add(s.file(domainFile), "describes the event %s, which has no schema: add %s", event, event+schemaSuffix)
		}
	}
	if len(events) == 0 && !m.Open && s.intact(domainFile) {
		found.add(s.file(domainFile), "has no events: add <event>%s and <event>%s, or \"open\": true to accept any", schemaSuffix, exampleSuffix)
	}
	return slices.Sorted(maps.Keys(events))
}

// examples assigns each example to its event. a.b.example.json is the main one
// of the event a.b if there is a schema of that name, otherwise the one called b
// of the event a.
func (s *source) examples(found *problems) map[string][]Example {
	examples := map[string][]Example{}
	for _, file := range slices.Sorted(maps.Keys(s.files)) {
		event, ok := strings.CutSuffix(file, exampleSuffix)
		if !ok {
			continue
		}
		name := ""
		if !s.hasSchema(event) {
			if dot := strings.LastIndexByte(event, '.'); dot >= 0 {
				event, name = event[:dot], event[dot+1:]
			}
		}
		if !s.hasSchema(event) {
			found.add(s.file(file), "belongs to no event: add %s, or remove it", event+schemaSuffix)
			continue
		}
		var data bytes.Buffer
		if s.intact(file) {
			_ = json.Compact(&data, s.files[file]) // was decoded before
		}
		examples[event] = append(examples[event], Example{Name: name, Data: data.Bytes()})
	}
	for _, list := range examples {
		slices.SortFunc(list, func(a, b Example) int { return strings.Compare(a.Name, b.Name) }) // the main one is ""
	}
	return examples
}

func (s *source) hasSchema(event string) bool {
	_, ok := s.files[event+schemaSuffix]
	return ok
}

// checkExamples holds every example against the schema, whatever the domain's
// mode: an example that is wrong misleads everybody.
func (s *source) checkExamples(ctx context.Context, t *Type, found *problems) {
	if t.Schema == nil {
		return
	}
	if len(t.Examples) == 0 || t.Examples[0].Name != "" {
		found.add(s.file(t.Event+schemaSuffix), "has no example: add %s with data as it should be", t.Event+exampleSuffix)
	}
	for _, example := range t.Examples {
		name := t.Event + exampleSuffix
		if example.Name != "" {
			name = t.Event + "." + example.Name + exampleSuffix
		}
		if t.compiled == nil || !s.intact(name) || ctx.Err() != nil {
			continue // already reported
		}
		d := t.validate(s.docs[name], len(example.Data), "")
		if d.costly && s.stored {
			continue
		}
		for _, p := range fewest(d) {
			found.add(s.file(name), "%s, says %s", strings.TrimSpace(p.String()), t.Event+schemaSuffix)
		}
	}
}

// annotation is what a schema says about itself.
func annotation(doc any) string {
	schema, _ := doc.(map[string]any)
	for _, keyword := range [...]string{"description", "title"} {
		if text, ok := schema[keyword].(string); ok {
			return text
		}
	}
	return ""
}
