package stream

import (
	"crypto/sha256"
	"encoding/base64"
)

// OperationalDomain is the domain of the events that jetpost publishes about itself:
// see package operational. Nobody else may.
const OperationalDomain = "jetpost"

// OperationalSource is the source of these events: the same for all processes of an
// installation, and another one for each installation in a NATS account.
func (l Layout) OperationalSource() string {
	if l.prefix == "" {
		return "/jetpost"
	}
	return "/jetpost/" + l.prefix
}

// MessageID is by what an event log recognises a duplicate: the same for two events
// exactly when source and id are (CloudEvents 1.0.2, "id"). A hash, because neither
// is safe as a header value or bounded, and NUL is in neither.
func (e *Event) MessageID() string {
	b := make([]byte, 0, 256)
	b = append(append(append(b, e.Source...), 0), e.ID...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
