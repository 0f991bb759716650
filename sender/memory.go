package sender

import (
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/transport"
)

const (
	// eventCopies is how often the bytes of an event lie in memory while its delivery is
	// in hand: as they came, as they are sent, and as they become a timer or a dead
	// letter, or are on their way within an embedded server.
	eventCopies = 3
	// requestCost is what a request under way takes beside the event: the answer up to
	// transport.MaxReadBody, or the buffers and stacks of a connection while there is none.
	requestCost = transport.MaxReadBody
	// requeueCost is what a retry takes beside the event that is put back on its queue.
	requeueCost = 2 << 10
)

// memoryOf is what the deliveries of a subscription may take. Each has at least one in
// hand, whatever the receivers of the others hold: see package budget.
func (s *Sender) memoryOf(sub *subscription.Subscription) stream.Memory {
	if s.cfg.Memory == nil {
		return stream.Memory{}
	}
	return stream.Memory{Share: s.cfg.Memory.Share(sub.Delivery.MaxInFlight), Times: eventCopies, Each: requestCost}
}

// memoryOfPump is what the retries of a shard may take on the way back to their queues.
func (s *Sender) memoryOfPump() stream.Memory {
	if s.cfg.Memory == nil {
		return stream.Memory{}
	}
	return stream.Memory{Share: s.cfg.Memory.Share(0), Times: eventCopies, Each: requeueCost}
}
