package testkit

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// Where FreePort looks: below the ports that Linux, macOS and Windows give to outgoing
// connections.
const firstPort, ports = 20_000, 10_000

// triedPorts counts those that were tried: tests that run side by side must not be given
// the same one.
var triedPorts atomic.Int64 //nolint:gochecknoglobals // all tests of a process share the machine

// FreePort returns a TCP port of 127.0.0.1 that nothing listens on. It is not one of
// those that the system gives to outgoing connections, so that it stays free until a
// server listens there, and while one that was stopped is not there.
func FreePort(tb testing.TB) int {
	tb.Helper()
	for range 1000 {
		port := firstPort + (os.Getpid()*37+int(triedPorts.Add(1)))%ports
		listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	tb.Fatal("there is no free port")
	return 0
}

// FreeAddress is FreePort with the host, as a flag takes it.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(tb)))
}
