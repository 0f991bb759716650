// Package input reads what people give a command: files, secrets and times.
package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jetpost/jetpost/internal/plain"
)

// readSize is how much is read at once of a long input.
const readSize = 256 << 10

// File reads a file, or standard input for "-".
func File(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		text, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return text, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s", path)
	}
	return text, err
}

// Text is File for what a person has edited.
func Text(path string, stdin io.Reader) ([]byte, error) {
	content, err := File(path, stdin)
	if err != nil {
		return nil, err
	}
	return AsText(path, content)
}

// AsText is plain.Text with an error that says of what file.
func AsText(path string, content []byte) ([]byte, error) {
	text, err := plain.Text(content)
	if err != nil && path == "-" {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}

// Secret reads a value @FILE, without the end of its last line. A value that is
// hardly the secret that is meant is refused, and not shown.
func Secret(what, value string) (string, error) {
	path, isFile := strings.CutPrefix(value, "@")
	if isFile {
		var err error
		if value, err = plain.ReadValue(path); err != nil {
			return "", fmt.Errorf("read %s: %w", what, err)
		}
		if value == "" {
			return "", fmt.Errorf("%s: the file %s is empty", what, path)
		}
		what += ": the text of " + path
	}
	if problem := plain.SecretProblem(value); problem != "" {
		return "", fmt.Errorf("%s %s", what, problem)
	}
	return value, nil
}

// Interruptible is in, except that reading ends with ctx: a person who stops the
// command has not ended its input. What was being read then is lost.
func Interruptible(ctx context.Context, in io.Reader) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	go func() {
		// Hidden is what would make the copy choose its own buffer.
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{in}, make([]byte, readSize))
		_ = w.CloseWithError(err)
	}()
	return r
}
