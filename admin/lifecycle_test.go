package admin

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	paused := f.do("POST", "/v1/subscriptions/ci/pause", `{"reason":"maintenance"}`).want(http.StatusOK).subscription()
	if paused.State != v1.Paused || paused.StateReason != "maintenance" {
		t.Errorf("got %s, %q", paused.State, paused.StateReason)
	}
	// Another change leaves both alone.
	patched := f.do("PATCH", "/v1/subscriptions/ci", `{"description":"x"}`).want(http.StatusOK).subscription()
	if patched.State != v1.Paused || patched.StateReason != "maintenance" {
		t.Errorf("a patch of something else made it %s, %q", patched.State, patched.StateReason)
	}
	resumed := f.do("POST", "/v1/subscriptions/ci/resume", "").want(http.StatusOK).subscription()
	if resumed.State != v1.Active || resumed.StateReason != "" {
		t.Errorf("got %s, %q", resumed.State, resumed.StateReason)
	}
	// Also after a receiver that was gone.
	_, err := f.store.Change(t.Context(), "ci", func(s *subscription.Subscription) error {
		s.State, s.StateReason = subscription.Disabled, "receiver answered 410 Gone"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusOK).mustContain("410 Gone")
	f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusConflict).mustContain("resume it first")
	if got := f.do("POST", "/v1/subscriptions/ci/resume", "").want(http.StatusOK).subscription(); got.State != v1.Active {
		t.Errorf("got %s", got.State)
	}
	for body, want := range map[string]int{
		`{"raison":"x"}`: http.StatusUnprocessableEntity, `{"reason":5}`: http.StatusUnprocessableEntity,
		`[]`: http.StatusUnprocessableEntity, `{`: http.StatusBadRequest, `{"reason":"a","reason":"b"}`: http.StatusBadRequest,
		`{"reason":"` + strings.Repeat("x", 1001) + `"}`: http.StatusUnprocessableEntity,
	} {
		f.do("POST", "/v1/subscriptions/ci/pause", body).want(want)
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated).subscription().Secret
	rotate := func(body string) string {
		t.Helper()
		var got struct {
			Secret        string    `json:"secret"`
			OldValidUntil time.Time `json:"old_valid_until"`
		}
		f.do("POST", "/v1/subscriptions/ci/rotate-secret", body).want(http.StatusOK).into(&got)
		return got.Secret
	}
	active := func() []string {
		t.Helper()
		var got struct {
			Secrets []string `json:"secrets"`
		}
		f.do("GET", "/v1/subscriptions/ci/secret", "").want(http.StatusOK).into(&got)
		return got.Secrets
	}
	second := rotate("")
	if got := active(); len(got) != 2 || got[0] != second || got[1] != first {
		t.Errorf("after a rotation with overlap: %d secrets", len(got))
	}
	const own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	if got := rotate(`{"secret":"` + own + `","overlap":"0s"}`); got != own {
		t.Errorf("got another secret than the one that was given")
	}
	if got := active(); len(got) != 1 || got[0] != own {
		t.Errorf("after a rotation without overlap: %d secrets", len(got))
	}
	f.do("GET", "/v1/subscriptions/ci", "").mustNotContain("whsec_")
	for body, field := range map[string]string{
		`{"overlap":"169h"}`: "overlap", `{"overlap":"-1s"}`: "overlap", `{"secret":"swordfish"}`: "secret",
		`{"secret":"[secret]"}`: "secret", `{"secret":"whsec_c3dvcmRmaXNo"}`: "secret",
	} {
		r := f.do("POST", "/v1/subscriptions/ci/rotate-secret", body).want(http.StatusUnprocessableEntity).mustNotContain("swordfish", "c3dvcmRmaXNo")
		if got := r.fields(); len(got) != 1 || got[0] != field {
			t.Errorf("%s: got fields %v", body, got)
		}
	}
	for _, body := range []string{`{"overlap":24}`, `{"overlap":"soon"}`, `{"secret":["swordfish"]}`, `{"scret":"swordfish"}`} {
		f.do("POST", "/v1/subscriptions/ci/rotate-secret", body).want(http.StatusUnprocessableEntity).mustNotContain("swordfish")
	}
	if got := active(); len(got) != 1 || got[0] != own {
		t.Errorf("a refused rotation has changed something")
	}
	for range 10 {
		rotate("")
	}
	f.do("POST", "/v1/subscriptions/ci/rotate-secret", "").want(http.StatusConflict).mustContain("11 signatures at most", "overlap of 0s")
	if got := active(); len(got) != 11 || got[10] != own {
		t.Errorf("with as many secrets as can sign: %d", len(got))
	}
}

func TestTestEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	catalogue, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", strings.Replace(subscriptionNamed("all"), "git.push", "git.*", 1)).want(http.StatusCreated)
	send := func(path, body string) (got struct {
		DeliveryID string `json:"delivery_id"`
		EventID    string `json:"event_id"`
		EventType  string `json:"event_type"`
		State      string `json:"state"`
	},
	) {
		t.Helper()
		f.do("POST", path, body).want(http.StatusAccepted).into(&got)
		return got
	}
	answer := send("/v1/subscriptions/ci/test", "")
	waiting := f.queued("ci")
	if len(waiting) != 1 {
		t.Fatalf("%d deliveries in the queue", len(waiting))
	}
	d := waiting[0]
	if d.ID != answer.DeliveryID || d.Event.ID != answer.EventID || d.Event.Type != "git.push" || answer.EventType != "git.push" || answer.State != "active" {
		t.Errorf("got %+v, answered %+v", d.Event, answer)
	}
	if err := d.Event.Validate(); err != nil {
		t.Error(err)
	}
	if err := catalogue.Validate(d.Event); err != nil {
		t.Errorf("a test event breaks its schema: %v", err)
	}
	if ref := delivery.RefOf(d); ref.Stream != delivery.TestLog || ref.Sequence == 0 {
		t.Errorf("its attempts will refer to %+v", ref)
	}
	if len(f.queued("all")) != 0 {
		t.Error("another subscription got the test event")
	}

	if got := send("/v1/subscriptions/all/test", `{"type":"git.pull_request"}`); got.EventType != "git.pull_request" {
		t.Errorf("got an event of type %s", got.EventType)
	}
	if again := send("/v1/subscriptions/ci/test", ""); again.DeliveryID == answer.DeliveryID {
		t.Error("two test events are the same")
	}
	f.do("POST", "/v1/subscriptions/ci/pause", "").want(http.StatusOK)
	if got := send("/v1/subscriptions/ci/test", ""); got.State != "paused" {
		t.Errorf("got state %s", got.State)
	}
	f.do("POST", "/v1/subscriptions/ci/test", `{"type":"git.pull_request"}`).want(http.StatusUnprocessableEntity).mustContain("git.push")
}

func TestTestEventQueueFull(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	s, err := f.js.Stream(t.Context(), f.layout.QueueFor("ci").Stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgs = 1
	if _, err := f.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusAccepted)
	f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusConflict).mustContain("queue is full")
}

// The timers of a deleted subscription are overwritten, while those of another one wait in
// the same file.
func TestDeletedTimersAreOverwritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("ci")).want(http.StatusCreated)
	shard := f.layout.QueueFor("ci").RetryShard
	timer := func(id string) []byte {
		data := []byte(rand.Text() + rand.Text())
		f.publishMsg(&nats.Msg{
			Subject: f.layout.RetryAt(shard, id, "key"), Data: data,
			Header: nats.Header{"Nats-Schedule": {"@at 2100-01-01T00:00:00Z"}, "Nats-Schedule-Target": {f.layout.RetryDue(shard, id)}},
		})
		return data
	}
	deleted, kept := timer("ci"), timer("other")
	has := func(what []byte) bool {
		blocks, err := filepath.Glob(filepath.Join(f.nats.Dir, "jetstream", "*", "streams", f.layout.RetryStream(shard), "msgs", "*.blk"))
		if err != nil || len(blocks) == 0 {
			t.Fatalf("no blocks, error %v", err)
		}
		return slices.ContainsFunc(blocks, func(block string) bool {
			content, err := os.ReadFile(block)
			return err == nil && bytes.Contains(content, what)
		})
	}
	if !has(deleted) || !has(kept) {
		t.Fatal("the timers are not in the file")
	}
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK).mustContain(`1`)
	if has(deleted) || !has(kept) {
		t.Errorf("the file has the timer that was deleted: %t, that which waits: %t", has(deleted), has(kept))
	}
}
