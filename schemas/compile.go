package schemas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/jetpost/jetpost/internal/schema/cost"
	"github.com/jetpost/jetpost/internal/schema/wording"
	"github.com/jetpost/jetpost/internal/timestamp"
)

const draft = "https://json-schema.org/draft/2020-12/schema"

// validateTime has times in data read as those in attributes are.
func validateTime(v any) error {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	_, err := timestamp.Parse(text)
	return err
}

// compile compiles the schemas and shared definitions of a domain. What does not
// compile is reported and missing in the result.
//
// "format" is checked, not only noted: who writes "date-time" wants one.
func (s *source) compile(ctx context.Context, found *problems) map[string]*jsonschema.Schema {
	names := s.schemas(found)
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.RegisterFormat(&jsonschema.Format{Name: "date-time", Validate: validateTime})
	compiler.UseLoader(s.references(names, found))
	engine := cost.CompileBoundedPattern
	if s.stored {
		engine = cost.CompilePattern
	}
	compiler.UseRegexpEngine(engine)

	compiled := map[string]*jsonschema.Schema{}
	costs := cost.NewSearch()
	var reported []string // files may share a broken reference
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		for _, target := range targets(name, s.docs[name]) {
			schema, err := compiler.Compile(wording.Address(name) + target)
			if err != nil {
				if text := err.Error(); !slices.Contains(reported, text) {
					reported = append(reported, text)
					s.compileProblem(name, err, found)
				}
				break
			}
			compiled[name] = schema
		}
		if worst := costs.Costliest(compiled[name]); worst != nil && !s.stored {
			found.add(s.file(name), "%s needs more than %d evaluations of schemas to check one value: have $ref, allOf, anyOf and oneOf lead to each schema in fewer ways",
				strings.TrimPrefix(worst.Location, wording.Scheme), cost.MaxPerValue)
			delete(compiled, name)
		}
	}
	return compiled
}

// schemas are the files to compile: shared definitions first, so that a mistake
// is reported where it is and not where it is referred to. It reports what the
// compiler would accept, or complain about obscurely.
func (s *source) schemas(found *problems) []string {
	var names []string
	for name := range s.docs {
		if k := kindOf(name); k == schemaKind || k == defsKind {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(kindOf(b), kindOf(a)), strings.Compare(a, b))
	})
	return slices.DeleteFunc(names, func(name string) bool {
		schema, ok := s.docs[name].(map[string]any)
		if !ok {
			found.add(s.file(name), "is not a JSON object: write a JSON Schema")
			return true
		}
		if dialect, given := schema["$schema"]; given && dialect != draft {
			found.add(s.file(name), "/$schema is %s: use %q", wording.Show(dialect), draft)
			return true
		}
		return false
	})
}

// targets are the parts of a file to compile: all definitions, also those that
// nothing refers to yet.
func targets(name string, doc any) []string {
	fragments := []string{""}
	if kindOf(name) != defsKind {
		return fragments
	}
	schema, _ := doc.(map[string]any)
	defs, _ := schema["$defs"].(map[string]any)
	for _, def := range slices.Sorted(maps.Keys(defs)) {
		fragments = append(fragments, "#"+(&url.URL{Path: wording.Pointer([]string{"$defs", def})}).EscapedPath())
	}
	return fragments
}

// siblings answers references from the files of one domain: what they refer to
// by address, nil if that file is broken. It takes the place of the library's
// loader, which would read any file of the machine.
type siblings map[string]any

var errBroken = errors.New("the file is broken, which has been reported")

// Load implements [jsonschema.URLLoader].
func (s siblings) Load(address string) (any, error) {
	doc, ok := s[address]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s is not a file of the domain", address)
	case doc == nil:
		return nil, errBroken
	}
	return doc, nil
}

// references makes every file known under its own address, under its $id, and by
// its file name beside any $id, so that "$ref": "x.defs.json" works whatever the
// files' $ids are.
func (s *source) references(names []string, found *problems) siblings {
	refs := siblings{}
	for name := range s.files {
		if k := kindOf(name); k == schemaKind || k == defsKind {
			refs[wording.Address(name)] = nil
		}
	}
	owners := map[string]string{} // of each $id, by file
	var bases []*url.URL
	for _, name := range names {
		refs[wording.Address(name)] = s.docs[name]
		schema, _ := s.docs[name].(map[string]any)
		text, _ := schema["$id"].(string)
		id, err := url.Parse(text)
		if err != nil || !id.IsAbs() || strings.HasPrefix(text, wording.Scheme) {
			continue // the compiler complains, or it is our own address
		}
		id.Fragment = ""
		if other, taken := owners[id.String()]; taken {
			found.add(s.file(name), "has the same $id as %s: give each file its own", other)
			continue
		}
		owners[id.String()] = name
		refs[id.String()] = s.docs[name]
		bases = append(bases, id)
	}
	refs.addBeside(bases)
	return refs
}

// addBeside makes the files known by their names in the places of all $ids.
func (s siblings) addBeside(ids []*url.URL) {
	own := maps.Clone(s)
	dirs := map[string]bool{}
	for _, id := range ids {
		dir := id.ResolveReference(&url.URL{Path: "."}).String()
		if id.Opaque != "" || dirs[dir] {
			continue // a urn has no neighbours
		}
		dirs[dir] = true
		for at, doc := range own {
			name, ok := strings.CutPrefix(at, wording.Scheme)
			if !ok {
				continue
			}
			beside := id.ResolveReference(&url.URL{Path: name}).String()
			if _, taken := s[beside]; !taken {
				s[beside] = doc
			}
		}
	}
}

// compileProblem reports what the compiler found in one of the files, in the
// words of this package.
func (s *source) compileProblem(name string, err error, found *problems) {
	var (
		invalid  *jsonschema.SchemaValidationError
		unloaded *jsonschema.LoadURLError
		missing  *jsonschema.JSONPointerNotFoundError
		anchor   *jsonschema.AnchorNotFoundError
	)
	const notThere = "refers to %s, which is not there: correct the $ref"
	switch {
	case errors.As(err, &invalid):
		s.invalidSchema(name, invalid, found)
	case errors.As(err, &unloaded):
		file, ours := strings.CutPrefix(unloaded.URL, wording.Scheme)
		switch {
		case errors.Is(unloaded.Err, errBroken):
		case ours:
			found.add(s.file(name), notThere, file)
		default:
			found.add(s.file(name), "refers to %s, which is no file of this domain, and nothing is fetched: put it beside this file and refer to it by its file name", unloaded.URL)
		}
	case errors.As(err, &missing):
		found.add(s.file(name), notThere, strings.TrimPrefix(missing.URL, wording.Scheme))
	case errors.As(err, &anchor):
		found.add(s.file(name), notThere, strings.TrimPrefix(anchor.Reference, wording.Scheme))
	default:
		found.add(s.file(name), "is not a usable JSON Schema: %s", strings.ReplaceAll(err.Error(), wording.Scheme, ""))
	}
}

// invalidSchema reports a file that breaks the rules of JSON Schema.
func (s *source) invalidSchema(name string, err *jsonschema.SchemaValidationError, found *problems) {
	var details *jsonschema.ValidationError
	if !errors.As(err.Err, &details) {
		found.add(s.file(name), "is not a JSON Schema: %s", err.Err)
		return
	}
	for _, p := range fewest(describe(details, "")) {
		found.add(s.file(name), "is not a JSON Schema: %s", p)
	}
}
