package deadletters

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Limits of a selection, which may be a part of a job.
const (
	maxSequences = 200
	maxSelection = 2 << 10 // bytes
)

// Selected is a selection that was checked when it was made.
func Selected(o *v1.SelectionOptions) *delivery.Selection {
	return &delivery.Selection{
		Subscription: o.Subscription, Reasons: show.All(o.Reasons, func(r *v1.Reason) delivery.Reason { return delivery.Reason(*r) }),
		Types: o.Types, From: o.From, To: o.To, Sequences: o.Sequences,
	}
}

// Selection checks what a client wrote.
func (d *DeadLetters) Selection(ctx context.Context, o *v1.SelectionOptions) (*delivery.Selection, error) {
	s := Selected(o)
	if err := checkSelected(s.Subscription); err != nil {
		return nil, err
	}
	for i, reason := range s.Reasons {
		if !slices.Contains(delivery.Reasons(), reason) {
			return nil, httpapi.Invalid(fmt.Sprintf("reasons[%d]", i), "is not a reason: use exhausted, rejected, gone, expired, overflow, unreadable or match_budget")
		}
	}
	if slices.Contains(s.Types, "") {
		return nil, httpapi.Invalid("types", "has one without a name")
	}
	if len(s.Sequences) > maxSequences {
		return nil, httpapi.Invalid("sequences", "has "+strconv.Itoa(len(s.Sequences))+": give up to "+strconv.Itoa(maxSequences)+", or select by something else")
	}
	if text, err := json.Marshal(s); err != nil || len(text) > maxSelection {
		return nil, httpapi.Invalid("", "the selection is too long: it may have "+strconv.Itoa(maxSelection)+" bytes as JSON")
	}
	if err := httpapi.CheckTimes(s.From, s.To); err != nil {
		return nil, err
	}
	return s, d.checkBeginnings(ctx, s.Types)
}

// checkSelected refuses what cannot be in a subject: a wildcard would select others.
func checkSelected(id string) error {
	if id != "" && id != stream.InvalidLetters && !subscription.ValidID(id) {
		return httpapi.Invalid("subscription", "is not the id of a subscription")
	}
	return nil
}

// checkBeginnings is about types that select dead letters.
func (d *DeadLetters) checkBeginnings(ctx context.Context, types []string) error {
	for _, eventType := range types {
		if problem := d.catalogue.Seen(ctx).BeginningProblem(eventType); problem != "" {
			return httpapi.Invalid("types", problem)
		}
	}
	return nil
}
