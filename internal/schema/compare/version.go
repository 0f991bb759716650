// Package compare holds two versions of JSON Schemas against each other, by plain structural
// rules: what the new one would refuse that the old one accepted.
package compare

import "strings"

// A Finding is one place of the new version, and what is wrong or worth a review there.
type Finding struct {
	File    string // of the new version
	Field   string // a JSON pointer into the file; empty for the whole file
	Message string // continues the two: "accepts at most 5, before 10"
}

// A Version is the schemas of a domain, decoded.
type Version struct {
	Docs map[string]any    // by file name
	ids  map[string]string // files by their $id
	// nested are files with an $id below their root, which changes what references
	// mean. They are not followed.
	nested map[string]bool
}

// NewVersion returns a version of documents by their file names, decoded with numbers as
// json.Number.
func NewVersion(docs map[string]any) *Version {
	v := &Version{Docs: docs, ids: map[string]string{}, nested: map[string]bool{}}
	for name, doc := range docs {
		if schema, ok := doc.(map[string]any); ok {
			if id, ok := schema["$id"].(string); ok {
				v.ids[strings.TrimSuffix(id, "#")] = name
			}
			v.nested[name] = AnyMember(schema, func(key string, _ any, depth int) bool { return key == "$id" && depth > 0 })
		}
	}
	return v
}

// Schemas compares one file of both versions, with all that it refers to. refused are the
// reasons to refuse the new version, warned those to review it.
func Schemas(before, after *Version, file string) (refused, warned []Finding) {
	work := comparison{before: before, after: after, visited: map[string]bool{}}
	work.compare(before.fieldOf(rootNode(file, before.Docs[file])), after.fieldOf(rootNode(file, after.Docs[file])))
	return work.found, work.warnings
}

// AnyMember reports whether is holds for any member of any object in value.
func AnyMember(value any, is func(key string, value any, depth int) bool) bool {
	var walk func(value any, depth int) bool
	walk = func(value any, depth int) bool {
		switch v := value.(type) {
		case map[string]any:
			for key, member := range v {
				if is(key, member, depth) || walk(member, depth+1) {
					return true
				}
			}
		case []any:
			for _, item := range v {
				if walk(item, depth+1) {
					return true
				}
			}
		}
		return false
	}
	return walk(value, 0)
}
