package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/internal/plain"
)

// PrintYAML prints JSON as a YAML document: in the same order, and with numbers as
// they are written, however many digits they have.
func PrintYAML(w io.Writer, data json.RawMessage) error {
	node, err := YAMLOf(data)
	if err != nil {
		return err
	}
	return EncodeYAML(w, node)
}

// printYAMLItem prints JSON as an item of a YAML list.
func printYAMLItem(w io.Writer, data json.RawMessage) error {
	node, err := YAMLOf(data)
	if err != nil {
		return err
	}
	return EncodeYAML(w, &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{node}})
}

// EncodeYAML prints a YAML document.
func EncodeYAML(w io.Writer, node *yaml.Node) error {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(node), encoder.Close()); err != nil {
		return fmt.Errorf("print YAML: %w", err)
	}
	// What is not visible is within double quotes, where YAML reads it as JSON does.
	_, err := w.Write(escapeYAML(b.Bytes()))
	return err
}

// escapeYAML escapes what is not visible, as YAML does within double quotes.
func escapeYAML(text []byte) []byte {
	if plain.Clean(string(text)) {
		return text
	}
	b := make([]byte, 0, len(text)+16)
	for _, r := range string(text) {
		switch {
		case plain.Visible(r) || r == '\n' || r == '\t':
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			b = fmt.Appendf(b, `\U%08x`, r)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// YAMLOf reads JSON into the form of YAML.
func YAMLOf(data json.RawMessage) (*yaml.Node, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	node, err := JSONReader{Dec: dec}.Value()
	if err != nil {
		return nil, fmt.Errorf("print YAML: %w", err)
	}
	return node, nil
}

// A JSONReader reads JSON into the form of YAML. The decoder bounds the depth.
type JSONReader struct {
	Dec    *json.Decoder
	LineAt func(offset int64) int // nil: the lines of the values are unknown
	Twice  bool                   // keep a name that an object has twice
}

// Value reads the next one.
func (r JSONReader) Value() (*yaml.Node, error) {
	token, err := r.Dec.Token()
	if err != nil {
		return nil, err
	}
	line := 0
	if r.LineAt != nil {
		line = r.LineAt(r.Dec.InputOffset())
	}
	switch v := token.(type) {
	case json.Delim:
		read := r.object
		if v == '[' {
			read = r.array
		}
		node, err := read()
		if err == nil {
			node.Line = line
		}
		return node, err
	case json.Number: // without a tag it stays as it is
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String(), Line: line}, nil
	case string:
		node := YAMLString(v)
		node.Line = line
		return node, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v), Line: line}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null", Line: line}, nil
}

func (r JSONReader) array() (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for r.Dec.More() {
		item, err := r.Value()
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, item)
	}
	if len(node.Content) == 0 {
		node.Style = yaml.FlowStyle
	}
	_, err := r.Dec.Token()
	return node, err
}

// object reads an object. Of a name that it has twice, as the data of an event may,
// the last value counts, as it does for most readers of JSON.
func (r JSONReader) object() (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.MappingNode}
	at := map[string]int{}
	for r.Dec.More() {
		name, err := r.Value() // a string
		if err != nil {
			return nil, err
		}
		value, err := r.Value()
		if err != nil {
			return nil, err
		}
		if i, twice := at[name.Value]; twice && !r.Twice {
			node.Content[i] = value
			continue
		}
		node.Content = append(node.Content, name, value)
		at[name.Value] = len(node.Content) - 1
	}
	if len(node.Content) == 0 {
		node.Style = yaml.FlowStyle
	}
	_, err := r.Dec.Token()
	return node, err
}

// otherwise matches what readers of YAML 1.1 take for something else than a text.
var otherwise = regexp.MustCompile(`^(?i:y|yes|n|no|on|off)$|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)

// YAMLString is a text: as a block where that is readable and unambiguous.
func YAMLString(s string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case otherwise.MatchString(s) || !plain.Clean(s):
		node.Style = yaml.DoubleQuotedStyle
	case strings.Contains(s, "\n"):
		node.Style = yaml.LiteralStyle
		if !blockSafe(s) {
			node.Style = yaml.DoubleQuotedStyle
		}
	}
	return node
}

// blockSafe reports whether a text of several lines is the same when it is read back
// from a block, by any reader.
func blockSafe(s string) bool {
	if strings.ContainsAny(s, "\t\r\u0085\u2028\u2029\ufeff") || s[0] == ' ' || s[0] == '\n' || strings.HasSuffix(s, "\n\n") {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasSuffix(line, " ") {
			return false
		}
	}
	return true
}
