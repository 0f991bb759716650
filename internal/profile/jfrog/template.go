package jfrog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// A template is a text with places for values: the part of Go's text/template that
// the platform documents, and nothing that could loop or decide.
//
//	{{ .data.tag }}    the value as text
//	{{ json .data }}   the value as JSON, a text in its quotes
//	{{ yaml .data }}   the value as YAML
//
// {{- and -}} drop the white space before and behind, as in Go. A path is a root and,
// below .data, .secrets and .userContext, names of letters, digits and underscores.
type template struct {
	parts []part
	// actions is how many values there are to fill in.
	actions int
}

// A part is a literal text, or a value if it has a root.
type part struct {
	text string

	format   format
	root     string
	path     string // below root, in the syntax of gjson
	inString bool   // inside a string of a JSON text: to be escaped
	indent   string // white space that stands before it on its line, for YAML
}

type format int

const (
	plain format = iota
	asJSON
	asYAML
)

// A templateError says where a template cannot be used and why. near is what stands
// there; it may be secret where the template is.
type templateError struct {
	line, column int
	reason, near string
}

// Error is complete but for what stands there.
func (e *templateError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.line, e.column, e.reason)
}

const (
	open  = "{{"
	shut  = "}}"
	space = " \t\r\n"
)

// parseTemplate reads a template. secrets are the names below .secrets that there
// are. isJSON is for a template that makes JSON if its text is JSON: values inside
// its strings are escaped then, so that no value can break the JSON or add to it.
// An error is a *templateError.
func parseTemplate(text string, secrets []string, isJSON bool) (*template, error) {
	t := &template{}
	trim := false // the white space that the next literal begins with
	for rest := text; rest != ""; {
		literal, action, found := strings.Cut(rest, open)
		at := len(text) - len(rest) + len(literal)
		if trim {
			literal = strings.TrimLeft(literal, space)
		}
		if !found {
			t.parts = append(t.parts, part{text: literal})
			break
		}
		inner, behind, found := strings.Cut(action, shut)
		if !found {
			return nil, newTemplateError(text, at, "the action is not closed by "+shut, "")
		}
		begin := at + len(open)
		if len(inner) > 1 && inner[0] == '-' && strings.IndexByte(space, inner[1]) >= 0 {
			literal = strings.TrimRight(literal, space)
			inner, begin = inner[1:], begin+1
		}
		trim = len(inner) > 1 && inner[len(inner)-1] == '-' && strings.IndexByte(space, inner[len(inner)-2]) >= 0
		if trim {
			inner = inner[:len(inner)-1]
		}
		p, fault := parseAction(inner, secrets)
		if fault != nil {
			return nil, newTemplateError(text, begin+fault.column, fault.reason, fault.near)
		}
		p.indent = indentOf(literal)
		if literal != "" {
			t.parts = append(t.parts, part{text: literal})
		}
		t.parts, t.actions = append(t.parts, p), t.actions+1
		rest = behind
	}
	if isJSON {
		t.findStrings()
	}
	return t, nil
}

func newTemplateError(text string, at int, reason, near string) *templateError {
	before := text[:at]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &templateError{line: strings.Count(before, "\n") + 1, column: utf8.RuneCountInString(line) + 1, reason: reason, near: near}
}

// indentOf is what a line has before a value, if that is white space only.
func indentOf(literal string) string {
	line := literal[strings.LastIndexByte(literal, '\n')+1:]
	if strings.Trim(line, " \t") != "" {
		return ""
	}
	return line
}

// parseAction reads what stands between the braces. The column of an error is the
// offset from its beginning.
func parseAction(inner string, secrets []string) (part, *templateError) {
	var p part
	word, rest, at := nextWord(inner, 0)
	if word == "json" || word == "yaml" {
		p.format = asJSON
		if word == "yaml" {
			p.format = asYAML
		}
		function := word
		if word, rest, at = nextWord(inner, len(inner)-len(rest)); word == "" {
			return p, &templateError{column: at, reason: function + " needs a value, as in {{ " + function + " .data }}"}
		}
	}
	if reason := refusal(word); reason != "" {
		return p, &templateError{column: at, reason: reason, near: word}
	}
	if fault := p.setPath(word, secrets); fault != nil {
		fault.column += at
		return p, fault
	}
	if word, _, at = nextWord(inner, len(inner)-len(rest)); word != "" {
		reason := "one value is all that an action can have"
		if strings.HasPrefix(word, "|") {
			reason = "pipelines are not supported"
		}
		return p, &templateError{column: at, reason: reason, near: word}
	}
	return p, nil
}

// nextWord returns the word of s that comes first from begin on, what is behind it,
// and where it is.
func nextWord(s string, begin int) (word, rest string, at int) {
	trimmed := strings.TrimLeft(s[begin:], space)
	at = len(s) - len(trimmed)
	end := strings.IndexAny(trimmed, space)
	if end < 0 {
		end = len(trimmed)
	}
	return trimmed[:end], trimmed[end:], at
}

// refusal says why word cannot be a value, in the words of Go's templates; empty if
// it can be one.
func refusal(word string) string {
	switch {
	case word == "":
		return "the action is empty"
	case word[0] == '.':
		return ""
	case word[0] == '$':
		return "variables are not supported"
	case strings.HasPrefix(word, "/*"):
		return "comments are not supported"
	case word[0] == '"', word[0] == '`', word[0] == '\'', word[0] >= '0' && word[0] <= '9', word == "true", word == "false", word == "nil":
		return "constants are not supported: write them outside of the braces"
	case word[0] == '(':
		return "parentheses are not supported"
	}
	switch word {
	case "if", "else", "end", "range", "with", "define", "block", "template", "break", "continue":
		return "conditions, loops and definitions are not supported"
	}
	return "is no function, there are json and yaml only; a value begins with a dot, as in .data.name"
}

// roots are what a path can begin with, and whether it can go on.
func roots() map[string]bool {
	return map[string]bool{
		"data": true, "secrets": true, "userContext": true,
		"domain": false, "event_type": false, "type": false, "jpd_origin": false,
	}
}

// setPath reads a path: a dot before each name.
func (p *part) setPath(word string, secrets []string) *templateError {
	names := strings.Split(word[1:], ".")
	column := 0
	for i, name := range names {
		if !isName(name) {
			return &templateError{column: column, reason: "a path is made of dots and names of letters, digits and underscores, as in .data.name", near: word}
		}
		column += 1 + len(names[i])
	}
	p.root, p.path = names[0], strings.Join(names[1:], ".")
	open, known := roots()[p.root]
	switch {
	case !known:
		return &templateError{reason: "a value begins with .data, .secrets, .domain, .event_type, .type, .jpd_origin or .userContext", near: word}
	case !open && len(names) > 1:
		return &templateError{reason: "." + p.root + " is a text and has nothing below it", near: word}
	case p.root == "secrets" && len(names) != 2:
		return &templateError{reason: "a secret is taken by its name, as in .secrets.token", near: word}
	case p.root == "secrets" && !slices.Contains(secrets, p.path):
		return &templateError{reason: "there is no secret of that name in template.secrets", near: word}
	}
	return nil
}

// isName is stricter than Go: gjson must not find a meaning of its own in a name.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return s != ""
}

// findStrings marks the values that stand inside the strings of a JSON text. It
// marks none if the text is not JSON, whatever the values are.
func (t *template) findStrings() {
	inside := make([]bool, len(t.parts))
	var probe []byte
	var inString, escaped bool
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.root != "" && inString:
			inside[i] = true
		case p.root != "":
			probe = append(probe, "null"...)
		default:
			probe = append(probe, p.text...)
			for _, c := range []byte(p.text) {
				switch {
				case escaped:
					escaped = false
				case c == '"':
					inString = !inString
				case c == '\\':
					escaped = inString
				}
			}
		}
	}
	if !gjson.ValidBytes(probe) {
		return
	}
	for i := range inside {
		t.parts[i].inString = inside[i]
	}
}

// quoted is the error with what stands at its place, for a template that is no
// secret itself.
func (e *templateError) quoted() string {
	if e.near == "" {
		return e.Error()
	}
	near := e.near
	if len(near) > 40 {
		near = strings.ToValidUTF8(near[:40], "") + "…"
	}
	return fmt.Sprintf("line %d, column %d: %s: %s", e.line, e.column, strconv.Quote(near), e.reason)
}
