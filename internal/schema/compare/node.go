package compare

import (
	"encoding/json"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/internal/schema/wording"
)

// A node is one schema within a version of a domain.
type node struct {
	file   string
	at     string         // JSON pointer into the file
	schema map[string]any // its keywords; none accept everything
	never  bool           // it is false, and accepts nothing
}

func (n node) id() string { return n.file + "#" + n.at }

func rootNode(file string, doc any) node { return newNode(file, "", doc) }

func newNode(file, at string, value any) node {
	n := node{file: file, at: at}
	switch v := value.(type) {
	case map[string]any:
		n.schema = v
	case bool:
		n.never = !v
	}
	return n
}

// has reports whether the keyword is there.
func (n node) has(keyword string) bool {
	_, ok := n.schema[keyword]
	return ok
}

// child is the schema under a keyword, and whether there is one.
func (n node) child(keyword string) (node, bool) {
	value, ok := n.schema[keyword]
	if !ok {
		return node{}, false
	}
	return newNode(n.file, n.at+wording.Pointer([]string{keyword}), value), true
}

// members are the schemas under a keyword that holds a map of them.
func (n node) members(keyword string) map[string]node {
	object, _ := n.schema[keyword].(map[string]any)
	found := make(map[string]node, len(object))
	for name, value := range object {
		found[name] = newNode(n.file, n.at+exactPointer(keyword, name), value)
	}
	return found
}

// list are the schemas under a keyword that holds a list of them.
func (n node) list(keyword string) []node {
	items, _ := n.schema[keyword].([]any)
	found := make([]node, len(items))
	for i, value := range items {
		found[i] = newNode(n.file, n.at+exactPointer(keyword, strconv.Itoa(i)), value)
	}
	return found
}

// exactPointer is pointer without its bound, for lookups.
func exactPointer(tokens ...string) string {
	var b strings.Builder
	for _, token := range tokens {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return b.String()
}

// number is the value of a keyword that takes one.
func (n node) number(keyword string) (*big.Rat, bool) {
	text, ok := n.schema[keyword].(json.Number)
	if !ok {
		return nil, false
	}
	return new(big.Rat).SetString(text.String())
}

func (n node) text(keyword string) (string, bool) {
	text, ok := n.schema[keyword].(string)
	return text, ok
}

// names is the value of a keyword that takes a list of names.
func (n node) names(keyword string) []string {
	items, _ := n.schema[keyword].([]any)
	return textsOf(items)
}

func textsOf(items []any) []string {
	var found []string
	for _, item := range items {
		if text, ok := item.(string); ok {
			found = append(found, text)
		}
	}
	return found
}

// values is what the keywords enum and const leave, and whether one is there.
func (n node) values() ([]any, bool) {
	items, limited := n.schema["enum"].([]any)
	only, constant := n.schema["const"]
	switch {
	case !constant:
		return items, limited
	case limited && !slices.ContainsFunc(items, func(item any) bool { return SameJSON(item, only) }):
		return nil, true // they contradict each other
	}
	return []any{only}, true
}

// annotates reports whether a keyword is an annotation, which refuses no data. Unknown
// keywords are annotations too (JSON Schema 2020-12, section 6.5).
func annotates(keyword string) bool {
	switch keyword {
	case "$ref", "$dynamicRef", "$recursiveRef", "type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "then", "else",
		"minLength", "maxLength", "pattern", "format",
		"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
		"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems",
		"required", "properties", "patternProperties", "additionalProperties", "propertyNames", "minProperties", "maxProperties",
		"dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties":
		return false
	}
	return true
}

// accepting reports whether a schema accepts everything, as far as can be seen
// without following references.
func (n node) accepting() bool {
	if n.never {
		return false
	}
	for keyword := range n.schema {
		if !annotates(keyword) {
			return false
		}
	}
	return true
}

// follow finds what a reference in n means. It reports false for what this package
// does not follow: anchors, and files that it does not know.
func (v *Version) follow(n node) (node, bool) {
	text, ok := n.text("$ref")
	if !ok || v.nested[n.file] {
		return node{}, false
	}
	name, fragment, _ := strings.Cut(text, "#")
	file, ok := v.fileOf(n.file, name)
	if !ok {
		return node{}, false
	}
	path, err := url.PathUnescape(fragment)
	if err != nil || path != "" && path[0] != '/' {
		return node{}, false
	}
	value := v.Docs[file]
	if path != "" {
		for token := range strings.SplitSeq(path[1:], "/") {
			if value, ok = step(value, strings.NewReplacer("~1", "/", "~0", "~").Replace(token)); !ok {
				return node{}, false
			}
		}
	}
	return newNode(file, path, value), true
}

// step goes from a value to one of its members.
func step(value any, token string) (any, bool) {
	switch v := value.(type) {
	case map[string]any:
		member, ok := v[token]
		return member, ok
	case []any:
		i, err := strconv.Atoi(token)
		if err != nil || i < 0 || i >= len(v) {
			return nil, false
		}
		return v[i], true
	}
	return nil, false
}

// fileOf finds a file as the compiler does: by $id, then by name.
func (v *Version) fileOf(from, name string) (string, bool) {
	if name == "" {
		return from, true
	}
	base := wording.Address(from)
	if schema, ok := v.Docs[from].(map[string]any); ok {
		if id, ok := schema["$id"].(string); ok {
			base = id
		}
	}
	if b, err := url.Parse(base); err == nil {
		if ref, err := b.Parse(name); err == nil {
			if file, ok := v.ids[ref.String()]; ok {
				return file, true
			}
		}
	}
	name = strings.TrimPrefix(name, wording.Scheme)
	_, ok := v.Docs[name]
	return name, ok
}

// SameJSON compares decoded values: numbers by what they say, not by how.
func SameJSON(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for key, value := range x {
			other, ok := y[key]
			if !ok || !SameJSON(value, other) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !SameJSON(x[i], y[i]) {
				return false
			}
		}
		return true
	case json.Number:
		y, ok := b.(json.Number)
		if !ok {
			return false
		}
		m, okM := new(big.Rat).SetString(x.String())
		n, okN := new(big.Rat).SetString(y.String())
		return okM && okN && m.Cmp(n) == 0
	default:
		return a == b
	}
}
