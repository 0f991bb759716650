package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream/embedded"
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
// that is what dies: its arguments are a data directory and a port, and in a cluster
// a name, the port of its route, the port of its monitoring and all routes.
const natsCommand = "test-nats"

// natsToken is what its clients show.
const natsToken = "token-of-a-test"

// serveNATS runs until it is killed, or stops cleanly at a SIGTERM.
func serveNATS(args []string) error {
	port, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	most, _ := strconv.ParseInt(os.Getenv(storeVariable), 10, 64) // missing: no limit
	cfg := embedded.Config{Dir: args[0], Port: port, Token: natsToken, MaxStore: most}
	if len(args) == 6 {
		route, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		monitor, err := strconv.Atoi(args[4])
		if err != nil {
			return err
		}
		cfg.Name = args[2]
		cfg.Adjust = func(o *natsserver.Options) {
			o.Cluster = natsserver.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: route}
			o.Routes = natsserver.RoutesFromStr(args[5])
			o.HTTPHost, o.HTTPPort = "127.0.0.1", monitor
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := embedded.Start(cfg, zap.NewNop())
	if err != nil {
		return err
	}
	fmt.Println("listening on", port)
	<-ctx.Done()
	return s.Stop(context.Background())
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
		limitDescriptors()
		joinGroup()
		if len(os.Args) >= 4 && os.Args[1] == natsCommand {
			if err := serveNATS(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
		main()
		os.Exit(0)
	}
	flag.Parse()
	zerolog.SetGlobalLevel(zerolog.Disabled) // the proxies of the oracles use its logger
	// These tests wait far more than they work.
	if most := 4 * runtime.GOMAXPROCS(0); !given("test.parallel") {
		_ = flag.Set("test.parallel", strconv.Itoa(most)) // a number it takes
	}
	code := m.Run()
	removeClocked()
	os.Exit(code)
}

func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}
