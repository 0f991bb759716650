package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/internal/stream/embedded"
)

// childDir names the variable that makes the test binary a server on that data
// directory, for the tests that need another process.
const childDir = "JETPOST_TEST_SERVER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(serveChild(dir))
	}
	os.Exit(m.Run())
}

// serveChild serves until its standard input ends, or it is killed.
func serveChild(dir string) int {
	s, err := embedded.Start(embedded.Config{Dir: dir}, zap.NewNop())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Stop(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// startChild returns a server in another process, and the first line it printed.
func startChild(t *testing.T, dir string) (child *exec.Cmd, line string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child = exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), childDir+"="+dir)
	if _, err := child.StdinPipe(); err != nil { // held open until Wait
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("read from server process: %v", err)
	}
	return child, strings.TrimSpace(line)
}

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "data")
	}
	s, err := embedded.Start(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func roundTrip(t *testing.T, s *embedded.Server) {
	t.Helper()
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AccountInfo(t.Context()); err != nil {
		t.Errorf("JetStream does not answer: %v", err)
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]embedded.Config{
		"over loopback":                      {},
		"inside the process":                 {InProcess: true},
		"inside the process, no listener":    {Port: embedded.NoPort},
		"with an fsync for each message":     {Sync: embedded.SyncAlways},
		"over loopback with a token of ours": {Token: "secret"},
		"over IPv6 loopback":                 {Host: "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, cfg)
			roundTrip(t, s)
			if listens := cfg.Port != embedded.NoPort; (s.URL() != "") != listens || (s.Port() != embedded.NoPort) != listens {
				t.Errorf("URL %q, port %d, but listens is %v", s.URL(), s.Port(), listens)
			}
		})
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]embedded.Config{
		"no directory":   {},
		"unknown sync":   {Dir: "x", Sync: "sometimes"},
		"negative limit": {Dir: "x", MaxStore: -1},
		"port":           {Dir: "x", Port: 70_000},
		"host":           {Dir: "x", Host: "example.com"},
	} {
		if s, err := embedded.Start(cfg, zap.NewNop()); err == nil {
			t.Errorf("%s: started", name)
			_ = s.Stop(t.Context())
		}
	}
}

func TestOnlyWithToken(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{})
	for _, url := range []string{
		fmt.Sprintf("nats://127.0.0.1:%d", s.Port()),
		fmt.Sprintf("nats://guess@127.0.0.1:%d", s.Port()),
	} {
		if nc, err := nats.Connect(url); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("connect without the token: got %v, want %v", err, nats.ErrAuthorization)
			nc.Close()
		}
	}
}

func TestURLFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	// What a killed process left there, readable by all.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := embedded.URLFile(dir)
	if err := os.WriteFile(file, []byte("nats://old@127.0.0.1:1"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, embedded.Config{Dir: dir})
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode of %s is %v, want 0600", file, got)
	}
	url, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(strings.TrimSpace(string(url)))
	if err != nil {
		t.Fatalf("connect by the file: %v", err)
	}
	nc.Close()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the stop the file is still there: %v", err)
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	child, line := startChild(t, dir)
	if line != "ready" {
		t.Fatalf("server process said %q", line)
	}
	_, err := embedded.Start(embedded.Config{Dir: dir}, zap.NewNop())
	if !errors.Is(err, embedded.ErrLocked) {
		t.Fatalf("second server: got %v, want %v", err, embedded.ErrLocked)
	}
	if pid := fmt.Sprintf("process %d", child.Process.Pid); !strings.Contains(err.Error(), pid) {
		t.Errorf("error %q does not name %s", err, pid)
	}

	// A killed process leaves no lock behind, and what it stored is still there.
	url, err := os.ReadFile(embedded.URLFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	storeOne(t, strings.TrimSpace(string(url)))
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // says that it was killed
	s := start(t, embedded.Config{Dir: dir})
	if got := storeOne(t, s.URL()); got != 2 {
		t.Errorf("sequence after the kill = %d, want 2", got)
	}
	_, err = embedded.Start(embedded.Config{Dir: dir}, zap.NewNop())
	if !errors.Is(err, embedded.ErrLocked) || !strings.Contains(err.Error(), "this process") {
		t.Errorf("second server in this process: got %v", err)
	}
}

// storeOne stores one message and returns its sequence.
func storeOne(t *testing.T, url string) uint64 {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "TEST", Subjects: []string{"test"}}); err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(t.Context(), "test", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	dir := filepath.Join(t.TempDir(), "data")
	port := taken.Addr().(*net.TCPAddr).Port
	_, err = embedded.Start(embedded.Config{Dir: dir, Port: port}, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("port is taken: got %v", err)
	}
	start(t, embedded.Config{Dir: dir}) // the failed one has unlocked it

	blocked := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(embedded.Config{Dir: blocked}, zap.NewNop()); err == nil {
		t.Error("started with a file for a data directory")
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("stop with no time: got %v, want %v", err, context.Canceled)
	}
	for range 2 {
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Ready(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ready after stop: got %v, want %v", err, context.DeadlineExceeded)
	}
	if _, err := s.Connect("late"); err == nil {
		t.Error("connected to a stopped server")
	}
}

func TestLogIsQuiet(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.InfoLevel)
	s, err := embedded.Start(embedded.Config{Dir: filepath.Join(t.TempDir(), "data")}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		_, _ = nats.Connect(fmt.Sprintf("nats://guess@127.0.0.1:%d", s.Port())) // refused
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refused int
	for _, entry := range logs.All() {
		if strings.Contains(entry.Message, "authentication error") {
			refused++
			continue
		}
		t.Errorf("unexpected log: %s %s", entry.Level, entry.Message)
	}
	if refused == 0 || refused > 10 {
		t.Errorf("50 refused clients made %d log lines, want a few", refused)
	}
}
