package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
)

// MaxBody is how many bytes a body may have, unless its operation says otherwise: as many
// as a subscription.
const MaxBody = 256 << 10

// RequestID is the name of the request that ctx belongs to.
func RequestID(ctx context.Context) string { return access.PrincipalOf(ctx).RequestID }

// A Face is what an API has of its own in how requests are taken. The zero value is
// the native API's.
type Face struct {
	// Refuse answers what was not done, in the words of the API. Default: a problem
	// document.
	Refuse func(w http.ResponseWriter, r *http.Request, why Refusal)
	// AnyContent has bodies read of whatever type they are. Default: JSON only.
	AnyContent bool
}

func (f Face) refuse(w http.ResponseWriter, r *http.Request, p *ProblemError) {
	if f.Refuse == nil {
		WriteProblem(w, p)
		return
	}
	f.Refuse(w, r, refusalOf(p))
}

// Envelope is around every request, those to compatible APIs as well:
//
//	name it ─► may it? ─► read the body ─► route ─► answer ─► count, log
//	                                         └─ panic ─► 500, logged once
func (a *API) Envelope(face Face, mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		r, id := access.Named(r)
		answer := &answer{ResponseWriter: w}
		h := answer.Header()
		h.Set(access.HeaderRequestID, id)
		h.Set("Cache-Control", "no-store") // some answers are secrets
		h.Set("X-Content-Type-Options", "nosniff")
		defer func() {
			cause := recover()
			if cause != nil && cause != http.ErrAbortHandler { //nolint:errorlint // it is compared with what was thrown
				a.log.Error("request failed by a panic", zap.String("request_id", id), zap.String("route", r.Pattern),
					zap.Any("error", cause), zap.ByteString("stack", debug.Stack()))
				if answer.status == 0 {
					p := NewProblem(http.StatusInternalServerError, "this should not happen; the server's log has more")
					p.RequestID = id
					face.refuse(answer, r, p)
					cause = nil
				}
			}
			took := time.Since(started)
			a.metrics.request(r.Pattern, answer.status, took, answer.followed)
			a.log.Debug("request", zap.String("request_id", id), zap.String("method", r.Method), zap.String("route", r.Pattern),
				zap.Int("status", answer.status), zap.Duration("latency", took))
			if cause != nil {
				panic(http.ErrAbortHandler) // the client must see that the answer is not whole
			}
		}()
		_, pattern := mux.Handler(r)
		if p := a.mayRoute(r, pattern); p != nil {
			r.Pattern = pattern
			face.refuse(answer, r, p)
			return
		}
		if p := a.readBody(face, answer, r, pattern); p != nil {
			face.refuse(answer, r, p)
			return
		}
		if p := unrouted(mux, answer.Header(), r); p != nil {
			face.refuse(answer, r, p)
			return
		}
		if r.Header.Get(headerIdempotencyKey) != "" && a.repeatable[pattern] {
			r.Pattern = pattern
			a.idempotent(answer, r, mux)
			return
		}
		mux.ServeHTTP(answer, r)
	})
}

// answer knows what was answered.
type answer struct {
	http.ResponseWriter

	status   int
	followed bool // it is a log that was followed
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// readBody reads the whole body before anything is done, so that a slow client
// holds nothing but its connection, and a large one no memory.
func (a *API) readBody(face Face, w http.ResponseWriter, r *http.Request, pattern string) *ProblemError {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	limit := cmp.Or(a.limits[pattern], MaxBody)
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // it is not worth reading
		return bodyTooLarge(limit)
	}
	controller := http.NewResponseController(w)
	// Without support for deadlines, as in a test recorder, the body is at hand.
	_ = controller.SetReadDeadline(time.Now().Add(a.cfg.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil { // the deadline stays, for the server reads on until it closes
		w.Header().Set("Connection", "close") // what follows on it cannot be trusted
		_, tooLarge := errors.AsType[*http.MaxBytesError](err)
		switch {
		case tooLarge:
			return bodyTooLarge(limit)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return NewProblem(http.StatusRequestTimeout, "the body did not arrive in time")
		default:
			return NewProblem(http.StatusBadRequest, "the body ends before its length")
		}
	}
	_ = controller.SetReadDeadline(time.Time{})
	if len(body) > 0 && !face.AnyContent {
		if !isJSON(r.Header.Get("Content-Type")) {
			return NewProblem(http.StatusUnsupportedMediaType, "send JSON, with the header Content-Type: application/json")
		}
		r.Header.Set("Content-Type", "application/json") // the router of the API knows fewer spellings
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func bodyTooLarge(limit int64) *ProblemError {
	return NewProblem(http.StatusRequestEntityTooLarge, "the body may have at most "+strconv.FormatInt(limit, 10)+" bytes")
}

// isJSON accepts what API clients call JSON. No content type means JSON. A JSON Patch
// (RFC 6902) is JSON, but not a document of this API.
func isJSON(contentType string) bool {
	mediaType, _ := event.MediaType(contentType)
	return event.IsJSON(contentType) && mediaType != "application/json-patch+json"
}

// unrouted is the problem of a request that no route takes. The mux would answer
// it in plain text.
func unrouted(mux *http.ServeMux, h http.Header, r *http.Request) *ProblemError {
	handler, pattern := mux.Handler(r)
	if pattern != "" {
		return nil
	}
	plain := unsent{header: http.Header{}}
	handler.ServeHTTP(&plain, r)
	if plain.status == http.StatusMethodNotAllowed {
		allow := plain.header.Get("Allow")
		h.Set("Allow", allow)
		return NewProblem(plain.status, "this path takes "+allow)
	}
	return NewProblem(http.StatusNotFound, "there is nothing at this path: /docs describes the API for people, /openapi.json for programs")
}

// unsent is what the mux would have answered.
type unsent struct {
	header http.Header
	status int
}

func (u *unsent) Header() http.Header         { return u.header }
func (u *unsent) Write(b []byte) (int, error) { return len(b), nil }
func (u *unsent) WriteHeader(status int)      { u.status = status }
