package main

import (
	"math"
	"os"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/sender"
)

// fewDescriptors is how many open files are little for a server: each subscription has
// files of its own on the embedded NATS server, and connections.
const fewDescriptors = 4096

// leastReserve is how many files a process keeps for what it stores, at least; of more it
// keeps an eighth.
const leastReserve = 48

// limitConnections keeps a sender from taking all files that this process may open: half
// of them at most are connections to receivers, since what is stored and who calls the
// process need the others. The limit is raised before, as far as the system allows.
func limitConnections(cfg *sender.Config, log *zap.Logger) {
	limit := raiseDescriptors()
	if limit == 0 || limit >= math.MaxInt32 {
		return
	}
	cfg.Connections = int(limit / 2) //nolint:gosec // seen above
	if limit > fewDescriptors {
		return
	}
	log.Warn("this process may open few files: raise the limit (ulimit -n, LimitNOFILE), or keep subscriptions and max_in_flight low",
		zap.Uint64("files", limit), zap.Int("connections", cfg.Connections))
	if _, err := openDescriptors(); err != nil {
		return
	}
	room := int(limit) - max(leastReserve, int(limit/8)) //nolint:gosec // few
	cfg.FreeFiles = func() int {
		open, err := openDescriptors()
		if err != nil { // there is not even one for looking
			return 0
		}
		return room - open
	}
}

// openDescriptors is how many files this process has open, on systems that say so.
func openDescriptors() (int, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	return len(names), err
}
