package producer

import (
	"context"
	"errors"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
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
	publisher *stream.Publisher
	layout    stream.Layout
	catalogue schemas.Source
	log       *zap.Logger
	warnings  *zap.Logger // the same, sampled
	metrics   *metrics
}

// New returns a Producer on a connection's JetStream, best made by JetStream on a
// connection with ConnectOptions. The catalogue is one that was loaded, or a
// schemas.Live, which the caller keeps running: with it, domains that are registered at
// run time are known at once. A nil log is none; with a nil reg the metrics are not exported.
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
		cfg: cfg, publisher: newPublisher(cfg, js), layout: layout, catalogue: catalogue, log: log, metrics: m,
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
