package receiver

import (
	"net/http"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription"
)

// consent is how a receiver answers the question whether it wants deliveries
// (CloudEvents Web Hooks 1.0.2, section 4).
type consent struct {
	refuse bool
	rate   int // requests per minute; 0: as many as it is asked for
}

// asked reports whether a request is that question.
func asked(req *http.Request) bool {
	return req.Method == http.MethodOptions && req.Header.Get(subscription.HeaderRequestOrigin) != ""
}

// answer consents to every request, unless the receiver is to refuse.
func (c consent) answer(w http.ResponseWriter, req *http.Request) string {
	w.Header().Set("Allow", "OPTIONS, POST")
	if c.refuse {
		w.WriteHeader(http.StatusForbidden)
		return "refused"
	}
	rate := req.Header.Get(subscription.HeaderRequestRate)
	if c.rate > 0 {
		rate = strconv.Itoa(c.rate)
	}
	if rate == "" {
		rate = "*"
	}
	w.Header().Set(subscription.HeaderAllowedOrigin, req.Header.Get(subscription.HeaderRequestOrigin))
	w.Header().Set(subscription.HeaderAllowedRate, rate)
	w.WriteHeader(http.StatusOK)
	return "given, rate " + rate
}

// consent prints the request.
func (o *receiverOutput) consent(arrived time.Time, req *http.Request, answered string) {
	origin := req.Header.Get(subscription.HeaderRequestOrigin)
	if o.json {
		o.writeJSON(struct {
			Kind    string    `json:"kind"`
			Time    time.Time `json:"time"`
			Origin  string    `json:"origin"`
			Path    string    `json:"path"`
			Consent string    `json:"consent"`
		}{"consent", arrived, origin, shownPath(req, o.verbose), answered})
		return
	}
	o.write([]byte(arrived.Local().Format("15:04:05.000") + "  asked for consent by " + plain.Shown(origin, plain.FieldLimit) + ": " + plain.Shown(answered, plain.FieldLimit) +
		"  " + plain.Shown("OPTIONS "+shownPath(req, o.verbose), plain.FieldLimit) + "\n"))
}
