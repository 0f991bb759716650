package members

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
)

// Put writes the record of m. It has to be written again before stream.MembersTTL is
// over. kv is the bucket members.
func Put(ctx context.Context, kv jetstream.KeyValue, m *Member) error {
	value, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode member %s: %w", m.ID, err)
	}
	if _, err := kv.Put(ctx, m.ID, value); err != nil {
		return fmt.Errorf("write member %s: %w", m.ID, err)
	}
	return nil
}

// Delete takes the record of a member away.
func Delete(ctx context.Context, kv jetstream.KeyValue, id string) error {
	if err := kv.Delete(ctx, id); err != nil {
		return fmt.Errorf("delete member %s: %w", id, err)
	}
	return nil
}

// Read returns the members as they are now; none where there is no bucket. To stay
// informed, follow the bucket instead: see follow.Follower and FromEntries.
//
// Records are written all the time. Reading them one after the other off the stream would
// miss one that moves to its end meanwhile, so the server is asked which there are, and
// then for each.
func Read(ctx context.Context, js jetstream.JetStream, layout stream.Layout) (*Set, error) {
	bucket := layout.MembersBucket()
	s, err := js.Stream(ctx, layout.MembersStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return NewSet(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(layout.MemberKey("*")))
	if err != nil {
		return nil, fmt.Errorf("list bucket %s: %w", bucket, err)
	}
	var all []Member
	for subject := range info.State.Subjects {
		m, err := s.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it has expired meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read bucket %s: %w", bucket, err)
		}
		if len(m.Data) > 0 { // otherwise it says that the record was taken away
			all = append(all, parse(subject[strings.LastIndexByte(subject, '.')+1:], follow.Entry{Value: m.Data, Revision: m.Sequence, Stored: m.Time}))
		}
	}
	return NewSet(all), nil
}
