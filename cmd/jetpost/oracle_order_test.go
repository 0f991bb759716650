package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
)

// checkOrder looks at the deliveries of an ordered subscription. Whatever was killed,
// none may have been tried before those in front of it in the log had arrived.
func (o *oracle) checkOrder(f *findings, s *oSub, records map[string][]delivery.Attempt) {
	type made struct {
		event        *oEvent
		sequence     uint64
		first, final time.Time
	}
	logs := make(map[string][]made)
	for _, e := range o.events {
		d := deliveryID(s.id, e.source, e.id)
		requests := o.requests[d]
		success := slices.IndexFunc(requests, func(r *oRequest) bool { return r.ok })
		if success < 0 || len(records[d]) == 0 {
			continue
		}
		place := records[d][0].Event
		logs[place.Stream] = append(logs[place.Stream], made{e, place.Sequence, requests[0].at, requests[success].at})
	}
	for log, deliveries := range logs {
		slices.SortFunc(deliveries, func(a, b made) int { return cmp.Compare(a.sequence, b.sequence) })
		for i := 1; i < len(deliveries); i++ {
			before, one := deliveries[i-1], deliveries[i]
			if one.first.Before(before.final) {
				f.add(fmt.Sprintf("%s: event %s, number %d of %s, was tried %s before %s, number %d, had arrived",
					s.id, one.event.id, one.sequence, log, before.final.Sub(one.first), before.event.id, before.sequence))
			}
		}
		f.ordered += len(deliveries)
	}
}
