// Package validationtest compares the problems of a validation with what a test wants.
package validationtest

import (
	"errors"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Of returns the problems of a *validation.Error, as "field: message".
func Of(tb testing.TB, err error) []string {
	tb.Helper()
	if err == nil {
		return nil
	}
	var invalid *validation.Error
	if !errors.As(err, &invalid) {
		tb.Fatalf("got %T (%v), want a *validation.Error", err, err)
	}
	texts := make([]string, len(invalid.Problems))
	for i, p := range invalid.Problems {
		texts[i] = p.Field + ": " + p.Message
	}
	return texts
}

// Want compares the problems with the fields and part of the messages.
func Want(tb testing.TB, err error, want ...string) {
	tb.Helper()
	got := Of(tb, err)
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		field, part, _ := strings.Cut(want[i], ": ")
		ok = strings.HasPrefix(got[i], field+": ") && strings.Contains(got[i], part)
	}
	if !ok {
		tb.Errorf("got problems\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
