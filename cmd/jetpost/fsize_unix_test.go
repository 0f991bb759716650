//go:build unix

package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// limitDescriptors makes a child open no more files than descriptorsVariable says, which
// it cannot raise.
func limitDescriptors() {
	most, err := strconv.ParseUint(os.Getenv(descriptorsVariable), 10, 31)
	if err != nil {
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
		fmt.Fprintln(os.Stderr, "limit open files:", err)
		os.Exit(4)
	}
}

// limitFiles makes writes fail beyond the size of a file that fileVariable says: the
// nearest thing to a full disk that needs no privileges.
func limitFiles() {
	most, err := strconv.ParseUint(os.Getenv(fileVariable), 10, 32)
	if err != nil {
		return
	}
	signal.Ignore(syscall.SIGXFSZ) // the writer gets an error instead
	var limit syscall.Rlimit
	if err = syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err == nil {
		limit.Cur = most
		err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "limit the size of files:", err)
		os.Exit(4)
	}
}
