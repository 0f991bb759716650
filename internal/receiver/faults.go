package receiver

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/internal/cli/connect"
)

// faults are the ways in which a receiver can be made to misbehave.
type faults struct {
	status       int
	failRate     float64
	failFirst    int
	retryAfter   string
	delay        time.Duration
	hang, drip   bool
	dripInterval time.Duration
	bodySize     int64
	seed         uint64
	filler       []byte // what answer bodies are made of
}

func newFaults(c *Cmd) faults {
	f := faults{
		status: c.Status, failRate: c.FailRate, failFirst: c.FailFirst, retryAfter: c.RetryAfter,
		delay: c.Delay, hang: c.Hang, drip: c.Drip, dripInterval: c.DripInterval,
		bodySize: c.BodySize, seed: c.Seed,
	}
	if f.failRate > 0 && f.seed == 0 {
		f.seed = rand.Uint64()
	}
	if f.bodySize > 0 {
		f.filler = bytes.Repeat([]byte("jetpost receiver\n"), 2048)
	}
	return f
}

// An answer is what a request gets. It is chosen before anything is sent, so that
// it can be counted and printed first.
type answer struct {
	status int    // 0: never answered
	reason string // empty for the usual answer
}

// choose decides about the request that brought id for the arrival-th time.
func (f *faults) choose(id string, arrival int) answer {
	switch {
	case f.hang:
		return answer{reason: "--hang"}
	case arrival <= f.failFirst:
		return answer{http.StatusInternalServerError, "--fail-first"}
	case f.failRate > 0 && f.chance(id, arrival) < f.failRate:
		return answer{http.StatusInternalServerError, "--fail-rate"}
	}
	return answer{status: f.status}
}

// chance is a number from 0 to 1 that only depends on the seed, the id and the
// arrival: the order in which requests come in is never the same twice.
func (f *faults) chance(id string, arrival int) float64 {
	return rand.New(rand.NewPCG(f.seed^hashID(id), uint64(arrival))).Float64()
}

// perform sends the answer. Waiting ends early when the client or the receiver
// goes away; then the connection is cut, because no answer would be true.
func (f *faults) perform(w http.ResponseWriter, req *http.Request, a answer) {
	if f.delay > 0 && !connect.WaitFor(req.Context(), f.delay) {
		panic(http.ErrAbortHandler)
	}
	if a.status == 0 {
		<-req.Context().Done()
		panic(http.ErrAbortHandler)
	}
	header, size := w.Header(), f.bodySize
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		size = 0 // RFC 9110, section 6.4.1: these have none
	}
	if a.status/100 != 2 && f.retryAfter != "" {
		header.Set("Retry-After", f.retryAfter)
	}
	if a.status/100 == 3 {
		header.Set("Location", "/followed")
	}
	if size > 0 {
		header.Set("Content-Type", "text/plain; charset=utf-8")
		header.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	body := io.LimitReader(endless{f.filler}, size)
	if f.drip {
		f.dripAnswer(w, req, a.status, body)
		return
	}
	w.WriteHeader(a.status)
	if size > 0 {
		_, _ = io.Copy(w, body) // fails when the client has read enough
	}
}

// dripAnswer sends a whole HTTP/1.1 response byte by byte. It takes the
// connection over, because the server would send all headers at once.
func (f *faults) dripAnswer(w http.ResponseWriter, req *http.Request, status int, body io.Reader) {
	var head bytes.Buffer
	_, _ = fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\nConnection: close\r\n", status, http.StatusText(status))
	_ = w.Header().Write(&head)
	head.WriteString("\r\n")
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = conn.Close() }()
	answer, one := io.MultiReader(&head, body), make([]byte, 1)
	for {
		if _, err := answer.Read(one); err != nil {
			return
		}
		if _, err := conn.Write(one); err != nil {
			return
		}
		if !connect.WaitFor(req.Context(), f.dripInterval) {
			return
		}
	}
}

// endless reads the same bytes again and again.
type endless struct{ of []byte }

func (e endless) Read(p []byte) (int, error) { return copy(p, e.of), nil }
