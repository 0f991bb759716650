package jfrog

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"go.uber.org/zap"
)

const subscriptionsPath = "/event/api/v1/subscriptions"

// subscriptionRoutes are those of the platform's event service. "test" can be a key:
// only POST makes it the test call.
func (j *API) subscriptionRoutes(mux *http.ServeMux) {
	j.handle(mux, "GET "+subscriptionsPath, j.list)
	j.handle(mux, "POST "+subscriptionsPath, j.post)
	j.handle(mux, "GET "+subscriptionsPath+"/{key}", j.get)
	j.handle(mux, "PUT "+subscriptionsPath+"/{key}", j.put)
	j.handle(mux, "DELETE "+subscriptionsPath+"/{key}", j.delete)
	mux.HandleFunc("POST "+subscriptionsPath+"/test", j.testCall)
	j.handle(mux, "GET /event/api/v1/troubleshooting", j.troubleshooting)
}

// An answer is what a request is answered with: JSON, nothing, or text.
type answer struct {
	status int
	json   []byte
	text   string
}

// handle adds a route. Its context ends after Config.Timeout.
func (j *API) handle(mux *http.ServeMux, pattern string, do func(context.Context, *http.Request) (answer, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), j.cfg.Timeout)
		defer cancel()
		out, err := do(ctx, r)
		switch {
		case err != nil:
			j.fail(r.Context(), w, r, err)
		case out.json != nil:
			write(w, out.status, out.json)
		case out.text != "":
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(out.status)
			_, _ = io.WriteString(w, out.text)
		default:
			w.WriteHeader(out.status)
		}
	})
}

// bodyOf is the body of a request, which was read before.
func bodyOf(r *http.Request) []byte {
	body, _ := io.ReadAll(r.Body)
	return body
}

// list leaves out what cannot be read: one broken record must not hide the others from
// a client that knows no other way to look at them.
func (j *API) list(ctx context.Context, _ *http.Request) (answer, error) {
	all, err := j.webhooks.all(ctx)
	if err != nil {
		return answer{}, err
	}
	shown := make([]json.RawMessage, 0, len(all))
	for _, p := range all {
		if p.first == nil {
			continue
		}
		s, err := stateOf(p.first)
		if err != nil {
			j.log.Error("a subscription cannot be shown", zap.String("subscription_id", p.first.ID), zap.Error(err))
			continue
		}
		shown = append(shown, s.document.showTo(ctx, p.isEnabled()))
	}
	return answer{status: http.StatusOK, json: array(shown)}, nil
}

func (j *API) post(ctx context.Context, r *http.Request) (answer, error) {
	var found problems
	d := parse(bodyOf(r), "", &found)
	if err := found.err(); err != nil {
		return answer{}, err
	}
	if err := j.webhooks.create(ctx, d); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, json: d.show(d.enabled)}, nil
}

func (j *API) get(ctx context.Context, r *http.Request) (answer, error) {
	key := r.PathValue("key")
	p, err := j.webhooks.parts(ctx, key)
	if err == nil && p.first == nil { // not there, or there and unreadable
		err = j.webhooks.exists(ctx, key)
	}
	if err != nil || p.first == nil {
		return answer{}, noneOr(err)
	}
	s, err := stateOf(p.first)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, json: s.document.showTo(ctx, p.isEnabled())}, nil
}

func (j *API) put(ctx context.Context, r *http.Request) (answer, error) {
	return answer{status: http.StatusNoContent}, j.webhooks.replace(ctx, r.PathValue("key"), bodyOf(r))
}

func (j *API) delete(ctx context.Context, r *http.Request) (answer, error) {
	return answer{status: http.StatusNoContent}, j.webhooks.remove(ctx, r.PathValue("key"))
}
