package subscription

import (
	"strconv"
	"time"

	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Consent is where a handshake stands.
type Consent string

// Where a handshake can stand.
const (
	Pending Consent = "pending" // the receiver has not answered yet
	Allowed Consent = "allowed" // it wants the deliveries
	Denied  Consent = "denied"  // it has not said that it wants them
)

// Modes of a handshake.
const (
	HandshakeOff       = "off"       // the receiver is not asked
	HandshakePreferred = "preferred" // asked, and delivered to whatever the answer is
	HandshakeRequired  = "required"  // deliveries wait until the receiver has consented
)

const maxHandshakeRate = 600_000 // requests per minute

// A Handshake is the consent of a receiver to get deliveries (CloudEvents Web
// Hooks 1.0.2, section 4): before the first one it is asked by an OPTIONS request.
// A sender asks while Consent is pending, and writes down what the answer was.
type Handshake struct {
	// Mode is off, preferred or required. Default: off.
	Mode string `json:"mode"`
	// Rate is how many requests per minute the receiver is asked to allow, 1 to
	// 600000. Default 0: it is not asked for any.
	Rate int `json:"rate,omitempty"`

	// The rest is set by jetpost.

	// Consent is missing while Mode is off.
	Consent Consent `json:"consent,omitempty"`
	// Reason says why Consent is what it is.
	Reason string `json:"reason,omitempty"`
	// Origin is the name under which the receiver was asked. Once it has consented
	// every delivery carries it.
	Origin string `json:"origin,omitempty"`
	// AllowedRate is how many requests per minute the receiver allows. 0: as many
	// as there are.
	AllowedRate int `json:"allowed_rate,omitempty"`
	// CheckedAt is when the receiver was asked last, or called back.
	CheckedAt time.Time `json:"checked_at,omitzero"`
	// Callback is the hash of the token in the callback URL that the receiver was
	// given, until CallbackUntil.
	Callback      string    `json:"callback,omitempty"`
	CallbackUntil time.Time `json:"callback_until,omitzero"`
}

func (h *Handshake) withDefaults() {
	if h.Mode == HandshakeOff || h.Mode == "" {
		*h = Handshake{} // nothing to say about it
		return
	}
	setDefault(&h.Consent, Pending)
}

// Blocks reports whether deliveries have to wait for the receiver's consent.
func (h *Handshake) Blocks() bool { return h.Mode == HandshakeRequired && h.Consent != Allowed }

// Ask forgets what the receiver has answered, so that a sender asks again.
func (h *Handshake) Ask() {
	if h.Mode != "" {
		*h = Handshake{Mode: h.Mode, Rate: h.Rate, Consent: Pending}
	}
}

// inherit takes the receiver's answer over to the next revision, if it is an answer
// to the same question.
func (h *Handshake) inherit(next, old *Subscription) {
	was := old.Handshake
	same := h.Mode != "" && h.Mode != HandshakeOff && was.Mode != "" && h.Rate == was.Rate && next.Endpoint.URL == old.Endpoint.URL &&
		(next.Endpoint.Query.IsPlaceholder() || next.Endpoint.Query.Equal(old.Endpoint.Query))
	if !same {
		was = Handshake{}
	}
	was.Mode, was.Rate = h.Mode, h.Rate
	*h = was
}

// RequestRate is how many requests per second may be made to the endpoint. 0: as
// many as there are.
func (s *Subscription) RequestRate() float64 {
	limit := s.Delivery.Rate
	if allowed := float64(s.Handshake.AllowedRate) / 60; s.Handshake.Consent == Allowed && allowed > 0 && (limit == 0 || allowed < limit) {
		limit = allowed
	}
	return limit
}

func (h *Handshake) validate(found *validation.Problems) {
	switch h.Mode {
	case "", HandshakePreferred, HandshakeRequired:
	default:
		found.Add("handshake.mode", "%q is not a mode: use %s, %s or %s", plain.Clip(h.Mode), HandshakeOff, HandshakePreferred, HandshakeRequired)
	}
	if h.Rate < 0 || h.Rate > maxHandshakeRate {
		found.Add("handshake.rate", "is %d: use 1 to %s requests per minute, or leave it out", h.Rate, strconv.Itoa(maxHandshakeRate))
	}
}
