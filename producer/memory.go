package producer

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream/budget"
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

// rooms shares out the memory for request bodies among the tokens that publish, so that
// one which sends much, or slowly, leaves room for the others.
type rooms struct {
	memory *budget.Budget

	mu     sync.Mutex
	shares map[string]*room // of the tokens with requests under way, by id
}

type room struct {
	share *budget.Share
	users int
}

func newRooms(memory *budget.Budget) *rooms {
	return &rooms{memory: memory, shares: make(map[string]*room)}
}

// enter waits until there is room for a body of a size. leave must be called when the
// request is answered.
func (r *rooms) enter(ctx context.Context, size int64) (leave func(), err error) {
	if r.memory == nil {
		return func() {}, nil
	}
	id := access.PrincipalOf(ctx).ID
	r.mu.Lock()
	own := r.shares[id]
	if own == nil {
		own = &room{share: r.memory.Share(0)}
		r.shares[id] = own
	}
	own.users++
	r.mu.Unlock()

	weight := bodyCopies*size + requestCost
	ctx, cancel := context.WithTimeout(ctx, roomTimeout)
	defer cancel()
	if err = own.share.Take(ctx, weight); err != nil {
		r.forget(id, own)
		return nil, err
	}
	return func() {
		own.share.Done(weight)
		r.forget(id, own)
	}, nil
}

func (r *rooms) forget(id string, own *room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(r.shares, id)
	}
}

// makeRoom is rooms.enter for a request whose body may have up to limit bytes. What it
// says about its length is believed: it can send no more.
func (p *Producer) makeRoom(r *http.Request, limit int64) (leave func(), found *problem) {
	size := r.ContentLength
	if size < 0 || size > limit { // not known; or refused before it is read
		size = limit
	}
	leave, err := p.rooms.enter(r.Context(), size)
	if err != nil {
		p.metrics.rejected("", outcomeUnavailable)
		return nil, newProblem(http.StatusServiceUnavailable,
			"more is being published at this moment than this process has memory for; sending it again is safe, nothing of it is stored")
	}
	return leave, nil
}
