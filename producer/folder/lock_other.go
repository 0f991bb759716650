//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package folder

import (
	"errors"
	"os"
)

// lockFile refuses: two watchers on one journal would destroy it.
func lockFile(string) (*os.File, error) { return nil, errors.ErrUnsupported }
