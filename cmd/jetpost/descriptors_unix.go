//go:build unix

package main

import "syscall"

// raiseDescriptors raises the limit of open files to the highest that the system allows
// this process, and returns it. Go does so at the start of a process, but not where
// the limit was changed since.
func raiseDescriptors() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	if limit.Cur < limit.Max {
		raised := limit
		raised.Cur = raised.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	return uint64(limit.Cur) //nolint:unconvert // signed on some systems
}
