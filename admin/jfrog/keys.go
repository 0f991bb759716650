package jfrog

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/internal/subscription"
)

// Limits of the platform.
const (
	maxKey      = 500
	maxHandlers = 32 // the platform names none; each is a queue here
	// maxEntries is how many event types a document may have, and how many headers and
	// secrets a handler: more than there are anywhere.
	maxEntries = 100
)

// keyPattern is what the platform accepts as the key of a subscription.
var keyPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]+$`)

// idOf is the id of the subscription that stands for a part of a key: part 0 is the
// first handler, the second one has -h2 behind the id of the first. What ids cannot
// have in them is a dash in the label.
func idOf(key string, part int) string {
	label := strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		default:
			return '-'
		}
	}, key)
	id := subscription.ManagedID("jfrog", label, key)
	if part > 0 {
		id += "-h" + strconv.Itoa(part+1)
	}
	return id
}

// isPart reports whether sub is what this API has made of a part of key.
func isPart(sub *subscription.Subscription, key string, part int) bool {
	m := &sub.Managed
	return m.By == subscription.ManagedByJFrog && m.Name == key && m.Part == part
}
