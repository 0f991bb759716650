package stream

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// AuditAge is how long the audit trail keeps a record.
const AuditAge = 400 * 24 * time.Hour

// Audit is the stream that keeps the audit trail.
func (l Layout) Audit() string { return l.stream("AUDIT") }

// AuditSubject is where the record of an action is kept. An action has several tokens,
// separated by dots; with a wildcard the subject is that of many.
func (l Layout) AuditSubject(action string) string { return l.subject("audit", action) }

// IsWrongSequence reports whether a stream has refused a message because it does not
// end where its publisher thought that it does.
func IsWrongSequence(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
