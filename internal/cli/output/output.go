// Package output prints the results of commands: for people, as JSON and as YAML.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// Flag is what commands with a result take. Every one of them prints by Show
// or List, or where its result is a log by Records, so that all know the
// same forms:
//
//	table   for people
//	json    what the API has answered: one value, or one array of all that is listed
//	yaml    the same in YAML
//
// What is followed has no end: it is one JSON object in each line, or a YAML document
// for each.
type Flag struct {
	Output string `short:"o" env:"-" default:"table" enum:"table,json,yaml" placeholder:"FORMAT" help:"table, for people, or the API's answer as json or yaml."`
}

// People reports whether people read it. Others read nothing but the answer.
func (f Flag) People() bool { return f.Output != FormatJSON && f.Output != FormatYAML }

// The forms that programs read.
const (
	FormatJSON = "json"
	FormatYAML = "yaml"
)

// Show prints a value: an answer of the API as it came (json.RawMessage), or anything
// that encodes as JSON. For people it calls the function instead, which prints to
// e.Stdout.
func (f Flag) Show(e *terminal.Env, v any, people func() error) error {
	if f.People() {
		return people()
	}
	raw, err := Raw(v)
	if err != nil {
		return err
	}
	if f.Output == FormatYAML {
		return PrintYAML(e.Stdout, raw)
	}
	return PrintIndented(e.Stdout, raw)
}

// List prints a list, which is an array in JSON and YAML also when it is empty.
// People see the text for none on e.Stderr then, unless it is empty too.
func List[T any](e *terminal.Env, f Flag, items []json.RawMessage, none string, people func(items []T) error) error {
	if items == nil {
		items = []json.RawMessage{}
	}
	return f.Show(e, items, func() error {
		if len(items) == 0 && none != "" {
			_, _ = fmt.Fprintln(e.Stderr, none)
			return nil
		}
		decoded := make([]T, len(items))
		for i, raw := range items {
			if err := json.Unmarshal(raw, &decoded[i]); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
		}
		return people(decoded)
	})
}

// A Printer prints records one by one, without a bound on their number.
type Printer struct {
	w       io.Writer
	format  string
	endless bool
	count   int
}

// Records begins a list, or with endless a log that is followed. A list is an array:
// end closes it.
func (f Flag) Records(e *terminal.Env, endless bool) *Printer {
	return &Printer{w: e.Stdout, format: f.Output, endless: endless}
}

// Print prints one record: for people by the function, which prints it to e.Stdout.
func (p *Printer) Print(v any, people func() error) error {
	p.count++
	if p.format != FormatJSON && p.format != FormatYAML {
		return people()
	}
	raw, err := Raw(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	switch {
	case p.format == FormatYAML && p.endless:
		b.WriteString("---\n")
		err = PrintYAML(&b, raw)
	case p.format == FormatYAML:
		err = printYAMLItem(&b, raw)
	case p.endless:
		err = json.Compact(&b, raw)
		b.WriteByte('\n')
	default:
		b.WriteString(map[bool]string{true: "[\n  ", false: ",\n  "}[p.count == 1])
		err = json.Indent(&b, raw, "  ", "  ")
	}
	if err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	_, err = p.w.Write(plain.EscapeBytes(b.Bytes())) // of YAML it has been done
	return err
}

// End ends a list.
func (p *Printer) End() error {
	text := ""
	switch {
	case p.endless || p.format != FormatJSON && p.format != FormatYAML:
	case p.count == 0:
		text = "[]\n"
	case p.format == FormatJSON:
		text = "\n]\n"
	}
	_, err := io.WriteString(p.w, text)
	return err
}

// Raw encodes v, unless it is JSON already.
func Raw(v any) (json.RawMessage, error) {
	if raw, ok := v.(json.RawMessage); ok {
		return raw, nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the result: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// PrintIndented prints JSON as it is, but for white space, and with an escape for what a
// terminal would obey.
func PrintIndented(w io.Writer, data json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(data), "", "  "); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err := w.Write(plain.EscapeBytes(b.Bytes()))
	return err
}

// Details prints names and values below each other, without those that are empty.
func Details(w io.Writer, pairs ...string) error {
	s := StyleOf(w)
	width := 0
	names := make([]string, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		if names[i] = plain.Shown(pairs[i], plain.FieldLimit); pairs[i+1] != "" {
			width = max(width, utf8.RuneCountInString(names[i]))
		}
	}
	var b bytes.Buffer
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			value := plain.Shown(pairs[i+1], s.Limit(plain.LineLimit))
			if hasStatus(strings.ToUpper(pairs[i])) {
				value = s.Tinted(value)
			}
			fmt.Fprintf(&b, "  %s  %s\n", pad(names[i], width), value)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Limit bounds a value on a terminal. What goes into a file or another program is
// complete.
func (s Style) Limit(most int) int {
	if s.terminal {
		return most
	}
	return math.MaxInt
}

// Clock shows a time of today by the clock, another one with its date.
func Clock(at time.Time) string {
	at = at.Local()
	if now := time.Now(); at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format("15:04:05.000")
	}
	return at.Format("2006-01-02 15:04:05")
}

// ShortClock is a time for a narrow column: of today by the clock, of another day its date.
func ShortClock(at time.Time) string {
	at = at.Local()
	if now := time.Now(); at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateOnly)
}
