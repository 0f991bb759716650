package stream_test

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// vanishing deletes a stream before it is looked up for the first time, as another task does
// that creates it again.
type vanishing struct {
	jetstream.JetStream

	name string
	done bool
}

// Stream deletes the stream once, and looks it up.
func (v *vanishing) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if name == v.name && !v.done {
		v.done = true
		if err := v.DeleteStream(ctx, name); err != nil {
			return nil, err
		}
	}
	return v.JetStream.Stream(ctx, name)
}

// A stream that is deleted between the creation that finds it and the look at it is created.
func TestDeletedWhileEnsured(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	for _, c := range []struct {
		name   string
		ensure func(js jetstream.JetStream) error
	}{
		{q.Stream, func(js jetstream.JetStream) error { return s.Layout.EnsureQueue(t.Context(), js, "ci", q, 64) }},
		{s.Layout.MembersStream(), func(js jetstream.JetStream) error { return s.Layout.EnsureMembers(t.Context(), js) }},
	} {
		cfg := streamConfig(t, s.JS(), c.name)
		cfg.Description = "an operator's" // the server compares: what differs exists already
		if _, err := s.JS().UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		js := &vanishing{JetStream: s.JS(), name: c.name}
		if err := c.ensure(js); err != nil || !js.done {
			t.Errorf("%s: looked up %t: %v", c.name, js.done, err)
		}
		if _, err := s.JS().Stream(t.Context(), c.name); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
