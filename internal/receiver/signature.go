package receiver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetpost/jetpost/internal/cli/connect"
)

const (
	signatureTolerance = 5 * time.Minute // in both directions, as in the reference libraries
	refetchInterval    = time.Second     // between two questions for one subscription's secrets
	keptSubscriptions  = 1024            // whose secrets are remembered at a time
)

// A validity is the result of verifying the signature of a request.
type validity int

const (
	unverified validity = iota // no secret is known, or none was checked
	verified
	bad
)

func (v validity) String() string {
	switch v {
	case verified:
		return "ok"
	case bad:
		return "BAD"
	case unverified:
	}
	return "unverified"
}

// A judgement is a validity with its reason, empty when there is nothing to say.
type judgement struct {
	validity validity
	problem  string
}

// A secretSource returns a subscription's current secrets. The
// subscription is what a request header says: it may be anything.
type secretSource func(ctx context.Context, subscription string) ([]string, error)

var errNoSecretMatches = errors.New("no secret matches")

// A verifier knows which keys may have signed a request: the given ones, and those
// that a server says belong to the subscription of the request.
type verifier struct {
	given  []Key
	source secretSource // nil: the given ones only
	only   []string     // the subscriptions to ask for; empty: the one a request names

	mu      sync.Mutex
	fetched map[string]*fetchedKeys
}

func newVerifier(secrets, subscriptions []string, source secretSource) (*verifier, error) {
	given, err := DecodeSecrets(secrets)
	if err != nil {
		return nil, err
	}
	if len(given) > 0 && len(subscriptions) == 0 {
		source = nil // a given secret is the only one that counts
	}
	return &verifier{given: given, source: source, only: subscriptions, fetched: make(map[string]*fetchedKeys)}, nil
}

// check judges the signature of a request that has arrived at that time.
func (k *verifier) check(ctx context.Context, h http.Header, body []byte, arrived time.Time) judgement {
	judged := judgement{unverified, "no secret is known"}
	if len(k.given) > 0 {
		if judged = judge(h, body, k.given, arrived); judged.validity == verified {
			return judged
		}
	}
	if k.source == nil {
		return judged
	}
	named := h.Get(subscriptionHeader)
	candidates := k.only
	switch {
	case named == "" && len(k.only) == 0:
		return judgement{unverified, "it does not name its subscription: give --subscription or --secret"}
	case named != "" && len(k.only) == 0, slices.Contains(k.only, named):
		candidates = []string{named}
	case named != "" && judged.validity != bad:
		return judgement{unverified, "its subscription was not asked for"}
	case named != "":
		return judged
	}
	for _, subscription := range candidates {
		fetched := k.checkFetched(ctx, subscription, h, body, arrived)
		if fetched.validity == verified {
			return fetched
		}
		if fetched.validity == bad || judged.validity != bad {
			judged = fetched
		}
	}
	return judged
}

func judge(h http.Header, body []byte, keys []Key, now time.Time) judgement {
	if err := VerifySignature(h, body, keys, now); err != nil {
		return judgement{bad, err.Error()}
	}
	return judgement{validity: verified}
}

// checkFetched judges with the server's secrets. They may have been rotated, so a
// signature is only called bad by secrets asked for after the request arrived;
// requests wait for those up to a second.
func (k *verifier) checkFetched(ctx context.Context, subscription string, h http.Header, body []byte, arrived time.Time) judgement {
	entry := k.entry(subscription)
	for {
		known := entry.known.Load()
		switch {
		case known == nil:
		case known.err != nil:
			if time.Since(known.asked) < refetchInterval {
				return judgement{unverified, "the secrets of " + subscription + " are not known: " + known.err.Error()}
			}
		default:
			err := VerifySignature(h, body, known.keys, arrived)
			if err == nil {
				return judgement{validity: verified}
			}
			if !errors.Is(err, errNoSecretMatches) || known.asked.After(arrived) {
				return judgement{bad, err.Error()}
			}
		}
		if err := entry.refresh(ctx, subscription, known, k.source); err != nil {
			return judgement{unverified, err.Error()}
		}
	}
}

// entry is where the keys of a subscription are kept. Beyond the limit it starts
// over: names come from requests, and the real ones are soon asked for again.
func (k *verifier) entry(subscription string) *fetchedKeys {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry := k.fetched[subscription]
	if entry == nil {
		if len(k.fetched) >= keptSubscriptions {
			clear(k.fetched)
		}
		entry = &fetchedKeys{asking: make(chan struct{}, 1)}
		k.fetched[subscription] = entry
	}
	return entry
}

// fetchedKeys are the keys of one subscription, as the server last gave them.
type fetchedKeys struct {
	asking chan struct{} // holds a token while a request asks; the others wait for the answer
	known  atomic.Pointer[knownKeys]
}

type knownKeys struct {
	asked time.Time
	keys  []Key
	err   error
}

// refresh asks the source again, unless another request has replaced old already.
// It returns an error only when ctx has ended.
func (f *fetchedKeys) refresh(ctx context.Context, subscription string, old *knownKeys, source secretSource) error {
	select {
	case f.asking <- struct{}{}:
		defer func() { <-f.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if f.known.Load() != old {
		return nil
	}
	if old != nil {
		if wait := refetchInterval - time.Since(old.asked); wait > 0 && !connect.WaitFor(ctx, wait) {
			return ctx.Err()
		}
	}
	next := &knownKeys{asked: time.Now()}
	secrets, err := source(ctx, subscription)
	if ctx.Err() != nil {
		return ctx.Err() // says nothing about the secrets
	}
	if err == nil && len(secrets) == 0 {
		err = errors.New("the subscription has none")
	}
	if err == nil {
		next.keys, err = DecodeSecrets(secrets)
	}
	next.err = err
	f.known.Store(next)
	return nil
}
