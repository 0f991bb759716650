package producer

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/schemas"
)

// unused is a JetStream that nothing is published to.
type unused struct{ jetstream.JetStream }

func decoder(tb testing.TB) *Producer {
	tb.Helper()
	catalogue, err := schemas.Load(fstest.MapFS{"domain.json": {Data: []byte(`{"name": "t", "open": true}`)}})
	if err != nil {
		tb.Fatal(err)
	}
	p, err := New(Config{MaxBatchEvents: 5}, unused{}, catalogue, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// What the ingest accepts must survive the event log, whatever was sent.
func FuzzDecode(f *testing.F) {
	p := decoder(f)
	structured := `{"specversion":"1.0","id":"1","source":"/s","type":"t.a","data":{"a":1}}`
	f.Add("application/cloudevents+json", "", []byte(structured))
	f.Add("application/cloudevents+json", "", []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t.a","datacontenttype":"text/plain","data_base64":"/w=="}`))
	f.Add("application/cloudevents-batch+json; charset=utf-8", "", []byte("["+structured+","+structured+"]"))
	f.Add("application/json", "Specversion: 1.0\nId: 1\nSource: /s\nType: t.b\nSubject: \"a%20b\"", []byte(`{"a":1}`))
	f.Add("text/plain", "Specversion: 1.0\nId: %e2%82%ac\nSource: a\\b\nType: t.b\nTime: 2026-01-01T00:00:00Z\nX1: \xff", []byte("\xff"))
	f.Fuzz(func(t *testing.T, contentType, attributes string, body []byte) {
		h := http.Header{}
		if contentType != "" {
			h.Set("Content-Type", contentType)
		}
		for line := range strings.Lines(attributes) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			h.Add("Ce-"+name, value)
		}
		mode, limit, problem := p.mode(h)
		if problem != nil || int64(len(body)) > limit {
			return
		}
		in, problem := p.decode(mode, h, body)
		if problem != nil {
			if problem.Status < 400 || problem.Status > 499 || problem.Detail == "" {
				t.Errorf("problem %+v", problem)
			}
			return
		}
		if len(in.events) > p.cfg.MaxBatchEvents {
			t.Errorf("%d events accepted", len(in.events))
		}
		for _, e := range in.events {
			if err := e.Validate(); err != nil {
				t.Errorf("accepted an event that is not valid: %v", err)
			}
			if mode == "" && string(e.Data) != string(body) {
				t.Errorf("data %q is not the body %q", e.Data, body)
			}
			ready, err := p.publishable(e)
			if err != nil {
				if problem := eventProblem(err, ""); problem.Status != http.StatusBadRequest && problem.Status != http.StatusRequestEntityTooLarge {
					t.Errorf("problem %+v", problem)
				}
				continue
			}
			back, err := event.FromMessage(ready.msg.Header, ready.msg.Data)
			if err != nil {
				t.Fatalf("cannot be read from the event log: %v", err)
			}
			if diff := cmp.Diff(e, back); diff != "" {
				t.Errorf("the event log changes it (-want +got):\n%s", diff)
			}
		}
	})
}

func TestOwnHeadersFit(t *testing.T) {
	t.Parallel()
	p := decoder(t)
	longest, err := stream.NewLayout(stream.LayoutConfig{Prefix: strings.Repeat("p", 63)})
	if err != nil {
		t.Fatal(err)
	}
	p.layout = longest
	for _, kind := range p.catalogue.Current().Types() {
		if kind.Domain == stream.OperationalDomain {
			continue // not for producers
		}
		ready, err := p.publishable(&event.Event{ID: "1", Source: "/s", Type: kind.Name, Data: kind.Examples[0].Data})
		if err != nil {
			t.Fatal(err)
		}
		size := len("NATS/1.0\r\n\r\n")
		for name, values := range ready.msg.Header {
			if strings.HasPrefix(name, "Nats-") {
				size += len(name) + len(values[0]) + len(": \r\n")
			}
		}
		// A domain's name may have 63 bytes.
		if size += 63 - len(kind.Domain); size > ownHeaders {
			t.Errorf("%s: our headers take %d bytes, %d are set aside", kind.Name, size, ownHeaders)
		}
	}
}

// What a publish costs besides NATS and the check against the schema, and with it.
func BenchmarkPrepare(b *testing.B) {
	p := decoder(b)
	text := `{"note":"` + strings.Repeat("x", 1000) + `"}`
	for name, e := range map[string]*event.Event{
		"1KiB":   {ID: "0b5dbd20-9b3b-4b8b-8f0e-3d3b2b1b8f0e", Source: "/shop/berlin", Type: "t.a", Time: "2026-03-04T05:06:07.123456789Z", DataContentType: "application/json", Data: []byte(text)},
		"schema": {ID: "0b5dbd20-9b3b-4b8b-8f0e-3d3b2b1b8f0e", Source: "/git/widgets", Type: "git.push", Time: "2026-03-04T05:06:07.123456789Z", DataContentType: "application/json", Data: example(b, p.catalogue.Current())},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(e.Data)))
			for b.Loop() {
				if _, err := p.publishable(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func example(tb testing.TB, catalogue *schemas.Catalogue) []byte {
	tb.Helper()
	push, err := catalogue.Resolve("git.push")
	if err != nil {
		tb.Fatal(err)
	}
	return push.Examples[0].Data
}

// publishable prepares an event as Publish does.
func (p *Producer) publishable(e *event.Event) (prepared, error) {
	refresh := p.refresher(context.Background())
	return p.prepare(e, &refresh)
}
