package consume

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// No client can publish under a reply subject of an ack, so that the forms that
// this server does not use are read here.
func TestMessageMetadata(t *testing.T) {
	t.Parallel()
	type metadata struct {
		Stream            string
		Sequence, Pending uint64
		Delivered         int
		Stored            time.Time
	}
	stored := time.Unix(1772364600, 123456789)
	for reply, want := range map[string]metadata{
		"$JS.ACK.Q.c.2.18446744073709551615.9.1772364600123456789.7":          {"Q", 1<<64 - 1, 7, 2, stored},
		"$JS.ACK.hub.ACCOUNT.Q.c.1.42.9.1772364600123456789.0":                {"Q", 42, 0, 1, stored},
		"$JS.ACK._.ACCOUNT.Q.c.1.42.9.1772364600123456789.0.random":           {"Q", 42, 0, 1, stored},
		"$JS.ACK._.ACCOUNT.Q.c.1.42.9.1772364600123456789.0.random.and.later": {"Q", 42, 0, 1, stored},
		"$JS.ACK.Q.c.2.1": {},
		"":                {},
	} {
		m := newMessage(nil, &nats.Msg{Reply: reply})
		got := metadata{m.Stream, m.Sequence, m.Pending, m.Delivered, m.Stored}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reply, diff)
		}
	}
}
