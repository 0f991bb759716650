package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
)

// A POST with an Idempotency-Key is done once, however often it is sent:
//
//	                 ┌─ no key yet ─► started ─► route ─► answer ─► kept ─► sent
//	request ─► key ──┼─ started ────► 409, or taken over when its process has ended
//	                 ├─ kept ───────► the same answer again
//	                 └─ of another request ─► 422
//
// The records are sealed: answers have signing secrets in them.
const (
	headerIdempotencyKey = "Idempotency-Key"
	headerReplayed       = "Idempotency-Replayed"
	maxIdempotencyKey    = 255
	// idempotencyGrace is how much longer than a request may take its record is taken
	// for that of one under way.
	idempotencyGrace = 10 * time.Second
	// keepTimeout bounds the writing of a record. It happens after the work was done,
	// whether or not the client still listens.
	keepTimeout = 5 * time.Second
)

// keptHeaders are those that belong to an answer and not to the request it was given to.
func keptHeaders() []string { return []string{"Content-Type", "Etag", "Location", "Retry-After"} }

// An idempotentRecord is what is kept under a key.
type idempotentRecord struct {
	// Request is a hash of method, path, query and body.
	Request string    `json:"request"`
	Started time.Time `json:"started"`
	// Status is 0 while the request is under way.
	Status int                 `json:"status,omitempty"`
	Header map[string][]string `json:"header,omitempty"`
	Body   []byte              `json:"body,omitempty"`
}

// idempotency keeps the answers to requests that may be repeated.
type idempotency struct {
	js      jetstream.JetStream
	layout  stream.Layout
	keyring *keyring.Keyring
	lease   time.Duration
	log     *zap.Logger
	bucket  *stream.Bucket
}

// idempotent answers a request with a key by next, or by what was answered before.
func (a *API) idempotent(w http.ResponseWriter, r *http.Request, next http.Handler) {
	keys := r.Header.Values(headerIdempotencyKey)
	if len(keys) != 1 || !usableKey(keys[0]) {
		WriteProblem(w, NewProblem(http.StatusBadRequest, "the header "+headerIdempotencyKey+" must be one text of 1 to 255 characters without spaces: a UUID, for example",
			v1.FieldProblem{Field: headerIdempotencyKey, Message: "is not a key"}))
		return
	}
	body, err := io.ReadAll(r.Body) // it is in memory already
	if err != nil {
		WriteProblem(w, NewProblem(http.StatusBadRequest, "the body cannot be read"))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	under, err := a.keyed.begin(ctx, recordKey(ctx, keys[0]), requestHash(r, body))
	if err != nil {
		p := a.problemOf(r.Context(), err)
		if p.Status == http.StatusConflict || p.Status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		}
		WriteProblem(w, p)
		return
	}
	if under.known != nil {
		under.known.write(w)
		return
	}
	held := &heldAnswer{header: http.Header{}}
	defer func() {
		if held.whole { // otherwise by a panic, which is answered elsewhere
			return
		}
		a.keyed.release(r.Context(), under)
	}()
	next.ServeHTTP(held, r)
	held.whole = true
	maps.Copy(w.Header(), held.header)
	a.keyed.end(r.Context(), under, held)
	if held.status == 0 {
		held.status = http.StatusOK
	}
	w.WriteHeader(held.status)
	_, _ = w.Write(held.body.Bytes()) // a client that has disconnected can ask again
}

func usableKey(key string) bool {
	return key != "" && len(key) <= maxIdempotencyKey && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
}

const unkeyedKey = "unkeyed"

// Unkeyed declares beside what an operation needs that its answers are kept under no key:
// of one that changes nothing, or whose answer may be stored nowhere.
func Unkeyed(needs map[string]any) map[string]any {
	needs[unkeyedKey] = true
	return needs
}

// takesKey adds the header to the description of a route, and notes that it is one
// whose requests may be repeated.
func (a *API) takesKey(op *huma.Operation) {
	if unkeyed, _ := op.Metadata[unkeyedKey].(bool); op.Method != http.MethodPost || unkeyed {
		return // the other methods can be repeated as they are
	}
	a.repeatable[op.Method+" "+op.Path] = true
	one, most := 1, maxIdempotencyKey
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: headerIdempotencyKey, In: "header", Example: "5b0c1a52-0a3e-4c8f-9c55-2f0a6b1d7e11",
		Description: "A text of your own, such as a UUID. A request that is repeated with the same key within 24 hours is not done again: it gets the first answer, with the " +
			"header " + headerReplayed + ": true. While the first is under way it gets 409; with another body or path 422.",
		Schema: &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most},
	})
}

// recordKey is the key of a record: a principal cannot use that of another one.
func recordKey(ctx context.Context, key string) string {
	sum := sha256.Sum256([]byte(access.PrincipalOf(ctx).ID + "\x00" + key))
	return hex.EncodeToString(sum[:])
}

func requestHash(r *http.Request, body []byte) string {
	sum := sha256.New()
	_, _ = io.WriteString(sum, r.Method+"\x00"+r.URL.RequestURI()+"\x00")
	_, _ = sum.Write(body)
	return hex.EncodeToString(sum.Sum(nil))
}

// underway is a request with its record: known, or started with a revision.
type underway struct {
	key      string
	record   idempotentRecord
	kv       jetstream.KeyValue
	revision uint64
	known    *idempotentRecord
}

// begin returns what is known of a request, or begins it.
func (i *idempotency) begin(ctx context.Context, key, request string) (*underway, error) {
	kv, err := i.bucket.Open(ctx)
	if err != nil {
		return nil, err
	}
	u := &underway{key: key, kv: kv, record: idempotentRecord{Request: request, Started: time.Now().UTC()}}
	sealed, err := i.seal(key, &u.record)
	if err != nil {
		return nil, err
	}
	u.revision, err = kv.Create(ctx, key, sealed)
	if err == nil {
		return u, nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, fmt.Errorf("note the key of a request: %w", err)
	}
	entry, err := stream.ReadKey(ctx, i.js, i.layout.IdempotencyStream(), i.layout.IdempotencyKey(key))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, errUnderway // just deleted: the next one begins anew
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of a request: %w", err)
	}
	known, err := i.open(key, entry.Value)
	switch {
	case err != nil:
		return nil, err
	case known.Request != request:
		return nil, errOtherRequest
	case known.Status != 0:
		u.known = known
		return u, nil
	case time.Since(known.Started).Abs() < i.lease: // one of the future was begun before the clock was set back
		return nil, errUnderway
	}
	// The process that began it has ended. How far it came is not known: the operations
	// leave nothing incomplete.
	if u.revision, err = kv.Update(ctx, key, sealed, entry.Revision); errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return nil, errUnderway
	}
	return u, err
}

// isFinal reports whether the same request would be answered in the same way again,
// because it was done or because of what it is.
func isFinal(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return status >= 200 && status <= 299
}

// end keeps an answer that is final. One that is not, or is too large to be kept,
// leaves the key to be used again.
func (i *idempotency) end(ctx context.Context, u *underway, answer *heldAnswer) {
	if !isFinal(answer.status) || answer.body.Len() > stream.MaxIdempotent/2 { // base64 and sealing make it longer
		i.release(ctx, u)
		return
	}
	u.record.Status, u.record.Body, u.record.Header = answer.status, answer.body.Bytes(), map[string][]string{}
	for _, name := range keptHeaders() {
		if values := answer.header.Values(name); len(values) > 0 {
			u.record.Header[name] = values
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	sealed, err := i.seal(u.key, &u.record)
	if err == nil {
		_, err = u.kv.Update(ctx, u.key, sealed, u.revision)
	}
	if err != nil { // it was done: the client gets the answer, and a repeat has to wait
		i.log.Warn("the answer to a request with a key is not kept", zap.String("request_id", RequestID(ctx)), zap.Error(err))
	}
}

// release forgets a request that was not done.
func (i *idempotency) release(ctx context.Context, u *underway) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	if err := u.kv.Delete(ctx, u.key, jetstream.LastRevision(u.revision)); err != nil {
		i.log.Warn("the key of a request is not free again before its time", zap.String("request_id", RequestID(ctx)), zap.Error(err))
	}
}

const idempotencyPurpose = "idempotency\x00"

func (i *idempotency) seal(key string, record *idempotentRecord) ([]byte, error) {
	text, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode the answer to a request: %w", err)
	}
	return i.keyring.Seal(idempotencyPurpose+key, text)
}

func (i *idempotency) open(key string, sealed []byte) (*idempotentRecord, error) {
	text, err := i.keyring.Open(idempotencyPurpose+key, sealed)
	if err != nil {
		return nil, err
	}
	record := &idempotentRecord{}
	if err := json.Unmarshal(text, record); err != nil {
		return nil, fmt.Errorf("decode the answer to a request: %w", err)
	}
	return record, nil
}

func (r *idempotentRecord) write(w http.ResponseWriter) {
	for name, values := range r.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.Header().Set(headerReplayed, "true")
	w.WriteHeader(r.Status)
	_, _ = w.Write(r.Body)
}

// A heldAnswer is an answer that is not sent yet.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
	whole  bool
}

func (h *heldAnswer) Header() http.Header { return h.header }

func (h *heldAnswer) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}

func (h *heldAnswer) Write(b []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.body.Write(b)
}
