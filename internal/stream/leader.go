package stream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"
)

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

// GetFromLeader is Get, of what the leader of the stream has.
func GetFromLeader(ctx context.Context, js jetstream.JetStream, name string, sequence uint64) (*Record, error) {
	r, err := askForRecord(ctx, js, name, []byte(`{"seq":`+strconv.FormatUint(sequence, 10)+`}`))
	if err == nil && r.Sequence != sequence {
		err = errNotAnAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("read record %d of stream %s: %w", sequence, name, err)
	}
	return r, nil
}

// askForRecord asks the leader of a stream for one record; jetstream.ErrMsgNotFound
// when it has none.
func askForRecord(ctx context.Context, js jetstream.JetStream, name string, request []byte) (*Record, error) {
	fields, err := ask(ctx, js, "STREAM.MSG.GET."+name, request, "message.seq", "message.subject", "message.data", "message.time", "message.hdrs")
	if err != nil {
		return nil, err
	}
	r := &Record{Stream: name, Subject: fields[1].String(), Sequence: fields[0].Uint(), Time: fields[3].Time()}
	if r.Data, err = base64.StdEncoding.DecodeString(fields[2].String()); err != nil {
		return nil, err
	}
	if !fields[4].Exists() {
		return r, nil
	}
	header, err := base64.StdEncoding.DecodeString(fields[4].String())
	if err != nil {
		return nil, err
	}
	r.Header, err = nats.DecodeHeadersMsg(header)
	return r, err
}

// NewestFromLeader asks a stream's leader for the newest message with a subject, as
// GetFromLeader does. jetstream.ErrMsgNotFound when there is none.
func NewestFromLeader(ctx context.Context, js jetstream.JetStream, name, subject string) (*Record, error) {
	request, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return askForRecord(ctx, js, name, request)
}

// askTimeout bounds a request whose context has no deadline: one that is lost with its
// connection is never answered.
const askTimeout = 10 * time.Second

// ask makes a request to the API and returns fields of its answer; the first one
// must be there. What the server says is wrong is a *jetstream.APIError.
func ask(ctx context.Context, js jetstream.JetStream, request string, body []byte, fields ...string) ([]gjson.Result, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTimeout)
		defer cancel()
	}
	m, err := js.Conn().RequestWithContext(ctx, apiPrefixOf(js)+request, body)
	if err != nil {
		return nil, err
	}
	found := gjson.GetManyBytes(m.Data, append(fields, "error.description", "error.code", "error.err_code")...)
	if problem := found[len(fields):]; problem[0].Exists() {
		return nil, &jetstream.APIError{
			Description: problem[0].String(), Code: int(problem[1].Int()), ErrorCode: jetstream.ErrorCode(problem[2].Uint()), //nolint:gosec // a code of the server's
		}
	}
	if !found[0].Exists() {
		return nil, errNotAnAnswer
	}
	return found, nil
}

// apiPrefixOf is how the subjects of the API begin over this connection.
func apiPrefixOf(js jetstream.JetStream) string {
	options := js.Options()
	switch {
	case options.APIPrefix != "":
		return options.APIPrefix
	case options.Domain != "":
		return "$JS." + options.Domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}

var errNotAnAnswer = errors.New("the server's answer has no state")
