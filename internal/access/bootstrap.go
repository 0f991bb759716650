package access

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jetpost/jetpost/internal/plain"
)

const minTextBytes = 16 // of a token that a person has chosen

// LoadBootstrap reads the bootstrap token in the file at path. A file that does not
// exist is made, with mode 0600 and 256 random bits; of several processes that do so
// at once, all use the same one, and created is true for those that found none. A
// file that everybody on the machine can read is refused; the group may, since that
// is how orchestrators mount secrets.
func LoadBootstrap(path string) (text string, created bool, err error) {
	text, err = readBootstrap(path)
	if errors.Is(err, fs.ErrNotExist) {
		created = true
		if err = createBootstrap(path); err == nil {
			text, err = readBootstrap(path)
		}
	}
	if err != nil {
		return "", false, fmt.Errorf("load admin token %s: %w", path, err)
	}
	return text, created, nil
}

func readBootstrap(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("everybody on this machine can get at it (mode %s): chmod 600 it", info.Mode().Perm())
	}
	text, err := plain.ReadValue(path)
	if err != nil {
		return "", err
	}
	text = strings.TrimSpace(text)
	if err := CheckBootstrap(text); err != nil {
		return "", fmt.Errorf("it does not hold a token: %w; delete it to have one made", err)
	}
	return text, nil
}

// CheckBootstrap reports why a text that a person has chosen cannot be the bootstrap
// token: a short one could be guessed, and one with spaces not be sent. It does not
// show the text.
func CheckBootstrap(text string) error {
	if len(text) < minTextBytes || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("it takes one line of at least %d characters without spaces", minTextBytes)
	}
	return nil
}

// createBootstrap writes the file completely or not at all, and never over another.
func createBootstrap(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".token-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(textPrefix + newSecret() + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
