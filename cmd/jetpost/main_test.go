package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/stream/embedded"
)

const (
	// childVariable makes the test binary the program: tests start processes of it
	// that they can kill.
	childVariable = "JETPOST_TEST_MAIN"
	// parentVariable names a file descriptor whose other end the test holds. A child
	// ends with its parent, however that ends.
	parentVariable = "JETPOST_TEST_PARENT"
	// storeVariable is how much a child that is a NATS server may store, in bytes.
	storeVariable = "JETPOST_TEST_STORE"
)

// natsCommand makes a child a NATS server and nothing else, for the tests in which
// that is what dies: its arguments are a data directory and a port.
const natsCommand = "test-nats"

// natsToken is what its clients show.
const natsToken = "token-of-a-test"

func serveNATS(dir, port string) int {
	n, err := strconv.Atoi(port)
	if err == nil {
		most, _ := strconv.ParseInt(os.Getenv(storeVariable), 10, 64)
		_, err = embedded.Start(embedded.Config{Dir: dir, Port: n, Token: natsToken, MaxStore: most}, zap.NewNop())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("listening on", port)
	select {} // until it is killed
}

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if fd, err := strconv.Atoi(os.Getenv(parentVariable)); err == nil {
			go func() {
				_, _ = io.Copy(io.Discard, os.NewFile(uintptr(fd), "parent"))
				os.Exit(3)
			}()
		}
		limitFiles()
		if len(os.Args) == 4 && os.Args[1] == natsCommand {
			os.Exit(serveNATS(os.Args[2], os.Args[3]))
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
