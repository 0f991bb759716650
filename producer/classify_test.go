package producer_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// Events carry the class of their repository, if it is registered:
// the publisher, or else the registry.
func TestPublishSaysTheRepositoryClass(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	catalogue, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Layout.Ensure(t.Context(), s.JS(), []string{"artifact", "git"}); err != nil {
		t.Fatal(err)
	}
	registry := repository.New(s.JS(), s.Layout, zap.NewNop())
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- registry.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	p, err := producer.New(producer.Config{Prefix: s.Layout.Prefix(), Repositories: registry}, s.JS(), catalogue, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	classOf := func(id, key string, more ...event.Attribute) string {
		t.Helper()
		e := &event.Event{
			ID: id, Source: "/test", Type: "artifact.deleted", DataContentType: "application/json", Extensions: more,
			Data: []byte(`{"repo_key":"` + key + `","path":"a/b","name":"b","sha256":"x","size":0}`),
		}
		given := len(e.Extensions)
		receipt, err := p.Publish(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Extensions) != given {
			t.Error("the publisher's own event is changed")
		}
		record, err := stream.Get(t.Context(), s.JS(), receipt.Stream, receipt.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := event.FromMessage(record.Header, record.Data)
		if err != nil {
			t.Fatal(err)
		}
		class, _ := stored.Attribute(schemas.RepositoryClass)
		return class
	}
	if got := classOf("0", "npm"); got != "" {
		t.Errorf("nothing is registered, and it is %q", got)
	}
	if err := registry.Change(t.Context(), "npm", func(*repository.Repository) (*repository.Repository, error) {
		return &repository.Repository{Class: repository.Remote}, nil
	}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{
		"registered": classOf("1", "npm"),
		"its cache":  classOf("2", "npm-cache"),
		"another":    classOf("3", "libs"),
		"said":       classOf("4", "npm", event.Attribute{Name: schemas.RepositoryClass, Value: "federated"}),
		"with more":  classOf("5", "npm", event.Attribute{Name: "priority", Value: "1"}),
	}
	want := map[string]string{"registered": "remote", "its cache": "remote", "another": "", "said": "federated", "with more": "remote"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
