package stream

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Fault is why NATS has not stored something, or cannot say whether it has.
type Fault int

// The faults that jetpost tells apart.
const (
	NoFault           Fault = iota // none of these
	FaultDisconnected              // there is no connection
	FaultSilent                    // there is one, and no answer
	FaultLeaderless                // the cluster has no leader for it
	FaultStorage                   // the server, or the account, may store no more
	FaultLimit                     // the stream has reached a limit of its own
	FaultMissing                   // no server answers for the stream
	FaultFiles                     // the server cannot make the files of a stream or consumer
)

// FaultOf says what an error of a publish, or of a call of the JetStream API, means.
func FaultOf(err error) Fault {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode { //nolint:exhaustive // the others say nothing about storage
		case codeNotAvailable, codeOffline, codeOfflineReason:
			return FaultLeaderless
		case codeAccountResources, codeInsufficientResources, codeMemoryResources, codeStorageResources:
			return FaultStorage
		case codeStoreFailed:
			if api.Description != storeClosed {
				return FaultLimit
			}
			return FaultDisconnected // the server is stopping
		case codeDuplicateInProcess:
			return FaultSilent // it was sent before, and is not stored yet
		case codeConsumerCreate, codeStreamCreate:
			if strings.HasPrefix(api.Description, storeNotCreated) {
				return FaultFiles
			}
			return NoFault
		case codeStreamNotFound, codeNotEnabled, codeNotEnabledForAccount:
			return FaultMissing
		}
		return NoFault
	}
	for _, lost := range []error{
		nats.ErrDisconnected, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrConnectionDraining,
		nats.ErrReconnectBufExceeded, nats.ErrNoServers, nats.ErrStaleConnection,
	} {
		if errors.Is(err, lost) {
			return FaultDisconnected
		}
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstream.ErrStreamNotFound),
		errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrBucketNotFound):
		return FaultMissing
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrAsyncPublishTimeout),
		errors.Is(err, jetstream.ErrTooManyStalledMsgs), errors.Is(err, ErrNoAnswer):
		return FaultSilent
	}
	return NoFault
}

// ErrNoAnswer is wrapped by errors of those who have waited for an answer of the
// server no longer.
var ErrNoAnswer = errors.New("no answer from the server")

// String says what is wrong, empty for NoFault.
func (f Fault) String() string {
	switch f {
	case FaultDisconnected:
		return "NATS cannot be reached"
	case FaultSilent:
		return "NATS does not answer: it is slow, or has stopped writing after an error of its disk"
	case FaultLeaderless:
		return "too few servers of the NATS cluster are there to store anything"
	case FaultStorage:
		return "the storage of NATS is full"
	case FaultLimit:
		return "the stream has reached its limit"
	case FaultMissing:
		return "no server answers for the stream: it is missing, has no leader, or JetStream is off"
	case FaultFiles:
		return "the server cannot make the files that this needs: its disk is full, or fails, or damaged files are in its way"
	case NoFault:
	}
	return ""
}

// Advice says what to do about it, empty for NoFault.
func (f Fault) Advice() string {
	switch f {
	case FaultDisconnected:
		return "see whether it runs; jetpost connects again by itself"
	case FaultSilent:
		return "its log and /healthz say which; after a write error it has to be restarted, once there is room"
	case FaultLeaderless:
		return "start the others; it goes on by itself"
	case FaultStorage:
		return "free space or raise its limit; it goes on by itself"
	case FaultLimit:
		return "raise the limit, or wait until old messages have aged out"
	case FaultMissing:
		return "an admin makes what is missing when it starts; see the log of the NATS server"
	case FaultFiles:
		return "make room on it, or move the files away that the log of the NATS server names; after either it has to be restarted"
	case NoFault:
	}
	return ""
}
