package producer_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/producer"
)

// An answer is what the ingest said.
type answer struct {
	status int
	header http.Header
	text   string
	body   struct {
		Title, Detail string
		Status        int
		Errors        []struct{ Field, Message string }
		Stored        []receipt
		Receipts      []receipt
		receipt
	}
}

type receipt struct {
	ID        string
	Source    string
	Stream    string
	Sequence  uint64
	Duplicate bool
}

// post sends a request to the handler over a real connection. Header values come
// in pairs of name and value.
func (f *fixture) post(t *testing.T, body string, header ...string) answer {
	t.Helper()
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

func read(t *testing.T, resp *http.Response) answer {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if err := json.Unmarshal(text, &a.body); err != nil {
		t.Fatalf("answer %d is not JSON: %v: %s", resp.StatusCode, err, text)
	}
	want := "application/json"
	if resp.StatusCode >= 400 {
		want = "application/problem+json"
		if a.body.Status != resp.StatusCode || a.body.Title == "" || a.body.Detail == "" {
			t.Errorf("problem document %s does not say status, title and detail", text)
		}
	}
	if got := resp.Header.Get("Content-Type"); got != want {
		t.Errorf("Content-Type of the answer = %q, want %q", got, want)
	}
	return a
}

const (
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
)

// binary are the headers of a valid event in binary mode; changes, in pairs,
// replace them or, when empty, take them away.
func binary(changes ...string) []string {
	h := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/shop", "Ce-Type": "com.example.orders.created",
		"Content-Type": "application/json",
	}
	for i := 0; i < len(changes); i += 2 {
		h[changes[i]] = changes[i+1]
	}
	var pairs []string
	for name, value := range h {
		if value != "" {
			pairs = append(pairs, name, value)
		}
	}
	return pairs
}

// structured is a valid event in JSON; more is put before its end.
func structured(id, more string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/shop","type":"com.example.orders.created"%s}`, id, more)
}

func TestIngestBinary(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	body := "{ \"total\":12345678901234567890,\"b\":1,\"a\":\"\\u00e9\"}\n"
	a := f.post(t, body, binary("Ce-Subject", `"gr%C3%B6%C3%9Fe%20100%25"`, "Ce-Priority", "3", "Content-Type", "application/json; charset=utf-8")...)
	if want := (receipt{ID: "1", Source: "/shop", Stream: "EVENTS_orders", Sequence: 1}); a.status != http.StatusCreated || a.body.receipt != want {
		t.Fatalf("answer %d %s, want 201 and %+v", a.status, a.text, want)
	}
	got := f.event(t, "orders", 0)
	want := &event.Event{
		ID: "1", Source: "/shop", Type: "com.example.orders.created", Subject: "größe 100%",
		DataContentType: "application/json; charset=utf-8",
		Extensions:      []event.Attribute{{Name: "priority", Value: "3"}},
		Data:            []byte(body),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored event (-want +got):\n%s", diff)
	}
	if a := f.post(t, body, binary()...); a.status != http.StatusCreated || !a.body.Duplicate || a.body.Sequence != 1 {
		t.Errorf("second time: answer %d %s, want a duplicate", a.status, a.text)
	}
}

// The CloudEvents SDKs for Go and JavaScript do not percent-encode.
func TestIngestBinaryUnencoded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	for n, test := range []struct{ header, subject string }{
		{"100%", "100%"},
		{"100%zz of größe", "100%zz of größe"},
		{"a%20b 5%", "a b 5%"},
		{`"now" or never`, `"now" or never`},
	} {
		a := f.post(t, `{"total":1}`, binary("Ce-Id", id(n), "Ce-Subject", test.header, "Content-Type", "application/json; utf-8")...)
		if a.status != http.StatusCreated {
			t.Fatalf("%s: answer %d %s", test.header, a.status, a.text)
		}
		if got := f.event(t, "orders", n); got.Subject != test.subject || got.DataContentType != "application/json; utf-8" {
			t.Errorf("%s: stored %+v", test.header, got)
		}
	}
}

func TestIngestBinaryData(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	for n, body := range []string{"", "\x00\xff\xfe", "null", "%41%zz \"", strings.Repeat("x", 200<<10)} {
		h := binary("Ce-Id", id(n), "Ce-Type", "notes.raw", "Content-Type", "application/octet-stream")
		if a := f.post(t, body, h...); a.status != http.StatusCreated {
			t.Fatalf("body %d: answer %d %s", n, a.status, a.text)
		}
		if got := f.event(t, "notes", n).Data; string(got) != body {
			t.Errorf("body %d: stored %d bytes, sent %d", n, len(got), len(body))
		}
	}
	if a := f.post(t, "", binary("Ce-Id", "bare", "Ce-Type", "notes.raw", "Content-Type", "")...); a.status != http.StatusCreated {
		t.Errorf("neither body nor Content-Type: answer %d %s", a.status, a.text)
	}
}

func TestIngestStructured(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	data := `{ "total" : 12345678901234567890, "b":1, "a":"\u00e9" }`
	for n, contentType := range []string{
		structuredType, "application/cloudevents+json; utf-8", structuredType + ";;=", "application/cloudevents+json; charset=UTF-8", "Application/CloudEvents+JSON", "application/cloudevents",
	} {
		a := f.post(t, structured(id(n), `,"subject":"größe","data":`+data), "Content-Type", contentType)
		if a.status != http.StatusCreated || a.body.Sequence != uint64(n)+1 {
			t.Fatalf("%s: answer %d %s", contentType, a.status, a.text)
		}
		if got := f.event(t, "orders", n); string(got.Data) != data || got.Subject != "größe" {
			t.Errorf("%s: stored %+v with data %s", contentType, got, got.Data)
		}
	}
	// Attributes may be repeated in headers, which count for nothing.
	a := f.post(t, structured("in the body", `,"data":{"total":1}`), "Content-Type", structuredType, "Ce-Id", "in a header")
	if a.status != http.StatusCreated || a.body.ID != "in the body" {
		t.Errorf("with ce- headers: answer %d %s", a.status, a.text)
	}
}

func TestIngestBatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	var events []string
	for n := range 100 {
		events = append(events, structured(id(n), fmt.Sprintf(`,"data":{"total": %d}`, n)))
	}
	events = append(events, events[7])
	a := f.post(t, "["+strings.Join(events, ",\n")+"]", "Content-Type", batchType)
	if a.status != http.StatusCreated || len(a.body.Receipts) != 101 {
		t.Fatalf("answer %d with %d receipts: %s", a.status, len(a.body.Receipts), a.text)
	}
	for n, got := range a.body.Receipts[:100] {
		if want := (receipt{ID: id(n), Source: "/shop", Stream: "EVENTS_orders", Sequence: uint64(n) + 1}); got != want {
			t.Errorf("receipt %d = %+v, want %+v", n, got, want)
		}
		if got, want := string(f.event(t, "orders", n).Data), fmt.Sprintf(`{"total": %d}`, n); got != want {
			t.Errorf("event %d has data %s, want %s", n, got, want)
		}
	}
	if last := a.body.Receipts[100]; !last.Duplicate || last.Sequence != 8 {
		t.Errorf("the repeated event got %+v, want a duplicate of sequence 8", last)
	}
	if a := f.post(t, " [ ] ", "Content-Type", batchType); a.status != http.StatusOK || a.text != `{"receipts":[]}`+"\n" {
		t.Errorf("empty batch: answer %d %s", a.status, a.text)
	}
}

func TestIngestRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{MaxBatchEvents: 10, MaxBatchBytes: 1 << 20})
	good := `{"total":1}`
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	big := `"` + strings.Repeat("x", stream.MaxEventSize) + `"`
	for _, test := range []struct {
		name   string
		body   string
		header []string
		status int
		says   string   // in the detail
		fields []string // of the errors
	}{
		// Which mode?
		{name: "JSON without attributes", body: good, header: []string{"Content-Type", "application/json"}, status: 400, says: "application/cloudevents-batch+json"},
		{name: "nothing at all", body: "", header: nil, status: 400, says: "application/cloudevents+json"},
		{name: "event without its Content-Type", body: structured("1", ""), header: []string{"Content-Type", "application/json"}, status: 400, says: "application/cloudevents+json"},
		{name: "form", body: "a=b", header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, says: "ce-specversion"},
		{name: "other event format", body: "x", header: []string{"Content-Type", "application/cloudevents+avro"}, status: 415, says: "JSON"},
		{name: "other batch format", body: "x", header: []string{"Content-Type", "application/cloudevents-batch+protobuf"}, status: 415, says: "application/cloudevents-batch+json"},
		{name: "other character set", body: structured("1", ""), header: []string{"Content-Type", structuredType + "; charset=latin1"}, status: 415, says: "UTF-8"},
		{name: "broken Content-Type", body: structured("1", ""), header: []string{"Content-Type", structuredType + " x"}, status: 415, says: "Content-Type"},
		{name: "two Content-Types", body: good, header: append(binary(), "Content-Type", "text/plain"), status: 400, says: "two Content-Type"},
		{name: "compressed", body: good, header: binary("Content-Encoding", "gzip"), status: 415, says: "Content-Encoding"},

		// Binary mode.
		{name: "no specversion", body: good, header: binary("Ce-Specversion", ""), status: 400, says: "ce-specversion", fields: []string{"/specversion"}},
		{name: "other specversion", body: good, header: binary("Ce-Specversion", "0.3"), status: 400, says: "0.3"},
		{name: "no id", body: good, header: binary("Ce-Id", ""), status: 400, says: "id"},
		{name: "no source", body: good, header: binary("Ce-Source", ""), status: 400, says: "source"},
		{name: "no type", body: good, header: binary("Ce-Type", ""), status: 400, says: "type"},
		{name: "datacontenttype", body: good, header: binary("Ce-Datacontenttype", "application/json"), status: 400, says: "ce-datacontenttype", fields: []string{"/datacontenttype"}},
		{name: "attribute twice", body: good, header: append(binary(), "Ce-Id", "2"), status: 400, says: "ce-id"},
		{name: "attribute name", body: good, header: binary("Ce-My-Key", "1"), status: 400, says: "my-key"},
		{name: "attribute without a name", body: good, header: binary("Ce-", "1"), status: 400, says: "attribute name"},
		{name: "attribute called data", body: good, header: binary("Ce-Data", "1"), status: 400, says: "data"},
		{name: "not UTF-8 when decoded", body: good, header: binary("Ce-Subject", "%C0%A0"), status: 400, says: "ce-subject"},
		{name: "bytes that are not UTF-8", body: good, header: binary("Ce-Subject", "\xff\xfe"), status: 400, says: "ce-subject"},
		{name: "source with a broken escape", body: good, header: binary("Ce-Source", "%zz"), status: 400, says: "source is not a URI reference"},
		{name: "source without its scheme", body: good, header: binary("Ce-Source", ":nope"), status: 400, says: "source is not a URI reference"},
		{name: "source with half an address", body: good, header: binary("Ce-Source", "http://[::1"), status: 400, says: "source is not a URI reference"},
		{name: "source with a space", body: good, header: binary("Ce-Source", "/my%20shop"), status: 400, says: "source is not a URI reference"},
		{name: "relative schema", body: good, header: binary("Ce-Dataschema", "orders.json"), status: 400, says: "dataschema is not an absolute URI"},
		{name: "Content-Type of no type", body: good, header: binary("Content-Type", "json"), status: 400, says: "datacontenttype is not a media type"},
		{name: "hidden control character", body: good, header: binary("Ce-Subject", "a%0d%0aX-Evil: 1"), status: 400, says: "control"},
		{name: "time that is none", body: good, header: binary("Ce-Time", "noon"), status: 400, says: "time"},
		{name: "headers of 64 KiB", body: good, header: binary("Ce-Subject", strings.Repeat("x", 64<<10)), status: 413, says: "attributes"},
		{name: "body over the limit", body: big, header: binary(), status: 413, says: "262144"},

		// The catalogue.
		{
			name: "jetpost's own type", body: "{}", header: binary("Ce-Type", "jetpost.breaker.opened"), status: 403, says: "published by jetpost itself",
			fields: []string{"/type"},
		},
		{name: "unknown type", body: good, header: binary("Ce-Type", "com.example.orders.eaten"), status: 400, says: "eaten", fields: []string{"/type"}},
		{name: "type of no domain", body: good, header: binary("Ce-Type", "*.>"), status: 400, says: "unknown", fields: []string{"/type"}},
		{name: "type that would break a subject", body: good, header: binary("Ce-Type", "notes.a.>"), status: 400, says: "unknown", fields: []string{"/type"}},
		{name: "data breaks its schema", body: `{"total":"1"}`, header: binary(), status: 400, says: "/data/total", fields: []string{"/data/total"}},
		{name: "data misses a field", body: `{}`, header: binary(), status: 400, says: "total", fields: []string{"/data/total"}},
		{name: "data is no JSON", body: `{`, header: binary(), status: 400, says: "/data", fields: []string{"/data"}},
		{name: "data of another type", body: good, header: binary("Content-Type", "text/plain"), status: 400, says: "JSON", fields: []string{"/datacontenttype"}},
		{name: "data is not UTF-8", body: "{\"total\":1,\"x\":\"\xff\"}", header: binary(), status: 400, says: "/data", fields: []string{"/data"}},
		{name: "data nested deep", body: deep, header: binary(), status: 400, says: "/data"},

		// Structured mode.
		{name: "empty", body: "", header: []string{"Content-Type", structuredType}, status: 400, says: "JSON"},
		{name: "array", body: "[" + structured("1", "") + "]", header: []string{"Content-Type", structuredType}, status: 400, says: "object"},
		{name: "two events", body: structured("1", "") + structured("2", ""), header: []string{"Content-Type", structuredType}, status: 400, says: "follows"},
		{name: "cut off", body: structured("1", "")[:50], header: []string{"Content-Type", structuredType}, status: 400, says: "JSON"},
		{name: "not UTF-8", body: structured("1", ",\"subject\":\"\xff\""), header: []string{"Content-Type", structuredType}, status: 400, says: "UTF-8"},
		{name: "member twice", body: structured("1", `,"id":"2"`), header: []string{"Content-Type", structuredType}, status: 400, says: "twice"},
		{name: "data and data_base64", body: structured("1", `,"data":1,"data_base64":"MQ=="`), header: []string{"Content-Type", structuredType}, status: 400, says: "data_base64"},
		{name: "source with a broken escape, in JSON", body: strings.Replace(structured("1", ""), "/shop", "%zz", 1), header: []string{"Content-Type", structuredType}, status: 400, says: "source is not a URI reference"},
		{name: "relative schema, in JSON", body: structured("1", `,"dataschema":"orders.json"`), header: []string{"Content-Type", structuredType}, status: 400, says: "dataschema is not an absolute URI"},
		{name: "attribute is an object", body: structured("1", `,"subject":{}`), header: []string{"Content-Type", structuredType}, status: 400, says: "subject"},
		{name: "nested deep", body: structured("1", `,"data":`+deep), header: []string{"Content-Type", structuredType}, status: 400, says: "JSON"},
		{name: "event over the limit", body: structured("1", `,"data":`+big), header: []string{"Content-Type", structuredType}, status: 413, says: "262144"},
		{name: "body over the limit, in JSON", body: structured("1", `,"data":"`+strings.Repeat("x", 6*stream.MaxEventSize)+`"`), header: []string{"Content-Type", structuredType}, status: 413, says: "body"},

		// Batches.
		{name: "batch is an object", body: structured("1", ""), header: []string{"Content-Type", batchType}, status: 400, says: "array"},
		{name: "batch is cut off", body: "[" + structured("1", ""), header: []string{"Content-Type", batchType}, status: 400, says: "end"},
		{name: "second has no valid source", body: "[" + structured("1", "") + "," + strings.Replace(structured("2", ""), "/shop", ":nope", 1) + "]", header: []string{"Content-Type", batchType}, status: 400, says: "event 1"},
		{name: "third is no event", body: "[" + structured("1", "") + "," + structured("2", "") + ",{}]", header: []string{"Content-Type", batchType}, status: 400, says: "event 2"},
		{
			name: "second and third break their schema", header: []string{"Content-Type", batchType}, status: 400, says: "event 1",
			body:   "[" + structured("1", `,"data":{"total":1}`) + "," + structured("2", `,"data":{}`) + "," + structured("3", `,"data":{"total":""}`) + "]",
			fields: []string{"/1/data/total", "/2/data/total"},
		},
		{
			name: "second is too large", header: []string{"Content-Type", batchType}, status: 413, says: "event 1",
			body:   "[" + structured("1", `,"data":{}`) + "," + structured("2", `,"data":`+big) + "]",
			fields: []string{"/0/data/total", "/1"},
		},
		{name: "too many events", body: "[" + strings.Repeat("1,", 10) + "1]", header: []string{"Content-Type", batchType}, status: 413, says: "10 events"},
		{name: "batch over the limit", body: "[" + strings.Repeat(" ", 1<<20) + "]", header: []string{"Content-Type", batchType}, status: 413, says: "1048576"},
	} {
		a := f.post(t, test.body, test.header...)
		if a.status != test.status {
			t.Errorf("%s: status %d, want %d: %.300s", test.name, a.status, test.status, a.text)
			continue
		}
		if !strings.Contains(a.body.Detail, test.says) {
			t.Errorf("%s: detail %.300q does not say %q", test.name, a.body.Detail, test.says)
		}
		if len(a.text) > 16<<10 {
			t.Errorf("%s: the answer has %d bytes", test.name, len(a.text))
		}
		var fields []string
		for _, e := range a.body.Errors {
			fields = append(fields, e.Field)
		}
		if test.fields != nil && !cmp.Equal(fields, test.fields) {
			t.Errorf("%s: errors name %q, want %q", test.name, fields, test.fields)
		}
	}
	for _, domain := range []string{"orders", "notes", "lax"} {
		if got := len(f.stored(t, domain)); got != 0 {
			t.Errorf("%d events of %s stored, want none", got, domain)
		}
	}
	if a := f.post(t, good, binary()...); a.status != http.StatusCreated {
		t.Errorf("good event afterwards: answer %d %s", a.status, a.text)
	}
}

func TestIngestMethods(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if a := read(t, resp); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != http.MethodPost {
			t.Errorf("%s: answer %d, Allow %q", method, a.status, a.header.Get("Allow"))
		}
	}
}

func TestIngestWhenNothingCanBeStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{Timeout: 200 * time.Millisecond})
	f.server.Stop()
	a := f.post(t, `{"total":1}`, binary()...)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("answer %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.text)
	}
	if !strings.Contains(a.body.Detail, "safe") || !strings.Contains(a.body.Detail, stream.FaultDisconnected.String()) {
		t.Errorf("detail %q does not say what is wrong, and that it is safe to send it again", a.body.Detail)
	}
	if got := f.count(t, "orders", "unavailable"); got != 1 {
		t.Errorf("%d events are counted as unavailable, want 1", got)
	}
	f.server.Start()
	deadline := within(t, 20*time.Second)
	for a = f.post(t, `{"total":1}`, binary()...); a.status != http.StatusCreated; a = f.post(t, `{"total":1}`, binary()...) {
		if deadline.Err() != nil {
			t.Fatalf("after the start: answer %d %s", a.status, a.text)
		}
	}
}

func TestIngestWhenABatchIsStoredInPart(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	f.limit(t, "orders", func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 })
	batch := "[" + structured("1", `,"data":{"total":1}`) + "," + structured("2", `,"data":{"total":1}`) + "," + structured("3", `,"data":{"total":1}`) + "]"
	a := f.post(t, batch, "Content-Type", batchType)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "30" || !strings.Contains(a.body.Detail, "2 of 3") ||
		!strings.Contains(a.body.Detail, stream.FaultLimit.String()) || !strings.Contains(a.body.Detail, stream.FaultLimit.Advice()) {
		t.Errorf("answer %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.text)
	}
	want := []receipt{
		{ID: "1", Source: "/shop", Stream: "EVENTS_orders", Sequence: 1},
		{ID: "2", Source: "/shop", Stream: "EVENTS_orders", Sequence: 2},
	}
	if diff := cmp.Diff(want, a.body.Stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}

	f.limit(t, "orders", func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	a = f.post(t, batch, "Content-Type", batchType)
	want[0].Duplicate, want[1].Duplicate = true, true
	want = append(want, receipt{ID: "3", Source: "/shop", Stream: "EVENTS_orders", Sequence: 3})
	if diff := cmp.Diff(want, a.body.Receipts); a.status != http.StatusCreated || diff != "" {
		t.Errorf("second time: answer %d, receipts (-want +got):\n%s", a.status, diff)
	}
}

// raw sends bytes of the test's own choice and returns the answer. The connection
// stays open while the answer is awaited.
func raw(t *testing.T, addr, request string) answer {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	return read(t, resp)
}

func TestIngestHostileBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{BodyTimeout: 100 * time.Millisecond})
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	addr := server.Listener.Addr().String()
	head := "POST / HTTP/1.1\r\nHost: x\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: notes.a\r\n"
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"never arrives", head + "Content-Length: 10\r\n\r\nabc", http.StatusRequestTimeout},
		{"chunk never arrives", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", http.StatusRequestTimeout},
		{"claims terabytes", head + "Content-Length: 1099511627776\r\n\r\nabc", http.StatusRequestEntityTooLarge},
		{"chunks are no chunks", head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", http.StatusBadRequest},
		{"more chunks than allowed", head + "Transfer-Encoding: chunked\r\n\r\n50000\r\n" + strings.Repeat("x", 0x50000) + "\r\n0\r\n\r\n", http.StatusRequestEntityTooLarge},
	} {
		if a := raw(t, addr, test.request); a.status != test.status {
			t.Errorf("%s: answer %d %s, want %d", test.name, a.status, a.text, test.status)
		}
	}
	if got := len(f.stored(t, "notes")); got != 0 {
		t.Errorf("%d events stored, want none", got)
	}
}

// A slow store must not be cut short by the limit on the body, and the connection
// must be usable afterwards.
func TestIngestBodyTimeoutEndsWithTheBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{BodyTimeout: 100 * time.Millisecond})
	f.server.Stop()
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	time.AfterFunc(300*time.Millisecond, f.server.Start)
	for n := range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader([]byte(structured(id(n), `,"data":{"total":1}`))))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", structuredType)
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if a := read(t, resp); a.status != http.StatusCreated {
			t.Errorf("answer %d: %d %s", n, a.status, a.text)
		}
	}
}

// event is the n-th event of a domain, from 0.
func (f *fixture) event(t *testing.T, domain string, n int) *event.Event {
	t.Helper()
	log, err := f.js.Stream(t.Context(), f.layout.EventLog(domain))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := log.GetMsg(t.Context(), uint64(n)+1)
	if err != nil {
		t.Fatal(err)
	}
	e, err := event.FromMessage(msg.Header, msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
