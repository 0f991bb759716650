package producer

import (
	"context"
	"net/http"
	"time"

	"github.com/jetpost/jetpost/internal/access"
)

const (
	// bodyCopies is how often the bytes of a request lie in memory: as its body, and as
	// its events. On their way to NATS they are counted there.
	bodyCopies = 2
	// requestCost is what a request takes beside its body.
	requestCost = 16 << 10
	// roomTimeout is how long a request waits for room before it is refused: so much
	// shorter than clients wait that they hear of it.
	roomTimeout = 2 * time.Second
)

// makeRoom waits until there is room for a request whose body may have up to limit bytes.
// What it says about its length is believed: it can send no more. leave must be called
// when the request is answered.
func (p *Producer) makeRoom(r *http.Request, limit int64) (leave func(), found *problem) {
	if p.cfg.Memory == nil {
		return func() {}, nil
	}
	size := r.ContentLength
	if size < 0 || size > limit { // not known; or refused before it is read
		size = limit
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomTimeout)
	defer cancel()
	leave, err := p.cfg.Memory.Take(ctx, access.PrincipalOf(ctx).ID, bodyCopies*size+requestCost)
	if err != nil {
		p.metrics.rejected("", outcomeUnavailable)
		return nil, newProblem(http.StatusServiceUnavailable,
			"more is being published at this moment than this process has memory for; sending it again is safe, nothing of it is stored")
	}
	return leave, nil
}
