// Package profile says how a delivery looks to a receiver: body, headers and
// signature. It reads nothing and writes nothing; the sender calls it for each
// attempt and sends exactly the bytes it returns.
//
// Each ecosystem is a small package of its own below this one. To add one, write
// the package and put one line into profiles.
package profile

import (
	"net/http"
	"slices"
	"time"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/profile/cloudevents"
	"github.com/jetpost/jetpost/profile/standard"
)

// A Profile renders deliveries as one ecosystem expects them.
type Profile interface {
	// Render writes headers into h and returns the body for an attempt that is
	// made now. Every secret signs, the newest first. An error means that this
	// delivery can never be rendered: it becomes a dead letter.
	Render(h http.Header, d *delivery.Delivery, secrets []string, now time.Time) ([]byte, error)
	// Judge says what a receiver's status means: Delivered, Retry, Gone or
	// Rejected.
	Judge(status int) delivery.Outcome
}

// Default is the profile of a subscription that names none.
const Default = "cloudevents"

func profiles() map[string]Profile {
	return map[string]Profile{
		"cloudevents":        cloudevents.Structured{},
		"cloudevents-binary": cloudevents.Binary{},
		"standard":           standard.Webhook{},
	}
}

// Lookup returns the profile of that name.
func Lookup(name string) (Profile, bool) {
	p, ok := profiles()[name]
	return p, ok
}

// Names are the names of all profiles, sorted.
func Names() []string {
	names := make([]string, 0, 4)
	for name := range profiles() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
