package admin

import (
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// What follows makes of what is stored what answers show: see TestShownAsStored.

// showAll makes of each item what show says. nil stays nil, which is null in JSON.
func showAll[T, W any](items []T, show func(*T) W) []W {
	if items == nil {
		return nil
	}
	shown := make([]W, len(items))
	for i := range items {
		shown[i] = show(&items[i])
	}
	return shown
}

// showPage is showAll for a page.
func showPage[T, W any](p v1.Page[T], show func(*T) W) v1.Page[W] {
	return v1.Page[W]{Items: showAll(p.Items, show), NextCursor: p.NextCursor}
}

func showRef(r *delivery.EventRef) v1.EventRef { return v1.EventRef(*r) }

func showAttempt(a *delivery.Attempt) v1.Attempt {
	return v1.Attempt{
		DeliveryID: a.DeliveryID, SubscriptionID: a.SubscriptionID, Event: showRef(&a.Event), Attempt: a.Attempt, At: a.At,
		DurationMS: float64(time.Duration(a.Duration).Microseconds()) / 1000, Outcome: v1.Outcome(a.Outcome.String()), Method: a.Method, URL: a.URL, Status: a.Status,
		Error: a.Error, ResponseBody: a.ResponseBody, RequestBytes: a.RequestBytes, NextAttempt: a.NextAttempt,
		Redelivered: a.Redelivered, Manual: a.Manual, Sequence: a.Sequence,
	}
}

func showLetter(l *delivery.DeadLetter) v1.DeadLetter {
	return v1.DeadLetter{
		DeliveryID: l.DeliveryID, SubscriptionID: l.SubscriptionID, Event: showRef(&l.Event), Reason: v1.Reason(l.Reason), Attempts: l.Attempts,
		Status: l.Status, Error: l.Error, ResponseBody: l.ResponseBody, At: l.At, Sequence: l.Sequence,
	}
}

func showEntry(e *audit.Entry) v1.AuditEntry {
	return v1.AuditEntry{AuditRecord: v1.AuditRecord(e.Record), Hash: e.Hash}
}

func showLoss(l *inventory.Loss) v1.Loss {
	return v1.Loss{
		Stream: l.Stream, Kind: l.Kind, Detail: l.Detail, Was: l.Was, Now: l.Now, Count: l.Count, Made: l.Made, Hash: l.Hash, Found: l.Found,
		Accepted: l.Accepted, By: l.By, Reconciled: l.Reconciled, Remade: l.Remade,
	}
}

func showUnowned(u *inventory.Unowned) v1.UnownedQueue {
	return v1.UnownedQueue{Stream: u.Stream, Subscription: u.Subscription, Messages: u.Messages}
}

func showClause(c *filter.Clause) v1.Clause {
	return v1.Clause{
		Path: c.Path, Dialect: c.Dialect, Matched: c.Matched, Wanted: c.Wanted, Failure: c.Failure,
		Values:  showAll(c.Values, func(v *filter.Compared) v1.Compared { return v1.Compared(*v) }),
		Clauses: showAll(c.Clauses, showClause),
	}
}
