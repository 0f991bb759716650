// Package profile says how a delivery looks to a receiver: body, headers and
// signature. It reads nothing and writes nothing; the sender calls it for each
// attempt and sends exactly the bytes it returns.
//
// Each ecosystem is a small package of its own below this one, and implements
// wire.Profile. To add one, write the package and put one line into profiles.
package profile

import (
	"slices"

	"github.com/jetpost/jetpost/internal/profile/cloudevents"
	"github.com/jetpost/jetpost/internal/profile/github"
	"github.com/jetpost/jetpost/internal/profile/httpsignature"
	"github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/internal/profile/standard"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Default is the profile of a subscription that names none.
const Default = "cloudevents"

func profiles() map[string]wire.Profile {
	return map[string]wire.Profile{
		"cloudevents":           cloudevents.Structured{},
		"cloudevents-binary":    cloudevents.Binary{},
		"github":                github.Webhook{},
		"http-signature":        httpsignature.Webhook{},
		"jfrog":                 jfrog.Webhook{},
		"jfrog-custom":          jfrog.Custom{},
		"secure-source-manager": securesourcemanager.Webhook{},
		"standard":              standard.Webhook{},
	}
}

// Lookup returns the profile of that name.
func Lookup(name string) (wire.Profile, bool) {
	p, ok := profiles()[name]
	return p, ok
}

// Traits are those of the profile of that name: what subscription.Rules and
// subscription.Decode ask for. Of a profile that is not known they are the standard
// ones.
func Traits(name string) (subscription.Traits, bool) {
	p, ok := Lookup(name)
	if !ok {
		return subscription.StandardTraits(), false
	}
	return p.Traits(), true
}

// Names are the names of all profiles, sorted.
func Names() []string {
	names := make([]string, 0, 8)
	for name := range profiles() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
