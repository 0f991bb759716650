package producer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/schemas"
)

// MaxAttributes is how many bytes the attributes of an event may take as header
// lines, percent-encoded. The server allows 64 KiB of headers, and a delivery,
// a retry timer or a dead letter carries others beside them.
const MaxAttributes = 32 << 10

// ErrTooLarge is wrapped by the error for an event of more than
// MaxEventSize bytes, data and attributes together, or with more than
// MaxAttributes bytes of attributes.
var ErrTooLarge = errors.New("event is too large")

// ErrReserved is wrapped by the error for an event of jetpost's own domain.
var ErrReserved = errors.New("event type is reserved")

// ErrForeign is wrapped by the error for an event of a domain that the token of the
// request, a publisher's, does not name.
var ErrForeign = errors.New("event is of a domain that is not yours")

// ErrUnavailable is wrapped by the error for an event that is not known to be
// stored: the server could not be reached, had no leader, or refused because it
// is full. Publishing the same event again is safe.
var ErrUnavailable = errors.New("event log does not accept events now")

// A Producer publishes events. It is safe for concurrent use.
type Producer struct {
	cfg       Config
	js        jetstream.JetStream
	layout    stream.Layout
	catalogue schemas.Source
	log       *zap.Logger
	warnings  *zap.Logger // the same, sampled
	metrics   *metrics
}

// New returns a Producer on a connection's JetStream, best made by JetStream on a
// connection with ConnectOptions. The catalogue is one that was loaded, or a
// schemas.Live, which the caller keeps running: with it, domains that are registered at
// run time are known at once. A nil log logs nothing; a nil reg registers no metrics.
func New(cfg Config, js jetstream.JetStream, catalogue schemas.Source, log *zap.Logger, reg prometheus.Registerer) (*Producer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure producer: %w", err)
	}
	if js == nil || catalogue == nil {
		return nil, errors.New("configure producer: it needs a JetStream and a catalogue; make them with producer.JetStream and schemas.Load")
	}
	layout, err := stream.NewLayout(stream.LayoutConfig{Prefix: cfg.Prefix})
	if err != nil {
		return nil, fmt.Errorf("configure producer: %w", err)
	}
	if log == nil {
		log = zap.NewNop()
	}
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register producer metrics: %w", err)
	}
	log = log.Named("producer")
	return &Producer{
		cfg: cfg, js: js, layout: layout, catalogue: catalogue, log: log, metrics: m,
		// One source that breaks its schema must not fill the disk with warnings.
		warnings: log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(core, time.Minute, 10, 10_000)
		})),
	}, nil
}

// A Receipt says where an event is stored.
type Receipt struct {
	// Stream is the name of the event log.
	Stream string
	// Sequence is the event's place in it, from 1.
	Sequence uint64
	// Duplicate is true when an event with the same source and id was stored
	// there before, within Dedupe. Sequence is then the place of that one.
	// An event whose first answer was lost can be a duplicate of itself.
	Duplicate bool
}

// Publish stores e and returns its receipt. The error wraps event.ErrInvalidEvent,
// ErrTooLarge, ErrReserved, ErrForeign, schemas.ErrUnknownType, or is a *schemas.ValidationError, when e
// cannot be stored at all; it wraps ErrUnavailable when it may be published again.
func (p *Producer) Publish(ctx context.Context, e *event.Event) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	pending, err := p.PublishAsync(ctx, e)
	if err != nil {
		return Receipt{}, err
	}
	return pending.conclude(ctx)
}

// PublishEvent is Publish for an event of the CloudEvents SDK. Its data bytes are
// stored as they are.
func (p *Producer) PublishEvent(ctx context.Context, e cloudevents.Event) (Receipt, error) {
	converted, err := event.FromCloudEvent(e)
	if err != nil {
		p.metrics.rejected("", outcomeInvalid)
		return Receipt{}, fmt.Errorf("publish event: %w", err)
	}
	return p.Publish(ctx, converted)
}

// PublishAsync hands e to the server and returns without waiting for the receipt.
// It blocks while too many events are under way. An error means that e was not
// sent; it is one of those of Publish. Events of one goroutine are stored in the
// order of their PublishAsync, except for those that had to be tried again.
//
// The caller must call Wait on every Pending, and must not change e or its data
// before that has returned.
func (p *Producer) PublishAsync(ctx context.Context, e *event.Event) (*Pending, error) {
	refresh := p.refresher(ctx)
	ready, err := p.prepare(e, &refresh)
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", naming(e), err)
	}
	return p.send(ctx, ready)
}

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
	if err := checkSize(header, e.Data); err != nil { // before the data is read
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
