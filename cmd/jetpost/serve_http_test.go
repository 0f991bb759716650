package main

import (
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"
)

// A slow client is disconnected, and none before the longest work is done.
func TestSlowClientsAreBounded(t *testing.T) {
	t.Parallel()
	s := newHTTPServer(http.NotFoundHandler(), zap.NewNop())
	const longest = 100 * time.Second // a body of ten seconds, and a test call of ninety
	if s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 || s.WriteTimeout <= longest {
		t.Errorf("got %v for the header, %v for an idle connection, %d bytes, %v for an answer", s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes, s.WriteTimeout)
	}
}
