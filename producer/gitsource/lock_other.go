//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package gitsource

import (
	"errors"
	"os"
)

// tryLock refuses: without a lock two pushes at once could lose an event.
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
