package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// outputFlag is what commands with a result take.
type outputFlag struct {
	Output string `short:"o" env:"-" default:"table" enum:"table,json" placeholder:"FORMAT" help:"table, for people, or json."`
}

func (f outputFlag) json() bool { return f.Output == "json" }

// printJSON prints v indented.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printLine prints v as one line of JSON.
func printLine(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// A table is printed with its columns aligned.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, header ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(header...)
	return t
}

// row adds a row. What is in it may come from anybody.
func (t *table) row(cells ...string) {
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = cellText(cell)
	}
	_, _ = fmt.Fprintln(t.w, strings.Join(clean, "\t")) // flush tells
}

func (t *table) flush() error { return t.w.Flush() }

// cellText keeps a cell in its place.
func cellText(s string) string {
	if s == "" {
		return "-"
	}
	return shown(strings.Join(strings.Fields(s), " "), shownField)
}

// details prints names and values below each other.
func details(w io.Writer, pairs ...string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			_, _ = fmt.Fprintf(t, "  %s\t%s\n", pairs[i], shown(pairs[i+1], shownLine))
		}
	}
	return t.Flush()
}

// clock shows a time of today by the clock, another one with its date.
func clock(at time.Time) string {
	at = at.Local()
	if now := time.Now(); at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format("15:04:05.000")
	}
	return at.Format("2006-01-02 15:04:05")
}
