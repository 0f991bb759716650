// Package httpapi is the HTTP side of the admin API: what all operations share, whatever
// they are about.
//
// An operation is a function from a request struct to an answer struct. Around it the
// package authorizes the principal, reads and limits the body, decides If-Match and
// If-None-Match, keeps answers under idempotency keys, bounds the time, turns errors into
// problem documents (RFC 9457), counts and logs. It describes all operations at
// /openapi.json and /docs.
//
// It promises that a request which is refused costs no more than its headers, and that no
// error, log line or metric shows what a client has sent as a secret.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
)

// Config is what an API is made with. All fields are required, but Stopping.
type Config struct {
	// Version is shown in the OpenAPI document.
	Version string
	// Timeout bounds the work for one request. Following a log is not bounded.
	Timeout time.Duration
	// BodyTimeout bounds the time in which a client sends a body.
	BodyTimeout time.Duration
	// Heartbeat is how often an empty line is written to a client that follows a log in
	// which nothing happens.
	Heartbeat time.Duration
	// MaxFollowers is how many clients may follow a log at one time.
	MaxFollowers int
	// Stopping, when closed, ends the answers to clients that follow a log. Default:
	// they end with their connections.
	Stopping <-chan struct{}
	// Statuses says how the errors of the operations are answered.
	Statuses []ErrorStatus
}

// An API is the envelope of all requests, and the operations that are registered with
// it: it authorizes, reads bodies, decides conditions, keeps answers under idempotency
// keys, turns errors into problem documents, counts, logs, and describes itself.
type API struct {
	cfg      Config
	mux      *http.ServeMux
	library  huma.API
	statuses []ErrorStatus
	log      *zap.Logger
	metrics  *metrics

	followers  chan struct{}          // a token for each client that follows
	keyed      *idempotency           // answers to requests that may be repeated
	repeatable map[string]bool        // the routes of such requests, by pattern
	needed     map[string]access.Need // what routes need, by pattern
	limits     map[string]int64       // the bytes of a body, of routes that take more than usual, by pattern
}

// New returns an API without operations: see Register, and then Handler.
func New(cfg Config, js jetstream.JetStream, layout stream.Layout, keyring *keyring.Keyring, log *zap.Logger, reg prometheus.Registerer) (*API, error) {
	m, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register admin metrics: %w", err)
	}
	a := &API{
		cfg: cfg, mux: http.NewServeMux(), statuses: append(ownStatuses(), cfg.Statuses...), log: log, metrics: m,
		followers:  make(chan struct{}, cfg.MaxFollowers),
		repeatable: make(map[string]bool), needed: make(map[string]access.Need), limits: make(map[string]int64),
	}
	a.keyed = &idempotency{
		js: js, layout: layout, keyring: keyring, lease: cfg.Timeout + idempotencyGrace, log: log,
		bucket: stream.NewBucket(js, layout.IdempotencyBucket()),
	}
	a.library = humago.New(a.mux, libraryConfig(cfg.Version))
	return a, nil
}

// Handler answers the operations that were registered, and describes them at
// /openapi.json and /docs.
func (a *API) Handler() (http.Handler, error) {
	document, err := describe(a.library)
	if err != nil {
		return nil, err
	}
	a.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(document)
	})
	page, err := docsHandler(a.library.OpenAPI())
	if err != nil {
		return nil, err
	}
	a.mux.Handle("GET "+docsPath, page)
	return a.Envelope(Face{}, a.mux), nil
}

// Timeout bounds the work for one request.
func (a *API) Timeout() time.Duration { return a.cfg.Timeout }

// SchemaOf is the schema of a Go type in the description of the API.
func (a *API) SchemaOf(t reflect.Type) *huma.Schema {
	return a.library.OpenAPI().Components.Schemas.Schema(t, true, "")
}

// libraryConfig leaves out all that the HTTP library would serve by itself: its pages
// load scripts from elsewhere.
func libraryConfig(version string) huma.Config {
	cfg := huma.DefaultConfig("jetpost", version)
	cfg.Info.Description = "Turns CloudEvents into signed webhooks. Events are published with POST /v1/events, which takes CloudEvents in binary, structured and batch mode."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil // no $schema members in answers
	cfg.Components.Schemas = newRegistry()
	cfg.FieldsOptionalByDefault = true
	cfg.AllowAdditionalPropertiesByDefault = true
	cfg.RejectUnknownQueryParameters = true
	format := huma.Format{Marshal: Encode, Unmarshal: json.Unmarshal}
	cfg.Formats = map[string]huma.Format{"application/json": format, "json": format} // the latter is application/…+json
	cfg.Transformers = []huma.Transformer{conform}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token made with POST /v1/tokens, or the server's own: the file admin.token in its data directory, or JETPOST_ADMIN_TOKEN. Each operation names the roles that may use it."},
	}
	return cfg
}

// Register adds an operation, for principals that may do what it needs: see needs. Errors
// of handle become problems, and its context ends after Config.Timeout; the context of a
// huma.Context does not.
func Register[I, O any](a *API, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	a.authorize(&op)
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "What went wrong.",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: a.SchemaOf(reflect.TypeFor[v1.Problem]())}},
	}
	if op.MaxBodyBytes > 0 {
		a.limits[op.Method+" "+op.Path] = op.MaxBodyBytes
		op.MaxBodyBytes++ // the library refuses a body of exactly that size
	}
	a.takesKey(&op)
	handle = conditional(&op, handle)
	op.SkipValidateBody = true // the body is decoded by the handler, who knows better
	huma.Register(a.library, op, func(ctx context.Context, in *I) (*O, error) {
		limited, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
		defer cancel()
		out, err := handle(limited, in)
		if fresh, ok := errors.AsType[*notModifiedError](err); ok {
			return nil, fresh
		}
		if err != nil {
			return nil, a.problemOf(ctx, err)
		}
		return out, nil
	})
}

// A RawJSON is a JSON body that the handler decodes. The library would show the client
// what it could not decode, secrets included.
type RawJSON struct {
	RawBody []byte `contentType:"application/json"`
}

// RegisterBody is register for an operation that takes a body, described by the type
// B. Only then may the body be missing where required is false.
func RegisterBody[B, I, O any](a *API, op huma.Operation, required bool, handle func(context.Context, *I) (*O, error)) {
	body := &huma.RequestBody{Content: map[string]*huma.MediaType{}}
	op.RequestBody = body
	Register(a, op, handle)
	body.Required = required
	media := &huma.MediaType{Schema: a.SchemaOf(reflect.TypeFor[B]())}
	body.Content["application/json"] = media
	if op.Method == http.MethodPatch {
		body.Content["application/merge-patch+json"] = media
	}
}
