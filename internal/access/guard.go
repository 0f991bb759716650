package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// BootstrapID is the id of the token that the server itself is given, or makes, with
// the role admin. It is in no bucket.
const BootstrapID = "bootstrap"

// GuardConfig says whom a Guard lets in. The zero value lets in the holders of
// tokens only.
type GuardConfig struct {
	// Bootstrap is the text of the token that works as role admin before there are
	// others. Default: none.
	Bootstrap string
	// Rate is how many requests per second this process answers to one token that has
	// no rate of its own; as many as arrive in two seconds may arrive at once. Default: any
	// number.
	Rate float64
	// WrongRate is how many wrong tokens per second one address may bring. Default: 1,
	// and 60 at once.
	WrongRate float64
}

func (c GuardConfig) withDefaults() GuardConfig {
	if c.WrongRate == 0 {
		c.WrongRate = 1
	}
	return c
}

func (c GuardConfig) validate() error {
	if c.Rate < 0 || c.WrongRate < 0 {
		return errors.New("the rates of requests and of wrong tokens must not be negative")
	}
	return nil
}

// A Guard lets requests in that bring a token which may do what they ask for:
//
//	request ─► name it ─► whose token? ─► may it? ─► too many? ─► next, with the Principal
//	                        401, 429        403         429
//
// Use NewGuard.
type Guard struct {
	cfg       GuardConfig
	live      *Live
	bootstrap *known // nil: there is none
	weak      bool   // a person has chosen the bootstrap token
	wrong     *addresses
	log       *zap.Logger
	metrics   *metrics
}

// NewGuard makes a Guard by the tokens of live, which must be kept running by the
// caller.
func NewGuard(cfg GuardConfig, live *Live, log *zap.Logger, reg prometheus.Registerer) (*Guard, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure access: %w", err)
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register access metrics: %w", err)
	}
	g := &Guard{cfg: cfg, live: live, wrong: newAddresses(cfg.WrongRate), log: log.Named("access"), metrics: m}
	if cfg.Bootstrap != "" {
		g.bootstrap = &known{Token: Token{ID: BootstrapID, Name: "the server's own token", Role: Admin, hash: hashOf(cfg.Bootstrap)}}
		g.weak = len(cfg.Bootstrap) < secretLength
	}
	return g, nil
}

// Routes says how a Guard treats the requests to a handler.
type Routes struct {
	// Need returns what a request needs. Default: the handler decides, with
	// Principal.May.
	Need func(*http.Request) Need
	// Vendors: the token may also be given in the ways of vendors' clients, as
	// X-JFrog-Art-Api or as the password of Basic.
	Vendors bool
	// Unbounded: only tokens with a rate of their own are bound to one.
	Unbounded bool
	// Refuse writes the answer to a request that is not let in. The headers
	// WWW-Authenticate, Retry-After and X-Request-Id are set already. Default: a problem
	// document (RFC 9457).
	Refuse func(w http.ResponseWriter, status int, code, text string)
}

// The codes of refusals.
const (
	CodeMissing     = "token_missing"     // 401: there is no token
	CodeInvalid     = "token_invalid"     // 401: unknown, or revoked
	CodeExpired     = "token_expired"     // 401
	CodeForbidden   = "forbidden"         // 403: the role may not do this
	CodeLimited     = "too_many_requests" // 429
	CodeUnavailable = "unavailable"       // 503: NATS must be asked, and does not answer
)

// A refusal is why a request is not let in.
type refusal struct {
	status int
	code   string
	text   string
	wait   time.Duration // before it is worth trying again; 0: it is not
}

// Protect returns a handler that passes on to next what is let in, with its Principal
// in its context (PrincipalOf). The bodies of other requests are not read.
func (g *Guard) Protect(next http.Handler, routes Routes) http.Handler {
	if routes.Refuse == nil {
		routes.Refuse = writeProblem
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		address, requestID := addressOf(r), requestIDOf(r)
		w.Header().Set(HeaderRequestID, requestID)
		k, refused := g.identify(r, routes.Vendors, address, now)
		var p Principal
		if refused == nil {
			p = k.principal()
			p.Address, p.RequestID = address, requestID
			refused = g.admit(k, &p, r, &routes, now)
		}
		if refused != nil {
			g.refuse(w, &routes, refused, zap.String("request_id", requestID), zap.String("address", address), zap.String("actor", p.ID))
			return
		}
		if k != g.bootstrap {
			g.live.note(k, now)
		}
		next.ServeHTTP(w, r.WithContext(g.with(r.Context(), p)))
	})
}

// admit checks what the holder of a right token wants.
func (g *Guard) admit(k *known, p *Principal, r *http.Request, routes *Routes, now time.Time) *refusal {
	if k.Rate > 0 || !routes.Unbounded {
		if l := k.limiter(g.cfg.Rate); l != nil && !l.AllowN(now, 1) {
			return &refusal{
				http.StatusTooManyRequests, CodeLimited,
				"this token makes more requests than " + strconv.FormatFloat(float64(l.Limit()), 'g', -1, 64) + " per second: wait and try again",
				untilNext(l, now),
			}
		}
	}
	if routes.Need == nil {
		return nil
	}
	if need := routes.Need(r); !p.May(need) {
		return &refusal{http.StatusForbidden, CodeForbidden, Denial(*p, need), 0}
	}
	return nil
}

// identify finds out whose token a request brings.
func (g *Guard) identify(r *http.Request, vendors bool, address string, now time.Time) (*known, *refusal) {
	text, given, ok := credential(r, vendors)
	switch {
	case !given:
		return nil, &refusal{http.StatusUnauthorized, CodeMissing, `the request has no token: send it as the header "Authorization: Bearer <token>"`, 0}
	case !ok:
		return nil, &refusal{http.StatusUnauthorized, CodeInvalid, `the token cannot be read: send one, as the header "Authorization: Bearer <token>"`, 0}
	}
	// A token that a person has chosen can be guessed, so it is not compared while an
	// address guesses too fast. The others have so many random bits that guessing is
	// infeasible; their holders are not limited for another client behind the same proxy.
	hash := hashOf(text)
	guessing := g.weak && g.wrong.exhausted(address, now)
	if g.bootstrap != nil && !guessing && same(hash, g.bootstrap.hash) {
		return g.bootstrap, nil
	}
	id, ok := idOf(text)
	if !ok {
		return nil, g.wrongToken(address, now)
	}
	k := g.live.current(id)
	if k == nil {
		var refused *refusal
		if k, refused = g.lookUp(r.Context(), id, address, now); refused != nil {
			return nil, refused
		}
	}
	// Bytes are compared in constant time: how long it takes says nothing of the text.
	if k == nil || !same(hash, k.hash) {
		return nil, g.wrongToken(address, now)
	}
	if k.Expired(now) {
		return nil, &refusal{http.StatusUnauthorized, CodeExpired, "the token has expired at " + k.ExpiresAt.Format(time.RFC3339) + ": use another one", 0}
	}
	return k, nil
}

// lookUp finds a token that is not known here yet; nil when there is none.
func (g *Guard) lookUp(ctx context.Context, id, address string, now time.Time) (*known, *refusal) {
	if g.wrong.exhausted(address, now) {
		return nil, nil
	}
	k, err := g.live.find(ctx, id)
	switch {
	case err == nil:
		return k, nil
	case errors.Is(err, errManyLookups):
		return nil, &refusal{http.StatusTooManyRequests, CodeLimited, "too many tokens that are not known here are looked up: try again", time.Second}
	}
	g.log.Warn("failed to look up an unknown token", zap.Error(err))
	return nil, &refusal{http.StatusServiceUnavailable, CodeUnavailable, "the token is not known here, and NATS cannot be asked for it now: try again", lookupTimeout}
}

func same(a, b [sha256.Size]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// wrongToken counts a wrong token against its address.
func (g *Guard) wrongToken(address string, now time.Time) *refusal {
	if g.wrong.count(address, now) {
		return &refusal{http.StatusUnauthorized, CodeInvalid, "the token is not one of this server, or was revoked", 0}
	}
	return &refusal{http.StatusTooManyRequests, CodeLimited, "too many wrong tokens from " + address + ": wait and try again", g.wrong.wait()}
}

func (g *Guard) refuse(w http.ResponseWriter, routes *Routes, why *refusal, fields ...zap.Field) {
	g.metrics.refusals.WithLabelValues(why.code).Inc()
	// A wrong token is worth a line, and a flood of them is bounded by address.
	log := g.log.Debug
	if why.code == CodeInvalid || why.code == CodeExpired {
		log = g.log.Info
	}
	log("request refused", append(fields, zap.String("reason", why.code), zap.Int("status", why.status))...)
	h := w.Header()
	if why.status == http.StatusUnauthorized {
		challenge := `Bearer realm="jetpost"`
		if why.code != CodeMissing {
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	if why.wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int((why.wait+time.Second-1)/time.Second)))
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	routes.Refuse(w, why.status, why.code, why.text)
}

// untilNext is how long it takes until l allows one more.
func untilNext(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return time.Second
	}
	return max(time.Second, time.Duration(missing/float64(l.Limit())*float64(time.Second)))
}

// addressOf is the address of the client, without port.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

type sessionKey struct{}

// A session is a request with a token that may end before it does.
type session struct {
	live *Live
	id   string
}

func (g *Guard) with(ctx context.Context, p Principal) context.Context {
	ctx = With(ctx, p)
	if p.ID == BootstrapID {
		return ctx
	}
	return context.WithValue(ctx, sessionKey{}, session{g.live, p.ID})
}

// WhileValid returns a context that ends with ctx, and when the token that ctx was
// let in by is revoked or expires: for requests that last. cancel must be called.
func WhileValid(ctx context.Context) (valid context.Context, cancel context.CancelFunc) {
	valid, cancel = context.WithCancel(ctx)
	if s, ok := ctx.Value(sessionKey{}).(session); ok {
		go func() {
			defer cancel()
			s.wait(valid)
		}()
	}
	return valid, cancel
}

// wait returns when the token is not valid any more, or ctx has ended.
func (s session) wait(ctx context.Context) {
	for {
		changed := s.live.changes() // before looking, so that no change is missed
		k := s.live.current(s.id)
		if k == nil || k.Expired(time.Now()) {
			return
		}
		limited, cancel := ctx, context.CancelFunc(func() {})
		if !k.ExpiresAt.IsZero() {
			limited, cancel = context.WithDeadline(ctx, k.ExpiresAt)
		}
		select {
		case <-limited.Done():
		case <-changed:
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}
