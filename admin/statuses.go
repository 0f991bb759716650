package admin

import (
	"context"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/deadletters"
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/jobs"
	"github.com/jetpost/jetpost/admin/story"
	"github.com/jetpost/jetpost/admin/subscriptions"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream/follow"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// statuses is the only place where errors become statuses, beside those of package
// httpapi itself. The first that fits counts.
func statuses() []httpapi.ErrorStatus {
	answer := func(err error, status int, advice string) httpapi.ErrorStatus {
		return httpapi.ErrorStatus{Err: err, Status: status, Advice: advice}
	}
	return []httpapi.ErrorStatus{
		answer(audit.ErrNotRecorded, http.StatusServiceUnavailable, ""),
		answer(audit.ErrNotFound, http.StatusNotFound, "records are kept for 400 days"),
		answer(subscription.ErrNotFound, http.StatusNotFound, ""),
		answer(subscription.ErrExists, http.StatusConflict, "change it with PUT or PATCH, or choose another id"),
		answer(subscription.ErrTooManyKeys, http.StatusConflict, "wait until then, or rotate with an overlap of 0s, which has all old secrets stop now"),
		answer(subscription.ErrConflict, http.StatusConflict, "read it again and repeat the change"),
		answer(access.ErrNotFound, http.StatusNotFound, ""),
		answer(access.ErrConflict, http.StatusConflict, "read it again and repeat the change"),
		answer(access.ErrTooMany, http.StatusConflict, ""),
		answer(errNoTokens, http.StatusServiceUnavailable, ""),
		answer(schemas.ErrNotFound, http.StatusNotFound, ""),
		answer(schemas.ErrConflict, http.StatusConflict, "read it again and repeat the change"),
		answer(schemas.ErrReserved, http.StatusConflict, ""),
		answer(schemas.ErrHasEvents, http.StatusConflict, "wait until they have aged out, or leave the domain as it is"),
		answer(repository.ErrClass, http.StatusConflict, "delete it and register it again"),
		answer(repository.ErrConflict, http.StatusConflict, "repeat the change"),
		answer(repository.ErrInvalid, http.StatusUnprocessableEntity, ""),
		answer(errNoRepositories, http.StatusServiceUnavailable, ""),
		answer(follow.ErrStopped, http.StatusServiceUnavailable, ""),
		answer(subscriptions.ErrPrecondition, http.StatusPreconditionFailed, "read it again and repeat the change"),
		answer(subscriptions.ErrDisabled, http.StatusConflict, "resume it first"),
		answer(subscriptions.ErrQueueFull, http.StatusConflict, "wait until deliveries have been made"),
		answer(subscriptions.ErrNoQueue, http.StatusConflict, "resume the subscription, which makes it"),
		answer(deadletters.ErrUnreadable, http.StatusConflict, "look at it, and discard it"),
		answer(delivery.ErrEventGone, http.StatusGone, ""),
		answer(story.ErrNoEvent, http.StatusNotFound, "it never was, it was erased, or it is older than the 30 days for which events are kept"),
		answer(deadletters.ErrNotAttempted, http.StatusNotFound, ""),
		answer(jobs.ErrNotFound, http.StatusNotFound, ""),
		answer(jobs.ErrEnded, http.StatusConflict, ""),
		answer(delivery.ErrNoDeadLetter, http.StatusNotFound, "it was redriven, discarded, or is older than 90 days"),
		answer(jetstream.ErrConsumerNotFound, http.StatusServiceUnavailable, ""),
		answer(jetstream.ErrStreamNotFound, http.StatusServiceUnavailable, ""),
		answer(jetstream.ErrBucketNotFound, http.StatusServiceUnavailable, ""),
		answer(jetstream.ErrNoStreamResponse, http.StatusServiceUnavailable, ""),
		answer(jetstream.ErrNoHeartbeat, http.StatusServiceUnavailable, ""),
		answer(subscription.ErrStopped, http.StatusServiceUnavailable, ""),
		answer(context.DeadlineExceeded, http.StatusServiceUnavailable, ""),
		answer(context.Canceled, http.StatusServiceUnavailable, ""),
		answer(nats.ErrNoResponders, http.StatusServiceUnavailable, ""),
		answer(nats.ErrTimeout, http.StatusServiceUnavailable, ""),
		answer(nats.ErrDisconnected, http.StatusServiceUnavailable, ""),
		answer(nats.ErrConnectionClosed, http.StatusServiceUnavailable, ""),
		answer(nats.ErrConnectionDraining, http.StatusServiceUnavailable, ""),
		answer(nats.ErrReconnectBufExceeded, http.StatusServiceUnavailable, ""),
		answer(keyring.ErrKeyring, http.StatusInternalServerError, ""),
	}
}
