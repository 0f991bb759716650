// Package securesourcemanager is the part of Google Secure Source Manager's API that
// keeps webhooks: hooks of repositories, and the operations of changing them, for
// clients that have nothing changed but the address.
//
// It reads and writes subscriptions through admin: each hook is one, which says so
// (subscription.Managed) and keeps what only this API knows. There is no other store.
//
// It promises that a change can be read, and has taken effect for every event published
// later, when its operation is answered; that a hook gets the events of its own
// repository only; and that the sensitive query string is in no answer.
package securesourcemanager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/subscriptions"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Config of the API. The zero value is usable.
type Config struct {
	// Timeout is how long the work for one request may take before it is answered
	// with 503. Default: 30 s.
	Timeout time.Duration
}

// API answers the requests. Use New.
type API struct {
	cfg           Config
	envelope      *httpapi.API
	subscriptions *subscriptions.Keeper
	handler       http.Handler
}

// New returns the API. envelope is that of its requests, and keeper keeps the subscriptions.
func New(cfg Config, envelope *httpapi.API, keeper *subscriptions.Keeper) (*API, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("configure the Secure Source Manager API: the timeout %s is negative", cfg.Timeout)
	}
	api := &API{cfg: cfg, envelope: envelope, subscriptions: keeper}
	mux := http.NewServeMux()
	const (
		location   = " /v1/projects/{project}/locations/{location}"
		hooks      = location + "/repositories/{repository}/hooks"
		operations = location + "/operations"
	)
	route := func(pattern string, do func(context.Context, *request) (any, error), takes ...string) {
		mux.Handle(pattern, api.answering(do, takes))
	}
	route("GET"+hooks, api.listHooks, "pageSize", "pageToken")
	route("GET"+hooks+"/{hook}", api.getHook)
	route("POST"+hooks, operated(api.createHook), "hookId")
	route("PATCH"+hooks+"/{hook}", operated(api.patchHook), "updateMask")
	route("DELETE"+hooks+"/{hook}", api.deleteHook)
	route("GET"+operations, api.listOperations, "pageSize", "pageToken", "filter", "returnPartialSuccess")
	route("GET"+operations+"/{operation}", api.getOperation)
	route("DELETE"+operations+"/{operation}", api.dismissOperation)
	route("POST"+operations+"/{operation}", api.dismissOperation) // :cancel
	api.handler = envelope.Envelope(httpapi.Face{Refuse: refuse, AnyContent: true}, mux)
	return api, nil
}

// Handler answers everything below /v1/projects/. It does not ask who is calling.
func (a *API) Handler() http.Handler { return a.handler }

// A request is one with its query read.
type request struct {
	*http.Request

	query map[string]string // in the spelling of answers
}

// operated answers a change with its operation.
func operated(do func(context.Context, *request) (*subscription.Subscription, error)) func(context.Context, *request) (any, error) {
	return func(ctx context.Context, r *request) (any, error) {
		sub, err := do(ctx, r)
		if err != nil {
			return nil, err
		}
		return lastOperation(ctx, sub)
	}
}

func (a *API) answering(do func(context.Context, *request) (any, error), takes []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
		defer cancel()
		query, err := parameters(r.URL.RawQuery, takes)
		var out any
		if err == nil {
			out, err = do(ctx, &request{r, query})
		}
		if err != nil {
			f, requestID := a.explain(r.Context(), strings.TrimPrefix(r.URL.Path, "/v1/"), err)
			writeFault(w, r, f, requestID)
			return
		}
		writeJSON(w, http.StatusOK, out, pretty(r.URL.Query()))
	})
}

func isMissing(err error) bool { return errors.Is(err, subscription.ErrNotFound) }

// retryAfter is what a client is asked to wait when NATS does not answer, in seconds.
const retryAfter = "2"

func writeFault(w http.ResponseWriter, r *http.Request, f *fault, requestID string) {
	if f.code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	writeJSON(w, f.code, f.status(requestID), pretty(r.URL.Query()))
}

func writeJSON(w http.ResponseWriter, code int, body any, pretty bool) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if pretty {
		encoder.SetIndent("", "  ")
	}
	_ = encoder.Encode(body) // strings and times always can
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_, _ = w.Write(text.Bytes())
}
