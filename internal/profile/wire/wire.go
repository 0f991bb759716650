// Package wire says what an ecosystem has to be for jetpost to speak it: the one
// thing that a package below profile implements.
package wire

import (
	"net/http"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A Profile is one ecosystem.
type Profile interface {
	// Traits are what the profile decides about its subscriptions, their defaults
	// among them. Traits().Check reports all that Prepare would refuse.
	Traits() subscription.Traits
	// Prepare makes ready what does not change between the deliveries of a
	// subscription, which must not be changed. An error means that it was never
	// checked.
	Prepare(sub *subscription.Subscription) (Renderer, error)
	// Judge says what a receiver's status means: Delivered, Retry, Gone or
	// Rejected.
	Judge(status int) delivery.Outcome
}

// A Renderer makes the requests of one subscription. It is used by many goroutines
// at once.
type Renderer interface {
	// Render writes headers into r and returns the body for an attempt. Every secret
	// signs, the newest first. An error means that this delivery can never be
	// rendered: it becomes a dead letter. It shows no secret.
	Render(r *Request) ([]byte, error)
}

// A Request is what a Renderer is given for one attempt.
type Request struct {
	// Header has the subscription's own headers and those that jetpost adds to
	// every request. A key that is not in canonical form is sent as it stands, over
	// HTTP/1.1.
	Header http.Header
	// Method and Host are those of the request, and Path is that of its URL, without
	// the query: for schemes that sign them.
	Method, Host, Path string
	// Delivery must not be changed.
	Delivery *delivery.Delivery
	// Secrets are those that are valid now, the newest first.
	Secrets []string
	// Now is when the attempt is made.
	Now time.Time
}

// Headers that jetpost adds to every request beside the profile's. A profile whose
// receivers expect nothing else takes them away.
const (
	HeaderSubscription = "Jetpost-Subscription"
	HeaderAttempt      = "Jetpost-Attempt" // as far as the sender knows; the record has the exact number
)

// JudgeStandard judges an answer as Standard Webhooks 1.0.0 does: 2xx is success, 410 asks
// for no more deliveries, and everything else is tried again. Redirects are not
// followed.
func JudgeStandard(status int) delivery.Outcome {
	switch {
	case status >= 200 && status <= 299:
		return delivery.Delivered
	case status == http.StatusGone:
		return delivery.Gone
	default:
		return delivery.Retry
	}
}
