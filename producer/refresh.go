package producer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/schemas"
)

// refreshTimeout is how long an event that the catalogue would refuse waits for a
// newer catalogue.
const refreshTimeout = 2 * time.Second

// A refresher checks the events of one call. What the catalogue refuses it checks
// again with a newer one, so that a type or a version that was registered a moment
// ago, anywhere, is known here at once.
//
// That costs a request to the server, which events that are simply wrong must not
// be able to multiply: a call, with all the events of its batch, asks once; calls at
// the same time share a request; and a schemas.Live makes no more than one in 20 ms,
// however many call. Events that are accepted ask for nothing.
type refresher struct {
	producer  *Producer
	ctx       context.Context //nolint:containedctx // of the call that it is made for
	catalogue *schemas.Catalogue
	asked     bool
	failed    error
}

func (p *Producer) refresher(ctx context.Context) refresher {
	return refresher{producer: p, ctx: ctx, catalogue: p.catalogue.Current()}
}

func (r *refresher) check(e *event.Event) (schemas.Verdict, error) {
	verdict, err := r.catalogue.Check(e)
	if err != nil && !r.asked {
		if newer := r.ask(); newer != r.catalogue {
			r.catalogue = newer
			verdict, err = newer.Check(e)
		}
	}
	if err != nil && r.failed != nil {
		// Not refused for good: whether it would be accepted by now is not known.
		return schemas.Verdict{}, fmt.Errorf("%w: %s, and whether that has changed cannot be found out: %w", ErrUnavailable, err.Error(), r.failed)
	}
	return verdict, err
}

// foreign is the error for an event of a domain that who publishes does not see. It
// is the same whether there is such a domain or not, and comes before what else is
// wrong with the event. failed is what check has said.
func (r *refresher) foreign(e *event.Event, failed error) error {
	publisher := access.PrincipalOf(r.ctx)
	if len(publisher.Domains) == 0 || errors.Is(failed, ErrUnavailable) {
		return nil
	}
	if domain, known := r.catalogue.DomainOf(e.Type); known && publisher.Sees(domain) {
		return nil
	}
	return fmt.Errorf("%w: the token %s may publish to %s", ErrForeign, publisher.ID, strings.Join(publisher.Domains, ", "))
}

// ask returns a newer catalogue, or the same one.
func (r *refresher) ask() *schemas.Catalogue {
	r.asked = true
	ctx, cancel := context.WithTimeout(r.ctx, refreshTimeout)
	defer cancel()
	newer, err := r.producer.catalogue.Sync(ctx)
	if err != nil {
		r.failed = err
		return r.catalogue
	}
	return newer
}
