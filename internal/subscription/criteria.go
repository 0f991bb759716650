package subscription

import "github.com/jetpost/jetpost/internal/subscription/filter"

// Criteria are what s says about the events that it wants.
func (s *Subscription) Criteria() filter.Criteria {
	return filter.Criteria{ID: s.ID, Types: s.Types, Filters: s.Filters, Disabled: !s.State.Matches()}
}
