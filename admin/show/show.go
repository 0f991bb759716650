// Package show makes the wire types of the API from what is stored. Secrets become
// placeholders. TestShownAsStored holds the two against each other.
package show

import (
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// All makes the wire type of each item. nil stays nil, which is null in JSON.
func All[T, W any](items []T, show func(*T) W) []W {
	if items == nil {
		return nil
	}
	shown := make([]W, len(items))
	for i := range items {
		shown[i] = show(&items[i])
	}
	return shown
}

// Page is All for a page.
func Page[T, W any](p v1.Page[T], show func(*T) W) v1.Page[W] {
	return v1.Page[W]{Items: All(p.Items, show), NextCursor: p.NextCursor}
}

func ref(r *delivery.EventRef) v1.EventRef { return v1.EventRef(*r) }

// Attempt is a request to an endpoint.
func Attempt(a *delivery.Attempt) v1.Attempt {
	return v1.Attempt{
		DeliveryID: a.DeliveryID, SubscriptionID: a.SubscriptionID, Event: ref(&a.Event), Attempt: a.Attempt, At: a.At,
		DurationMS: float64(time.Duration(a.Duration).Microseconds()) / 1000, Outcome: v1.Outcome(a.Outcome.String()), Method: a.Method, URL: a.URL, Status: a.Status,
		Error: a.Error, ResponseBody: a.ResponseBody, RequestBytes: a.RequestBytes, NextAttempt: a.NextAttempt,
		Redelivered: a.Redelivered, Manual: a.Manual, Sequence: a.Sequence,
	}
}

// DeadLetter is a delivery that was given up.
func DeadLetter(l *delivery.DeadLetter) v1.DeadLetter {
	return v1.DeadLetter{
		DeliveryID: l.DeliveryID, SubscriptionID: l.SubscriptionID, Event: ref(&l.Event), Reason: v1.Reason(l.Reason), Attempts: l.Attempts,
		Status: l.Status, Error: l.Error, ResponseBody: l.ResponseBody, At: l.At, Sequence: l.Sequence,
	}
}

// AuditEntry is a record of the audit trail.
func AuditEntry(e *audit.Entry) v1.AuditEntry {
	return v1.AuditEntry{AuditRecord: v1.AuditRecord(e.Record), Hash: e.Hash}
}

// Loss is what a stream has lost.
func Loss(l *inventory.Loss) v1.Loss {
	return v1.Loss{
		Stream: l.Stream, Kind: l.Kind, Detail: l.Detail, Was: l.Was, Now: l.Now, Count: l.Count, Made: l.Made, Hash: l.Hash, Found: l.Found,
		Accepted: l.Accepted, By: l.By, Reconciled: l.Reconciled, Remade: l.Remade,
	}
}

// Unowned is a queue without a subscription.
func Unowned(u *inventory.Unowned) v1.UnownedQueue {
	return v1.UnownedQueue{Stream: u.Stream, Subscription: u.Subscription, Messages: u.Messages}
}

// Clause is a filter as it was evaluated.
func Clause(c *filter.Clause) v1.Clause {
	return v1.Clause{
		Path: c.Path, Dialect: c.Dialect, Matched: c.Matched, Wanted: c.Wanted, Failure: c.Failure,
		Values:  All(c.Values, func(v *filter.Compared) v1.Compared { return v1.Compared(*v) }),
		Clauses: All(c.Clauses, Clause),
	}
}
