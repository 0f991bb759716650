package apply

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
)

// What aliases can make of a small file is bounded.
const (
	maxYAMLNodes = 20_000 // of a subscription
	maxYAMLDepth = 64
)

// secretField matches the fields that are secrets. In a file they can say where the
// secret is instead, so that the file itself is none:
//
//	query: {env: CI_QUERY}
//	secret_headers:
//	  Authorization: {file: ci.token}
var secretField = regexp.MustCompile(`^(secret|secrets\[[0-9]+\]\.secret|endpoint\.query|endpoint\.secret_headers\..+|template\.secrets\..+)$`)

// A converter makes JSON of a subscription in YAML, and remembers where each field
// stands.
type converter struct {
	dir    string
	lookup func(string) (string, bool)
	lines  map[string]int
	fail   func(field, format string, args ...any)
	bare   bool // leave out secrets that are placeholders

	placeholders []string
	nodes, depth int
}

func (c *converter) convert(node *yaml.Node) []byte {
	var b bytes.Buffer
	c.nodes, c.placeholders = 0, nil
	c.value(&b, node, "")
	return b.Bytes()
}

func (c *converter) value(b *bytes.Buffer, node *yaml.Node, path string) {
	c.depth++
	defer func() { c.depth-- }()
	if c.nodes++; c.nodes > maxYAMLNodes || c.depth > maxYAMLDepth {
		if c.nodes <= maxYAMLNodes+1 {
			c.fail("", "is too large")
			c.nodes = maxYAMLNodes + 1
		}
		b.WriteString("null")
		return
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if path != "" {
		c.lines[path] = node.Line
	}
	switch {
	case secretField.MatchString(path):
		c.secret(b, node, path)
	case node.Kind == yaml.MappingNode:
		c.object(b, node, path)
	case node.Kind == yaml.SequenceNode:
		c.array(b, node, path)
	default:
		c.scalar(b, node, path)
	}
}

func (c *converter) object(b *bytes.Buffer, node *yaml.Node, path string) {
	b.WriteByte('{')
	first := true
	seen := map[string]bool{}
	var add func(node *yaml.Node, merged bool)
	add = func(node *yaml.Node, merged bool) {
		if c.nodes++; c.nodes > maxYAMLNodes {
			c.fail("", "is too large")
			return
		}
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		if node.Kind == yaml.SequenceNode && merged { // several to merge
			for _, one := range node.Content {
				add(one, true)
			}
			return
		}
		if node.Kind != yaml.MappingNode {
			c.fail(path, "what is merged by << must be an object")
			return
		}
		var merge []*yaml.Node
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if key.ShortTag() == "!!merge" {
				merge = append(merge, value)
				continue
			}
			field := key.Value
			if path != "" {
				field = path + "." + key.Value
			}
			switch {
			case key.Kind != yaml.ScalarNode:
				c.fail(path, "the name of a field must be a text")
				continue
			case seen[key.Value] && merged:
				continue // its own win
			case seen[key.Value]:
				c.lines[field] = key.Line
				c.fail(field, "is given twice")
				continue
			case c.bare && isPlaceholder(value) && secretField.MatchString(field):
				c.placeholders = append(c.placeholders, field)
				continue
			}
			seen[key.Value] = true
			if !first {
				b.WriteByte(',')
			}
			first = false
			name, _ := json.Marshal(key.Value) // a string has JSON
			b.Write(name)
			b.WriteByte(':')
			c.value(b, value, field)
			if value.Kind != yaml.AliasNode {
				c.lines[field] = key.Line
			}
		}
		for _, one := range merge {
			add(one, true)
		}
	}
	add(node, false)
	b.WriteByte('}')
}

func (c *converter) array(b *bytes.Buffer, node *yaml.Node, path string) {
	b.WriteByte('[')
	first := true
	for i, item := range node.Content {
		at := path + "[" + strconv.Itoa(i) + "]"
		if c.bare && path == "secrets" && isPlaceholder(nodeOf(item, "secret")) {
			c.placeholders = append(c.placeholders, at+".secret")
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		c.value(b, item, at)
	}
	b.WriteByte(']')
}

func isPlaceholder(node *yaml.Node) bool {
	return node != nil && node.Kind == yaml.ScalarNode && node.Value == keyring.Placeholder
}

// nodeOf is a field of an object; nil where it has none.
func nodeOf(object *yaml.Node, name string) *yaml.Node {
	if object.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(object.Content); i += 2 {
			if object.Content[i].Value == name {
				return object.Content[i+1]
			}
		}
	}
	return nil
}

// secret is a secret as it is, or from where it is said to be. Errors do not show it.
func (c *converter) secret(b *bytes.Buffer, node *yaml.Node, path string) {
	text, what := "", ""
	switch {
	case node.Kind == yaml.ScalarNode:
		text = node.Value
	case node.Kind == yaml.MappingNode && len(node.Content) == 2 && node.Content[1].Kind == yaml.ScalarNode && node.Content[0].Value == "env":
		name := node.Content[1].Value
		what = "the value of the variable " + name + " "
		var set bool
		if text, set = c.lookup(name); !set || text == "" {
			c.fail(path, "the environment has no variable %s", name)
		}
	case node.Kind == yaml.MappingNode && len(node.Content) == 2 && node.Content[1].Kind == yaml.ScalarNode && node.Content[0].Value == "file":
		name := node.Content[1].Value
		if !filepath.IsAbs(name) {
			name = filepath.Join(c.dir, name)
		}
		what = "the text of " + name + " "
		var err error
		text, err = plain.ReadValue(name)
		switch {
		case err != nil:
			c.fail(path, "%s", err)
		case text == "":
			c.fail(path, "%s is empty", name)
		}
	default:
		c.fail(path, "is a secret: write where it is, as {env: NAME} or {file: PATH}, or the secret itself")
	}
	if problem := plain.SecretProblem(text); problem != "" {
		c.fail(path, "%s%s", what, problem)
	}
	encoded, _ := json.Marshal(text) // a string has JSON
	b.Write(encoded)
}

// jsonNumber is how JSON writes numbers.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// scalar keeps the digits of a number.
func (c *converter) scalar(b *bytes.Buffer, node *yaml.Node, path string) {
	var v any = node.Value
	switch node.ShortTag() {
	case "!!null":
		v = nil
	case "!!bool":
		v = strings.EqualFold(node.Value, "true")
	case "!!int", "!!float":
		if jsonNumber.MatchString(node.Value) {
			b.WriteString(node.Value)
			return
		}
		var number float64 // such as 0x10 and 1_000
		if err := node.Decode(&number); err != nil {
			c.fail(path, "%q is not a number", node.Value)
		}
		v = number
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		c.fail(path, "%q is not a number that JSON has", node.Value)
		encoded = []byte("null")
	}
	b.Write(encoded)
}
