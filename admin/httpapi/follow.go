package httpapi

import (
	"bufio"
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
)

// writeTimeout is how long a client that follows may take to accept what is
// written: one that has stopped reading is given up.
const writeTimeout = 30 * time.Second

// NDJSON is the media type of an answer with one JSON object per line.
const NDJSON = "application/x-ndjson"

// Streamed is an answer that writes itself: a list, or a log that is followed.
type Streamed struct{ Body func(huma.Context) }

// A Feed emits records as they are stored, until ctx ends or emit reports that
// no more are wanted.
type Feed func(ctx context.Context, emit func(any) bool) error

// Followed describes the two answers of a route whose list can be followed.
func Followed[T any](api *API, op huma.Operation) huma.Operation {
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A page or, with follow=true, a line for each record.",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: api.SchemaOf(reflect.TypeFor[v1.Page[T]]())},
			NDJSON:             {Schema: api.SchemaOf(reflect.TypeFor[T]())},
		},
	}}
	return op
}

// JSON is an answer that is not followed.
func JSON(body any) *Streamed {
	return &Streamed{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", "application/json")
		ctx.SetStatus(http.StatusOK)
		_ = Encode(ctx.BodyWriter(), body) // a client that has disconnected is not our problem
	}}
}

// Follow answers with the records of feeds as they come.
func (a *API) Follow(feeds ...Feed) (*Streamed, error) {
	select {
	case a.followers <- struct{}{}:
	default:
		return nil, errFollowers
	}
	return &Streamed{Body: func(ctx huma.Context) {
		a.metrics.followers.Inc()
		defer func() {
			a.metrics.followers.Dec()
			<-a.followers
		}()
		a.serveFeeds(ctx, feeds)
	}}, nil
}

func (a *API) serveFeeds(hc huma.Context, feeds []Feed) {
	_, w := humago.Unwrap(hc)
	if answered, ok := w.(*answer); ok {
		answered.followed = true
	}
	ctx, cancel := access.WhileValid(hc.Context()) // it may go on for longer than the token
	defer cancel()
	records := make(chan any, 64)
	running, ctx := errgroup.WithContext(ctx)
	for _, f := range feeds {
		running.Go(func() error {
			return f(ctx, func(record any) bool {
				select {
				case records <- record:
					return true
				case <-ctx.Done():
					return false
				}
			})
		})
	}
	hc.SetHeader("Content-Type", NDJSON)
	hc.SetHeader("X-Accel-Buffering", "no") // for proxies that would collect lines
	hc.SetStatus(http.StatusOK)
	a.writeLines(ctx, w, records)
	cancel()
	if err := running.Wait(); err != nil {
		a.log.Warn("followed log broke off", zap.String("request_id", RequestID(hc.Context())), zap.Error(err))
		panic(http.ErrAbortHandler) // so that the client does not take it for the end
	}
}

// writeLines writes until ctx ends, which is also when a feed fails, the client is
// gone, or the process stops.
func (a *API) writeLines(ctx context.Context, w http.ResponseWriter, records <-chan any) {
	controller := http.NewResponseController(w)
	buffered := bufio.NewWriterSize(w, 32<<10)
	flush := func() bool {
		_ = controller.SetWriteDeadline(time.Now().Add(writeTimeout)) // not in a test recorder
		return buffered.Flush() == nil && controller.Flush() == nil
	}
	heartbeat := time.NewTicker(a.cfg.Heartbeat)
	defer heartbeat.Stop()
	for alive := flush(); alive; {
		select {
		case <-ctx.Done():
			return
		case <-a.cfg.Stopping:
			return
		case <-heartbeat.C:
			_ = buffered.WriteByte('\n') // flush tells
			alive = flush()
		case record := <-records:
			if err := encodeLine(buffered, record); err != nil {
				return
			}
			if len(records) == 0 {
				alive = flush()
			}
		}
	}
}
