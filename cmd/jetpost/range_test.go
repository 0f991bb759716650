package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/memory"
)

// Flags are read as the API reads its fields.
func TestTimesOfFlags(t *testing.T) {
	t.Parallel()
	parse := func(args ...string) (*commandLine, error) {
		var cli commandLine
		parser, err := newParser(&terminal.Env{Ctx: t.Context(), Stdout: io.Discard, Stderr: io.Discard}, &cli)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parser.Parse(args)
		return &cli, err
	}
	for text, want := range map[string]string{"2026-01-31t12:00:00z": "2026-01-31T12:00:00Z", "2016-12-31T23:59:60+00:00": "2017-01-01T00:00:00Z"} {
		cli, err := parse("events", "list", "--from-time", text)
		if got := cli.Events.List.FromTime.UTC().Format(time.RFC3339); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"2026-01-31T12:00:00+24:00": `"2026-01-31T12:00:00+24:00" is not a time: its zone is neither Z nor an offset from -23:59 to +23:59`,
		"now":                       `"now" is not a time: its date is not a year, month and day`,
	} {
		if _, err := parse("events", "list", "--from-time", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"99999999h": `"99999999h" is not a duration that can be used: it is longer than 292 years`,
		"15":        `"15" is not a duration: it is not a number and its unit`,
	} {
		if _, err := parse("publish", "--patience", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestMemoryOutOfRange(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"99999999999999999999": "more than a machine can have", "9999999999TiB": "more than a machine can have", "lots": "is not an amount of memory",
		"-99999999999999999999": "is not an amount of memory", "1MiB": "too little",
	} {
		var m memory.Size
		if err := m.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
