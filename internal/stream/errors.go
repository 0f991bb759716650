package stream

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Error codes of the JetStream API that jetpost tells apart. The client library
// names only some.
const (
	codeAccountResources      jetstream.ErrorCode = 10002
	codeNotAvailable          jetstream.ErrorCode = 10008 // no meta leader
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeMemoryResources       jetstream.ErrorCode = 10028
	codeNotEnabledForAccount  jetstream.ErrorCode = 10039
	codeStorageResources      jetstream.ErrorCode = 10047
	codeStreamNotFound        jetstream.ErrorCode = 10059
	codeWrongExpectedStream   jetstream.ErrorCode = 10060
	codeWrongLastMessageID    jetstream.ErrorCode = 10070
	codeConsumerCreate        jetstream.ErrorCode = 10012 // the description says why
	codeStreamCreate          jetstream.ErrorCode = 10049
	codeMessageDamaged        jetstream.ErrorCode = 10057 // "malformed or corrupt message", of a delete
	codeNotEnabled            jetstream.ErrorCode = 10076
	codeStoreFailed           jetstream.ErrorCode = 10077 // maximum messages or bytes; or storeClosed
	codeHeaderTooLarge        jetstream.ErrorCode = 10097
	codeOffline               jetstream.ErrorCode = 10118
	codeDuplicateInProcess    jetstream.ErrorCode = 10158
	codeTooManyRequests       jetstream.ErrorCode = 10167
	codeOfflineReason         jetstream.ErrorCode = 10194
)

// storeClosed is the description with which a server that is stopping answers
// codeStoreFailed. Nothing but the text tells it from a stream at its limit.
const storeClosed = "store is closed"

// storeNotCreated is how the description begins with which a server answers that cannot
// make the files of a stream or a consumer. Nothing but the text says so.
const storeNotCreated = "error creating store"

// IsTooLarge reports the refusal of one message, by a stream with limits of its operator's
// own, or by the connection. What else is wrong is wrong with the stream, for every
// message.
func IsTooLarge(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum || api.ErrorCode == codeHeaderTooLarge)
}

// A PublishFailure says what an unsuccessful publish to a stream means.
type PublishFailure int

// What a failed publish means for the publisher (jetstream.md, section 4).
const (
	Unknown PublishFailure = iota // stored or not: publish again under the same id
	Full                          // refused: the stream is at its limit
	Missing                       // refused: there is no such stream
)

// ClassifyPublish says what err, returned by a publish, means.
func ClassifyPublish(err error) PublishFailure {
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrStreamNotFound) {
		return Missing
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		if api.ErrorCode == codeStoreFailed && api.Description != storeClosed {
			return Full
		}
		if api.ErrorCode == codeStreamNotFound || api.ErrorCode == codeWrongExpectedStream {
			return Missing
		}
	}
	return Unknown
}
