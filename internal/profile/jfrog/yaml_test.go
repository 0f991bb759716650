package jfrog_test

import (
	"testing"

	"github.com/tidwall/gjson"
	"go.yaml.in/yaml/v3"
)

// compareYAML compares JSON with what a reader has made of its YAML.
func compareYAML(t *testing.T, data []byte, node *yaml.Node) {
	t.Helper()
	var walk func(want gjson.Result, got *yaml.Node)
	walk = func(want gjson.Result, got *yaml.Node) {
		kinds := map[bool]yaml.Kind{want.IsObject(): yaml.MappingNode, want.IsArray(): yaml.SequenceNode}
		if kind, ok := kinds[true]; ok {
			if got.Kind != kind {
				t.Fatalf("got kind %d, want %s", got.Kind, want.Raw)
			}
			i := 0
			next := func() *yaml.Node {
				if i >= len(got.Content) {
					t.Fatalf("got %d elements of %s", len(got.Content), want.Raw)
				}
				i++
				return got.Content[i-1]
			}
			want.ForEach(func(key, value gjson.Result) bool {
				if want.IsObject() {
					walk(key, next())
				}
				walk(value, next())
				return true
			})
			if i != len(got.Content) {
				t.Fatalf("got %d elements of %s", len(got.Content), want.Raw)
			}
			return
		}
		text, tag := want.Raw, map[gjson.Type]string{gjson.Null: "!!null", gjson.True: "!!bool", gjson.False: "!!bool"}[want.Type]
		if want.Type == gjson.String {
			text, tag = want.Str, "!!str"
		}
		if got.Kind != yaml.ScalarNode || got.Value != text || tag != "" && got.Tag != tag || tag == "" && got.Tag != "!!int" && got.Tag != "!!float" {
			t.Fatalf("got %s %q, want %s", got.Tag, got.Value, want.Raw)
		}
	}
	walk(gjson.ParseBytes(data), node)
}
