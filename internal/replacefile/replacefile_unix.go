//go:build !windows

package replacefile

import (
	"io/fs"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// create makes the new file beside the old one: by default renameio may put it into the
// system's folder for temporary files, which is no place for a secret.
func create(path string, mode fs.FileMode) (*renameio.PendingFile, error) {
	return renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
}
