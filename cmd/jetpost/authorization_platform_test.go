package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/access"
)

// platformRoutes are those of the JFrog Platform's API.
func platformRoutes() []guardedRoute {
	const (
		subscriptions = "/event/api/v1/subscriptions"
		system        = "/artifactory/api/system"
		repositories  = "/artifactory/api/repositories"
	)
	return []guardedRoute{
		{"list webhooks", http.MethodGet, subscriptions, access.NeedRead, "", hasErrors},
		{"get webhook", http.MethodGet, subscriptions + "/k", access.NeedRead, "", hasErrors},
		{"create webhook", http.MethodPost, subscriptions, access.NeedOperate, "{}", hasErrors},
		{"test webhook", http.MethodPost, subscriptions + "/test", access.NeedOperate, "{}", hasErrors},
		{"replace webhook", http.MethodPut, subscriptions + "/k", access.NeedOperate, "{}", hasErrors},
		{"delete webhook", http.MethodDelete, subscriptions + "/k", access.NeedOperate, "", hasErrors},
		{"troubleshooting", http.MethodGet, "/event/api/v1/troubleshooting", access.NeedRead, "", hasErrors},
		{"version", http.MethodGet, system + "/version", access.NeedRead, "", hasErrors},
		{"get base URL", http.MethodGet, system + "/configuration/baseUrl", access.NeedRead, "", hasErrors},
		{"put base URL", http.MethodPut, system + "/configuration/baseUrl", access.NeedOperate, "http://localhost", hasErrors},
		{"list repositories", http.MethodGet, repositories, access.NeedRead, "", hasErrors},
		{"get repository", http.MethodGet, repositories + "/r", access.NeedRead, "", hasErrors},
		{"put repository", http.MethodPut, repositories + "/r", access.NeedOperate, "{}", hasErrors},
		{"change repository", http.MethodPost, repositories + "/r", access.NeedOperate, "{}", hasErrors},
		{"delete repository", http.MethodDelete, repositories + "/r", access.NeedOperate, "", hasErrors},
	}
}

// hasErrors checks that a refusal is one of the platform's.
func hasErrors(t *testing.T, name string, r *http.Response, body []byte) {
	t.Helper()
	var s struct {
		Errors []struct {
			Code    *string
			Message string
		}
	}
	if err := json.Unmarshal(body, &s); err != nil || len(s.Errors) != 1 || s.Errors[0].Code == nil || s.Errors[0].Message == "" ||
		!strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.Errorf("%s: not an error of the API: %s", name, body)
	}
}
