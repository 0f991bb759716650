package delivery_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/delivery"
)

func TestOutcomeNames(t *testing.T) {
	t.Parallel()
	want := map[delivery.Outcome]string{
		delivery.Delivered: "delivered", delivery.Retry: "retry", delivery.Gone: "gone",
		delivery.Rejected: "rejected", delivery.Exhausted: "exhausted",
	}
	got := make(map[delivery.Outcome]string)
	for _, o := range delivery.Outcomes() {
		got[o] = o.String()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names differ (-want +got):\n%s", diff)
	}
	for o, name := range want {
		text, err := json.Marshal(o)
		if err != nil || string(text) != `"`+name+`"` {
			t.Errorf("outcome %s as JSON: got %s, %v", name, text, err)
		}
		var back delivery.Outcome
		if err := json.Unmarshal(text, &back); err != nil || back != o {
			t.Errorf("outcome %s read back: got %s, %v", name, back, err)
		}
	}
}

// A verdict that was forgotten must not pass for one.
func TestOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for o, want := range map[delivery.Outcome]string{0: "outcome(0)", -1: "outcome(-1)", 6: "outcome(6)"} {
		if got := o.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if text, err := json.Marshal(o); err == nil {
			t.Errorf("outcome %d as JSON: got %s, want an error", int(o), text)
		}
	}
	for _, text := range []string{`""`, `"Delivered"`, `"failed"`, `1`} {
		var o delivery.Outcome
		if err := json.Unmarshal([]byte(text), &o); err == nil {
			t.Errorf("%s is read as %s, want an error", text, o)
		}
	}
}
