package delivery_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/delivery"
)

// Whatever lies on a queue is a delivery or unreadable, and a delivery that is
// put back is the same one.
func FuzzFromMessage(f *testing.F) {
	add := func(m *nats.Msg) {
		var header strings.Builder
		for name, values := range m.Header {
			for _, value := range values {
				header.WriteString(name + ": " + value + "\n")
			}
		}
		f.Add(header.String(), m.Data)
	}
	d := pushDelivery()
	add(delivery.Queued(d.Event, "deliveries.hook", "DELIVERIES_hook", d.Origin, d.Accepted))
	d.Attempt, d.FirstAttempt = 3, time.Unix(1, 2)
	add(d.Requeued("deliveries.hook", "DELIVERIES_hook"))
	f.Add("jetpost-origin: x\njetpost-attempt: 2", d.Event.AppendStructured(nil))
	f.Add("ce-id: 1\nCE-Source: /\nce-type: t\nce-specversion: 1.0\njetpost-origin: x\njetpost-accepted: -1", []byte{0})

	f.Fuzz(func(t *testing.T, header string, data []byte) {
		h := make(nats.Header)
		for line := range strings.Lines(header) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			h[name] = append(h[name], value)
		}
		d, err := delivery.FromMessage("hook", h, data)
		if err != nil {
			if !errors.Is(err, delivery.ErrUnreadable) {
				t.Fatalf("error %v does not wrap ErrUnreadable", err)
			}
			return
		}
		m := d.Requeued("deliveries.hook", "DELIVERIES_hook")
		again, err := delivery.FromMessage("hook", m.Header, m.Data)
		if err != nil {
			t.Fatalf("put back it cannot be read: %v", err)
		}
		if diff := cmp.Diff(d, again); diff != "" {
			t.Fatalf("put back it is another delivery (-before +after):\n%s", diff)
		}
	})
}
