package httpapi

import (
	"testing"

	v1 "github.com/jetpost/jetpost/client/api"
)

// The path to a field that has the wrong type is that of JSON, also in what is embedded.
func TestWrongTypeField(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{`{"subscription":5}`: "subscription", `{"sequences":"x"}`: "sequences", `{"rate":"x"}`: "rate"} {
		var options v1.RedriveOptions
		err := Decode([]byte(body), &options)
		if p, ok := err.(*ProblemError); !ok || len(p.Errors) != 1 || p.Errors[0].Field != field { //nolint:errorlint // it is that itself
			t.Errorf("%s: got %v", body, err)
		}
	}
}
