// Package jfrog is the two profiles of the JFrog Platform's webhooks: the
// predefined ones (Webhook), whose body is the platform's envelope, and the custom
// ones (Custom), whose body and headers are the user's templates.
//
// Receivers see what the platform sends: no delivery id and no header of jetpost's
// own. It also compiles the platform's criteria to filters.
package jfrog

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// HeaderAuth is where the secret or the signature goes, in the platform's spelling.
const HeaderAuth = "X-JFrog-Event-Auth"

// Settings of both profiles.
const (
	// SettingSubscriptionKey is the subscription's name in the body. Default: its id.
	SettingSubscriptionKey = "subscription_key"
	// SettingOrigin is the platform's base URL in the body. Default: left out.
	SettingOrigin = "jpd_origin"
	// SettingSource is the source in the body of an event whose own source attribute
	// does not have the platform's form, jfrog/<service>@<id>. Default: one made of
	// that attribute.
	SettingSource = "source"
	// SettingUserContext adds userContext to the body: "true" or, by default, "false".
	// Its id is the event's attribute authid or else SettingUserID; without either
	// there is none. isToken is whether the attribute authtype is api_key (CloudEvents
	// Auth Context extension).
	SettingUserContext = "user_context"
	SettingUserID      = "user_context_id"
	SettingUserRealm   = "user_context_realm" // default: internal
	// SettingSign makes the predefined webhook sign with the secret instead of
	// sending it: "true" or, by default, "false".
	SettingSign = "use_secret_for_signing"
)

// Webhook is the profile of predefined webhooks.
type Webhook struct{}

// Traits have the platform's defaults: five attempts, ten seconds apart, of thirty
// seconds each.
func (Webhook) Traits() subscription.Traits {
	t := traits()
	t.Settings = append(t.Settings, SettingSign)
	t.Methods = []string{http.MethodPost}
	t.Headers = []string{"Authorization", "Cookie"}
	t.Secrets = subscription.SharedSecret
	t.Check = checkWebhook
	return t
}

// traits are those of both profiles.
func traits() subscription.Traits {
	const wait = subscription.Duration(10 * time.Second)
	return subscription.Traits{
		Retry:   subscription.Schedule{0, wait, wait, wait, wait},
		Timeout: 30 * time.Second,
		// The platform sends what its clients write, as UTF-8, and so do templates.
		HeaderText: true,
		Settings:   []string{SettingSubscriptionKey, SettingOrigin, SettingSource, SettingUserContext, SettingUserID, SettingUserRealm},
	}
}

// Judge judges an answer as the platform does: success is 2xx, and only 500 and above are tried
// again. Redirects are not followed.
func (Webhook) Judge(status int) delivery.Outcome { return judge(status) }

func judge(status int) delivery.Outcome {
	switch {
	case status >= 200 && status <= 299:
		return delivery.Delivered
	case status >= http.StatusInternalServerError:
		return delivery.Retry
	default:
		return delivery.Rejected
	}
}

// Prepare makes the parts of the envelope that are the same for all deliveries.
func (Webhook) Prepare(sub *subscription.Subscription) (wire.Renderer, error) {
	return &webhook{envelope: newEnvelope(sub), sign: sub.Settings[SettingSign] == "true"}, nil
}

type webhook struct {
	envelope *envelope
	sign     bool
}

// Render returns the envelope. Without a secret there is no authentication header.
func (w *webhook) Render(r *wire.Request) ([]byte, error) {
	body, err := w.envelope.body(r.Delivery.Event)
	if err != nil {
		return nil, err
	}
	wire.DropOwn(r.Header)
	r.Header["Content-Type"] = []string{"application/json"}
	if len(r.Secrets) > 0 {
		value := r.Secrets[0]
		if w.sign {
			value = wire.HexHMAC(value, body)
		}
		wire.Set(r.Header, HeaderAuth, value)
	}
	return body, nil
}

func checkWebhook(sub *subscription.Subscription) []subscription.Problem {
	found := check(sub)
	found = append(found, checkFlag(sub, SettingSign)...)
	for i, key := range sub.Secrets {
		if text := key.Secret.Reveal(); text != strings.TrimSpace(text) { // HTTP drops it
			found = append(found, subscription.Problem{Field: fmt.Sprintf("secrets[%d].secret", i), Message: "has a space at its beginning or end, which no header can carry"})
		}
	}
	return found
}

// check reports what is wrong with the settings of both profiles.
func check(sub *subscription.Subscription) []subscription.Problem {
	found := wire.CheckJSON(sub)
	for i, t := range sub.Types {
		if _, _, ok := wire.SplitType(t); !ok {
			found = append(found, subscription.Problem{Field: fmt.Sprintf("types[%d]", i), Message: "has no dot between a domain and an event type, and the body needs both"})
		}
	}
	found = append(found, checkFlag(sub, SettingUserContext)...)
	if origin := sub.Settings[SettingOrigin]; origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			found = append(found, setting(SettingOrigin, "is not a base URL: write https://host, without user name and password"))
		}
	}
	if source := sub.Settings[SettingSource]; source != "" && !validSource(source) {
		found = append(found, setting(SettingSource, "is not of the form jfrog/<service>@<id>, as in jfrog/jfrt@01h9mspg5atsp402qqxm071zjv"))
	}
	return found
}

func setting(name, format string, args ...any) subscription.Problem {
	return subscription.Problem{Field: "settings." + name, Message: fmt.Sprintf(format, args...)}
}

// checkFlag reports a setting that is neither true nor false, its default.
func checkFlag(sub *subscription.Subscription, name string) []subscription.Problem {
	switch value := sub.Settings[name]; value {
	case "", "true", "false":
		return nil
	default:
		return []subscription.Problem{setting(name, `%q is neither "true" nor "false"`, value)}
	}
}
