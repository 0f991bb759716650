package stream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
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

// An End is where a stream ends, as its leader has it.
type End struct {
	// Sequence is that of the last message there ever was.
	Sequence uint64
	// Record is that message. Nil when it is there no more, or there never was one.
	Record *Record
	// Empty is true when the stream has no messages at all.
	Empty bool
}

// ReadEnd asks the leader of a stream where it ends, and with what. Unlike Get it reads
// no copy that may lag behind.
func ReadEnd(ctx context.Context, js jetstream.JetStream, name string) (End, error) {
	fields, err := ask(ctx, js, "STREAM.INFO."+name, nil, "state.last_seq", "state.messages")
	if err != nil {
		return End{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	end := End{Sequence: fields[0].Uint(), Empty: fields[1].Uint() == 0}
	if end.Empty {
		return end, nil
	}
	record, err := GetFromLeader(ctx, js, name, end.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return end, nil
	}
	end.Record = record
	return end, err
}

// GetFromLeader is Get, of what the leader of the stream has and without the headers.
func GetFromLeader(ctx context.Context, js jetstream.JetStream, name string, sequence uint64) (*Record, error) {
	request := []byte(`{"seq":` + strconv.FormatUint(sequence, 10) + `}`)
	fields, err := ask(ctx, js, "STREAM.MSG.GET."+name, request, "message.seq", "message.subject", "message.data", "message.time")
	if err == nil && fields[0].Uint() != sequence {
		err = errNotAnAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("read record %d of stream %s: %w", sequence, name, err)
	}
	data, err := base64.StdEncoding.DecodeString(fields[2].String())
	if err != nil {
		return nil, fmt.Errorf("read record %d of stream %s: %w", sequence, name, err)
	}
	return &Record{Stream: name, Subject: fields[1].String(), Sequence: sequence, Time: fields[3].Time(), Data: data}, nil
}

// IsWrongSequence reports whether a stream has refused a message because it does not
// end where its publisher thought that it does.
func IsWrongSequence(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
