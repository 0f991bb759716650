package httpapi

import (
	"bufio"
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/access"
)

// exportFlush is how often a slow export is sent on at least.
const exportFlush = time.Second

// Export answers with lines while they are read. A client holds the place of one that
// follows a log: a slow one costs as much.
func (a *API) Export(lines func(context.Context) iter.Seq2[[]byte, error]) (*Streamed, error) {
	select {
	case a.followers <- struct{}{}:
	default:
		return nil, errFollowers
	}
	return &Streamed{Body: func(hc huma.Context) {
		defer func() { <-a.followers }()
		a.writeExport(hc, lines)
	}}, nil
}

func (a *API) writeExport(hc huma.Context, lines func(context.Context) iter.Seq2[[]byte, error]) {
	_, w := humago.Unwrap(hc)
	if answered, ok := w.(*answer); ok {
		answered.followed = true // how long it takes says nothing about the server
	}
	hc.SetHeader("Content-Type", NDJSON)
	hc.SetHeader("X-Accel-Buffering", "no") // for proxies that would collect lines
	hc.SetStatus(http.StatusOK)
	ctx, cancel := access.WhileValid(hc.Context()) // it may go on for longer than the token
	defer cancel()
	controller := http.NewResponseController(w)
	buffered := bufio.NewWriterSize(w, 32<<10)
	flushed := time.Now()
	for line, err := range lines(ctx) {
		if err != nil {
			a.log.Warn("export failed before its end", zap.String("request_id", RequestID(hc.Context())), zap.Error(err))
			panic(http.ErrAbortHandler) // so that the client does not take it for the end
		}
		_ = controller.SetWriteDeadline(time.Now().Add(writeTimeout)) // not in a test recorder
		_, _ = buffered.Write(line)                                   // the error is that of the next write
		if buffered.WriteByte('\n') != nil {
			return // the client has disconnected
		}
		if time.Since(flushed) >= exportFlush {
			flushed = time.Now()
			if buffered.Flush() != nil || controller.Flush() != nil {
				return
			}
		}
	}
	_ = buffered.Flush() // the client may have disconnected
}
