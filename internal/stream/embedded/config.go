package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"

	"github.com/nats-io/nats-server/v2/server"
)

// A Sync says when what JetStream has stored is forced to the disk.
type Sync string

const (
	// SyncInterval leaves each write to the operating system and forces it to the
	// disk every two minutes. What was acknowledged survives the death of the
	// process; a power loss can take the last two minutes.
	SyncInterval Sync = "interval"
	// SyncAlways forces each write to the disk before it is acknowledged. What was
	// acknowledged survives a power loss; publishing is 7 to 16 times slower.
	SyncAlways Sync = "always"
)

// Values of Config.Port.
const (
	RandomPort = 0  // a free port of the operating system's choice
	NoPort     = -1 // no listener: only this process can connect
)

// Config says where the server keeps its data and who can reach it.
type Config struct {
	// Dir is the data directory. It is made with mode 0700 when it is missing, and
	// only one process at a time can use it. Required.
	Dir string
	// Name of the server, stable over restarts. Default: "jetpost".
	Name string
	// Sync says when writes reach the disk. Default: SyncInterval.
	Sync Sync
	// MaxStore is how many bytes the streams may take on disk together. Default:
	// three quarters of what is free at start, and what they take already.
	MaxStore int64
	// MaxMemory is how many bytes the streams in memory may take together.
	// Default: 256 MiB.
	MaxMemory int64
	// MaxInbound is how many bytes a stream may have received and not stored yet. What
	// comes beyond that is refused. Default: 128 MiB, as the server.
	MaxInbound int64
	// Host is the address to listen on. Default: 127.0.0.1.
	Host string
	// Port to listen on, RandomPort or NoPort. Default: RandomPort.
	Port int
	// Token is what a client must show to connect. Default: a random one for each
	// start, which another process finds in the file that URLFile names.
	Token string
	// InProcess makes Connect use a pipe inside the process instead of TCP over
	// loopback. NoPort implies it. The pipe is faster for one publish at a time,
	// TCP for a saturated pipeline.
	InProcess bool
	// Damaged is called with the names of streams of which the server reports that their files are
	// damaged. It must not take long. Default: only the server's log has it.
	Damaged func(stream string)
	// DiscardConsumer says whether a consumer may begin anew of which the server cannot
	// read how far it is. Default: none may, and it is missing.
	DiscardConsumer func(stream, consumer string) bool
	// Discarded is called for each consumer that begins anew for that reason. Default: none.
	Discarded func(stream, consumer string)
	// Adjust changes the server's options before it starts, for what has no field
	// here, such as routes to other servers. Default: nothing is changed.
	Adjust func(*server.Options)
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "jetpost"
	}
	if c.Sync == "" {
		c.Sync = SyncInterval
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = 256 << 20
	}
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.Port == NoPort {
		c.InProcess = true
	}
	if c.Token == "" {
		c.Token = rand.Text() // 130 bits
	}
	return c
}

func (c Config) validate() error {
	if c.Dir == "" {
		return errors.New("no data directory given")
	}
	if c.Sync != SyncInterval && c.Sync != SyncAlways {
		return fmt.Errorf("sync %q: use %q or %q", c.Sync, SyncInterval, SyncAlways)
	}
	if c.MaxStore < 0 || c.MaxMemory < 0 || c.MaxInbound < 0 {
		return fmt.Errorf("limits of %d bytes on disk and %d in memory: use positive numbers", c.MaxStore, c.MaxMemory)
	}
	if c.Port < NoPort || c.Port > 65535 {
		return fmt.Errorf("port %d: use 1 to 65535, %d for a random one or %d for none", c.Port, RandomPort, NoPort)
	}
	if net.ParseIP(c.Host) == nil && c.Host != "localhost" {
		return fmt.Errorf("host %q: use an IP address or localhost", c.Host)
	}
	return nil
}

// options are the settings of jetstream.md, section 11. tokenHash is what the
// server compares a client's token with.
func (c Config) options(tokenHash string) *server.Options {
	o := &server.Options{
		ServerName:         c.Name,
		Host:               c.Host,
		Port:               c.Port,
		DontListen:         c.Port == NoPort,
		Authorization:      tokenHash,
		JetStream:          true,
		StoreDir:           c.Dir, // the server adds "jetstream"
		JetStreamMaxStore:  c.MaxStore,
		JetStreamMaxMemory: c.MaxMemory,
		SyncAlways:         c.Sync == SyncAlways,
		JetStreamLimits:    server.JSLimitOpts{MaxHAAssets: 2000, DefaultMaxConsumers: 1000},
		MaxPayload:         1 << 20,

		StreamMaxBufferedSize: c.MaxInbound, // 0: the server's default
		NoSigs:                true,         // the process's signals are not the server's
		NoLog:                 true,         // ours is set instead

		DisableJetStreamBanner: true,
	}
	if c.Port == RandomPort {
		o.Port = server.RANDOM_PORT
	}
	if c.Adjust != nil {
		c.Adjust(o)
	}
	return o
}
