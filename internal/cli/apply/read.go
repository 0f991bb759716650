package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A wanted is a subscription as a file has it.
type wanted struct {
	ID     string
	source string // name of the file
	line   int
	lines  map[string]int // of the fields, by their paths

	body []byte // JSON as the API takes it, with secrets
	// bare is body without the secrets of which there are only placeholders; missing
	// names these, those that sign excepted where the server can make new ones.
	bare    []byte
	missing []string

	sub *subscription.Subscription
}

// at is where a field stands, or the nearest one around it.
func (w *wanted) at(field string) string {
	line := w.line
	if found, ok := w.lines["secret"]; ok && strings.HasPrefix(field, "secrets") {
		line = found // which is a way to write it
	}
	for field != "" {
		if found, ok := w.lines[field]; ok {
			line = found
			break
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return w.source + ":" + strconv.Itoa(line)
}

// A misfit is what is wrong with a file.
type misfit struct{ at, field, message string }

func (m misfit) String() string {
	text := plain.Shown(m.at, plain.FieldLimit) + ": "
	if m.field != "" {
		text += plain.Shown(m.field, plain.FieldLimit) + ": "
	}
	return text + plain.Shown(m.message, plain.LineLimit)
}

// invalidFilesError is all that is wrong with the files.
type invalidFilesError []misfit

func (f invalidFilesError) Error() string {
	const most = 50
	var b strings.Builder
	fmt.Fprintf(&b, "nothing was changed: the files have %d mistakes", len(f))
	if len(f) == 1 {
		b.Reset()
		b.WriteString("nothing was changed, there is a mistake")
	}
	for i, m := range f {
		if i == most {
			fmt.Fprintf(&b, "\n  and %d more", len(f)-most)
			break
		}
		b.WriteString("\n  " + m.String())
	}
	return b.String()
}

// A subscriptionReader reads subscriptions out of files.
type subscriptionReader struct {
	stdin  io.Reader
	found  []*wanted
	wrong  invalidFilesError
	byID   map[string]*wanted
	lookup func(string) (string, bool) // of the environment
}

// readSubscriptions reads files, folders with all below them, and standard input for
// "-". An error of type invalidFilesError has everything that is wrong.
func readSubscriptions(paths []string, stdin io.Reader) ([]*wanted, error) {
	r := &subscriptionReader{stdin: stdin, byID: map[string]*wanted{}, lookup: os.LookupEnv}
	for _, path := range paths {
		if err := r.path(path); err != nil {
			return nil, err
		}
	}
	switch {
	case len(r.wrong) > 0:
		return nil, r.wrong
	case len(r.found) == 0:
		return nil, fmt.Errorf("there are no subscriptions in %s", strings.Join(paths, ", "))
	}
	return r.found, nil
}

func (r *subscriptionReader) path(path string) error {
	if path == "-" {
		text, err := input.Text(path, r.stdin)
		if err != nil {
			return err
		}
		r.text("stdin", ".", text)
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read subscriptions: %w", err)
	}
	if !info.IsDir() {
		return r.file(path)
	}
	return filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("read subscriptions: %w", err)
		case name != path && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)):
			return nil
		}
		return r.file(name)
	})
}

func (r *subscriptionReader) file(path string) error {
	text, err := plain.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read subscriptions: %w", err)
	}
	r.text(path, filepath.Dir(path), text)
	return nil
}

// text reads the documents of a file. Each is a subscription, or a list of some.
func (r *subscriptionReader) text(source, dir string, text []byte) {
	nodes, err := parseDocuments(text)
	for _, node := range nodes {
		if node.Kind != yaml.SequenceNode {
			r.one(source, dir, node)
			continue
		}
		for _, item := range node.Content {
			r.one(source, dir, item)
		}
	}
	if err != nil {
		at := source
		message := strings.TrimPrefix(err.Error(), "yaml: ")
		if found := yamlLine.FindStringSubmatch(message); found != nil {
			at, message = source+":"+found[1], found[2]
		}
		r.wrong = append(r.wrong, misfit{at: at, message: message})
	}
}

var yamlLine = regexp.MustCompile(`^line ([0-9]+): (.*)`)

// parseDocuments reads YAML, or JSON by its own reader: what JSON allows in a text
// is not all allowed in YAML.
func parseDocuments(text []byte) ([]*yaml.Node, error) {
	if start := bytes.TrimSpace(text); len(start) > 0 && (start[0] == '{' || start[0] == '[') {
		if nodes, err := parseJSON(text); err == nil {
			return nodes, nil
		}
	}
	var nodes []*yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := dec.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nodes, nil
		}
		if err != nil {
			return nodes, err
		}
		for _, node := range document.Content {
			if node.ShortTag() != "!!null" {
				nodes = append(nodes, node)
			}
		}
	}
}

func parseJSON(text []byte) ([]*yaml.Node, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var nodes []*yaml.Node
	line, counted := 1, int64(0)
	reader := output.JSONReader{Dec: dec, Twice: true, LineAt: func(offset int64) int {
		line += bytes.Count(text[counted:offset], []byte("\n"))
		counted = offset
		return line
	}}
	for {
		node, err := reader.Value()
		if errors.Is(err, io.EOF) {
			return nodes, nil
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
}

// one reads a subscription and checks what can be checked without the server.
func (r *subscriptionReader) one(source, dir string, node *yaml.Node) {
	w := &wanted{source: source, line: node.Line, lines: map[string]int{}}
	fail := func(field, format string, args ...any) {
		r.wrong = append(r.wrong, misfit{w.at(field), field, fmt.Sprintf(format, args...)})
	}
	if node.Kind != yaml.MappingNode {
		fail("", "this is not a subscription: write fields, such as id, types and endpoint")
		return
	}
	c := &converter{dir: dir, lookup: r.lookup, lines: w.lines, fail: fail}
	before := len(r.wrong)
	w.body = c.convert(node)
	c.bare = true
	c.fail = func(string, string, ...any) {} // said already
	w.bare = c.convert(node)
	if len(r.wrong) > before {
		return
	}
	sub, err := subscription.Decode(w.body, profile.Traits)
	if invalid, ok := errors.AsType[*subscription.ValidationError](err); ok {
		for _, p := range invalid.Problems {
			fail(p.Field, "%s", p.Message)
		}
		return
	}
	w.ID, w.sub = sub.ID, sub
	if traits, known := profile.Traits(sub.Profile); known || sub.Profile == "" {
		if sub.Profile == "" {
			traits, _ = profile.Traits(subscription.DefaultProfile)
		}
		for _, field := range c.placeholders {
			if signs := strings.HasPrefix(field, "secret"); !signs || traits.Secrets == subscription.SharedSecret {
				w.missing = append(w.missing, field)
			}
		}
	}
	switch first := r.byID[w.ID]; {
	case w.ID == "":
		fail("", "there is no id: give one, by which it is found again")
	case !subscription.ValidID(w.ID):
		fail("id", "%q is not an id: use 1 to 63 lower-case letters, digits and dashes, a letter first and no dash last", w.ID)
	case first != nil:
		fail("id", "%s is in %s already", w.ID, first.at("id"))
	default:
		r.byID[w.ID] = w
		r.found = append(r.found, w)
	}
}
