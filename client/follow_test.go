package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/jetpost/jetpost/client"
)

// A log is followed to its end, to a line that is none of it, or until the server is
// silent for too long.
func TestFollow(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") != "true" {
			t.Errorf("got %s", r.URL)
		}
		_, _ = io.WriteString(w, "{\"sequence\":1}\n\n{\"sequence\":2}\n")
		switch r.URL.Query().Get("from_seq") {
		case "2":
			_, _ = io.WriteString(w, "<html>\n")
		case "3":
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	c, err := client.New(client.Config{URL: server.URL, Silence: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for from := range uint64(4) {
		var got []uint64
		var lines client.Response
		var ended error
		for one, err := range c.Attempts.Follow(t.Context(), "", from, client.WithResponse(&lines)) {
			if ended = err; err == nil {
				got = append(got, one.Sequence)
			}
		}
		if !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("%d: got %v", from, got)
		}
		if ended == nil || (from < 2) != errors.Is(ended, io.EOF) {
			t.Errorf("%d: it ended with %v", from, ended)
		}
		if from != 2 && string(lines.Body) != `{"sequence":2}` {
			t.Errorf("the last line is %s", lines.Body)
		}
	}
}
