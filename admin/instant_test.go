package admin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Every time that the API takes is one of RFC 3339, and every number is one that is in
// range or is said not to be.
func TestTimesAndNumbersOfRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	params := []string{
		"/v1/audit?from=", "/v1/audit?to=", "/v1/events?domain=git&from_time=", "/v1/events?domain=git&to_time=",
		"/v1/dead-letters?from=", "/v1/dead-letters?to=", "/v1/subscriptions/ci/dead-letters?from=", "/v1/subscriptions/ci/dead-letters?to=",
	}
	bodies := map[string]string{
		"/v1/redrives": `{"dry_run":true,"from":TIME}`, "/v1/dead-letters/discard": `{"to":TIME}`,
		"/v1/subscriptions/ci/reconcile": `{"dry_run":true,"since":TIME}`,
	}
	for text, message := range map[string]string{
		"2026-01-31T12:00:00Z": "", "2026-01-31t12:00:00z": "", "2016-12-31T23:59:60Z": "", "2026-01-31T12:00:00.5+23:59": "", "2026-01-31T12:00:00-00:00": "",
		"2026-01-31T12:00:00+24:00": "must be a time such as 2026-01-31T12:00:00Z: its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00+23:60": "must be a time such as 2026-01-31T12:00:00Z: its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00,5Z":    "must be a time such as 2026-01-31T12:00:00Z: its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T1:00:00Z":       "must be a time such as 2026-01-31T12:00:00Z: its time of day is not hours, minutes and seconds such as 12:00:00",
		"2026-02-30T12:00:00Z":      "must be a time such as 2026-01-31T12:00:00Z: there is no such day",
		"2026-01-31":                "must be a time such as 2026-01-31T12:00:00Z: there is no T between its date and its time",
		"2026-01-15T23:59:60Z":      "must be a time such as 2026-01-31T12:00:00Z: a leap second is at 23:59:60 UTC of the last day of a month",
	} {
		status := http.StatusOK
		if message != "" {
			status = http.StatusUnprocessableEntity
		}
		for _, path := range params {
			f.do("GET", path+url.QueryEscape(text), "").want(status).mustContain(message)
		}
		for path, body := range bodies {
			f.do("POST", path, strings.Replace(body, "TIME", `"`+text+`"`, 1)).want(status).mustContain(message)
		}
	}
	// A plus that is not escaped is a space.
	f.do("GET", "/v1/audit?from=2026-01-31T12:00:00+01:00", "").want(http.StatusUnprocessableEntity).mustContain("in a URL write %2B for +")
	// The member is named.
	got := f.do("POST", "/v1/redrives", `{"dry_run":true,"from":"2026-01-31T12:00:00Z","to":"soon"}`).want(http.StatusUnprocessableEntity).fields()
	if len(got) != 1 || got[0] != "to" {
		t.Errorf("the problem names %q, want to", got)
	}
	f.do("POST", "/v1/redrives", `{"from":5}`).want(http.StatusUnprocessableEntity).mustContain("from: must be a time such as 2026-01-31T12:00:00Z, in a string")

	for path, message := range map[string]string{
		"/v1/audit?limit=99999999999999999999": "is out of range",
		"/v1/audit?limit=ten":                  "must be a whole number",
		"/v1/audit?limit=1.5":                  "must be a whole number",
		"/v1/audit/99999999999999999999":       "is out of range",
	} {
		f.do("GET", path, "").want(http.StatusUnprocessableEntity).mustContain(message)
	}
	for body, message := range map[string]string{
		`{"sequences":[99999999999999999999]}`:                  "sequences: is out of range",
		`{"sequences":[-1]}`:                                    "sequences: must not be negative",
		`{"sequences":[1.5]}`:                                   "sequences: must be a whole number, not 1.5",
		`{"dry_run":true,"rate":1e400}`:                         "rate: is out of range",
		`{"dry_run":true,"rate":"1"}`:                           "rate: must be a number, not a string",
		`{"dry_run":true,"from":"2026-01-31T12:00:00.5+24:00"}`: "from: must be a time such as 2026-01-31T12:00:00Z: its zone",
	} {
		f.do("POST", "/v1/redrives", body).want(http.StatusUnprocessableEntity).mustContain(message)
	}
}
