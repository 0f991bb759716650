package jfrog

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/repository"
)

// platformVersion is what clients read: they choose by it what they send, and give
// up when there is none. It is one whose API this is.
const platformVersion = "7.146.17"

// systemRoutes are the calls that clients make around their work.
func (j *API) systemRoutes(mux *http.ServeMux) {
	j.handle(mux, "GET /artifactory/api/system/version", func(context.Context, *http.Request) (answer, error) {
		return answer{status: http.StatusOK, json: encode(map[string]string{"version": platformVersion})}, nil
	})
	j.handle(mux, "GET /artifactory/api/system/ping", func(context.Context, *http.Request) (answer, error) {
		return answer{status: http.StatusOK, text: "OK"}, nil
	})
	// What clients tell about themselves is thrown away.
	j.handle(mux, "POST /artifactory/api/system/usage", func(context.Context, *http.Request) (answer, error) {
		return answer{status: http.StatusOK}, nil
	})
	j.handle(mux, "GET /artifactory/api/system/configuration/baseUrl", j.getOrigin)
	j.handle(mux, "PUT /artifactory/api/system/configuration/baseUrl", j.putOrigin)
}

func (j *API) getOrigin(ctx context.Context, _ *http.Request) (answer, error) {
	table, err := j.services.Repositories.Sync(ctx)
	if err != nil {
		return answer{}, err
	}
	if table.Origin == "" {
		return answer{}, &refusal{http.StatusNotFound, "no base URL is set"}
	}
	return answer{status: http.StatusOK, text: table.Origin}, nil
}

// putOrigin sets the base URL, which deliveries name as jpd_origin.
func (j *API) putOrigin(ctx context.Context, r *http.Request) (answer, error) {
	origin := strings.Trim(strings.TrimSpace(string(bodyOf(r))), `"`)
	if err := repository.CheckOrigin(origin); err != nil { // before it is shown to anybody
		return answer{}, err
	}
	entry := audit.Record{Action: actionPutOrigin, Target: "base_url", Before: audit.State(j.webhooks.origin()), After: audit.State(origin)}
	if err := j.services.Trail.Around(ctx, entry, func() error { return j.services.Repositories.SetOrigin(ctx, origin) }); err != nil {
		return answer{}, err
	}
	j.webhooks.repair(ctx)
	return answer{status: http.StatusOK, text: "URL base has been successfully updated to \"" + origin + "\".\n"}, nil
}

// noLogin answers truthfully.
func (j *API) noLogin(w http.ResponseWriter, r *http.Request) {
	Refuse(w, r, httpapi.Refusal{
		Status: http.StatusNotImplemented,
		Detail: "login by OIDC is not supported: give the client an access token of jetpost",
	})
}

// A refusal is an answer that is not the error of anything.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

// refusalOf tells how errors of the registry are answered.
func refusalOf(err error) (httpapi.Refusal, bool) {
	if r, ok := errors.AsType[*refusal](err); ok {
		return httpapi.Refusal{Status: r.status, Detail: r.message}, true
	}
	switch {
	case errors.Is(err, repository.ErrInvalid):
		return httpapi.Refusal{Status: http.StatusBadRequest, Detail: err.Error()}, true
	case errors.Is(err, repository.ErrNotFound):
		return httpapi.Refusal{Status: http.StatusNotFound, Detail: textNoRepository}, true
	case errors.Is(err, repository.ErrConflict):
		return httpapi.Refusal{Status: http.StatusConflict, Detail: err.Error()}, true
	default:
		return httpapi.Refusal{}, false
	}
}
