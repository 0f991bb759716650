// Package embedded runs a NATS server with JetStream inside the process.
//
// It keeps its streams in one data directory, which it locks: two servers on one
// directory would destroy it. It listens on loopback and asks every client for a
// token, so that other users of the machine are kept out while other processes of
// the same user can join. A server that was stopped, or killed, finds on its next
// start everything it had acknowledged.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"github.com/jetpost/jetpost/internal/replacefile"
)

// startTimeout bounds the wait for the listeners, after the streams have been
// recovered, which takes as long as it takes.
const startTimeout = 30 * time.Second

// A Server is a NATS server inside this process.
type Server struct {
	cfg  Config
	nats *server.Server
	lock *dirLock
	url  string // with the token
	log  *zap.Logger
}

// Start locks the data directory, recovers its streams and starts to listen. It
// returns when clients can connect. The error is ErrLocked when another process
// has the directory.
func Start(cfg Config, log *zap.Logger) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure embedded NATS server: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, lock: lock, log: log}
	if err := s.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded NATS server: %w", err), lock.release())
	}
	return s, nil
}

// start leaves nothing running when it fails.
func (s *Server) start() error {
	// The cheapest hash will do: the token is random, not a word a person chose.
	hash, err := bcrypt.GenerateFromPassword([]byte(s.cfg.Token), bcrypt.MinCost)
	if err != nil {
		return fmt.Errorf("hash token: %w", err)
	}
	s.nats, err = server.NewServer(s.cfg.options(string(hash)))
	if err != nil {
		return err
	}
	logger := newServerLog(s.log, s.noticed)
	s.nats.SetLoggerV2(logger, false, false, false)
	s.nats.Start()
	switch fatal := logger.fatal.Load(); { // the server tells its logger only
	case fatal != nil:
		err = errors.New(*fatal)
	case !s.nats.ReadyForConnections(startTimeout):
		err = fmt.Errorf("no listener after %v", startTimeout)
	default:
		err = s.announce()
	}
	if err != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
	return err
}

// announce writes the URL, with the token, where only this user can read it.
func (s *Server) announce() error {
	if s.cfg.Port == NoPort {
		return nil
	}
	u := url.URL{Scheme: "nats", User: url.User(s.cfg.Token), Host: s.nats.Addr().String()}
	s.url = u.String()
	return replacefile.Write(URLFile(s.cfg.Dir), []byte(s.url+"\n"), 0o600)
}

// URLFile is the file in a data directory that holds the URL of the server that
// runs there, with its token, mode 0600. It is removed by a clean stop.
func URLFile(dir string) string { return filepath.Join(dir, "nats.url") }

// URL is where clients connect, with the token in it: treat it as a secret. It is
// empty without a listener.
func (s *Server) URL() string { return s.url }

// Port is the port the server listens on, or NoPort.
func (s *Server) Port() int {
	if addr, ok := s.nats.Addr().(*net.TCPAddr); ok {
		return addr.Port
	}
	return NoPort
}

// Connect opens a connection to the server, over loopback or inside the process
// as configured. name is what the server's connection list shows.
func (s *Server) Connect(name string, opts ...nats.Option) (*nats.Conn, error) {
	own := []nats.Option{nats.Name(name), nats.Token(s.cfg.Token)}
	target := s.url
	if s.cfg.InProcess {
		own = append(own, nats.InProcessServer(s.nats))
		target = ""
	}
	nc, err := nats.Connect(target, append(own, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to embedded NATS server: %w", name, err)
	}
	return nc, nil
}

// Named is how many connections of clients there are whose names begin with a text.
func (s *Server) Named(prefix string) (n int) {
	connections, err := s.nats.Connz(&server.ConnzOptions{Limit: 1 << 16})
	if err != nil {
		return 0
	}
	for _, c := range connections.Conns {
		if strings.HasPrefix(c.Name, prefix) {
			n++
		}
	}
	return n
}

// Ready waits until JetStream takes requests, or says why it does not yet when
// ctx ends.
func (s *Server) Ready(ctx context.Context) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		health := s.nats.Healthz(&server.HealthzOptions{JSServerOnly: true})
		if health.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for embedded NATS server: %w: %s", ctx.Err(), health.Error)
		}
	}
}

// Health says which streams take no more writes: one that has met an error of the
// disk stays as it is until the server starts again (docs/storage-faults.md).
func (s *Server) Health(ctx context.Context) error {
	stopped := s.unhealthy()
	if len(stopped) == 0 {
		return nil
	}
	// One that is being made or deleted looks the same for a moment.
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
	again := s.unhealthy()
	stopped = slices.DeleteFunc(stopped, func(name string) bool { return !slices.Contains(again, name) })
	if len(stopped) == 0 {
		return nil
	}
	return fmt.Errorf("the NATS server has stopped writing to %s after an error of the disk: see to the disk, and restart", strings.Join(stopped, ", "))
}

// unhealthy are the streams that the server reports. What has files and no description is
// no stream, and nothing is written to it: its description was damaged and set aside, and its loss
// is on the list of what is lost.
func (s *Server) unhealthy() (streams []string) {
	for _, found := range s.nats.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if found.Stream == "" {
			continue
		}
		dir := filepath.Join(streamsDir(s.cfg.Dir), found.Stream)
		_, missing := os.Stat(filepath.Join(dir, "meta.inf"))
		if _, err := os.Stat(dir); err == nil && errors.Is(missing, fs.ErrNotExist) {
			continue
		}
		streams = append(streams, found.Stream)
	}
	return streams
}

// Stop ends all connections, writes what is still in memory and unlocks the data
// directory. When ctx ends first, it returns an error and the stop goes on: the
// directory stays locked until it is done, or the process ends. Allow 11 ms for
// each consumer. It may be called more than once.
func (s *Server) Stop(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
		done <- s.lock.release(URLFile(s.cfg.Dir))
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop embedded NATS server: %w", ctx.Err())
	}
}
