package client

import (
	"net/http"
	"strconv"
)

// An Option is something that one call has beside its arguments. A server refuses one
// that the call does not have.
type Option func(*request)

// IfMatch has a change made only while what is changed still has this ETag; otherwise it
// is a problem with the status 412. "*" is any that there is.
func IfMatch(etag string) Option { return header("If-Match", etag) }

// IfNoneMatch with "*" has Replace create only. With an ETag a Get is a problem with the
// status 304 while that is still the ETag of what it asks for.
func IfNoneMatch(etag string) Option { return header("If-None-Match", etag) }

// IdempotencyKey has a POST done once, for any number of requests with this key within 24
// hours; and so it may be repeated. The key is a text of one's own, as crypto/rand.Text
// makes one. Servers keep no answer that has a token in it: Tokens.Create takes no key.
func IdempotencyKey(key string) Option {
	return func(r *request) {
		r.header.Set(headerKey, key)
		r.repeatable = r.repeatable || r.keyed
	}
}

const headerKey = "Idempotency-Key"

// DryRun has nothing done: the answer says what would be.
func DryRun() Option {
	return func(r *request) {
		r.query.Set("dry_run", "true")
		r.repeatable = true
	}
}

// KeepSecrets lets a change of a subscription have its stored secrets sent to another
// place than before.
func KeepSecrets() Option { return query("keep_secrets", "true") }

// Force has a domain registered although events that were accepted would be refused, or
// a token changed although it is the one of the client.
func Force() Option { return query("force", "true") }

// StoredEvents is how many of the last stored events a new version of a domain is held
// against. Default: 1000.
func StoredEvents(n int) Option { return query("stored_events", strconv.Itoa(n)) }

// WithSchemas has a list of event types with their JSON Schemas.
func WithSchemas() Option { return query("schema", "true") }

// WithResponse keeps what the server has answered, beside what is decoded of it: the
// status, the headers such as ETag, and the bytes of the body. Of a list these are of the
// last page, and of what is followed of the last line.
func WithResponse(to *Response) Option { return func(r *request) { r.response = to } }

func header(name, value string) Option { return func(r *request) { r.header.Set(name, value) } }

func query(name, value string) Option { return func(r *request) { r.query.Set(name, value) } }

// A Response is what a server has answered.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// ETag is for IfMatch. Empty: the answer has none.
func (r *Response) ETag() string { return r.Header.Get("ETag") }

// Replayed reports whether the answer is that to an earlier request with the same
// IdempotencyKey.
func (r *Response) Replayed() bool { return r.Header.Get("Idempotency-Replayed") == "true" }

// ETag is that of a revision, which answers have.
func ETag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }
