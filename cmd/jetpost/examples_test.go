package main

import (
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/jetpost/jetpost/internal/cli/terminal"
)

// The help of every command ends with examples, at least one of that command, and
// jetpost understands all of them.
func TestExamples(t *testing.T) {
	t.Parallel()
	walkCommands(t, func(command *kong.Node) {
		if hidden(command) {
			return
		}
		name := strings.TrimPrefix(command.Path(), "jetpost ")
		lines := strings.Split(strings.TrimRight(command.Detail, "\n"), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "  ") || len(exampleWords(last)) == 0 {
			t.Errorf("%s: the help does not end with an example, but with %q", name, last)
			return
		}
		own := false
		for _, line := range lines {
			words := exampleWords(line)
			if words == nil {
				continue
			}
			selected, err := parseExample(t, words)
			if err != nil {
				t.Errorf("%s: the example %q is not understood: %v", name, strings.TrimSpace(line), err)
				continue
			}
			own = own || selected == name
		}
		if !own {
			t.Errorf("%s: the help has no example of it", name)
		}
	})
}

func hidden(node *kong.Node) bool {
	return node != nil && (node.Hidden || hidden(node.Parent))
}

// exampleWords are the arguments of the first jetpost in a line of a help text, as a
// shell would split it; nil where there is none. What a pipe or two spaces set off is
// not of it.
func exampleWords(line string) []string {
	var words []string
	word, inWord, quote := strings.Builder{}, false, rune(0)
	spaces := 0
	flush := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	if !strings.HasPrefix(line, "  ") {
		return nil
	}
scan:
	for _, r := range strings.TrimSpace(line) {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ':
			flush()
			if spaces++; spaces > 1 {
				break scan
			}
			continue
		case strings.ContainsRune("|;<>&()", r):
			flush()
			if slices.Contains(words, "jetpost") {
				break scan
			}
			words = nil
			word.Reset()
		default:
			word.WriteRune(r)
			inWord = true
		}
		spaces = 0
	}
	flush()
	at := slices.Index(words, "jetpost")
	if at < 0 {
		return nil
	}
	return words[at+1:]
}

// parseExample returns the command that is meant.
func parseExample(t *testing.T, words []string) (string, error) {
	t.Helper()
	// Files and folders of an example are not there.
	asText := kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("path", &text); err != nil {
			return err
		}
		if target.Kind() == reflect.Slice {
			target.Set(reflect.ValueOf([]string{text}))
			return nil
		}
		target.SetString(text)
		return nil
	})
	parser, err := newParser(&terminal.Env{Stdout: io.Discard, Stderr: io.Discard}, &commandLine{}, kong.Exit(func(int) {}), kong.NamedMapper("existingdir", asText), kong.NamedMapper("existingfile", asText))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(words)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(parsed.Selected().Path(), "jetpost "), nil
}

func TestExampleWords(t *testing.T) {
	t.Parallel()
	for _, each := range []struct {
		line string
		want []string
	}{
		{"  jetpost attempts ci   of one", []string{"attempts", "ci"}},
		{`  jetpost publish --data '{"a":"b  c"}' -o json | jq .`, []string{"publish", "--data", `{"a":"b  c"}`, "-o", "json"}},
		{"  jetpost publish --ndjson < a.json", []string{"publish", "--ndjson"}},
		{"  source <(jetpost completion bash)   once", []string{"completion", "bash"}},
		{"  A=$(jetpost subscription secret ci | head -1) jetpost receiver", []string{"subscription", "secret", "ci"}},
		{"jetpost is not indented", nil},
		{"  id: ci", nil},
	} {
		if got := exampleWords(each.line); !slices.Equal(got, each.want) {
			t.Errorf("%q: got %q, want %q", each.line, got, each.want)
		}
	}
}
