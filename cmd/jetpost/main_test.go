package main

import (
	"flag"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"
)

const (
	// childVariable makes the test binary the program: tests start processes of it
	// that they can kill.
	childVariable = "JETPOST_TEST_MAIN"
	// parentVariable names a file descriptor whose other end the test holds. A child
	// ends with its parent, however that ends.
	parentVariable = "JETPOST_TEST_PARENT"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if fd, err := strconv.Atoi(os.Getenv(parentVariable)); err == nil {
			go func() {
				_, _ = io.Copy(io.Discard, os.NewFile(uintptr(fd), "parent"))
				os.Exit(3)
			}()
		}
		main()
		os.Exit(0)
	}
	flag.Parse()
	// These tests wait far more than they work.
	if most := 4 * runtime.GOMAXPROCS(0); !given("test.parallel") {
		_ = flag.Set("test.parallel", strconv.Itoa(most)) // a number it takes
	}
	os.Exit(m.Run())
}

func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}
