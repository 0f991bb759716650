// Package keyring seals the secrets of an installation, so that they are stored
// encrypted, and has the type of a secret, which nothing prints.
package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/jetpost/jetpost/internal/plain"
)

// ErrKeyring is wrapped by the errors that say that a secret could not be opened:
// it was sealed with another keyring, or was changed since.
var ErrKeyring = errors.New("the keyring does not open it")

// A Keyring seals secrets for the store and opens them again. Every process that
// changes subscriptions or sends deliveries needs the same one.
type Keyring struct {
	aead tink.AEAD
}

// Load reads the Tink keyset (AES-256-GCM, JSON, in clear text) in the file
// at path. A file that does not exist is made, with mode 0600 and a new key; of
// several processes that do so at once, all use the same one. A file that others
// can read is refused; the group may, since that is how orchestrators mount
// secrets.
//
// To rotate the key add one to the file with Tink's own tool, tinkey, and make it
// the primary one: what was sealed before stays readable while its key is there.
func Load(path string) (*Keyring, error) {
	k, err := readKeyring(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createKeyring(path); err == nil {
			k, err = readKeyring(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load keyring %s: %w", path, err)
	}
	return k, nil
}

func readKeyring(path string) (*Keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 && runtime.GOOS != "windows" { // where the mode says nothing
		return nil, fmt.Errorf("everybody on this machine can get at it (mode %s): chmod 600 it", info.Mode().Perm())
	}
	b, err := plain.ReadFile(path)
	if err != nil {
		return nil, err
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(b)))
	if err != nil { // not wrapped: it has seen the key
		return nil, errors.New("not a Tink keyset in JSON")
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("use keyset: %w", err)
	}
	return &Keyring{aead: primitive}, nil
}

// createKeyring writes the file completely or not at all, and never over another.
func createKeyring(path string) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return fmt.Errorf("write keyset: %w", err)
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".keyring-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(b.Bytes())
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the name in the directory as durable as the file: a key that is
// lost with the power takes all secrets with it.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // cannot be done there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sealingContext binds a sealed secret to its place, so that it cannot be moved
// to another subscription or field.
func sealingContext(id, field string) []byte {
	return []byte("jetpost subscription\x00" + id + "\x00" + field)
}

// SealSecret seals a secret of a subscription for the field in which it is stored.
func (k *Keyring) SealSecret(id, field string, secret Secret) ([]byte, error) {
	sealed, err := k.aead.Encrypt([]byte(secret.Reveal()), sealingContext(id, field))
	if err != nil {
		return nil, fmt.Errorf("seal %s of subscription %s: %w", field, id, err)
	}
	return sealed, nil
}

// OpenSecret is the inverse of SealSecret. Its error wraps ErrKeyring.
func (k *Keyring) OpenSecret(id, field string, sealed []byte) (Secret, error) {
	text, err := k.aead.Decrypt(sealed, sealingContext(id, field))
	if err != nil { // says only that it failed
		return Secret{}, fmt.Errorf("open %s of subscription %s: %w: is it the keyring with which it was stored?", field, id, ErrKeyring)
	}
	return NewSecret(string(text)), nil
}

// Seal seals what is not part of a subscription. purpose binds it to its place, as
// the id and the field do with secrets: it is needed to open it.
func (k *Keyring) Seal(purpose string, text []byte) ([]byte, error) {
	sealed, err := k.aead.Encrypt(text, []byte("jetpost "+purpose))
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", purpose, err)
	}
	return sealed, nil
}

// Open is the inverse of Seal. Its error wraps ErrKeyring.
func (k *Keyring) Open(purpose string, sealed []byte) ([]byte, error) {
	text, err := k.aead.Decrypt(sealed, []byte("jetpost "+purpose))
	if err != nil { // says only that it failed
		return nil, fmt.Errorf("open %s: %w", purpose, ErrKeyring)
	}
	return text, nil
}
