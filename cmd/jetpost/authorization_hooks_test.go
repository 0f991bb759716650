package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/access"
)

// hookRoutes are those of the API of Secure Source Manager.
func hookRoutes() []guardedRoute {
	const (
		location   = "/v1/projects/p/locations/l"
		hooks      = location + "/repositories/r/hooks"
		operations = location + "/operations"
	)
	return []guardedRoute{
		{"list-hooks", http.MethodGet, hooks, access.NeedRead, "", isStatus},
		{"get-hook", http.MethodGet, hooks + "/h", access.NeedRead, "", isStatus},
		{"create-hook", http.MethodPost, hooks, access.NeedOperate, "{}", isStatus},
		{"patch-hook", http.MethodPatch, hooks + "/h", access.NeedOperate, "{}", isStatus},
		{"delete-hook", http.MethodDelete, hooks + "/h", access.NeedOperate, "", isStatus},
		{"list-operations", http.MethodGet, operations, access.NeedRead, "", isStatus},
		{"get-operation", http.MethodGet, operations + "/o", access.NeedRead, "", isStatus},
		{"delete-operation", http.MethodDelete, operations + "/o", access.NeedOperate, "", isStatus},
		{"cancel-operation", http.MethodPost, operations + "/o:cancel", access.NeedOperate, "", isStatus},
	}
}

// isStatus checks that a refusal is a google.rpc.Status.
func isStatus(t *testing.T, name string, r *http.Response, body []byte) {
	t.Helper()
	var s struct {
		Error struct {
			Code            int
			Message, Status string
			Details         []struct {
				Type           string `json:"@type"`
				Reason, Domain string
			}
		}
	}
	want := map[int]string{http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED"}[r.StatusCode]
	if err := json.Unmarshal(body, &s); err != nil || s.Error.Code != r.StatusCode || s.Error.Status != want || s.Error.Message == "" ||
		len(s.Error.Details) != 1 || s.Error.Details[0].Reason != want || s.Error.Details[0].Domain != "jetpost" ||
		!strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.Errorf("%s: not an error of the API: %s", name, body)
	}
}
