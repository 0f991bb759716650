package streamtest

import (
	"bytes"

	"github.com/nats-io/nats.go/jetstream"
)

// Fill takes all of the storage that the server has for streams (embedded.Config.MaxStore:
// give it little), down to a few bytes. free gives it back.
func (s *Server) Fill() (free func()) {
	s.t.Helper()
	js := s.JS()
	full, err := js.CreateStream(s.t.Context(), jetstream.StreamConfig{Name: "FULL", Subjects: []string{"full"}})
	if err != nil {
		s.t.Fatal(err)
	}
	for size := 256 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = js.Publish(s.t.Context(), "full", bytes.Repeat([]byte("x"), size))
		}
	}
	return func() {
		s.t.Helper()
		if err := full.Purge(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
}
