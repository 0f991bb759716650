package sender_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/subscription"
)

// recorded are the records of a subscription, newest first: action, actor and fields.
func (r *rig) recorded(id string) []string {
	r.t.Helper()
	found, err := audit.New(r.js, r.layout, "test", zap.NewNop()).Latest(r.t.Context(), &audit.Filter{Target: audit.SubscriptionTarget(id)}, 0, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []string
	for _, one := range found {
		line := one.Action + " by " + one.ActorName + " of " + one.Actor + ": " + one.Reason
		for _, field := range one.Changed {
			line += ", " + field
		}
		all = append(all, line)
	}
	return all
}

// What a sender changes by itself is on the audit trail.
func TestSenderIsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gone := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusGone) })
	asked := consenting(t, http.StatusOK, "WebHook-Allowed-Origin", "*")
	sub := r.subscribe(to("gone", gone.URL))
	r.subscribe(asking("asked", asked.URL, subscription.HandshakePreferred, 0))
	r.send(withOrigin)
	r.queue(sub, 1, 1)
	r.awaitDeadLetters("gone", 1)
	r.awaitConsent("asked", subscription.Allowed)
	if diff := cmp.Diff([]string{"subscription.disable by sender of jetpost: receiver answered 410 Gone, state"}, r.recorded("gone")); diff != "" {
		t.Errorf("records differ (-want +got):\n%s", diff)
	}
	if got := r.recorded("asked"); len(got) != 1 {
		t.Errorf("got %q", got)
	} else if diff := cmp.Diff("subscription.consent by sender of jetpost: the receiver allows the origin *, handshake.consent", got[0]); diff != "" {
		t.Errorf("record differs (-want +got):\n%s", diff)
	}
}
