package subscription

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Who may keep a subscription beside the native API.
const (
	ManagedByJFrog               = "jfrog"
	ManagedBySecureSourceManager = "securesourcemanager"
	// ManagedByTest is for a subscription that exists for one test delivery.
	ManagedByTest = "test"
)

// Managed says that a subscription is what a compatible API makes of something of
// its own. The zero value: it is kept through the native API.
type Managed struct {
	// By is which API, one of the constants.
	By string `json:"by"`
	// Name is what the subscription is a part of there: the key of a webhook, or the
	// resource name of a hook.
	Name string `json:"name"`
	// Part is which part, where the original has several endpoints. 0 is the first.
	Part int `json:"part,omitempty"`
	// Document is what the client sent, in the form in which that API wants it back,
	// without the secrets that are fields of the subscription. It is stored sealed,
	// since URLs and headers in it may be secrets too.
	Document keyring.Secret `json:"document,omitzero"`
}

// ManagedID is the id of a subscription that a compatible API keeps under name. The
// hash is what tells two names apart, by upper and lower case and by all of their
// characters; label, of characters that ids have, is for people:
//
//	<api>-<up to 36 characters of label>-<12 characters of base32hex of SHA-256 over name>
func ManagedID(api, label, name string) string {
	const most, hash = 36, 12
	sum := sha256.Sum256([]byte(name))
	return api + "-" + label[:min(len(label), most)] + "-" + strings.ToLower(base32.HexEncoding.EncodeToString(sum[:])[:hash])
}

// freeFields are those of a managed subscription that its API knows nothing of, and
// which the native API changes therefore.
func freeFields() []string { return []string{"delivery.", "labels", "handshake.", "state_reason"} }

// ManagedProblem says what after, a change of before that was made through the native
// API, would take from the API that keeps the subscription. It is nil for one that is
// not managed.
func ManagedProblem(before, after *Subscription) error {
	if before.Managed.By == "" {
		return nil
	}
	var found validation.Problems
	for _, field := range Changes(before, after) {
		free := false
		for _, prefix := range freeFields() {
			free = free || strings.HasPrefix(field, prefix)
		}
		if !free {
			found.Add(field, "is kept through the %s API, under %s: change it there", before.Managed.By, before.Managed.Name)
		}
	}
	return found.Err()
}
