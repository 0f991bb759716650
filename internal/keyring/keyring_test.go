package keyring

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestKeyring(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring.json")
	first, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}
	sealed, err := first.SealSecret("ci", "endpoint.query", NewSecret("swordfish"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.OpenSecret("ci", "endpoint.query", sealed); err != nil || got.Reveal() != "swordfish" {
		t.Errorf("opened by the keyring read again: %q, %v", got.Reveal(), err)
	}
	for _, tt := range []struct {
		name, id, field string
		keyring         *Keyring
		sealed          []byte
	}{
		{"another subscription", "cd", "endpoint.query", first, sealed},
		{"another field", "ci", "endpoint.secret_headers.a", first, sealed},
		{"another keyring", "ci", "endpoint.query", newKeyring(t), sealed},
		{"changed", "ci", "endpoint.query", first, append([]byte(nil), append(sealed[:len(sealed)-1:len(sealed)-1], sealed[len(sealed)-1]^1)...)},
		{"nothing", "ci", "endpoint.query", first, nil},
	} {
		_, err := tt.keyring.OpenSecret(tt.id, tt.field, tt.sealed)
		if !errors.Is(err, ErrKeyring) || !strings.Contains(err.Error(), tt.id) || strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%s: got %v, want ErrKeyring that names the subscription", tt.name, err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("got files %v, %v, want the keyring only", entries, err)
	}
}

// A keyset that has gone through an editor is the same one.
func TestKeyringWithByteOrderMark(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring.json")
	first, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := first.SealSecret("ci", "endpoint.query", NewSecret("swordfish"))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("\ufeff"), content...), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.OpenSecret("ci", "endpoint.query", sealed); err != nil || got.Reveal() != "swordfish" {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
}

func TestKeyringIsMadeOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring.json")
	rings := make([]*Keyring, 8)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			var err error
			if rings[i], err = Load(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range rings {
		sealed, err := a.SealSecret("ci", "f", NewSecret("swordfish"))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range rings {
			if _, err := b.OpenSecret("ci", "f", sealed); err != nil {
				t.Fatalf("two keyrings were made: %v", err)
			}
		}
	}
}

func TestKeyringRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keyring.json")
	if _, err := Load(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by everybody: got %v", err)
	}
	if err := os.Chmod(path, 0o440); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	if _, err := Load(path); err != nil {
		t.Errorf("readable by the group: got %v", err)
	}
	for name, content := range map[string]string{"empty": "", "text": "swordfish", "json": `{"key":[{"keyData":"swordfish"}]}`, "no-keys": `{}`} {
		bad := filepath.Join(dir, name)
		if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(bad); err == nil || !strings.Contains(err.Error(), bad) || strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%s: got %v, want an error that names the file only", name, err)
		}
		if after, err := os.ReadFile(bad); err != nil || string(after) != content {
			t.Errorf("%s: was changed", name)
		}
	}
	if _, err := Load(filepath.Join(dir, "no", "such", "dir")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}

func newKeyring(tb testing.TB) *Keyring {
	tb.Helper()
	k, err := Load(filepath.Join(tb.TempDir(), "keyring.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}
