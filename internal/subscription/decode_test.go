package subscription

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/subscription/validation/validationtest"
)

const written = `{
	"id": "ci", "description": "builds", "types": ["git.push", "artifact.*"],
	"filters": [{"exact": {"subject": "main"}}, {"not": {"prefix": {"data.path": "tmp/"}}}],
	"endpoint": {
		"url": "https://example.com/hook", "query": "token=swordfish", "method": "PUT",
		"headers": {"X-Team": "red"}, "secret_headers": {"Authorization": "Bearer swordfish"}, "timeout": "20s"
	},
	"profile": "standard",
	"delivery": {"max_in_flight": 8, "retry": {"schedule": ["0s", "5s", "1m30s"], "jitter": 0.1}, "max_age": "48h"},
	"state": "paused", "labels": {"team": "red"}
}`

func TestDecode(t *testing.T) {
	t.Parallel()
	got, err := Decode([]byte(written), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Subscription{
		ID: "ci", Description: "builds", Types: []string{"git.push", "artifact.*"},
		Filters: []filter.Filter{filter.Exact(map[string]string{"subject": "main"}), filter.Not(filter.Prefix(map[string]string{"data.path": "tmp/"}))},
		Endpoint: Endpoint{
			URL: "https://example.com/hook", Query: keyring.NewSecret("token=swordfish"), Method: "PUT",
			Headers: map[string]string{"X-Team": "red"}, SecretHeaders: map[string]keyring.Secret{"Authorization": keyring.NewSecret("Bearer swordfish")},
			Timeout: Duration(20 * time.Second),
		},
		Profile: "standard",
		Delivery: Delivery{
			MaxInFlight: 8, MaxAge: Duration(48 * time.Hour),
			Retrying: Retrying{Retry: Schedule{0, Duration(5 * time.Second), Duration(90 * time.Second)}, Jitter: 0.1},
			Breaker:  DefaultBreaker(),
		},
		State: Paused, Labels: map[string]string{"team": "red"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeReadsWhatIsShown(t *testing.T) {
	t.Parallel()
	s := example(t, "ci")
	s.Queue = testLayout(t).QueueFor("ci")
	s.Revision, s.CreatedAt, s.UpdatedAt = 7, s.Secrets[0].CreatedAt, s.Secrets[0].CreatedAt
	if _, err := s.Rotate(StandardTraits(), s.CreatedAt, time.Hour, keyring.Secret{}); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	got.Inherit(s)
	if diff := cmp.Diff(s, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := got.Validate(testRules()); err != nil {
		t.Error(err)
	}
}

func TestDecodeDefaults(t *testing.T) {
	t.Parallel()
	minimal := `{"types":["git.push"],"endpoint":{"url":"https://Example.COM/hook?token=swordfish"}`
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, more string
		check      func(*Subscription) bool
	}{
		{"profile", ``, func(s *Subscription) bool { return s.Profile == "cloudevents" }},
		{"method", ``, func(s *Subscription) bool { return s.Endpoint.Method == http.MethodPost }},
		{"timeout", ``, func(s *Subscription) bool { return s.Endpoint.Timeout == Duration(15*time.Second) }},
		{"in flight", ``, func(s *Subscription) bool { return s.Delivery.MaxInFlight == 64 }},
		{"senders", ``, func(s *Subscription) bool { return s.Delivery.Senders == 1 }},
		{"senders given", `"delivery":{"senders":4}`, func(s *Subscription) bool { return s.Delivery.Senders == 4 }},
		{"in flight when ordered", `"delivery":{"ordered":true}`, func(s *Subscription) bool { return s.Delivery.Ordered && s.Delivery.MaxInFlight == 1 }},
		{"in flight when not ordered", `"delivery":{"ordered":false}`, func(s *Subscription) bool { return !s.Delivery.Ordered && s.Delivery.MaxInFlight == 64 }},
		{"state", ``, func(s *Subscription) bool { return s.State == Active }},
		{"breaker", ``, func(s *Subscription) bool { return s.Delivery.Breaker == DefaultBreaker() }},
		{"part of a breaker", `"delivery":{"breaker":{"failures":3}}`, func(s *Subscription) bool {
			return s.Delivery.Breaker == Breaker{Mode: BreakerOn, Failures: 3, DisableAfter: Duration(DefaultDisableAfter)}
		}},
		{"a breaker that never disables", `"delivery":{"breaker":{"disable_after":"0s"}}`, func(s *Subscription) bool {
			return s.Delivery.Breaker == Breaker{Mode: BreakerOn, Failures: DefaultBreakerFailures}
		}},
		{"no breaker", `"delivery":{"breaker":{"mode":"off"}}`, func(s *Subscription) bool { return s.Delivery.Breaker.Mode == BreakerOff }},
		{"max age", ``, func(s *Subscription) bool { return s.Delivery.MaxAge == Duration(120*time.Hour) }},
		{"an id is made", ``, func(s *Subscription) bool { return ValidID(s.ID) && len(s.ID) == 14 }},
		{"a key is made", ``, func(s *Subscription) bool {
			return len(s.Secrets) == 1 && s.Secrets[0].ID != "" && s.Secrets[0].CreatedAt.Equal(now)
		}},
		{"the query is a secret", ``, func(s *Subscription) bool {
			return s.Endpoint.URL == "https://example.com/hook" && s.Endpoint.Query.Reveal() == "token=swordfish" &&
				s.Endpoint.RequestURL() == "https://example.com/hook?token=swordfish" && s.Endpoint.RedactedURL() == "https://example.com/hook?…"
		}},
		{"schedule and jitter", ``, func(s *Subscription) bool { return len(s.Delivery.Retry) == 10 && s.Delivery.Jitter == 0.2 }},
		{"a schedule keeps the jitter's default", `"delivery":{"retry":{"schedule":["0s"]}}`, func(s *Subscription) bool {
			return len(s.Delivery.Retry) == 1 && s.Delivery.Jitter == 0.2
		}},
		{"an empty schedule is one attempt", `"delivery":{"retry":{"schedule":[]}}`, func(s *Subscription) bool {
			_, first := s.Delivery.Retry.Before(1)
			_, second := s.Delivery.Retry.Before(2)
			return s.Delivery.Retry != nil && len(s.Delivery.Retry) == 0 && first && !second && s.Delivery.Jitter == 0.2
		}},
		{"no schedule is the default one", `"delivery":{"retry":{"schedule":null}}`, func(s *Subscription) bool { return len(s.Delivery.Retry) == 10 }},
		{"a jitter of 0 is one", `"delivery":{"retry":{"jitter":0}}`, func(s *Subscription) bool {
			return len(s.Delivery.Retry) == 10 && s.Delivery.Jitter == 0
		}},
		{"max age covers a longer schedule", `"delivery":{"retry":{"schedule":["0s","100h","100h"],"jitter":0.5}}`, func(s *Subscription) bool {
			return s.Delivery.MaxAge == Duration(301*time.Hour)
		}},
		{"null is nothing", `"filters":null,"labels":null,"delivery":{"retry":null,"max_age":null}`, func(s *Subscription) bool {
			return s.Filters == nil && s.Labels == nil && len(s.Delivery.Retry) == 10
		}},
		{"a secret is taken", `"secret":"` + whsec(24) + `"`, func(s *Subscription) bool {
			return len(s.Secrets) == 1 && s.Secrets[0].Secret.Reveal() == whsec(24) && s.Secrets[0].ID != ""
		}},
		{"a placeholder for it is not", `"secret":"[secret]"`, func(s *Subscription) bool {
			return len(s.Secrets) == 1 && s.Secrets[0].Secret.Reveal() != ""
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := minimal + "}"
			if tt.more != "" {
				b = minimal + "," + tt.more + "}"
			}
			s, err := Decode([]byte(b), nil)
			if err != nil {
				t.Fatal(err)
			}
			s.SetDefaults(now)
			if err := s.Validate(testRules()); err != nil {
				t.Error(err)
			}
			if !tt.check(s) {
				t.Errorf("got %+v", s)
			}
			again := s.Clone()
			again.SetDefaults(now.Add(time.Hour))
			if diff := cmp.Diff(s, again); diff != "" {
				t.Errorf("a second SetDefaults changes it (-first +second):\n%s", diff)
			}
		})
	}
}

func TestDefaultSchedule(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(DefaultSchedule())
	if want := `["0s","5s","5m","30m","2h","5h","10h","14h","20h","24h"]`; err != nil || string(b) != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
	if got, want := DefaultSchedule().total(0), 75*time.Hour+35*time.Minute+5*time.Second; got != want {
		t.Errorf("it takes %s, want %s", got, want)
	}
	if got := DefaultSchedule().total(DefaultJitter); got > DefaultMaxAge {
		t.Errorf("it takes up to %s, longer than the maximum age %s", got, DefaultMaxAge)
	}
	s := DefaultSchedule()
	for attempt, want := range map[int]time.Duration{1: 0, 2: 5 * time.Second, 10: 24 * time.Hour} {
		if got, ok := s.Before(attempt); !ok || got != want {
			t.Errorf("before attempt %d: got %s, %t, want %s", attempt, got, ok, want)
		}
	}
	for _, attempt := range []int{-1, 0, 11} {
		if _, ok := s.Before(attempt); ok {
			t.Errorf("there is an attempt %d", attempt)
		}
	}
}

func TestDurationText(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 15 * time.Second: "15s", 5 * time.Minute: "5m", 2 * time.Hour: "2h", 120 * time.Hour: "120h",
		90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s", 90 * time.Minute: "1h30m", 1500 * time.Millisecond: "1.5s",
		-time.Hour: "-1h", 10 * time.Second: "10s", 100 * time.Minute: "1h40m", 10 * time.Minute: "10m",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
		var back Duration
		if err := back.UnmarshalText([]byte(want)); err != nil || back != Duration(d) {
			t.Errorf("%s: read back as %s, %v", want, back, err)
		}
	}
}

func TestDecodeProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"not JSON", `nope`, []string{`: is not valid JSON`}},
		{"nothing", ``, []string{`: it ends too early`}},
		{"cut off", `{"id":"ci"`, []string{`: it ends too early`}},
		{"two objects", `{} {}`, []string{`: has something after its end`}},
		{"an array", `[]`, []string{`: must be an object, not an array`}},
		{"null", `null`, []string{`: must be an object, not null`}},
		{"unknown field", `{"endpont":{}}`, []string{`endpont: is not a field: use id, description, types`}},
		{"unknown fields further in", `{"endpoint":{"via":"x","tls":{}},"delivery":{"retry":{"steps":[]}}}`, []string{
			`endpoint.via: use url, query, method`, `endpoint.tls: is not a field`, `delivery.retry.steps: use schedule, jitter`,
		}},
		{"names have one case", `{"ID":"ci","Retrying":{}}`, []string{`ID: is not a field`, `Retrying: is not a field`}},
		{"given twice", `{"id":"a","id":"b"}`, []string{`: has "id" twice`}},
		{"wrong types", `{"id":1,"types":"git.push","filters":{},"labels":[],"endpoint":7,"state":true,"delivery":{"max_in_flight":"8","ordered":"yes"}}`, []string{
			`delivery.ordered: must be true or false, not a string`,
			`id: must be a string, not a number`, `types: must be an array, not a string`, `filters: must be an array, not an object`,
			`labels: must be an object, not an array`, `endpoint: must be an object, not a number`, `state: must be a string, not a boolean`,
			`delivery.max_in_flight: must be a whole number, not a string`,
		}},
		{"wrong types in lists", `{"types":["a",1],"labels":{"a":1},"endpoint":{"headers":{"x":2},"secret_headers":{"y":3}}}`, []string{
			`types[1]: must be a string`, `labels.a: must be a string`, `endpoint.headers.x: must be a string`, `endpoint.secret_headers.y: must be a string`,
		}},
		{"numbers", `{"delivery":{"max_in_flight":1.5,"retry":{"jitter":"high"}}}`, []string{
			`delivery.max_in_flight: must be a whole number`, `delivery.retry.jitter: must be a number, not a string`,
		}},
		{"durations", `{"endpoint":{"timeout":15},"delivery":{"max_age":"5 days","retry":{"schedule":["0s","soon",5]}}}`, []string{
			`endpoint.timeout: must be a string with a unit, such as "15s"`, `delivery.retry.schedule[1]: "soon" is not a duration`,
			`delivery.retry.schedule[2]: must be a string with a unit`, `delivery.max_age: "5 days" is not a duration`,
		}},
		{"numbers out of range", `{"delivery":{"max_in_flight":99999999999999999999,"rate":1e400}}`, []string{
			`delivery.max_in_flight: is out of range`, `delivery.rate: is out of range`,
		}},
		{"a duration out of range", `{"delivery":{"max_age":"99999999h"}}`, []string{`delivery.max_age: "99999999h" is longer than 292 years`}},
		{"filters", `{"filters":[{"exact":{"subject":"main"}},{"exact":{"subject":1}},{"like":{"a":"b"}},{"all":[{"not":{"exact":{}}}]}]}`, []string{
			`filters[1].exact.subject: must be a string, not a number`, `filters[2].like: is not a filter dialect`,
			`filters[3].all[0].not.exact: is empty`,
		}},
		{"two secrets", `{"secret":"a","secrets":[{"secret":"b"}]}`, []string{`secret: is given together with secrets`}},
		{"times", `{"created_at":"yesterday"}`, []string{`created_at: must be an RFC 3339 time`}},
		{"a time's offset", `{"created_at":"2026-01-31T12:00:00+24:00"}`, []string{`created_at: must be an RFC 3339 time, such as 2026-01-31T12:00:00Z: its zone is neither Z nor an offset from -23:59 to +23:59`}},
		{"a number for a time", `{"created_at":5}`, []string{`created_at: must be an RFC 3339 time, such as 2026-01-31T12:00:00Z, not a number`}},
		{"size", `{"description":"` + strings.Repeat("a", MaxSize) + `"}`, []string{`: is larger than 262144 bytes`}},
		{"secrets are not quoted", `{"endpoint":{"query":["swordfish"]},"secret":{"a":"swordfish"}}`, []string{
			`endpoint.query: must be a string`, `secret: must be a string`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := Decode([]byte(tt.in), nil)
			if err == nil {
				t.Fatalf("accepted as %+v", s)
			}
			if strings.Contains(err.Error(), "swordfish") {
				t.Errorf("the error shows the secret: %v", err)
			}
			sortedProblems(t, err, tt.want)
		})
	}
}

// sortedProblems is wantProblems for problems in any order.
func sortedProblems(t *testing.T, err error, want []string) {
	t.Helper()
	got := validationtest.Of(t, err)
	if len(got) != len(want) {
		t.Fatalf("got problems\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	for _, w := range want {
		field, part, _ := strings.Cut(w, ": ")
		found := false
		for _, g := range got {
			found = found || strings.HasPrefix(g, field+": ") && strings.Contains(g, part)
		}
		if !found {
			t.Errorf("no problem %q among\n\t%s", w, strings.Join(got, "\n\t"))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(written))
	f.Add([]byte(`{"types":["git.push"],"endpoint":{"url":"https://example.com/hook?a=b"}}`))
	f.Add([]byte(`{"secret":"[secret]","secrets":[{"id":"a","expires_at":"2026-01-31T12:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b, nil)
		if err != nil {
			return
		}
		now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
		s.SetDefaults(now)
		if s.Validate(testRules()) != nil {
			return
		}
		// What is valid can be shown, sent back, and is the same.
		shown, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		back, err := Decode(shown, nil)
		if err != nil {
			t.Fatalf("decode %s: %v", shown, err)
		}
		back.Inherit(s)
		back.StateReason = s.StateReason
		back.SetDefaults(now)
		if err := back.Validate(testRules()); err != nil {
			t.Fatalf("validate %s: %v", shown, err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(shown) {
			t.Fatalf("%v\n%s became\n%s", err, shown, again)
		}
		if _, err := filter.NewTable(back); err != nil {
			t.Fatalf("what is valid does not compile: %v", err)
		}
	})
}
