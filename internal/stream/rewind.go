package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrWentBack ends Read with Follow: the stream does not have any more, at its place,
// what was read last. A power loss has taken its end, or it was made anew; what comes to
// the places that were read would be skipped.
var ErrWentBack = errors.New("the stream has lost records that were read: begin again")

// rewindEvery is how often it is asked whether the connection was made anew.
const rewindEvery = time.Second

// A readGuard watches over what a reader that follows a stream has read last.
type readGuard struct {
	js   jetstream.JetStream
	name string

	mu       sync.Mutex
	session  uint64 // of the connection: how often it was made anew
	last     Place  // what was read last
	previous Place  // what was read last in the sessions before
}

// note takes down what was read last.
func (g *readGuard) note(r *Record) {
	session := g.js.Conn().Stats().Reconnects
	g.mu.Lock()
	defer g.mu.Unlock()
	if session != g.session {
		g.session, g.previous = session, g.last
	}
	g.last = Place{r.Sequence, r.Time}
}

// readBefore is what was read last before a session.
func (g *readGuard) readBefore(session uint64) Place {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.session == session {
		return g.previous
	}
	return g.last
}

// watch ends ctx by cancel when the stream went back. A server that runs on loses
// nothing, so it looks after each reconnect.
func (g *readGuard) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	nc := g.js.Conn()
	tick := time.NewTicker(rewindEvery)
	defer tick.Stop()
	for looked := nc.Stats().Reconnects; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := nc.Stats().Reconnects
		if now == looked {
			continue
		}
		back, err := g.wentBack(ctx, now)
		switch {
		case back:
			cancel(ErrWentBack)
			return
		case err == nil:
			looked = now
		}
	}
}

func (g *readGuard) wentBack(ctx context.Context, session uint64) (bool, error) {
	last := g.readBefore(session)
	if last.Sequence == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	head, err := ReadHead(ctx, g.js, g.name)
	if err != nil || head.Last < last.Sequence {
		return err == nil, err
	}
	r, err := Get(ctx, g.js, g.name, last.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil // erased, or aged out
	}
	if err != nil {
		return false, fmt.Errorf("look for what was read last: %w", err)
	}
	return !r.Time.Equal(last.Stored), nil
}
