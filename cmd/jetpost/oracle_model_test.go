package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The model of the oracle: events, what subscriptions want of them, and how their
// receivers will answer. It shares no code with what it judges. All of it follows
// from the seed; only the order in time does not.

// An oEvent is an event that was or will be published.
type oEvent struct {
	id, source, kind, subject string
	extensions                map[string]string
	contentType               string
	data                      []byte
	value                     any // the data, when it is JSON

	mu       sync.Mutex
	began    time.Time // when the first publish began
	accepted time.Time // when a receipt came; zero: it may be stored or not
}

func (e *oEvent) publishing(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.began.IsZero() {
		e.began = now
	}
}

func (e *oEvent) receipt(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.accepted.IsZero() {
		e.accepted = now
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// newEvent makes an event of any kind. Few values are used, so that filters match.
func newEvent(r *rand.Rand, id string) *oEvent {
	e := &oEvent{
		id: id, source: pick(r, "/shops/1", "/shops/2", "urn:shop:3"), subject: pick(r, "eu/de", "eu/fr", "us/ny", "us/ca", ""),
		extensions: map[string]string{}, contentType: "application/json",
	}
	if region := pick(r, "north", "south", ""); region != "" {
		e.extensions["region"] = region
	}
	switch kind := r.IntN(20); {
	case kind == 0:
		e.kind, e.contentType, e.data = "shop.note", "text/plain; charset=utf-8", []byte("note "+id+" \"ü\" \n")
		return e
	case kind == 1:
		e.kind, e.contentType = "shop.blob", "application/octet-stream"
		e.data = []byte{0, 0xff, 0xfe, byte(r.IntN(256)), '{'}
		return e
	case kind < 7:
		e.kind = pick(r, "artifact.deployed", "artifact.deleted")
		e.data = fmt.Appendf(nil, "{\"repo_key\":%q, \"path\":\"org/%s.jar\",\n\t\"name\":\"%s.jar\",\"sha256\":\"%064x\",\"size\":%d,\"extra\":12345678901234567890123}",
			pick(r, "libs-release", "libs-snapshot", "docker"), id, id, r.Uint64(), r.IntN(1000))
	default:
		e.kind = pick(r, "shop.order.created", "shop.order.paid", "shop.order.cancelled", "shop.stock.low")
		e.data = fmt.Appendf(nil, ` {"shop" :{"city":%q,"open":%t}, "amount":%s,"z":null,"items":[{"sku":"%s"},{"sku":"b"}],"note":"\u00e9é\"<&>%s" }`,
			pick(r, "Köln", "Paris", "York"), r.IntN(2) == 0, pick(r, "1", "1.0", "1e0", "10", "12345678901234567890123"), pick(r, "a", "b", "a1"), id)
	}
	decoder := json.NewDecoder(bytes.NewReader(e.data))
	decoder.UseNumber() // numbers count by their digits
	if err := decoder.Decode(&e.value); err != nil {
		panic(fmt.Sprintf("the model makes bad data: %v: %s", err, e.data))
	}
	return e
}

// enlarge makes the data of an event larger, as far as it is JSON.
func (e *oEvent) enlarge(r *rand.Rand) {
	if !e.isJSON() {
		return
	}
	begin := bytes.IndexByte(e.data, '{') + 1
	pad := fmt.Appendf(nil, `"pad":%q,`, bytes.Repeat([]byte{'x'}, 20_000+r.IntN(150_000)))
	e.data = bytes.Join([][]byte{e.data[:begin], pad, e.data[begin:]}, nil)
	decoder := json.NewDecoder(bytes.NewReader(e.data))
	decoder.UseNumber()
	if err := decoder.Decode(&e.value); err != nil {
		panic(fmt.Sprintf("the model makes bad data: %v", err))
	}
}

func (e *oEvent) isJSON() bool { return e.contentType == "application/json" }

// binary is the event as a request in binary mode.
func (e *oEvent) binary() (body []byte, header []string) {
	header = []string{"Ce-Specversion", "1.0", "Ce-Id", e.id, "Ce-Source", e.source, "Ce-Type", e.kind, "Content-Type", e.contentType}
	if e.subject != "" {
		header = append(header, "Ce-Subject", e.subject)
	}
	for name, value := range e.extensions {
		header = append(header, "Ce-"+name, value)
	}
	return e.data, header
}

// structured is the event in the JSON format.
func (e *oEvent) structured() []byte {
	members := []string{`"specversion":"1.0"`}
	add := func(name, value string) {
		if value != "" {
			text, _ := json.Marshal(value) // a string always can
			members = append(members, fmt.Sprintf("%q: %s", name, text))
		}
	}
	add("id", e.id)
	add("source", e.source)
	add("type", e.kind)
	add("subject", e.subject)
	add("datacontenttype", e.contentType)
	for name, value := range e.extensions {
		add(name, value)
	}
	switch {
	case e.isJSON():
		members = append(members, `"data":`+string(e.data))
	case strings.HasPrefix(e.contentType, "text/"):
		add("data", string(e.data))
	default:
		add("data_base64", base64.StdEncoding.EncodeToString(e.data))
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

// get returns what a filter compares by that name.
func (e *oEvent) get(name string) (string, bool) {
	path, isData := strings.CutPrefix(name, "data.")
	if !isData {
		value, ok := e.extensions[name]
		switch name {
		case "type":
			value, ok = e.kind, true
		case "source":
			value, ok = e.source, true
		case "subject":
			value, ok = e.subject, e.subject != ""
		}
		return value, ok
	}
	at := e.value
	for key := range strings.SplitSeq(path, ".") {
		switch container := at.(type) {
		case map[string]any:
			at = container[key]
		case []any:
			n, err := strconv.Atoi(key)
			if err != nil || n < 0 || n >= len(container) {
				return "", false
			}
			at = container[n]
		default:
			return "", false
		}
	}
	switch value := at.(type) {
	case string:
		return value, true
	case json.Number:
		return value.String(), true
	case bool:
		return strconv.FormatBool(value), true
	}
	return "", false
}

// An oFilter is a filter, evaluated as its description says and no faster.
type oFilter struct {
	dialect string
	values  map[string]string
	inner   []oFilter
}

func (f oFilter) matches(e *oEvent) bool {
	switch f.dialect {
	case "all":
		return !slices.ContainsFunc(f.inner, func(f oFilter) bool { return !f.matches(e) })
	case "any":
		return slices.ContainsFunc(f.inner, func(f oFilter) bool { return f.matches(e) })
	case "not":
		return !f.inner[0].matches(e)
	}
	compare := map[string]func(have, want string) bool{
		"exact": func(have, want string) bool { return have == want }, "prefix": strings.HasPrefix, "suffix": strings.HasSuffix,
	}[f.dialect]
	for name, want := range f.values {
		if have, ok := e.get(name); !ok || !compare(have, want) {
			return false
		}
	}
	return true
}

// MarshalJSON writes the filter as the API takes it.
func (f oFilter) MarshalJSON() ([]byte, error) {
	switch f.dialect {
	case "all", "any":
		return json.Marshal(map[string][]oFilter{f.dialect: f.inner})
	case "not":
		return json.Marshal(map[string]oFilter{f.dialect: f.inner[0]})
	}
	return json.Marshal(map[string]map[string]string{f.dialect: f.values})
}

func newFilter(r *rand.Rand, depth int) oFilter {
	if depth < 3 && r.IntN(3) == 0 {
		f := oFilter{dialect: pick(r, "all", "any", "not")}
		count := 1
		if f.dialect != "not" {
			count += r.IntN(3)
		}
		for range count {
			f.inner = append(f.inner, newFilter(r, depth+1))
		}
		return f
	}
	f := oFilter{dialect: pick(r, "exact", "exact", "prefix", "suffix"), values: map[string]string{}}
	for range 1 + r.IntN(2)*r.IntN(2) {
		entry := pick(r,
			[]string{"subject", "eu/de", "eu/", "us/", "/de", "ny"}, []string{"source", "/shops/1", "/shops/", "urn:", "3"},
			[]string{"type", "shop.order.paid", "shop.order.", "artifact.", ".created"}, []string{"region", "north", "south", "th"},
			[]string{"data.shop.city", "Köln", "K", "Paris", "York", "is"}, []string{"data.shop.open", "true", "false", "t"},
			[]string{"data.amount", "1", "1.0", "1e0", "10", "0", "12345678901234567890123"}, []string{"data.items.0.sku", "a", "b", "1"},
			[]string{"data.repo_key", "libs-release", "libs-", "docker"}, []string{"data.z", "null"}, []string{"data.missing", "x"},
		)
		f.values[entry[0]] = pick(r, entry[1:]...)
	}
	return f
}

// An oSub is a subscription and the plan for its receiver.
type oSub struct {
	id       string
	types    []string
	filters  []oFilter
	profile  string
	schedule []string
	inFlight int
	timeout  string
	ordered  bool
	plan     plan
	wire     int // that its requests go over; below 0: none

	mu sync.Mutex
	// mostInFlight is the highest limit that it ever had.
	mostInFlight int
	secrets      []string // that may sign, the newest first
	created      time.Time
	deleting     time.Time // zero: never
	deleted      time.Time
	stops        []span // when it was paused: from the answer to the pause to the call of the resume
	left         time.Time
	leftOver     string // the delivery that was answered 410
	indexed      int    // events below this are in byDelivery
	byDelivery   map[string]*oEvent
}

// A span is a time from a moment on; without an end it lasts.
type span struct{ from, to time.Time }

func (s *oSub) wants(e *oEvent) bool {
	domain, _, _ := strings.Cut(e.kind, ".")
	return (slices.Contains(s.types, e.kind) || slices.Contains(s.types, domain+".*")) &&
		!slices.ContainsFunc(s.filters, func(f oFilter) bool { return !f.matches(e) })
}

// body is the request that creates it.
func (s *oSub) body() object {
	options := object{"max_in_flight": s.inFlight, "ordered": s.ordered, "retry": object{"schedule": s.schedule, "jitter": 0.2}}
	if s.wire >= 0 && s.plan.flaky > 0 {
		// A breaker that has opened for a wire would open again and again for a receiver
		// that fails now and then, for longer than anybody wants to wait.
		withoutBreaker(options)
	}
	return object{
		"id": s.id, "types": s.types, "filters": s.filters, "profile": s.profile,
		"secrets": []object{{"secret": s.secrets[len(s.secrets)-1]}}, "delivery": options,
	}
}

// over has the requests go over a wire, which may be bad for longer than a short
// schedule lasts.
func (s *oSub) over(wire int) *oSub {
	s.wire = wire
	s.schedule = append(s.schedule, "2s", "4s", "8s")
	return s
}

// rejects reports that the profile cannot carry the event.
func (s *oSub) rejects(e *oEvent) bool { return s.profile == "standard" && !e.isJSON() }

// A plan says how a receiver misbehaves.
type plan struct {
	flaky   float64  // share of first requests that fail; of second ones half of it, third ones succeed
	faults  []string // that these are taken from
	doomed  float64  // share of deliveries that never succeed
	slow    time.Duration
	leaving bool // one delivery is answered 410
}

// chance is a number from 0 to 1 that follows from the seed and what it is for.
func chance(seed uint64, of ...string) float64 {
	h := sha256.New()
	_ = binary.Write(h, binary.BigEndian, seed) // never fails
	for _, part := range of {
		h.Write(append([]byte(part), 0))
	}
	return float64(binary.BigEndian.Uint64(h.Sum(nil))>>11) / (1 << 53)
}

// isDoomed reports that no request for the delivery will ever succeed.
func (p plan) isDoomed(seed uint64, delivery string) bool {
	return chance(seed, "doomed", delivery) < p.doomed
}

// fault says how the nth request for a delivery fails; empty: it does not.
func (p plan) fault(seed uint64, delivery string, nth int) string {
	if p.isDoomed(seed, delivery) {
		return []string{"500", "404", "302"}[nth%3]
	}
	share := p.flaky
	if nth == 2 {
		share /= 2
	}
	if nth > 2 || chance(seed, "flaky", delivery, strconv.Itoa(nth)) >= share {
		return ""
	}
	return p.faults[int(chance(seed, "kind", delivery, strconv.Itoa(nth))*float64(len(p.faults)))]
}

// deliveryID is the webhook-id of an event for a subscription, as the design
// defines it.
func deliveryID(sub, source, id string) string {
	sum := sha256.Sum256([]byte(sub + "\x00" + source + "\x00" + id))
	return "dlv_" + strings.ToLower(base32.HexEncoding.EncodeToString(sum[:]))[:26]
}

// newSecret makes a signing secret.
func newSecret(r *rand.Rand) string {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(r.UintN(256))
	}
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// newSub makes a subscription with a random wish.
func newSub(r *rand.Rand, id string, p plan) *oSub {
	s := &oSub{
		id: id, profile: pick(r, "cloudevents", "cloudevents", "cloudevents-binary", "standard"), plan: p,
		schedule: []string{"0s", "50ms", "200ms", "1s", "500ms"}, inFlight: 64, mostInFlight: 64, timeout: "15s", wire: -1,
		secrets: []string{newSecret(r)}, byDelivery: make(map[string]*oEvent),
	}
	s.types = pick(r, []string{"shop.*"}, []string{"shop.*", "artifact.*"}, []string{"artifact.*"}, []string{"shop.order.created", "shop.order.paid", "artifact.deployed"})
	for range r.IntN(3) {
		s.filters = append(s.filters, newFilter(r, 1))
	}
	return s
}

// firstSubs are the subscriptions that an oracle begins with: one for each way of
// being difficult. Most have their receiver at the end of one of some wires.
func firstSubs(r *rand.Rand, wires int) []*oSub {
	var subs []*oSub
	add := func(id string, p plan, change func(*oSub)) {
		s := newSub(r, id, p)
		if change != nil {
			change(s)
		}
		subs = append(subs, s)
	}
	everything := func(s *oSub) { s.types, s.filters = []string{"shop.*", "artifact.*"}, nil }
	quick := []string{"500", "503", "400", "302", "reset", "cut", "429"}
	add("healthy", plan{}, func(s *oSub) { everything(s); s.profile = "cloudevents" })
	add("binary", plan{flaky: 0.1, faults: quick}, func(s *oSub) { s.profile = "cloudevents-binary" })
	add("standard", plan{flaky: 0.1, faults: quick}, func(s *oSub) { s.profile, s.types = "standard", []string{"shop.*"} })
	add("flaky", plan{flaky: 0.4, faults: quick}, everything)
	add("doomed", plan{flaky: 0.2, doomed: 0.05, faults: quick}, nil)
	add("hanging", plan{flaky: 0.1, faults: []string{"hang", "500"}}, func(s *oSub) { s.timeout = "3s" })
	add("slow", plan{flaky: 0.1, slow: 300 * time.Millisecond, faults: quick}, func(s *oSub) { s.inFlight, s.mostInFlight = 16, 16 })
	add("narrow", plan{flaky: 0.05, faults: quick}, func(s *oSub) { s.inFlight, s.mostInFlight = 2, 2 })
	add("patient", plan{flaky: 0.2, faults: []string{"500", "patience"}}, func(s *oSub) {
		s.schedule = []string{"0s", "12s", "100ms", "100ms", "100ms"}
	})
	add("ordered", plan{flaky: 0.05, faults: quick}, func(s *oSub) { // not too many: one at a time
		s.ordered, s.inFlight, s.mostInFlight, s.profile, s.types, s.filters = true, 1, 1, "cloudevents", []string{"artifact.*", "shop.stock.low"}, nil
	})
	add("sleeper", plan{flaky: 0.1, faults: quick}, everything)
	add("leaver", plan{leaving: true}, everything)
	for i := range 4 {
		add(fmt.Sprintf("any-%d", i), plan{flaky: 0.2 * r.Float64(), doomed: 0.02 * r.Float64(), faults: quick}, nil)
	}
	add("steady", plan{}, everything) // but for its wire
	for i, s := range subs {
		// What is compared most closely has none.
		if !slices.Contains([]string{"healthy", "patient", "ordered", "sleeper", "leaver"}, s.id) {
			s.over(i % wires)
		}
	}
	return subs
}
