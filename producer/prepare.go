package producer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/schemas"
)

// A prepared event has passed all checks and is ready to be sent.
type prepared struct {
	event  *event.Event
	domain string
	msg    *nats.Msg
}

// prepare checks e and builds its message. It counts what it refuses.
func (p *Producer) prepare(e *event.Event, r *refresher) (prepared, error) {
	if err := e.Validate(); err != nil {
		p.metrics.rejected("", outcomeInvalid)
		return prepared{}, err
	}
	if strings.HasPrefix(e.Type, stream.OperationalDomain+".") {
		p.metrics.rejected(stream.OperationalDomain, outcomeReserved)
		return prepared{}, fmt.Errorf("%w: types that begin with %s. are published by jetpost itself", ErrReserved, stream.OperationalDomain)
	}
	e = p.classified(e)
	header := make(nats.Header, 10+len(e.Extensions))
	e.SetHeader(header)
	if err := checkSize(header, e.Data); err != nil { // before the data is looked at
		p.metrics.rejected("", outcomeTooLarge)
		return prepared{}, err
	}
	verdict, err := r.check(e)
	if foreign := r.foreign(e, err); foreign != nil {
		p.metrics.rejected("", outcomeForeign)
		return prepared{}, foreign
	}
	if err != nil {
		switch _, invalid := errors.AsType[*schemas.ValidationError](err); {
		case invalid:
			p.metrics.rejected(p.domainOf(e), outcomeInvalid)
		case errors.Is(err, ErrUnavailable):
			p.metrics.rejected("", outcomeUnavailable)
		default:
			p.metrics.rejected("", outcomeUnknownType)
		}
		return prepared{}, err
	}
	t := verdict.Type
	if verdict.Warning != nil {
		p.metrics.warnings.WithLabelValues(t.Domain).Inc()
		p.warnings.Warn("event stored although its data breaks its schema", zap.String("domain", t.Domain),
			zap.String("event_type", e.Type), zap.String("event_id", e.ID), zap.Error(verdict.Warning))
	}
	header[stream.HeaderMessageID] = []string{e.MessageID()}
	header[stream.HeaderExpectedStream] = []string{p.layout.EventLog(t.Domain)}
	return prepared{event: e, domain: t.Domain, msg: &nats.Msg{
		Subject: p.layout.EventSubject(t.Domain, t.Event), Header: header, Data: e.Data,
	}}, nil
}

// domainOf is the domain of an event whose type is known.
func (p *Producer) domainOf(e *event.Event) string {
	t, err := p.catalogue.Current().Resolve(e.Type)
	if err != nil {
		return ""
	}
	return t.Domain
}

// checkSize measures an event as the event log does: a header line for each
// attribute and the data.
func checkSize(attributes nats.Header, data []byte) error {
	size := ownHeaders
	for name, values := range attributes {
		size += len(name) + len(": ") + len(values[0]) + len("\r\n")
	}
	if size > MaxAttributes {
		return fmt.Errorf("%w: its attributes take %d bytes, at most %d are allowed", ErrTooLarge, size, MaxAttributes)
	}
	if size += len(data); size > MaxEventSize {
		return fmt.Errorf("%w: it takes %d bytes, at most %d are allowed", ErrTooLarge, size, MaxEventSize)
	}
	return nil
}

// ownHeaders is more than the header lines take that prepare adds to an event's.
const ownHeaders = 256

// naming names an event in an error, by what it has and not at any length.
func naming(e *event.Event) string {
	const most = 100
	if len(e.Type) > most || len(e.ID) > most {
		return "event"
	}
	return fmt.Sprintf("event %q of type %q", e.ID, e.Type)
}

// classified returns e, or a copy with the class of the repository that it is about:
// criteria use it, and publishers seldom know it. It costs nothing while no repository is
// registered.
func (p *Producer) classified(e *event.Event) *event.Event {
	if p.cfg.Repositories == nil {
		return e
	}
	if !ofRepository(e.Type) || p.cfg.Repositories.Len() == 0 || !event.IsJSON(e.DataContentType) {
		return e
	}
	if _, said := e.Attribute(schemas.RepositoryClass); said {
		return e
	}
	class, known := p.cfg.Repositories.ClassOf(gjson.GetBytes(e.Data, "repo_key").String())
	if !known {
		return e
	}
	c := *e
	c.Extensions = make([]event.Attribute, 0, len(e.Extensions)+1)
	c.Extensions = append(append(c.Extensions, e.Extensions...), event.Attribute{Name: schemas.RepositoryClass, Value: class})
	return &c
}

// ofRepository reports whether events of a type are about something in a repository.
func ofRepository(eventType string) bool {
	domain, _, _ := strings.Cut(eventType, ".")
	return domain == "artifact" || domain == "artifact_property" || domain == "docker"
}

// refreshTimeout is how long an event that the catalogue would refuse waits for a
// newer catalogue.
const refreshTimeout = 2 * time.Second

// A refresher checks the events of one call. An event that the catalogue refuses is checked
// again with a newer one, so that a type or a version that was registered a moment ago,
// anywhere, is known here at once.
//
// That costs a request to the server, which invalid events must not be able to multiply: a
// call, with all the events of its batch, asks once; calls at the same time share a request;
// and a schemas.Live makes no more than one in 20 ms. Accepted events ask for nothing.
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
		// Not refused for good: a newer catalogue might accept it.
		return schemas.Verdict{}, fmt.Errorf("%w: %s, and whether that has changed cannot be found out: %w", ErrUnavailable, err.Error(), r.failed)
	}
	return verdict, err
}

// foreign is the error for an event of a domain that the publisher may not see. It is the
// same whether the domain exists or not, and takes precedence over other errors. failed is
// the error of check.
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
