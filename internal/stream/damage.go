package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"
)

// maxUnreadable is how many unreadable messages FindDamage names.
const maxUnreadable = 10_000

// FindDamage reads all messages of a stream from a sequence on, and returns the sequences of
// those that it should have and cannot be read: their bytes in the file are damaged. A
// server does not say so. It counts them as there, consumers pass over them without a
// word, and a reader of one gets the answer that there is none. Messages that go away meanwhile
// are no damage.
func FindDamage(ctx context.Context, js jetstream.JetStream, name string, from uint64) ([]uint64, error) {
	fields, err := ask(ctx, js, "STREAM.INFO."+name, []byte(`{"deleted_details":true}`),
		"state.first_seq", "state.last_seq", "state.messages", "state.deleted", "config.retention")
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	from, last := max(from, fields[0].Uint()), fields[1].Uint()
	if fields[2].Uint() == 0 || from > last {
		return nil, nil
	}
	missing := map[uint64]bool{}
	fields[3].ForEach(func(_, sequence gjson.Result) bool { missing[sequence.Uint()] = true; return true })
	var suspects []uint64
	suspect := func(from, to uint64) { // including to
		for n := from; n <= to && len(suspects) < maxUnreadable; n++ {
			if !missing[n] {
				suspects = append(suspects, n)
			}
		}
	}
	if fields[4].String() == "workqueue" { // which cannot be read by a second consumer
		suspect(from, last)
	} else {
		next := from
		for record, err := range Read(ctx, js, name, Range{FromSequence: from, HeadersOnly: true}) {
			if err != nil {
				return nil, err
			}
			if record.Sequence > last {
				break
			}
			suspect(next, record.Sequence-1)
			next = record.Sequence + 1
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		suspect(next, last)
	}
	return confirmUnreadable(ctx, js, name, suspects)
}

// confirmUnreadable returns those of the suspects that are not there although the
// stream has not given them up.
func confirmUnreadable(ctx context.Context, js jetstream.JetStream, name string, suspects []uint64) ([]uint64, error) {
	var unreadable []uint64
	for _, sequence := range suspects {
		_, err := ask(ctx, js, "STREAM.MSG.GET."+name, fmt.Appendf(nil, `{"seq":%d}`, sequence), "message.seq")
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == jetstream.JSErrCodeMessageNotFound || api.ErrorCode == codeMessageDamaged) {
			unreadable = append(unreadable, sequence)
		} else if err != nil {
			return nil, fmt.Errorf("read message %d of stream %s: %w", sequence, name, err)
		}
	}
	if len(unreadable) == 0 {
		return nil, nil
	}
	fields, err := ask(ctx, js, "STREAM.INFO."+name, []byte(`{"deleted_details":true}`), "state.first_seq", "state.deleted")
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	missing := map[uint64]bool{}
	fields[1].ForEach(func(_, sequence gjson.Result) bool { missing[sequence.Uint()] = true; return true })
	return slices.DeleteFunc(unreadable, func(n uint64) bool { return n < fields[0].Uint() || missing[n] }), nil
}
