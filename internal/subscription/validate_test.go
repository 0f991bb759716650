package subscription

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/subscription/validation"
	"github.com/jetpost/jetpost/internal/subscription/validation/validationtest"
)

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	s := &Subscription{
		ID: "Bad_ID", Description: "bell \a", Types: []string{"git push", "git.push", "git.push", "*", "Git.*", "no.such"},
		Filters: []filter.Filter{filter.Exact(map[string]string{"Subject": ""}), {}},
		Endpoint: Endpoint{
			URL: "ftp://user:swordfish@/#x", Method: "GET", Timeout: Duration(time.Minute),
			Headers: map[string]string{"Content-Type": "x", "a b": "c", "X-A": "line\nbreak"},
		},
		Profile: "soap", Secrets: []SigningKey{{ID: "a", Secret: keyring.NewSecret("swordfish")}},
		Delivery: Delivery{MaxInFlight: 1001, Senders: 17, Retrying: Retrying{Retry: Schedule{Duration(time.Second), -1}, Jitter: 2}, MaxAge: 1, Breaker: Breaker{Mode: "ajar", Failures: -1, DisableAfter: 1}},
		State:    "asleep", Labels: map[string]string{"-": "a", "b": strings.Repeat("c", 300)},
	}
	err := s.Validate(Rules{Profiles: []string{"cloudevents", "standard"}, Traits: testRules().Traits, Types: func(t string) bool { return t == "git.push" }})
	validationtest.Want(t, err,
		`id: "Bad_ID" is not an id`,
		`description: control character U+0007`,
		`types[0]: "git push" is not an event type`,
		`types[2]: "git.push" is given twice`,
		`types[3]: "*" is not an event type`,
		`types[4]: must be the name of a domain`,
		`types[5]: there is no event type "no.such"`,
		`filters[0].exact.Subject: is not an attribute name`,
		`filters[0].exact.Subject: is empty`,
		`endpoint.url: must start with https://`,
		`endpoint.url: must not have a user name or password`,
		`endpoint.url: must not have a fragment`,
		`endpoint.url: has no host`,
		`endpoint.method: "GET": use POST, PUT or PATCH`,
		`endpoint.timeout: is 1m: use 1s to 30s`,
		`endpoint.headers.Content-Type: is set by jetpost`,
		`endpoint.headers.X-A: has a control character`,
		`endpoint.headers.a b: is not a header name`,
		`profile: "soap" is not a profile: use one of cloudevents, standard`,
		`secrets[0].secret: starts with whsec_`,
		`delivery.max_in_flight: is 1001: use 1 to 1000`,
		`delivery.senders: is 17: use 1 to 16`,
		`delivery.breaker.mode: "ajar" is not a mode: use on or off`,
		`delivery.breaker.failures: is -1: use 1 to 1000`,
		`delivery.breaker.disable_after: is 1ns: use 1m to 2160h, or 0s for never`,
		`delivery.retry.schedule[0]: is 1s: the first attempt is made at once`,
		`delivery.retry.schedule[1]: use 0s to 720h`,
		`delivery.retry.jitter: is 2: use a share from 0 to 1`,
		`state: "asleep" is not a state: use active, paused or disabled`,
		`labels.-: is not a label name`,
		`labels.b: has 300 characters, at most 256`,
	)
	if strings.Contains(err.Error(), "swordfish") {
		t.Errorf("the error shows a secret: %v", err)
	}
}

func TestValidID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "my-hook-1", "a--b", "a1", strings.Repeat("a", 63), NewID()} {
		if !ValidID(id) {
			t.Errorf("%q is refused", id)
		}
	}
	for _, id := range []string{"", "1a", "-a", "abc-", "Ab", "a_b", "a.b", strings.Repeat("a", 64), "ä", "a ", "a\n", "*", ">", "a>"} {
		if ValidID(id) {
			t.Errorf("%q is accepted", id)
		}
	}
}

func TestValidateTypes(t *testing.T) {
	t.Parallel()
	for _, good := range [][]string{
		{"git.push"}, {"git.*"}, {"com.example.orders.created", "orders.*"}, {"a"}, {"A_b-1.C"}, {strings.Repeat("a", 255)},
	} {
		s := example(t, "ci")
		s.Types = good
		if err := s.Validate(testRules()); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ".", "a.", ".a", "a..b", "*", ">", "git.>", "git.p*", "a b", "a/b", "ä", "com.example.*", "*.push", ".*", "Git.*", strings.Repeat("a", 256), "a\n",
	} {
		s := example(t, "ci")
		s.Types = []string{bad}
		if got := validationtest.Of(t, s.Validate(testRules())); len(got) != 1 || !strings.HasPrefix(got[0], "types[0]: ") {
			t.Errorf("%q: got %q", bad, got)
		}
	}
	s := example(t, "ci")
	s.Types = nil
	validationtest.Want(t, s.Validate(testRules()), "types: is empty: give at least one")
	for i := range 201 {
		s.Types = append(s.Types, fmt.Sprintf("a.b%d", i))
	}
	validationtest.Want(t, s.Validate(testRules()), "types: has 201 entries, at most 200")
	s.Types = s.Types[:200]
	if err := s.Validate(testRules()); err != nil {
		t.Error(err)
	}
}

func TestValidateURL(t *testing.T) {
	t.Parallel()
	long := "https://example.com/" + strings.Repeat("a", 2048)
	for _, tt := range []struct{ url, want string }{
		{"https://example.com", ""},
		{"http://example.com:8080/a/b%20c", ""},
		{"https://example.com./a", ""},
		{"https://192.0.2.1:443/", ""},
		{"https://[2001:db8::1]:8443/x", ""},
		{"https://xn--bcher-kva.example/", ""},
		{"https://my_service.internal/", ""},
		{"https://localhost:9000/hook", ""}, // for Egress to judge
		{"", "is missing"},
		{long, "longer than 2048"},
		{"example.com/hook", "must start with https://"},
		{"//example.com/hook", "must start with https://"},
		{"ftp://example.com/", "must start with https://"},
		{"javascript:alert(1)", "must start with https://"},
		{"https:example.com", "has no host"},
		{"https:///path", "has no host"},
		{"https://:443/", "has no host"},
		{"https://user@example.com/", "must not have a user name"},
		{"https://user:swordfish@example.com/", "must not have a user name"},
		{"https://@example.com/", "must not have a user name"},
		{"https://example.com/#frag", "must not have a fragment"},
		{"https://example.com/#", "must not have a fragment"},
		{"https://example.com/a b", "has a space"},
		{"https://exa mple.com/", "has a space"},
		{"https://example.com/\n", "has a space"},
		{"https://example.com/\x00", "control character"},
		{"https://example.com\\@evil.example/", "a backslash"},
		{"https://bücher.example/", "punycode"},
		{"https://example.com/%zz", "is not a URL"},
		{"https://example.com:0/", "not 1 to 65535"},
		{"https://example.com:65536/", "not 1 to 65535"},
		{"https://example.com:http/", "is not a URL"},
		{"https://example.com:/", "a colon without a port"},
		{"https://[fe80::1%25eth0]/", "a zone"},
		{"https://[192.0.2.1]/", "is not a URL"},
		{"https://[]/", "is not a URL"},
		{"https://[2001:db8::1/", "is not a URL"},
		{"https://2130706433/", "ends in a number"},
		{"https://0x7f000001/", "ends in a number"},
		{"https://017700000001/", "ends in a number"},
		{"https://0177.0.0.1/", "ends in a number"},
		{"https://0x7f.1/", "ends in a number"},
		{"https://127.1/", "ends in a number"},
		{"https://127.0.0.1./", "ends in a number"},
		{"https://example.0x/", "ends in a number"},
		{"https://a..b/", "empty or longer than 63"},
		{"https://" + strings.Repeat("a", 64) + ".example/", "empty or longer than 63"},
		{"https://" + strings.Repeat("a.", 130) + "example/", "longer than 253"},
		{"https://exa%6Dple.com/", "is not a URL"},
		{"https://exa$mple.com/", "neither a name nor an address"},
	} {
		s := example(t, "ci")
		s.Endpoint.URL = tt.url
		got := validationtest.Of(t, s.Validate(testRules()))
		switch {
		case tt.want == "" && len(got) > 0:
			t.Errorf("%q: refused: %s", tt.url, got)
		case tt.want != "" && (len(got) == 0 || !strings.HasPrefix(got[0], "endpoint.url: ") || !strings.Contains(got[0], tt.want)):
			t.Errorf("%q: got %q, want %q", tt.url, got, tt.want)
		case strings.Contains(fmt.Sprint(got), "swordfish"):
			t.Errorf("%q: the password is shown: %s", tt.url, got)
		}
	}
}

func TestValidateQuery(t *testing.T) {
	t.Parallel()
	s := example(t, "ci")
	for query, want := range map[string]string{
		"a=b&c=%20": "", "a b": "has a space", "a\nb": "a control character", "a#b": "a #", "ä": "outside ASCII", strings.Repeat("a", 4097): "longer than 4096",
	} {
		s.Endpoint.Query = keyring.NewSecret(query)
		got := validationtest.Of(t, s.Validate(testRules()))
		if (want == "") != (len(got) == 0) || want != "" && !strings.Contains(got[0], want) {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	s.Endpoint.Query = keyring.NewSecret("a=b")
	s.Endpoint.URL = "https://example.com/?c=swordfish"
	s.SetDefaults(time.Now())
	err := s.Validate(testRules())
	validationtest.Want(t, err, "endpoint.url: has a query as well as endpoint.query")
	if strings.Contains(err.Error(), "swordfish") {
		t.Errorf("the query is shown: %v", err)
	}
}

func TestNormaliseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		"HTTPS://Example.COM:8443/Path?":   {"https://example.com:8443/Path", ""},
		"https://example.com/a%2Fb?x=%20y": {"https://example.com/a%2Fb", "x=%20y"},
		"https://example.com":              {"https://example.com", ""},
		"not a url?x":                      {"not a url?x", ""},
	} {
		e := Endpoint{URL: in}
		e.normalise()
		if e.URL != want[0] || e.Query.Reveal() != want[1] {
			t.Errorf("%s: got %s and %s, want %s", in, e.URL, e.Query.Reveal(), want)
		}
	}
}

// A profile may allow text outside ASCII in the values of headers, which HTTP carries, and
// nothing that ends a header or garbles a terminal.
func TestValidateHeaderText(t *testing.T) {
	t.Parallel()
	rules := testRules()
	for _, text := range []bool{false, true} {
		rules.Traits = func(string) (Traits, bool) {
			traits := StandardTraits()
			traits.HeaderText = text
			return traits, true
		}
		for value, isText := range map[string]bool{
			"Gr\u00fc\u00dfe": true, "\u00a0a\u00ff": true, "\u65e5\u672c \U0001F600": true, "a\tb": false, "plain": false, "": false,
		} {
			s := example(t, "ci")
			s.Endpoint.Headers, s.Endpoint.SecretHeaders = map[string]string{"X-A": value}, map[string]keyring.Secret{"X-B": keyring.NewSecret(value)}
			want := 0
			if isText && !text {
				want = 2
			}
			got := validationtest.Of(t, s.Validate(rules))
			if len(got) != want || want > 0 && !strings.HasSuffix(got[0], "has a control character or one outside ASCII") {
				t.Errorf("%q, text %t: got %q", value, text, got)
			}
		}
		for _, value := range []string{"\u0085", "a\u009bb", "a\u0080", "a\x7f", "a\r\nB: \u00fc", "\x00", "\xfc", "\xc3", " \u00fc", "\u00fc\t"} {
			s := example(t, "ci")
			s.Endpoint.SecretHeaders = map[string]keyring.Secret{"X-B": keyring.NewSecret(value)}
			if got := validationtest.Of(t, s.Validate(rules)); len(got) != 1 || strings.Contains(got[0], value) {
				t.Errorf("%q, text %t: got %q", value, text, got)
			}
		}
	}
}

func TestValidateHeaders(t *testing.T) {
	t.Parallel()
	validate := func(headers map[string]string, secret map[string]keyring.Secret) []string {
		s := example(t, "ci")
		s.Endpoint.Headers, s.Endpoint.SecretHeaders = headers, secret
		return validationtest.Of(t, s.Validate(testRules()))
	}
	for _, name := range []string{
		"Host", "host", "content-length", "Content-Type", "content-encoding", "connection", "keep-alive", "transfer-encoding", "te", "trailer",
		"upgrade", "expect", "proxy-authorization", "webhook-id", "Webhook-Signature", "webhook-x", "ce-id", "Ce-Anything", "jetpost-attempt",
	} {
		if got := validate(map[string]string{name: "a"}, nil); len(got) != 1 || !strings.Contains(got[0], "is set by jetpost") {
			t.Errorf("%s: got %q", name, got)
		}
	}
	for name, value := range map[string]string{
		"X-A": "b", "x_y": "", "User-Agent": "me/1.0 (a; b)", "Accept": "*/*", "Cell": "1", "Webhooks": "1", "Hosts": "a\tb", "!#$%&'*+-.^_`|~": "a",
	} {
		if got := validate(map[string]string{name: value}, nil); len(got) != 0 {
			t.Errorf("%s: got %q", name, got)
		}
	}
	for _, name := range []string{"", "a b", "a:b", "a\r\nb", "ä", "a(b", strings.Repeat("a", 129)} {
		if got := validate(map[string]string{name: "a"}, nil); len(got) != 1 || !strings.Contains(got[0], "is not a header name") {
			t.Errorf("%q: got %q", name, got)
		}
	}
	for _, value := range []string{" a", "a ", "a\r\nB: c", "a\x00", "ä", "\x7f", strings.Repeat("a", 4097)} {
		got := validate(nil, map[string]keyring.Secret{"X-A": keyring.NewSecret(value)})
		if len(got) != 1 || !strings.HasPrefix(got[0], "endpoint.secret_headers.X-A: ") {
			t.Errorf("%q: got %q", value, got)
		}
	}
	if got := validate(map[string]string{"x-a": "1"}, map[string]keyring.Secret{"X-A": keyring.NewSecret("2")}); len(got) != 1 || !strings.Contains(got[0], "the same header as endpoint.headers.x-a") {
		t.Errorf("a header in both: got %q", got)
	}
	if got := validate(map[string]string{"authorization": "Bearer swordfish"}, nil); len(got) != 1 || !strings.Contains(got[0], "put it into secret_headers") || strings.Contains(got[0], "swordfish") {
		t.Errorf("a secret in plain headers: got %q", got)
	}
	many := make(map[string]string)
	for i := range 51 {
		many[fmt.Sprintf("X-%d", i)] = "a"
	}
	if got := validate(many, nil); len(got) != 1 || !strings.Contains(got[0], "have 51 entries, at most 50") {
		t.Errorf("too many: got %q", got)
	}
	large := make(map[string]string)
	for i := range 10 {
		large[fmt.Sprintf("X-%d", i)] = strings.Repeat("a", 4000)
	}
	if got := validate(large, nil); len(got) != 1 || !strings.Contains(got[0], "bytes in all") {
		t.Errorf("too large: got %q", got)
	}
}

func TestValidateDelivery(t *testing.T) {
	t.Parallel()
	hours := func(n ...int) Schedule {
		s := Schedule{0}
		for _, h := range n {
			s = append(s, Duration(time.Duration(h)*time.Hour))
		}
		return s
	}
	for _, tt := range []struct {
		name   string
		change func(*Delivery)
		want   string
	}{
		{"as it is", func(*Delivery) {}, ""},
		{"one attempt", func(d *Delivery) { d.Retry, d.MaxAge = hours(), Duration(time.Minute) }, ""},
		{"the age just covers the schedule", func(d *Delivery) { d.Retry, d.Jitter, d.MaxAge = hours(10), 0.5, Duration(15*time.Hour) }, ""},
		{"it does not", func(d *Delivery) { d.Retry, d.Jitter, d.MaxAge = hours(10), 0.5, Duration(15*time.Hour-1) }, "takes up to 15h"},
		{"it is too high", func(d *Delivery) { d.MaxAge = Duration(721 * time.Hour) }, "use 1m to 720h"},
		{"a breaker that never disables", func(d *Delivery) { d.Breaker.DisableAfter = 0 }, ""},
		{"no breaker", func(d *Delivery) { d.Breaker.Mode = BreakerOff }, ""},
		{"one that is too patient", func(d *Delivery) { d.Breaker.Failures = 1001 }, "use 1 to 1000"},
		{"one that disables too late", func(d *Delivery) { d.Breaker.DisableAfter = Duration(91 * 24 * time.Hour) }, "use 1m to 2160h"},
		{"in order", func(d *Delivery) { d.Ordered, d.MaxInFlight = true, 1 }, ""},
		{"in order, but several at a time", func(d *Delivery) { d.Ordered, d.MaxInFlight = true, 2 }, "delivery.max_in_flight: is 2, but delivery.ordered has deliveries made one at a time: leave it out or write 1, or set ordered to false"},
		{"in order, and far too many at a time", func(d *Delivery) { d.Ordered, d.MaxInFlight = true, 1001 }, "use 1 to 1000"},
		{"negative in flight", func(d *Delivery) { d.MaxInFlight = -1 }, "use 1 to 1000"},
		{"senders of a record from before there was a choice", func(d *Delivery) { d.Senders = 0 }, ""},
		{"negative senders", func(d *Delivery) { d.Senders = -1 }, "delivery.senders: is -1: use 1 to 16"},
		{"no schedule", func(d *Delivery) { d.Retry = nil }, "delivery.retry.schedule: is missing"},
		{"one attempt", func(d *Delivery) { d.Retry = Schedule{} }, ""},
		{"51 attempts", func(d *Delivery) { d.Retry = make(Schedule, 51) }, "has 51 attempts: use 1 to 50"},
		{"50 attempts", func(d *Delivery) { d.Retry = make(Schedule, 50) }, ""},
		{"the first is not at once", func(d *Delivery) { d.Retry = Schedule{1} }, "write 0s"},
		{"jitter is not a number", func(d *Delivery) { d.Jitter = math.NaN() }, "use a share from 0 to 1"},
		{"jitter is negative", func(d *Delivery) { d.Jitter = -0.1 }, "use a share from 0 to 1"},
		{"jitter is 1", func(d *Delivery) { d.Retry, d.Jitter = hours(10), 1 }, ""},
	} {
		s := example(t, "ci")
		tt.change(&s.Delivery)
		got := validationtest.Of(t, s.Validate(testRules()))
		if (tt.want == "") != (len(got) == 0) || tt.want != "" && !strings.Contains(got[0], tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestValidateLabelsAndSecrets(t *testing.T) {
	t.Parallel()
	s := example(t, "ci")
	s.Labels = map[string]string{"a": "", "example.com/team": "red", strings.Repeat("a", 63): strings.Repeat("ä", 256)}
	if err := s.Validate(testRules()); err != nil {
		t.Error(err)
	}
	s.Labels = make(map[string]string)
	for i := range 33 {
		s.Labels[fmt.Sprint(i)] = "a"
	}
	validationtest.Want(t, s.Validate(testRules()), "labels: has 33 entries, at most 32")
	s.Labels = nil
	key := s.Secrets[0]
	s.Secrets = []SigningKey{key, key}
	validationtest.Want(t, s.Validate(testRules()), "secrets[1].id: is given twice")
	s.Secrets = make([]SigningKey, 12)
	validationtest.Want(t, s.Validate(testRules()), "secrets: has 12 entries, at most 11")
}

func TestValidateFiltersInAll(t *testing.T) {
	t.Parallel()
	s := example(t, "ci")
	s.Filters = nil
	for range 5000 / 2 { // two nodes each
		s.Filters = append(s.Filters, filter.Exact(map[string]string{"subject": "main"}))
	}
	if err := s.Validate(testRules()); err != nil {
		t.Error(err)
	}
	s.Filters = append(s.Filters, s.Filters[0])
	validationtest.Want(t, s.Validate(testRules()), "filters: have 5002 filters and entries in all, at most 5000")
}

func TestManyProblemsAreBounded(t *testing.T) {
	t.Parallel()
	s := example(t, "ci")
	for range 190 {
		s.Types = append(s.Types, "no type")
	}
	s.Filters = make([]filter.Filter, 200)
	if got := len(validationtest.Of(t, s.Validate(testRules()))); got != validation.MaxProblems {
		t.Errorf("got %d problems, want %d", got, validation.MaxProblems)
	}
}

func FuzzURL(f *testing.F) {
	for _, seed := range []string{"https://example.com/a?b#c", "http://[::1%25eth0]:80/", "https://0x7f.1", "https://a@b:c@d/", "http://127.0.0.1.:/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		e := Endpoint{URL: raw}
		e.normalise()
		if len(urlProblems(e.URL)) > 0 {
			return
		}
		first := e
		e.normalise()
		if e.URL != first.URL {
			t.Fatalf("%q is not stable: %q", first.URL, e.URL)
		}
		u, err := url.Parse(e.URL)
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
			t.Fatalf("%q is accepted: %+v, %v", e.URL, u, err)
		}
	})
}
