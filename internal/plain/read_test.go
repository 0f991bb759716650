package plain_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/plain"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, want string
		err            error
	}{
		{"nothing", "", "", nil},
		{"as it is", "a\n", "a\n", nil},
		{"a byte order mark", "\ufeffa\r\n", "a\r\n", nil},
		{"only a mark", "\ufeff", "", nil},
		{"a mark within", "a\ufeffb", "a\ufeffb", nil},
		{"UTF-16, little-endian", "\xff\xfea\x00", "", plain.ErrUTF16},
		{"UTF-16, big-endian", "\xfe\xff\x00a", "", plain.ErrUTF16},
		{"UTF-16 without a mark", "{\x00}\x00", "", plain.ErrUTF16},
		{"UTF-16 without a mark, big-endian", "\x00{\x00}", "", plain.ErrUTF16},
		{"UTF-32, little-endian", "\xff\xfe\x00\x00a\x00\x00\x00", "", plain.ErrUTF16},
		{"UTF-32, big-endian", "\x00\x00\xfe\xff\x00\x00\x00a", "", plain.ErrUTF16},
	} {
		got, err := plain.Text([]byte(c.in))
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
	}
	path := filepath.Join(t.TempDir(), "secret")
	for in, want := range map[string]string{"\ufeffs3cret\r\n": "s3cret", "s3cret\n\n": "s3cret", "s3cret": "s3cret", " s3cret \n": " s3cret "} {
		if err := os.WriteFile(path, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := plain.ReadValue(path); got != want || err != nil {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	if err := os.WriteFile(path, []byte("\xff\xfes\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := plain.ReadValue(path); !errors.Is(err, plain.ErrUTF16) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "save it as UTF-8") {
		t.Errorf("got %v", err)
	}
	if got := string(plain.Lines([]byte("a\r\nb\rc\n"))); got != "a\nb\rc\n" {
		t.Errorf("got %q", got)
	}
}

func TestSecretProblem(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":             "",
		"s3cret":       "",
		"tell no one":  "",
		"pässwörd 漢":   "",
		" s3cret":      "begins with a space",
		"s3cret\t":     "ends with a tab",
		"s3cret\r\n":   "ends with a line end",
		"\ufeffs3cret": "begins with a byte order mark (U+FEFF)",
		"s3cret\u00a0": "ends with white space (U+00A0)",
		"s3cret\u200b": "ends with the invisible character U+200B",
		"\x1bs3cret":   "begins with the control character U+001B",
		"one\ntwo":     "has a line end in it",
		"one\u0085two": "has white space (U+0085) in it",
		"one\x00two":   "has the control character U+0000 in it",
		"s3\xffcret":   "is not valid UTF-8",
		" ":            "begins with a space",
	} {
		got := plain.SecretProblem(in)
		if want == "" && got != "" || !strings.HasPrefix(got, want) || strings.Contains(got, "s3cret") {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
