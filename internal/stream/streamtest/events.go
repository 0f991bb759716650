package streamtest

import (
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
)

// Events are those in the log of a domain, oldest first.
func (s *Server) Events(domain string) []*event.Event {
	s.t.Helper()
	var events []*event.Event
	for r, err := range stream.Read(s.t.Context(), s.JS(), s.Layout.EventLog(domain), stream.Range{}) {
		if err != nil {
			s.t.Fatalf("read events of %s: %v", domain, err)
		}
		e, err := event.FromMessage(r.Header, r.Data)
		if err != nil {
			s.t.Fatalf("event %d of %s: %v", r.Sequence, domain, err)
		}
		events = append(events, e)
	}
	return events
}
