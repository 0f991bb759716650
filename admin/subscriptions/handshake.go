package subscriptions

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/subscription"
)

// maxCallbackBody is how much of a callback's body is read.
const maxCallbackBody = 4 << 10

// Handshakes ask receivers for their consent to deliveries.
type Handshakes struct {
	keep                 *Keeper
	timeout, bodyTimeout time.Duration
}

// NewHandshakes returns the handshakes of the subscriptions of keep. timeout bounds the work
// for a request, and bodyTimeout how long a client may take to send its body.
func NewHandshakes(keep *Keeper, timeout, bodyTimeout time.Duration) *Handshakes {
	return &Handshakes{keep, timeout, bodyTimeout}
}

// register adds the operation for people (CloudEvents Web Hooks 1.0.2, section 4); for that
// of the receiver see Callback.
func (h *Handshakes) register(api *httpapi.API) {
	httpapi.Register(api, huma.Operation{
		OperationID: "ask-for-consent", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/handshake", Tags: []string{"Subscriptions"},
		Summary: "Ask the receiver for its consent again", DefaultStatus: http.StatusAccepted,
		Description: "What the receiver has answered is forgotten, and a sender asks it by OPTIONS. Where the consent is required, " +
			"deliveries wait until it has answered: handshake.consent and handshake.reason of the subscription tell.",
	}, h.ask)
}

func (h *Handshakes) ask(ctx context.Context, in *Named) (*oneSubscription, error) {
	unlock, err := h.keep.changing.lock(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	updated, err := h.keep.changeRecorded(ctx, actionHandshake, in.ID, nil, func(sub *subscription.Subscription) error {
		if mode := sub.Handshake.Mode; mode == "" || mode == subscription.HandshakeOff {
			return httpapi.NewProblem(http.StatusConflict, "the handshake of the subscription is off, so its receiver is not asked: set handshake.mode to "+
				subscription.HandshakePreferred+" or "+subscription.HandshakeRequired)
		}
		sub.Handshake.Ask()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answerWith(updated), nil
}

// Callback is where a receiver consents to deliveries by calling the URL that it
// was given: GET or POST /v1/handshakes/{subscription}/{token}, which may carry a
// WebHook-Allowed-Rate, as a header, a query parameter or a form field. It asks for
// no other token, so it is to be mounted outside the access.Guard.
//
// Whatever is wrong with a URL, the answer is the same 404. A URL that is called
// again changes nothing more.
func (h *Handshakes) Callback() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/handshakes/{id}/{token}", h.callback)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer") // the URL is a secret
		if _, pattern := mux.Handler(r); pattern == "" {
			sayPlainly(w, http.StatusNotFound, noSuchCallback)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

const noSuchCallback = "There is nothing to confirm here: the link is wrong, or too old."

func (h *Handshakes) callback(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost { // not HEAD: who only looks has not consented
		w.Header().Set("Allow", "GET, POST")
		sayPlainly(w, http.StatusMethodNotAllowed, "Use GET or POST.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	snapshot, err := h.keep.view.Sync(ctx)
	if err != nil {
		h.failed(w, err)
		return
	}
	// Known or not, the same is done: hashed, and compared in constant time.
	var handshake *subscription.Handshake
	id, token := r.PathValue("id"), r.PathValue("token")
	if sub, ok := snapshot.Get(id); ok {
		handshake = &sub.Handshake
	}
	if !handshake.AnswersTo(token, time.Now()) {
		sayPlainly(w, http.StatusNotFound, noSuchCallback)
		return
	}
	rate, err := h.rate(w, r)
	if err != nil {
		sayPlainly(w, http.StatusBadRequest, "The callback cannot be read: "+err.Error()+".")
		return
	}
	ctx = access.With(ctx, access.Principal{Address: addressOf(r)}) // without a token: jetpost does it
	reason := "the receiver has called back"
	changed, err := h.keep.changeRecorded(ctx, actionConsent, id, &reason, func(sub *subscription.Subscription) error {
		switch stored := &sub.Handshake; {
		case !stored.AnswersTo(token, time.Now()):
			return errNoCallback
		case stored.Consent == subscription.Allowed:
			return errConsented
		default:
			stored.Allow(rate, "the receiver has called back", time.Now().UTC().Truncate(time.Millisecond))
			return nil
		}
	})
	switch {
	case errors.Is(err, errNoCallback), errors.Is(err, subscription.ErrNotFound):
		sayPlainly(w, http.StatusNotFound, noSuchCallback)
	case errors.Is(err, errConsented):
		sayPlainly(w, http.StatusOK, consented(id))
	case err != nil:
		h.failed(w, err)
	default:
		h.keep.log.Info("receiver has called back", zap.String("subscription_id", id), zap.String("consent", string(changed.Handshake.Consent)),
			zap.Int("allowed_rate", changed.Handshake.AllowedRate))
		sayPlainly(w, http.StatusOK, consented(id))
	}
}

var (
	errNoCallback = errors.New("the handshake awaits no callback with this token")
	errConsented  = errors.New("the receiver has consented already")
)

func consented(id string) string {
	return "Thank you. This endpoint has agreed to get the deliveries of the subscription " + id + "."
}

// rate is the WebHook-Allowed-Rate of a callback, empty if it has none: the
// header, or, since a person may call by hand, the query or a form.
func (h *Handshakes) rate(w http.ResponseWriter, r *http.Request) (string, error) {
	rate := strings.TrimSpace(r.Header.Get(subscription.HeaderAllowedRate))
	if rate == "" {
		rate = fieldNamed(r.URL.Query(), subscription.HeaderAllowedRate)
	}
	if rate == "" && r.Method == http.MethodPost {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.bodyTimeout)) // see readBody
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallbackBody))
		if err != nil {
			return "", errors.New("its body is too long, or broke off")
		}
		if form, err := url.ParseQuery(string(body)); err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			rate = fieldNamed(form, subscription.HeaderAllowedRate)
		}
	}
	if rate == "" {
		return "", nil
	}
	_, err := subscription.ParseAllowedRate(rate)
	return rate, err
}

// addressOf is that of the client, without port.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// fieldNamed compares names as headers are compared: the standard has one for them.
func fieldNamed(values url.Values, name string) string {
	for key, value := range values {
		if strings.EqualFold(key, name) && len(value) > 0 {
			return strings.TrimSpace(value[0])
		}
	}
	return ""
}

func (h *Handshakes) failed(w http.ResponseWriter, err error) {
	h.keep.log.Warn("cannot take a receiver's callback", zap.Error(err))
	w.Header().Set("Retry-After", "10")
	sayPlainly(w, http.StatusServiceUnavailable, "This cannot be confirmed just now. Try again in a minute.")
}

// sayPlainly answers with a page for people.
func sayPlainly(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
