package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

var (
	errPrecondition = errors.New("the subscription has another revision than was read")
	errDisabled     = errors.New("the subscription is disabled, so nothing is delivered")
	errQueueFull    = errors.New("the subscription's queue is full")
	errNoQueue      = errors.New("the subscription has no queue")
	errUnreadable   = errors.New("it could not be read, so there is no delivery to make")
	errEventGone    = errors.New("the event is gone")
	errNoEvent      = errors.New("no such event is stored")
	errNotAttempted = errors.New("no attempt and no dead letter of this delivery is on record")
	errNoJob        = errors.New("redrive job not found")
	errJobEnded     = errors.New("the redrive job has ended")
)

// statuses is the only place where errors become statuses, beside those of package
// httpapi itself. The first that fits counts.
func statuses() []ErrorStatus {
	return []ErrorStatus{
		{audit.ErrNotRecorded, http.StatusServiceUnavailable, ""},
		{audit.ErrNotFound, http.StatusNotFound, "records are kept for 400 days"},
		{subscription.ErrNotFound, http.StatusNotFound, ""},
		{subscription.ErrExists, http.StatusConflict, "change it with PUT or PATCH, or choose another id"},
		{subscription.ErrTooManyKeys, http.StatusConflict, "wait until then, or rotate with an overlap of 0s, which has all old secrets stop now"},
		{subscription.ErrConflict, http.StatusConflict, "read it again and repeat the change"},
		{access.ErrNotFound, http.StatusNotFound, ""},
		{access.ErrConflict, http.StatusConflict, "read it again and repeat the change"},
		{access.ErrTooMany, http.StatusConflict, ""},
		{errNoTokens, http.StatusServiceUnavailable, ""},
		{schemas.ErrNotFound, http.StatusNotFound, ""},
		{schemas.ErrConflict, http.StatusConflict, "read it again and repeat the change"},
		{schemas.ErrReserved, http.StatusConflict, ""},
		{schemas.ErrHasEvents, http.StatusConflict, "wait until they have aged out, or leave the domain as it is"},
		{repository.ErrClass, http.StatusConflict, "delete it and register it again"},
		{repository.ErrConflict, http.StatusConflict, "repeat the change"},
		{repository.ErrInvalid, http.StatusUnprocessableEntity, ""},
		{errNoRepositories, http.StatusServiceUnavailable, ""},
		{stream.ErrStopped, http.StatusServiceUnavailable, ""},
		{errPrecondition, http.StatusPreconditionFailed, "read it again and repeat the change"},
		{errDisabled, http.StatusConflict, "resume it first"},
		{errQueueFull, http.StatusConflict, "wait until deliveries have been made"},
		{errNoQueue, http.StatusConflict, "resume the subscription, which makes it"},
		{errUnreadable, http.StatusConflict, "look at it, and discard it"},
		{errEventGone, http.StatusGone, ""},
		{errNoEvent, http.StatusNotFound, "it never was, it was erased, or it is older than the 30 days for which events are kept"},
		{errNotAttempted, http.StatusNotFound, ""},
		{errNoJob, http.StatusNotFound, ""},
		{errJobEnded, http.StatusConflict, ""},
		{delivery.ErrNoLetter, http.StatusNotFound, "it was redriven, discarded, or is older than 90 days"},
		{jetstream.ErrConsumerNotFound, http.StatusServiceUnavailable, ""},
		{jetstream.ErrStreamNotFound, http.StatusServiceUnavailable, ""},
		{jetstream.ErrBucketNotFound, http.StatusServiceUnavailable, ""},
		{jetstream.ErrNoStreamResponse, http.StatusServiceUnavailable, ""},
		{jetstream.ErrNoHeartbeat, http.StatusServiceUnavailable, ""},
		{subscription.ErrStopped, http.StatusServiceUnavailable, ""},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, ""},
		{context.Canceled, http.StatusServiceUnavailable, ""},
		{nats.ErrNoResponders, http.StatusServiceUnavailable, ""},
		{nats.ErrTimeout, http.StatusServiceUnavailable, ""},
		{nats.ErrDisconnected, http.StatusServiceUnavailable, ""},
		{nats.ErrConnectionClosed, http.StatusServiceUnavailable, ""},
		{nats.ErrConnectionDraining, http.StatusServiceUnavailable, ""},
		{nats.ErrReconnectBufExceeded, http.StatusServiceUnavailable, ""},
		{keyring.ErrKeyring, http.StatusInternalServerError, ""},
	}
}
